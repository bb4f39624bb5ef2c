# SPDX-License-Identifier: MIT
"""Processes that measure: commands go in through a pipe, results and times come out."""

from __future__ import annotations

import importlib
import multiprocessing
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from cases import STREAM, Case, data
from limits import limited, pin

from . import CannotRun, Missing, Work

Commands = dict[str, Callable[..., Any]]


def _serve(
    connection: Connection, build: Callable[..., Commands], arguments: Any, pinned: int, path: list[str]
) -> None:
    sys.path[:] = path
    if pinned:
        pin(pinned)
    try:
        commands = build(*arguments)
    except ImportError as error:
        connection.send(Missing(str(error)))
        return
    connection.send(None)
    while True:
        name, *values = connection.recv()
        if name == "close":
            return
        try:
            connection.send(commands[name](*values))
        except CannotRun as reason:
            connection.send(reason)
        except Exception:
            connection.send(RuntimeError(f"{name} failed:\n{traceback.format_exc()}"))


class Child:
    """A process with so many threads, held to the instructions of a target.

    Args:
        build: called in the process, with `arguments`; the commands it then serves, by name.
        pinned: whether it keeps to as many processors as it has threads.

    Raises:
        Missing: a package that build imports is not installed.
    """

    def __init__(
        self,
        build: Callable[..., Commands],
        arguments: tuple[Any, ...],
        threads: int,
        target: str = "",
        pinned: bool = True,
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        values = (theirs, build, arguments, threads if pinned else 0, sys.path)
        self._process = context.Process(target=_serve, args=values, daemon=True)
        with limited(threads, target):
            self._process.start()
        theirs.close()
        self._answer()

    def ask(self, command: str, *values: Any) -> Any:
        """Runs a command there; raises what it raised."""
        self._connection.send((command, *values))
        return self._answer()

    def close(self) -> None:
        """Ends the process."""
        if self._process.is_alive():
            self._connection.send(("close",))
        self._process.join()

    def _answer(self) -> Any:
        try:
            answer = self._connection.recv()
        except EOFError:
            self._process.join()
            raise RuntimeError(f"a measuring process died, exit code {self._process.exitcode}") from None
        if isinstance(answer, Exception):
            raise answer
        return answer


class Peer(Child):
    """A peer in its process."""

    def __init__(self, name: str, threads: int, target: str = "", pinned: bool = True) -> None:
        super().__init__(_peer, (name, threads), threads, target, pinned)
        self.name = name
        self.version = str(self.ask("version"))

    def prepare(self, case: Case) -> dict[str, np.ndarray]:
        """Sets the case up, runs it once and returns its results.

        Raises:
            CannotRun: the peer has no such net or mode.
        """
        results: dict[str, np.ndarray] = self.ask("prepare", case)
        return results

    def seconds(self, repeats: int) -> float:
        """Mean time of one call."""
        return float(self.ask("mean", repeats))

    def each(self, repeats: int) -> list[int]:
        """Nanoseconds of every single call."""
        return list(self.ask("each", repeats))

    def peak_memory(self, case: Case, tiny: Case) -> float:
        """MB that a call adds at its peak; `tiny` loads and warms the library before."""
        return float(self.ask("memory", case, tiny))


# ---- what runs in the process of a peer ----


def _peer(name: str, threads: int) -> Commands:
    peer = importlib.import_module(f"peers.{name}_peer")
    peer.set_threads(threads)
    work: Any = None

    def prepare(case: Case) -> dict[str, np.ndarray]:
        nonlocal work
        work = None
        work = peer.make(case, data(case))
        return results_of(work, case)

    return {
        "version": peer.version,
        "prepare": prepare,
        "mean": lambda repeats: _mean(work, repeats),
        "each": lambda repeats: _each(work, repeats),
        "memory": lambda case, tiny: _peak_memory(peer, case, tiny),
    }


def results_of(work: Work, case: Case) -> dict[str, np.ndarray]:
    """What the work computes: of a stream the y of its first steps."""
    if case.mode != "step":
        return work.read(work.run())
    return {"y": np.stack([np.array(work.read(work.run())["y"]) for _ in range(STREAM)])}


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


def start_all(names: Iterable[str], build: Callable[..., Commands], threads: int) -> dict[str, Child]:
    """A process for each name whose packages are installed: build(name, threads) says what it can do."""
    children = {}
    for name in names:
        try:
            children[name] = Child(build, (name, threads), threads)
        except Missing as error:
            print(f"{name} is skipped: {error}")
    return children
