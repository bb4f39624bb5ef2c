# SPDX-License-Identifier: MIT
"""GPUs of NVIDIA: whether and why they can be used, and which there are.

    if fastrnn.cuda.is_available():
        net = fastrnn.LSTM(64, 512, device="cuda")

The kernels are a library of their own, built where the installation finds nvcc and opened at the first use of a
device; `import fastrnn` needs neither it nor a driver.
"""

from __future__ import annotations

from typing import NamedTuple

from . import _core

DeviceError = _core.DeviceError


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
