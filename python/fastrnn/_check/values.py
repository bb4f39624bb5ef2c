# SPDX-License-Identifier: MIT
"""Checks of single values: sizes, words, arrays."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

# Most elements of one buffer of the kernels: their byte counts must fit into 63 bits
_MOST_ELEMENTS = 2**59


def size(name: str, value: object, least: int = 1, most: int | None = None) -> int:
    """An integer from `least` to `most`."""
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name} is {value!r} ({type(value).__name__}), not an integer") from None
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} is {value!r}, not an integer")
    if number < least:
        raise ValueError(f"{name} is {number}, but must be at least {least}")
    if most is not None and number > most:
        raise ValueError(f"{name} is {number}, but must be at most {most}")
    return number


def seed(value: object) -> int | None:
    """None or an integer of at least 0."""
    return None if value is None else size("seed", value, 0)


def dropout_seed(value: object, drops: bool, training: bool) -> int | None:
    """None or an integer of 64 bits, where there are masks that it repeats."""
    if value is None:
        return None
    seed = size("dropout_seed", value, 0, 2**64 - 1)
    if not drops:
        raise ValueError("dropout_seed is given, but this net has no dropout")
    if not training:
        raise ValueError("dropout_seed repeats the masks of training=True, but training is False")
    return seed


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


def number(name: str, value: object, low: float = -math.inf, high: float = math.inf) -> float:
    """A finite real number from low to high."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name} is {value!r} ({type(value).__name__}), not a number")
    if not (math.isfinite(value) and low <= value <= high):
        least = f"at least {low:g} and finite" if math.isfinite(low) else "finite"
        bounds = f"from {low:g} to {high:g}" if math.isfinite(high) else least
        raise ValueError(f"{name} is {value}, but must be {bounds}")
    return float(value)


def probability(name: str, value: object) -> float:
    """A real number from 0 to less than 1."""
    p = number(name, value, 0.0, 1.0)
    if p == 1.0:
        raise ValueError(f"{name} is {value}, but must be less than 1")
    return p


def zoneout(value: object, cell: str, states: tuple[str, ...]) -> tuple[float, float]:
    """The probabilities of h and of c, of one number for both or a pair."""
    if not isinstance(value, (tuple, list)):
        p = probability("zoneout", value)
        return p, p if len(states) > 1 else 0.0
    if len(states) == 1:
        raise ValueError(
            f"zoneout is {value!r}, one number for each of h and c, but the state of {cell} is h"
        )
    if len(value) != 2:
        raise ValueError(f"zoneout has {len(value)} numbers, but must be one number or (p_h, p_c)")
    return probability("zoneout of h", value[0]), probability("zoneout of c", value[1])


def one_of(*chosen: str) -> None:
    """At most one of the options of a cell, in words, each of which makes it another cell."""
    if len(chosen) > 1:
        raise ValueError(f"{chosen[0]} and {chosen[1]} do not combine")


def compute_dtype(value: object) -> np.dtype[Any]:
    """float32 or float64."""
    if value is None:  # NumPy's word for float64
        raise TypeError("dtype is None, but must be float32 or float64")
    try:
        dtype: np.dtype[Any] = np.dtype(value)  # type: ignore[call-overload]
    except TypeError:
        raise TypeError(f"dtype is {value!r}, but must be float32 or float64") from None
    if dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise TypeError(f"dtype is {dtype}, but must be float32 or float64")
    return np.dtype(dtype.type)


def layer_dtype(value: object) -> tuple[np.dtype[Any], str]:
    """The dtype of arrays, and that of what products multiply: its name, or bfloat16 or float16 (then float32)."""
    if value == "bfloat16" or getattr(value, "__name__", None) == "bfloat16":  # ml_dtypes.bfloat16
        return np.dtype(np.float32), "bfloat16"
    if isinstance(value, (str, type, np.dtype)) and value in ("float16", np.float16):
        return np.dtype(np.float32), "float16"
    try:
        dtype = compute_dtype(value)
    except TypeError as error:
        known = "float32, float64 or bfloat16 (on a GPU also float16)"
        raise TypeError(str(error).replace("float32 or float64", known)) from None
    return dtype, dtype.name


