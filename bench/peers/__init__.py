# SPDX-License-Identifier: MIT
"""Peers: one module each, `NAME_peer`, with `version()`, `set_threads(n)` and `make(case, data) -> Work`.

Each is used in the fastest regular way that its users have; its docstring says which. Arrays of its own kind are made
before anything is timed. `process.py` runs each in a process of its own, so that no peer's threads or memory disturb
another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

NAMES = ("fastrnn", "torch", "onnxruntime", "openvino", "jax", "numpy")


class Missing(Exception):
    """The peer's package is not installed."""


class CannotRun(Exception):
    """The peer has no such net or mode; the message is the reason."""


class Work(NamedTuple):
    """A case, set up.

    Attributes:
        run: does the work of one call; its result is the peer's own.
        read: from such a result what is compared: y, and for training the gradients of x, as "x", and of the
            parameters by torch's names.
    """

    run: Callable[[], Any]
    read: Callable[[Any], dict[str, np.ndarray]]


def cell_name(case: Any) -> str:
    """The cell with its variant, for messages and for lookup: lstm_peephole."""
    return f"{case.cell}_peephole" if case.peepholes else str(case.cell)
