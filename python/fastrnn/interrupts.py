# SPDX-License-Identifier: MIT
"""Ctrl-C that never falls between the parts of an update."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class Shield:
    """While it is entered, `with shield.held():` puts KeyboardInterrupt off to the end of that block.

    Elsewhere Ctrl-C is what it always is. It changes nothing where the handler is not Python's own, or in another
    thread than the main one, which no signal reaches.
    """

    def __init__(self) -> None:
        self._holding = self._came = self._installed = False

    def __enter__(self) -> Shield:
        ours = threading.current_thread() is threading.main_thread()
        if ours and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._handle)
            self._installed = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._installed = False

    def held(self) -> _Held:
        """A context in which no KeyboardInterrupt is raised, but at its end."""
        return _Held(self)

    def _handle(self, number: int, frame: FrameType | None) -> Any:
        if self._holding:
            self._came = True
        else:
            signal.default_int_handler(number, frame)


class _Held:
    def __init__(self, shield: Shield) -> None:
        self._shield = shield

    def __enter__(self) -> None:
        self._shield._holding = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._shield._holding = False
        if self._shield._came:
            self._shield._came = False
            raise KeyboardInterrupt