def device(value: object) -> int | None:
    """None for "cpu", the number of the device for "cuda" (0) or "cuda:1"."""
    if value == "cpu":
        return None
    word, colon, number = value.partition(":") if isinstance(value, str) else ("", "", "")
    if word != "cuda" or (colon and not (number.isascii() and number.isdigit())):
        raise ValueError(f"device is {value!r}, but must be 'cpu', 'cuda' or 'cuda:N'")
    return int(number or 0)


def on_device(kind: str, allow_tf32: bool, device: int | None) -> str:
    """How products multiply, in the words of the kernels."""
    if device is None and kind == "float16":
        raise ValueError(
            "dtype is 'float16', which GPUs multiply, but device is 'cpu', where it is float32, float64 or bfloat16"
        )
    if device is None and allow_tf32:
        raise ValueError("allow_tf32 is True, which only GPUs multiply, but device is 'cpu'")
    if allow_tf32 and kind != "float32":
        raise ValueError(f"allow_tf32 is of products in float32, but dtype is {kind!r}")
    names = {"float32": "f32", "float64": "f64", "bfloat16": "bf16", "float16": "f16"}
    return "tf32" if allow_tf32 else names[kind]


def product(**sizes: int) -> int:
    """The product of sizes, which must be an array that 64-bit machines can address."""
    total = 1
    for value in sizes.values():
        total *= value
    if total > _MOST_ELEMENTS:
        listed = " * ".join(f"{name}={value}" for name, value in sizes.items())
        raise ValueError(
            f"{listed} is {total} elements, more than the {_MOST_ELEMENTS} that can be addressed"
        )
    return total


def on_gpu(value: Any) -> bool:
    """Whether it is an array in the memory of a GPU, of whatever library."""
    device = getattr(value, "__dlpack_device__", None)
    if callable(device):
        return device()[0] in (2, 13)  # kDLCUDA, kDLCUDAManaged
    return hasattr(value, "__cuda_array_interface__")


def on_host(*values: object) -> bool:
    """Whether none of them, nor of the items of tuples, is an array in the memory of a GPU."""
    for value in values:
        if value is None or isinstance(value, np.ndarray):
            continue
        if not on_host(*value) if isinstance(value, (tuple, list)) else on_gpu(value):
            return False
    return True


def array(name: str, value: object) -> Array:
    """A NumPy array of any kind."""
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{name} is of type {type(value).__name__}, not a NumPy array")
    return value


def floats(name: str, value: object, dtype: np.dtype[Any]) -> Array:
    """An array of floating-point numbers as `dtype`: the same array where it has it, else converted once."""
    given = array(name, value)
    if given.dtype.kind != "f":
        raise TypeError(
            f"{name} has dtype {given.dtype}, but floating-point numbers are needed (net: {dtype})"
        )
    return given if given.dtype == dtype else given.astype(dtype)


def dense(a: Array) -> Array:
    """C-contiguous and aligned; copied only where it is not so."""
    if a.flags.c_contiguous and a.flags.aligned:
        return a
    return np.require(a, requirements=["C_CONTIGUOUS", "ALIGNED"])


def in_place(name: str, value: object, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """An array that a step writes to."""
    given = array(name, value)
    if given.dtype != dtype:
        raise TypeError(f"{name} has dtype {given.dtype}, but is written in place, so {dtype} is needed")
    if given.shape != shape:
        raise ValueError(f"{name} has shape {given.shape}, but is written in place, so {shape} is needed")
    if not (given.flags.c_contiguous and given.flags.writeable and given.flags.aligned):
        raise ValueError(f"{name} is written in place, so it must be contiguous, aligned and writeable")


def workspace(value: object, training: bool) -> float | None:
    """max_workspace in bytes."""
    if value is None:
        return None
    budget = size("max_workspace", value)
    if not training:
        raise ValueError("max_workspace bounds what training=True records, but training is False")
    return float(budget)


def needs(option: str, value: object, other: str) -> None:
    """An option that says something only beside another one, which is not given."""
    if value is not None:
        raise ValueError(f"{option} is {value!r}, but there is no {other}")


def alone(option: str, **others: object) -> None:
    """None of the others is given beside an option that they do not combine with."""
    for name, value in others.items():
        if value is not None and value is not False:
            raise ValueError(f"{option} and {name} do not combine")
