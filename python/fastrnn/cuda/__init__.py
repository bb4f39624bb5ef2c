# SPDX-License-Identifier: MIT
"""GPUs of NVIDIA: whether and why they can be used, which there are, and arrays in their memory.

    if fastrnn.cuda.is_available():
        net = fastrnn.LSTM(64, 512, device="cuda")

The kernels are a library of their own, built where the installation finds nvcc and opened at the first use of a
device; `import fastrnn` needs neither it nor a driver.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from .. import _check, _core

DeviceError = _core.DeviceError
Array = _core.Array


class Device(NamedTuple):
    """A GPU, as its driver describes it."""

    name: str
    compute_capability: tuple[int, int]
    multiprocessors: int
    #: bytes
    memory: int


def is_available() -> bool:
    """Whether nets can be made with device="cuda"."""
    return not _core.why_no_device()


def why_not() -> str:
    """What is missing, in words: the library, a driver, a device; '' where nothing is."""
    return _core.why_no_device()


def devices() -> list[Device]:
    """The GPUs, in the order of the numbers of device="cuda:N".

    Raises:
        DeviceError: there are none; the message is that of `why_not`.
    """
    return [Device(**found) for found in _core.devices()]


def asarray(a: Any, device: str | None = None) -> Array:
    """An array of a GPU: of NumPy's a copy; of other libraries their own memory, which is kept alive.

    Args:
        a: floats, integers or bools in any shape, of NumPy or of whatever has `__dlpack__` or
            `__cuda_array_interface__`; of these two the first is asked where there are both.
        device: "cuda" or "cuda:N"; None is the first one for arrays of NumPy, else that of `a`.

    Raises:
        TypeError: it is no array, or not of such a type.
        ValueError: it is on another GPU than `device`.
        DeviceError: CUDA cannot be used, or says what is wrong.
    """
    if isinstance(a, np.ndarray):
        return _core.copy_to_device(np.asarray(a, order="C"), _check.gpu(device or "cuda"))
    return _core.import_array(a, _check.array_of_gpu(a, device))


@contextlib.contextmanager
def stream(stream: Any) -> Iterator[None]:
    """Puts calls of this thread on arrays of a GPU into the order of a stream: after what is on it, before what comes.

        with fastrnn.cuda.stream(torch.cuda.current_stream()):
            y, state, tape = net.forward(x)

    Without it they stand in the order of a stream of the thread's own, and what comes from or goes to other libraries
    is ordered by events.

    Args:
        stream: a handle (cudaStream_t; 0 is the default stream), an object with `cuda_stream` (PyTorch), `ptr` (CuPy)
            or `__cuda_stream__`; None is the thread's own. It must exist while the block lasts.

    Raises:
        TypeError: it is none of these.
    """
    before = _core.set_stream(_check.stream_handle(stream))
    try:
        yield
    finally:
        _core.set_stream(before)


def synchronize(device: str = "cuda") -> None:
    """Waits for all work on a GPU.

    Raises:
        DeviceError: some of it has failed since the last time that anything waited.
    """
    _core.synchronize(_check.gpu(device))
