# SPDX-License-Identifier: MIT
"""All validation of what users pass, and all its messages.

A check returns the argument in the form the kernels take, converted where that is allowed, or raises ValueError
(shapes and values) or TypeError (types and dtypes) with a message that names both sides. Nothing is changed before
every check of a call has passed.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

_Array = npt.NDArray[Any]

# Most elements of one buffer of the kernels: their byte counts must fit into 63 bits
_MOST_ELEMENTS = 2**59


def size(name: str, value: object, least: int = 1) -> int:
    """An integer of at least `least`."""
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name} is {value!r} ({type(value).__name__}), not an integer") from None
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} is {value!r}, not an integer")
    if number < least:
        raise ValueError(f"{name} is {number}, but must be at least {least}")
    return number


def flag(name: str, value: object) -> bool:
    """True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} is {value!r} ({type(value).__name__}), not a bool")
    return bool(value)


def choice(name: str, value: object, allowed: tuple[str, ...]) -> str:
    """One of a few words."""
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}, but must be one of {', '.join(map(repr, allowed))}")
    return str(value)


def compute_dtype(value: object) -> np.dtype[Any]:
    """float32 or float64."""
    try:
        dtype = np.dtype(value)  # type: ignore[call-overload]
    except TypeError:
        raise TypeError(f"dtype is {value!r}, but must be float32 or float64") from None
    if dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise TypeError(f"dtype is {dtype}, but must be float32 or float64")
    return np.dtype(dtype.type)


def product(**sizes: int) -> int:
    """The product of sizes, which must be an array that 64-bit machines can address."""
    total = 1
    for value in sizes.values():
        total *= value
    if total > _MOST_ELEMENTS:
        listed = " * ".join(f"{name}={value}" for name, value in sizes.items())
        raise ValueError(f"{listed} is {total} elements, more than the {_MOST_ELEMENTS} that can be addressed")
    return total


def array(name: str, value: object) -> _Array:
    """A NumPy array of any kind."""
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{name} is of type {type(value).__name__}, not a NumPy array")
    return value


def floats(name: str, value: object, dtype: np.dtype[Any]) -> _Array:
    """An array of floating-point numbers as `dtype`: the same array where it has it, else converted once."""
    given = array(name, value)
    if given.dtype.kind != "f":
        raise TypeError(f"{name} has dtype {given.dtype}, but floating-point numbers are needed (net: {dtype})")
    return given if given.dtype == dtype else given.astype(dtype)


def _with_contiguous_rows(a: _Array) -> _Array:
    """Rows (the last axis) contiguous and aligned; any strides beyond. Copied only where it is not so."""
    item = a.itemsize
    contiguous = a.shape[-1] < 2 or a.strides[-1] == item
    if contiguous and a.flags.aligned and all(stride % item == 0 for stride in a.strides):
        return a
    return np.ascontiguousarray(a)


def _shape(name: str, shape: tuple[int, ...], want: tuple[int, ...], letters: str) -> None:
    if shape != want:
        raise ValueError(f"{name} has shape {shape}, but {letters} is {want}")


def sequence(x: object, input_size: int, dtype: np.dtype[Any], batch_first: bool, weight: str) -> tuple[_Array, bool]:
    """x as (T,B,I) with contiguous rows, and whether it came without a batch."""
    given = array("x", x)
    layout = "(B,T,I)" if batch_first else "(T,B,I)"
    if given.ndim not in (2, 3):
        raise ValueError(f"x has shape {given.shape}, but {layout} or, without a batch, (T,I) is needed")
    if given.shape[-1] != input_size:
        raise ValueError(
            f"x has I={given.shape[-1]} (shape {given.shape}) but {weight} expects I={input_size}"
        )
    unbatched = given.ndim == 2
    x3 = given[:, None] if unbatched else given.transpose(1, 0, 2) if batch_first else given
    return _with_contiguous_rows(floats("x", x3, dtype)), unbatched


def states(
    name: str, value: object, cell: str, letters: tuple[str, ...], shape: tuple[int, ...], dtype: np.dtype[Any]
) -> tuple[_Array | None, ...] | None:
    """The states of a cell, `letters` for each, as dense arrays of `shape`; None for zeros."""
    if value is None:
        return None
    forms = "(" + ", ".join(letters) + ")" if len(letters) > 1 else letters[0]
    if len(letters) > 1:
        if not isinstance(value, (tuple, list)) or len(value) != len(letters):
            got = f"{len(value)} arrays" if isinstance(value, (tuple, list)) else f"a {type(value).__name__}"
            raise ValueError(f"{name} is {got}, but the state of {cell} is the tuple {forms}")
        items = tuple(value)
    else:
        if isinstance(value, (tuple, list)):
            raise ValueError(f"{name} is a tuple of {len(value)}, but the state of {cell} is one array {forms}")
        items = (value,)
    result: list[_Array | None] = []
    for letter, item in zip(letters, items):
        if item is None:
            result.append(None)
            continue
        a = floats(f"{name} {letter}", item, dtype)
        if a.shape != shape:
            raise ValueError(f"{name} {letter} has shape {a.shape}, but this net and x need {shape}")
        result.append(np.ascontiguousarray(a))
    return tuple(result)


