# SPDX-License-Identifier: MIT
"""Peers: one module each, with `version()`, `set_threads(n)` and `make(case, data)`.

`make` returns a function without arguments that does the work of the case and returns what is compared: y, and for
training the gradients of x and of the parameters by torch's names. Each peer runs in a process of its own, so that
no peer's threads or memory disturb another.
"""

from __future__ import annotations

import importlib
import multiprocessing
import sys
import time
from multiprocessing.connection import Connection
from typing import Any

from cases import Case, data

NAMES = ("fastrnn", "torch")


class Missing(Exception):
    """The peer's package is not installed."""


def _serve(connection: Connection, name: str, threads: int, path: list[str]) -> None:
    sys.path[:] = path
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
        if command == "prepare":
            work = peer.make(argument, data(argument))
            connection.send(work())
        elif command == "time":
            start = time.perf_counter()
            for _ in range(argument):
                work()
            connection.send((time.perf_counter() - start) / argument)
        else:
            return


class Peer:
    """A peer in its process.

    Raises:
        Missing: its package is not installed.
    """

    def __init__(self, name: str, threads: int) -> None:
        self.name = name
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, name, threads, sys.path), daemon=True)
        self._process.start()
        answer = self._connection.recv()
        if isinstance(answer, Missing):
            raise answer
        self.version: str = answer

    def prepare(self, case: Case) -> dict[str, Any]:
        """Sets the case up, runs it once and returns its results."""
        return self._ask("prepare", case)

    def seconds(self, repeats: int) -> float:
        """Mean time of one run."""
        return self._ask("time", repeats)

    def close(self) -> None:
        """Ends the process."""
        self._connection.send(("close", None))
        self._process.join()

    def _ask(self, command: str, argument: Any) -> Any:
        self._connection.send((command, argument))
        return self._connection.recv()
