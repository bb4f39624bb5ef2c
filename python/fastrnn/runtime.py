# SPDX-License-Identifier: MIT
"""Which kernels run, and on how many threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from . import _check, _core

_forced: ContextVar[str] = ContextVar("fastrnn_isa", default="")


def available() -> list[str]:
    """Targets that this processor supports, best first; the last ones run anywhere.

    >>> available()[-2:]
    ['portable', 'reference']
    """
    return _core.available()


def active() -> str:
    """The target of nets created now: that of `using`, else of the variable FASTRNN_ISA, else the best.

    Raises:
        ValueError: FASTRNN_ISA names none of `available()`.
    """
    return _core.find_target(_forced.get())


@contextmanager
def using(isa: str) -> Iterator[None]:
    """Nets created inside run on the given target; `net.isa` says which one a net has.

    Raises:
        ValueError: the target is none of `available()`.

    >>> with using("portable"):
    ...     active()
    'portable'
    """
    token = _forced.set(_core.find_target(isa))
    try:
        yield
    finally:
        _forced.reset(token)


def get_num_threads() -> int:
    """Threads that a call may use: FASTRNN_NUM_THREADS, else the processors of this process.

    Raises:
        ValueError: FASTRNN_NUM_THREADS is not a number from 1 to 4096.
    """
    return _core.get_num_threads()


def set_num_threads(n: int) -> None:
    """Sets the threads that a call may use, for the whole process. Small calls use one all the same.

    The bits of results do not depend on it.

    Raises:
        ValueError: n is not from 1 to 4096.
    """
    _core.set_num_threads(_check.size("n", n))


@contextmanager
def threads(n: int) -> Iterator[None]:
    """`set_num_threads(n)` inside, the former number afterwards.

    >>> with threads(1):
    ...     get_num_threads()
    1
    """
    before = get_num_threads()
    set_num_threads(n)
    try:
        yield
    finally:
        set_num_threads(before)