def lengths(value: object, T: int, B: int) -> npt.NDArray[np.int64] | None:
    """lengths (B,) of integers from 0 to T."""
    if value is None:
        return None
    if not isinstance(value, (np.ndarray, list, tuple)):
        raise TypeError(f"lengths is of type {type(value).__name__}, not an array of integers")
    given = np.asarray(value)
    if given.size == 0 and not isinstance(value, np.ndarray):
        given = given.astype(np.int64)
    if given.dtype.kind not in "iu":
        raise TypeError(f"lengths has dtype {given.dtype}, but integers are needed")
    if given.shape != (B,):
        raise ValueError(f"lengths has shape {given.shape}, but x has B={B} rows, so ({B},) is needed")
    wrong = np.flatnonzero((given < 0) | (given > T))
    if wrong.size:
        b = int(wrong[0])
        raise ValueError(f"lengths[{b}] is {given[b]}, but x has T={T} steps, so 0 to {T} is needed")
    return np.ascontiguousarray(given, np.int64)


def reset(value: object, T: int, B: int, batch_first: bool, unbatched: bool) -> npt.NDArray[np.uint8] | None:
    """reset of bools in the layout of x, as (T,B) of bytes."""
    if value is None:
        return None
    given = array("reset", value)
    if given.dtype.kind != "b":
        raise TypeError(f"reset has dtype {given.dtype}, but bool is needed")
    want = (T,) if unbatched else (B, T) if batch_first else (T, B)
    if given.shape != want:
        raise ValueError(f"reset has shape {given.shape}, but x needs {want}")
    rows = given.reshape(T, 1) if unbatched else given.T if batch_first else given
    return np.ascontiguousarray(rows, np.uint8)


def output_gradient(
    dy: object, T: int, B: int, outputs: int, dtype: np.dtype[Any], batch_first: bool, unbatched: bool
) -> _Array:
    """dy in the layout of y as (T,B,outputs) with contiguous rows; None is zeros."""
    if dy is None:
        return np.broadcast_to(np.zeros(outputs, dtype), (T, B, outputs))
    given = floats("dy", dy, dtype)
    want = (T, outputs) if unbatched else (B, T, outputs) if batch_first else (T, B, outputs)
    if given.shape != want:
        raise ValueError(f"dy has shape {given.shape}, but y has {want}")
    rows = given[:, None] if unbatched else given.transpose(1, 0, 2) if batch_first else given
    return _with_contiguous_rows(rows)


def gradient_buffer(flat: object, count: int, dtype: np.dtype[Any]) -> _Array:
    """A buffer that parameter gradients are added to."""
    given = array("flat", flat)
    if given.dtype != dtype:
        raise TypeError(f"flat has dtype {given.dtype}, but the parameters have {dtype}")
    if given.shape != (count,):
        raise ValueError(f"flat has shape {given.shape}, but the parameters have ({count},)")
    if not (given.flags.c_contiguous and given.flags.writeable and given.flags.aligned):
        raise ValueError("flat must be contiguous, aligned and writeable to be added to")
    return given


def step_input(x_t: object, input_size: int, dtype: np.dtype[Any], weight: str) -> _Array:
    """One step (B,I), or (I,) for one stream, dense."""
    given = floats("x_t", x_t, dtype)
    if given.ndim not in (1, 2):
        raise ValueError(f"x_t has shape {given.shape}, but one step is (B,I) or (I,)")
    if given.shape[-1] != input_size:
        raise ValueError(
            f"x_t has I={given.shape[-1]} (shape {given.shape}) but {weight} expects I={input_size}"
        )
    return np.ascontiguousarray(given)


def in_place(name: str, value: object, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """An array that a step writes to."""
    given = array(name, value)
    if given.dtype != dtype:
        raise TypeError(f"{name} has dtype {given.dtype}, but is written in place, so {dtype} is needed")
    if given.shape != shape:
        raise ValueError(f"{name} has shape {given.shape}, but is written in place, so {shape} is needed")
    if not (given.flags.c_contiguous and given.flags.writeable and given.flags.aligned):
        raise ValueError(f"{name} is written in place, so it must be contiguous, aligned and writeable")


def state_dict(
    mapping: object, want: Mapping[str, tuple[int, ...]], owner: str, dtype: np.dtype[Any]
) -> dict[str, _Array]:
    """Parameters by name: every name of `want`, no other, each in its shape."""
    if not isinstance(mapping, Mapping):
        raise TypeError(f"parameters are of type {type(mapping).__name__}, not a mapping from names to arrays")
    missing, extra = sorted(set(want) - set(mapping)), sorted(map(str, set(mapping) - set(want)))
    if missing or extra:
        parts = [f"lacks {', '.join(missing)}"] * bool(missing) + [f"has unknown {', '.join(extra)}"] * bool(extra)
        raise ValueError(f"the mapping {' and '.join(parts)}; {owner} has {', '.join(want)}")
    result = {}
    for name, shape in want.items():
        result[name] = floats(name, mapping[name], dtype)
        if result[name].shape != shape:
            raise ValueError(f"{name} has shape {result[name].shape}, but {owner} has {shape}")
    return result
