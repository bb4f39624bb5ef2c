# SPDX-License-Identifier: MIT
"""Clocks of work on a GPU: CUDA events, of PyTorch or by ctypes on the runtime library, else the wall clock.

Each has a stream, on which all work that it measures must be queued, and `seconds(run, repeats)`: the mean time of a
call, from an event before the first to one behind the last. Where a call is queued more slowly than it runs, that is
the time of queueing.
"""

from __future__ import annotations

import contextlib
import ctypes
import time
from collections.abc import Callable
from typing import Any

RUNTIMES = ("libcudart.so.13", "libcudart.so.12", "libcudart.so")


class TorchClock:
    """Events of PyTorch, on a stream of its own."""

    name = "CUDA events of PyTorch"

    def __init__(self) -> None:
        import torch

        if not torch.cuda.is_available():
            raise ImportError("this PyTorch has no GPU")
        self._torch = torch
        self._stream = torch.cuda.Stream()
        self.stream = self._stream.cuda_stream

    def on_stream(self) -> contextlib.AbstractContextManager[Any]:
        """PyTorch's work inside is queued on the stream."""
        context: contextlib.AbstractContextManager[Any] = self._torch.cuda.stream(self._stream)
        return context

    def synchronize(self) -> None:
        """Waits for the stream."""
        self._stream.synchronize()

    def seconds(self, run: Callable[[], Any], repeats: int) -> float:
        """Mean time of a call."""
        start, stop = (self._torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record(self._stream)
        for _ in range(repeats):
            run()
        stop.record(self._stream)
        stop.synchronize()
        return float(start.elapsed_time(stop)) / 1e3 / repeats


class RuntimeClock:
    """Events of the runtime library of CUDA."""

    name = "CUDA events by ctypes"

    def __init__(self) -> None:
        for name in RUNTIMES:
            with contextlib.suppress(OSError):
                self._library = ctypes.CDLL(name)
                break
        else:
            raise ImportError(f"none of {', '.join(RUNTIMES)} is in the loader's path")
        self.stream = self._made("cudaStreamCreate")
        self._start, self._stop = self._made("cudaEventCreate"), self._made("cudaEventCreate")

    def _call(self, function: str, *arguments: Any) -> None:
        status = getattr(self._library, function)(*arguments)
        if status:
            raise RuntimeError(f"{function}: CUDA error {status}")

    def _made(self, function: str) -> int:
        handle = ctypes.c_void_p()
        self._call(function, ctypes.byref(handle))
        return handle.value or 0

    def on_stream(self) -> contextlib.AbstractContextManager[Any]:
        """Nothing: no other library queues its work here."""
        return contextlib.nullcontext()

    def synchronize(self) -> None:
        """Waits for the stream."""
        self._call("cudaStreamSynchronize", ctypes.c_void_p(self.stream))

    def seconds(self, run: Callable[[], Any], repeats: int) -> float:
        """Mean time of a call."""
        start, stop, stream = (ctypes.c_void_p(handle) for handle in (self._start, self._stop, self.stream))
        self._call("cudaEventRecord", start, stream)
        for _ in range(repeats):
            run()
        self._call("cudaEventRecord", stop, stream)
        self._call("cudaEventSynchronize", stop)
        milliseconds = ctypes.c_float()
        self._call("cudaEventElapsedTime", ctypes.byref(milliseconds), start, stop)
        return milliseconds.value / 1e3 / repeats


class WallClock:
    """The wall clock, from an idle device to an idle device; work on the default stream."""

    name = "wall clock around many calls and a synchronisation"
    stream = 0

    def on_stream(self) -> contextlib.AbstractContextManager[Any]:
        """Nothing."""
        return contextlib.nullcontext()

    def synchronize(self) -> None:
        """Waits for the device."""
        import fastrnn

        fastrnn.cuda.synchronize()

    def seconds(self, run: Callable[[], Any], repeats: int) -> float:
        """Mean time of a call."""
        self.synchronize()
        start = time.perf_counter()
        for _ in range(repeats):
            run()
        self.synchronize()
        return (time.perf_counter() - start) / repeats


Clock = TorchClock | RuntimeClock | WallClock


def best_clock() -> Clock:
    """The first of the three that there is."""
    for kind in (TorchClock, RuntimeClock):
        with contextlib.suppress(ImportError):
            return kind()
    return WallClock()
