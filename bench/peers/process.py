# SPDX-License-Identifier: MIT
"""A peer in its process: commands go in through a pipe, results and times come out."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import sys
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from cases import STREAM, Case, data
from limits import limited, pin

from . import CannotRun, Missing, Work


def _prepare(peer: Any, case: Case) -> tuple[Work, dict[str, np.ndarray]]:
    """The work, and what it computes: of a stream the y of its first steps."""
    work: Work = peer.make(case, data(case))
    if case.mode != "step":
        return work, work.read(work.run())
    return work, {"y": np.stack([np.array(work.read(work.run())["y"]) for _ in range(STREAM)])}


def _mean(work: Work, repeats: int) -> float:
    run = work.run
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.perf_counter() - start) / repeats


def _each(work: Work, repeats: int) -> list[int]:
    run, clock, nanoseconds = work.run, time.perf_counter_ns, []
    for _ in range(repeats):
        start = clock()
        run()
        nanoseconds.append(clock() - start)
    return nanoseconds


def _status(field: str) -> float:
    """MB that /proc says of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field + ":")) / 1024


def _peak_memory(peer: Any, case: Case, tiny: Case) -> float:
    """MB that the second call adds, at its peak, to what was there before the first: compiling is not in it."""
    work: Work = peer.make(tiny, data(tiny))
    work.run()
    work = peer.make(case, data(case))
    before = _status("VmRSS")
    work.run()
    Path("/proc/self/clear_refs").write_text("5")  # the highest mark begins anew
    work.run()
    return _status("VmHWM") - before


def _serve(connection: Connection, name: str, threads: int, path: list[str]) -> None:
    sys.path[:] = path
    pin(threads)
    try:
        peer = importlib.import_module(f"peers.{name}_peer")
    except ImportError as error:
        connection.send(Missing(str(error)))
        return
    peer.set_threads(threads)
    connection.send(peer.version())
    work: Any = None
    while True:
        command, argument = connection.recv()
        try:
            if command == "prepare":
                work = None
                work, results = _prepare(peer, argument)
                connection.send(results)
            elif command == "mean":
                connection.send(_mean(work, argument))
            elif command == "each":
                connection.send(_each(work, argument))
            elif command == "memory":
                connection.send(_peak_memory(peer, *argument))
            else:
                return
        except CannotRun as reason:
            connection.send(reason)
        except Exception:
            connection.send(RuntimeError(f"{name} failed:\n{traceback.format_exc()}"))


class Peer:
    """A peer in its process, on so many threads and held to the instructions of a target.

    Raises:
        Missing: its package is not installed.
    """

    def __init__(self, name: str, threads: int, target: str = "") -> None:
        self.name = name
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, name, threads, sys.path), daemon=True)
        with limited(threads, target):
            self._process.start()
        theirs.close()
        self.version: str = self._answer()

    def prepare(self, case: Case) -> dict[str, np.ndarray]:
        """Sets the case up, runs it once and returns its results.

        Raises:
            CannotRun: the peer has no such net or mode.
        """
        results: dict[str, np.ndarray] = self._ask("prepare", case)
        return results

    def seconds(self, repeats: int) -> float:
        """Mean time of one call."""
        return float(self._ask("mean", repeats))

    def each(self, repeats: int) -> list[int]:
        """Nanoseconds of every single call."""
        return list(self._ask("each", repeats))

    def peak_memory(self, case: Case, tiny: Case) -> float:
        """MB that a call adds at its peak; `tiny` loads and warms the library before."""
        return float(self._ask("memory", (case, tiny)))

    def close(self) -> None:
        """Ends the process."""
        self._connection.send(("close", None))
        self._process.join()

    def _ask(self, command: str, argument: Any) -> Any:
        self._connection.send((command, argument))
        return self._answer()

    def _answer(self) -> Any:
        try:
            answer = self._connection.recv()
        except EOFError:
            self._process.join()
            raise RuntimeError(f"{self.name} died, exit code {self._process.exitcode}") from None
        if isinstance(answer, Exception):
            raise answer
        return answer


def processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
