# SPDX-License-Identifier: MIT
"""Checks of arrays in the memory of a GPU: where they are, and in what form kernels take them as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import _core
from .values import device as device_number
from .values import on_gpu


def _device_of(name: str, value: Any) -> int | None:
    """The number of the GPU that an array is on; None for an empty one, which may be nowhere."""
    ask = getattr(value, "__dlpack_device__", None)
    if callable(ask):
        return int(ask()[1])
    told = value.__cuda_array_interface__
    if 0 in told["shape"]:
        return None
    where = _core.device_of(told["data"][0])
    if where < 0:
        raise ValueError(
            f"{name} has a __cuda_array_interface__, but what that names is memory of no GPU: {told['data']!r:.60}"
        )
    return where


def one_device(net_device: str, arrays: Mapping[str, Any]) -> int:
    """The number of the GPU that a net and all arrays of a call, by name, are on; None is left out."""
    given = {name: value for name, value in arrays.items() if value is not None}
    first = next(name for name, value in given.items() if on_gpu(value))
    device = device_number(net_device)
    if device is None:
        raise TypeError(
            f"{first} is in the memory of a GPU, but the net runs on the CPU: make the net with device='cuda', "
            f"or pass NumPy arrays"
        )
    for name, value in given.items():
        if isinstance(value, np.ndarray):
            raise TypeError(
                f"{name} is a NumPy array, but {first} is in the memory of a GPU: pass both in one place, "
                f"by fastrnn.cuda.asarray or as NumPy arrays"
            )
        if not on_gpu(value):
            raise TypeError(
                f"{name} is of type {type(value).__name__}, not an array of a GPU as {first} is one"
            )
        where = _device_of(name, value)
        if where not in (None, device):
            raise ValueError(f"{name} is on cuda:{where}, but the net runs on cuda:{device}")
    return device


def gpu(name: str) -> int:
    """The number of a GPU by its name, "cuda" or "cuda:N"."""
    number = device_number(name)
    if number is None:
        raise ValueError(f"device is {name!r}, but must be 'cuda' or 'cuda:N'")
    return number


def array_of_gpu(value: Any, device: str | None) -> int:
    """The number of the GPU that an array is on, which is that of `device` where it is named."""
    wanted = None if device is None else gpu(device)
    if not on_gpu(value):
        raise TypeError(f"a is of type {type(value).__name__}, neither a NumPy array nor an array of a GPU")
    where = _device_of("a", value)
    if wanted is not None and where not in (None, wanted):
        raise ValueError(f"a is on cuda:{where}, but device is {device!r}")
    return wanted or 0 if where is None else where


def only_of_host(**options: object) -> None:
    """Options that calls on NumPy arrays have, and those on arrays of a GPU have not."""
    for name, value in options.items():
        if value is not None and value is not False:
            raise ValueError(f"{name} is for NumPy arrays, but x is in the memory of a GPU: pass x.numpy()")


def of_tape(of_arrays: bool, arrays: Mapping[str, Any]) -> None:
    """Arrays of a backward call that are where x of the forward call was."""
    for name, value in arrays.items():
        if of_arrays and isinstance(value, np.ndarray):
            raise TypeError(
                f"{name} is a NumPy array, but x of the forward call was in the memory of a GPU: "
                f"pass it there by fastrnn.cuda.asarray"
            )
        if not of_arrays and value is not None and on_gpu(value):
            raise TypeError(
                f"{name} is in the memory of a GPU, but x of the forward call was a NumPy array: "
                f"pass both in one place"
            )


def _imported(name: str, value: Any, device: int, dtype: np.dtype[Any]) -> _core.Array:
    a = _core.import_array(value, device)
    if a.dtype != dtype:
        raise TypeError(
            f"{name} has dtype {a.dtype}, but the net has {dtype}: arrays in the memory of a GPU are not converted"
        )
    return a


def device_rows(name: str, value: Any, device: int, dtype: np.dtype[Any]) -> _core.Array:
    """An array with contiguous rows (the last axis), in any strides beyond."""
    a = _imported(name, value, device, dtype)
    if a.ndim == 0:
        raise ValueError(f"{name} has shape (), but rows of numbers are needed")
    item = dtype.itemsize
    contiguous = a.size == 0 or a.shape[-1] < 2 or a.strides[-1] == item
    if not contiguous or any(stride % item for stride in a.strides) or a._address % item:
        raise ValueError(
            f"{name} has strides {a.strides} (bytes), but its last axis must be contiguous and aligned: pass a copy, "
            f"such as ascontiguousarray or contiguous make it"
        )
    return a


def device_dense(
    name: str, value: Any, shape: tuple[int, ...], device: int, dtype: np.dtype[Any], written: bool = False
) -> _core.Array:
    """A C-contiguous array of a shape, which may be written to where it is `written`."""
    a = _imported(name, value, device, dtype)
    if a.shape != shape:
        raise ValueError(f"{name} has shape {a.shape}, but this net and x need {shape}")
    if not a._dense or a._address % dtype.itemsize:
        raise ValueError(
            f"{name} has strides {a.strides} (bytes), but must be C-contiguous and aligned: pass a copy, "
            f"such as ascontiguousarray or contiguous make it"
        )
    if written and a._readonly:
        raise ValueError(f"{name} is read-only, but is written in place")
    return a


def device_states(
    items: Mapping[str, Any], shapes: tuple[tuple[int, ...], ...], device: int, dtype: np.dtype[Any],
    written: bool = False,
) -> list[_core.Array | None]:  # fmt: skip
    """States by name, each in its shape; None stays where it is one of gradients."""
    for name, value in items.items():
        if value is None and name.startswith("state"):
            raise TypeError(f"{name} is None, but the other one is given: give both, or no state")
    return [
        None if value is None else device_dense(name, value, shape, device, dtype, written)
        for (name, value), shape in zip(items.items(), shapes)
    ]


def device_output_gradient(
    dy: Any, T: int, B: int, outputs: int, device: int, dtype: np.dtype[Any], batch_first: bool,
    unbatched: bool,
) -> _core.Array | None:  # fmt: skip
    """dy in the layout of y as (T,B,outputs) with contiguous rows; None is zeros."""
    if dy is None:
        return None
    want = (T, outputs) if unbatched else (B, T, outputs) if batch_first else (T, B, outputs)
    a = device_rows("dy", dy, device, dtype)
    if a.shape != want:
        raise ValueError(f"dy has shape {a.shape}, but y has {want}")
    return a._expanded(1) if unbatched else a._swapped(0, 1) if batch_first else a


def one_piece(rows: _core.Array) -> None:
    """x as (T,B,I) whose copy is to be masked."""
    T, B, width = rows.shape
    item = rows.dtype.itemsize
    pieces = ((B * width * item, width * item), (width * item, T * width * item))
    if rows.size and rows.strides[:2] not in pieces:
        raise ValueError(
            f"x has strides {rows.strides} (bytes) as (T,B,I), but input_dropout masks a copy of it, which is made in "
            f"one piece: pass a C-contiguous x"
        )


def _span(a: _core.Array) -> tuple[int, int]:
    reach = [(extent - 1) * stride for extent, stride in zip(a.shape, a.strides)]
    low, high = sum(min(r, 0) for r in reach), sum(max(r, 0) for r in reach)
    return a._address + low, a._address + high + a.dtype.itemsize


def apart_on_device(arrays: Mapping[str, _core.Array | None]) -> None:
    """Arrays of which some are written while others are read: no two may share memory."""
    placed = [(name, _span(a)) for name, a in arrays.items() if a is not None and a.size]
    for k, (name, a) in enumerate(placed):
        for other, b in placed[:k]:
            if a[0] < b[1] and b[0] < a[1]:
                raise ValueError(
                    f"{name} and {other} share memory, but a step in place reads one and writes the other"
                )


def stream_handle(stream: Any) -> int | None:
    """The handle of a stream of CUDA, of whatever library; None stays."""
    told = getattr(stream, "__cuda_stream__", None)
    if told is not None:
        stream = (told() if callable(told) else told)[1]
    for attribute in ("cuda_stream", "ptr"):  # of PyTorch, of CuPy
        stream = getattr(stream, attribute, stream)
    if stream is None:
        return None
    if isinstance(stream, bool) or not isinstance(stream, int) or stream < 0:
        raise TypeError(
            f"stream is {stream!r:.60} ({type(stream).__name__}), but must be the handle of a stream, an object with "
            f"cuda_stream, ptr or __cuda_stream__, or None"
        )
    return stream
