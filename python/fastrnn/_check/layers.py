# SPDX-License-Identifier: MIT
"""Checks of what layers are given: sequences, states, masks, gradients, parameters."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from .values import Array, array, dense, floats, size


def _with_contiguous_rows(a: Array) -> Array:
    """Rows (the last axis) contiguous and aligned; any strides beyond. Copied only where it is not so."""
    item = a.itemsize
    contiguous = a.shape[-1] < 2 or a.strides[-1] == item
    if contiguous and a.flags.aligned and not (a.strides[0] % item or a.strides[1] % item):
        return a
    return a.copy()


def sequence_shape(shape: tuple[int, ...], input_size: int, batch_first: bool, weight: str) -> bool:
    """Whether x of a shape comes without a batch."""
    layout = "(B,T,I)" if batch_first else "(T,B,I)"
    if len(shape) not in (2, 3):
        raise ValueError(f"x has shape {shape}, but {layout} or, without a batch, (T,I) is needed")
    if shape[-1] != input_size:
        raise ValueError(f"x has I={shape[-1]} (shape {shape}) but {weight} expects I={input_size}")
    return len(shape) == 2


def sequence(
    x: object, input_size: int, dtype: np.dtype[Any], batch_first: bool, weight: str
) -> tuple[Array, bool]:
    """x as (T,B,I) with contiguous rows, and whether it came without a batch."""
    given = array("x", x)
    unbatched = sequence_shape(given.shape, input_size, batch_first, weight)
    x3 = given[:, None] if unbatched else given.transpose(1, 0, 2) if batch_first else given
    return _with_contiguous_rows(floats("x", x3, dtype)), unbatched


def projection(value: object, hidden_size: object) -> int:
    """proj_size: 0 for none, else less than hidden_size."""
    number = size("proj_size", value, 0)
    if number and number >= size("hidden_size", hidden_size):
        raise ValueError(f"proj_size is {number}, but must be less than hidden_size, which is {hidden_size}")
    return number


def state_items(name: str, value: object, cell: str, letters: tuple[str, ...]) -> tuple[Any, ...]:
    """The states of a cell, one for each letter."""
    items = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    if len(items) != len(letters) or (len(letters) > 1) != isinstance(value, (tuple, list)):
        form = f"the tuple ({', '.join(letters)})" if len(letters) > 1 else f"one array {letters[0]}"
        got = f"a tuple of {len(items)}" if isinstance(value, (tuple, list)) else "one array"
        raise ValueError(f"{name} is {got}, but the state of {cell} is {form}")
    return items


def states(
    name: str,
    value: object,
    cell: str,
    letters: tuple[str, ...],
    shapes: tuple[tuple[int, ...], ...],
    dtype: np.dtype[Any],
    parts_optional: bool = False,
) -> tuple[Array | None, ...] | None:
    """The states of a cell, `letters` and `shapes` for each, as dense arrays; None for zeros."""
    if value is None:
        return None
    if not isinstance(value, (tuple, list, np.ndarray)):
        raise TypeError(f"{name} is of type {type(value).__name__}, not made of NumPy arrays")
    items = state_items(name, value, cell, letters)
    result: list[Array | None] = []
    for letter, item, shape in zip(letters, items, shapes):
        if item is None and parts_optional:
            result.append(None)
            continue
        a = floats(f"{name} {letter}", item, dtype)
        if a.shape != shape:
            raise ValueError(f"{name} {letter} has shape {a.shape}, but this net and x need {shape}")
        result.append(dense(a))
    return tuple(result)


def lengths(
    value: object, T: int, B: int, unbatched: bool = False, of: str = "x"
) -> npt.NDArray[np.int64] | None:
    """lengths (B,) of integers from 0 to T, of what has such sizes."""
    if value is None:
        return None
    if unbatched:
        raise ValueError("lengths go with a batch, but x is one sequence (T,I): pass its first steps instead")
    given = np.asarray(value)
    if given.size == 0 and isinstance(value, (list, tuple)):
        given = given.astype(np.int64)
    if given.dtype.kind not in "iu":
        raise TypeError(f"lengths has dtype {given.dtype}, but integers are needed")
    if given.shape != (B,):
        raise ValueError(f"lengths has shape {given.shape}, but {of} has B={B} rows, so ({B},) is needed")
    wrong = np.flatnonzero((given < 0) | (given > T))
    if wrong.size:
        b = int(wrong[0])
        raise ValueError(f"lengths[{b}] is {given[b]}, but {of} has T={T} steps, so 0 to {T} is needed")
    return dense(given.astype(np.int64, copy=False))


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
    return dense(rows.astype(np.uint8))


def output_gradient(
    dy: object, T: int, B: int, outputs: int, dtype: np.dtype[Any], batch_first: bool, unbatched: bool
) -> Array:
    """dy in the layout of y as (T,B,outputs) with contiguous rows; None is zeros."""
    if dy is None:
        return np.broadcast_to(np.zeros(outputs, dtype), (T, B, outputs))
    given = floats("dy", dy, dtype)
    want = (T, outputs) if unbatched else (B, T, outputs) if batch_first else (T, B, outputs)
    if given.shape != want:
        raise ValueError(f"dy has shape {given.shape}, but y has {want}")
    rows = given[:, None] if unbatched else given.transpose(1, 0, 2) if batch_first else given
    return _with_contiguous_rows(rows)


def gradient_buffer(flat: object, count: int, dtype: np.dtype[Any]) -> Array:
    """A buffer that parameter gradients are added to."""
    given = array("flat", flat)
    if given.dtype != dtype:
        raise TypeError(f"flat has dtype {given.dtype}, but the parameters have {dtype}")
    if given.shape != (count,):
        raise ValueError(f"flat has shape {given.shape}, but the parameters have ({count},)")
    if not (given.flags.c_contiguous and given.flags.writeable and given.flags.aligned):
        raise ValueError("flat must be contiguous, aligned and writeable to be added to")
    return given


def step_shape(shape: tuple[int, ...], input_size: int, weight: str) -> None:
    """The shape of one step."""
    if len(shape) not in (1, 2):
        raise ValueError(f"x_t has shape {shape}, but one step is (B,I) or (I,)")
    if shape[-1] != input_size:
        raise ValueError(f"x_t has I={shape[-1]} (shape {shape}) but {weight} expects I={input_size}")


def step_input(x_t: object, input_size: int, dtype: np.dtype[Any], weight: str) -> Array:
    """One step (B,I), or (I,) for one stream, dense."""
    given = floats("x_t", x_t, dtype)
    step_shape(given.shape, input_size, weight)
    return dense(given)


def forward_only(name: str, directions: tuple[str, ...]) -> None:
    """Every layer runs forward in time."""
    if set(directions) != {"forward"}:
        both = "bidirectional" if set(directions) == {"both"} else f"direction={directions}"
        raise ValueError(f"{name} runs forward in time, but this net is {both}")


def constant_steps(value: object, direction: str) -> int:
    """At how many steps of the first layer, which runs forward, a constant input is added; None is all."""
    if direction != "forward":
        raise ValueError(
            f"constant needs a first layer that runs forward, but that of this net runs {direction}"
        )
    return sys.maxsize if value is None else size("constant_steps", value, 0, sys.maxsize)


def constant(
    value: object, steps: object, B: int, width: int, direction: str, dtype: np.dtype[Any]
) -> tuple[Array, int]:
    """A constant input (B, G*H) of the first layer, and the number of its steps."""
    count = constant_steps(steps, direction)
    a = floats("constant", value, dtype)
    if a.shape != (B, width):
        raise ValueError(f"constant has shape {a.shape}, but this net and x need {(B, width)}")
    return dense(a), count


def bptt(
    value: object, directions: tuple[str, ...], max_workspace: object, training: bool
) -> tuple[int, int]:
    """(k1, k2) of truncated back-propagation, in a call that it can be given to."""
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise TypeError(f"bptt is {value!r:.60}, but must be a pair of integers (k1, k2)")
    k1, k2 = size("bptt's k1", value[0]), size("bptt's k2", value[1])
    if k2 < k1:
        raise ValueError(f"bptt is (k1, k2) = {(k1, k2)}, but k2 must be at least k1")
    forward_only(f"bptt={(k1, k2)}", directions)
    if max_workspace is not None:
        raise ValueError(
            f"bptt={(k1, k2)} and max_workspace={max_workspace!r} both bound what is kept: give one of them"
        )
    if not training:
        raise ValueError(f"bptt={(k1, k2)} divides what training=True records, but training is False")
    return k1, k2


def some_rows(name: str, B: int) -> None:
    """A batch that is not empty."""
    if B == 0:
        raise ValueError(f"{name} is of one row of the batch, but x has B=0 rows")


def some_steps_of(name: str, row: int, length: int) -> None:
    """A row that is not empty."""
    if length == 0:
        raise ValueError(f"{name} is of one step, but row {row} has length 0")


def no_dropout(name: str, options: Mapping[str, Any], why: str = "runs steps again") -> None:
    """No masks, which another run of the same steps would draw anew."""
    for dropout in ("dropout", "input_dropout", "recurrent_dropout", "zoneout"):
        if np.any(options.get(dropout, 0)):  # of zoneout a pair
            raise ValueError(
                f"{name} {why}, but {dropout}={options[dropout]} would draw other masks for each call"
            )


def fresh_tape(owned: bool, used: bool, owner: object) -> None:
    """A tape of this net that no backward call has used."""
    if not owned:
        raise ValueError(f"the tape belongs to another net than this {owner!r}")
    if used:
        raise ValueError("the tape has been used by a backward call; run forward again for another one")


def stream_input(x_t: object, input_size: int, batch: int | None) -> None:
    """One step of a stream in its own shape."""
    want = (input_size,) if batch is None else (batch, input_size)
    shape = array("x_t", x_t).shape
    if shape != want:
        raise ValueError(f"x_t has shape {shape}, but a step of this stream (batch={batch}) needs {want}")


def stream_rows(rows: object, batch: int | None) -> Any:
    """Which rows of a stream: an index of the axis after the layers."""
    if rows is None:
        return slice(None)
    if batch is None:
        raise ValueError(
            f"rows is {rows!r:.60}, but this stream has batch=None: reset() without rows begins it anew"
        )
    given = np.asarray(rows)
    if given.dtype.kind == "b":
        if given.shape != (batch,):
            raise ValueError(
                f"rows has shape {given.shape}, but this stream has batch={batch}, so ({batch},) is needed"
            )
        return given
    if given.size and given.dtype.kind not in "iu":
        raise TypeError(f"rows has dtype {given.dtype}, but bools or integers are needed")
    wrong = given[(given < 0) | (given >= batch)]
    if wrong.size:
        raise ValueError(
            f"rows holds {wrong.flat[0]}, but this stream has batch={batch}, so 0 to {batch - 1} is needed"
        )
    return given.astype(np.int64)


def apart(**arrays: Array) -> None:
    """Arrays of which some are written while others are read: no two may share memory."""
    names = list(arrays)
    for k, name in enumerate(names):
        for other in names[:k]:
            if np.shares_memory(arrays[name], arrays[other]):
                raise ValueError(
                    f"{name} and {other} share memory, but a step in place reads one and writes the other"
                )


def state_dict(
    mapping: object, want: Mapping[str, tuple[int, ...]], owner: str, dtype: np.dtype[Any]
) -> dict[str, Array]:
    """Parameters by name: every name of `want`, no other, each in its shape."""
    if not isinstance(mapping, Mapping):
        raise TypeError(
            f"parameters are of type {type(mapping).__name__}, not a mapping from names to arrays"
        )
    missing, extra = sorted(set(want) - set(mapping)), sorted(map(str, set(mapping) - set(want)))
    if missing or extra:
        parts = [f"lacks {', '.join(missing)}"] * bool(missing) + [f"has unknown {', '.join(extra)}"] * bool(
            extra
        )
        raise ValueError(f"the mapping {' and '.join(parts)}; {owner} has {', '.join(want)}")
    result = {}
    for name, shape in want.items():
        result[name] = floats(name, mapping[name], dtype)
        if result[name].shape != shape:
            raise ValueError(f"{name} has shape {result[name].shape}, but {owner} has {shape}")
    return result
