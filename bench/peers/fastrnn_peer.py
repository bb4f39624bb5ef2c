# SPDX-License-Identifier: MIT
"""This library: inference by calling the layer, training by forward and backward, streams by step in place."""

from __future__ import annotations

from itertools import cycle
from typing import Any

import fastrnn
import numpy as np
from cases import Case
from fastrnn.layers import CELLS

from . import Work, cell_name


def version() -> str:
    """Version and target."""
    return f"{fastrnn.__version__} ({fastrnn.active()})"


def set_threads(n: int) -> None:
    """Threads of a call."""
    fastrnn.set_num_threads(n)


def make(case: Case, data: dict[str, Any], dtype: str = "float32") -> Work:
    """See `peers`."""
    net = CELLS[cell_name(case)](
        case.I, case.H, case.layers, bidirectional=case.bidirectional, batch_first=case.strided, dtype=dtype
    )
    net.load_state_dict({name: data[name] for name in net.state_dict()})
    x, dy, reset = data["x"], data["dy"], data["reset"]
    if reset is not None and case.strided:
        reset = reset.T
    if case.mode == "step":
        return _stream(net, case, x)
    if case.mode == "infer":
        return Work(lambda: net(x, reset=reset), lambda result: {"y": result[0]})
    return Work(lambda: _train(net, x, dy, reset), _gradients)


def _stream(net: Any, case: Case, x: np.ndarray) -> Work:
    inputs, y, step = cycle(list(x)), np.empty((case.B, case.H), net.dtype), net.step
    _, state = step(x[0])
    for part in state if isinstance(state, tuple) else (state,):
        part[...] = 0
    return Work(lambda: step(next(inputs), state, y), lambda result: {"y": result[0]})


def _train(net: Any, x: Any, dy: Any, reset: Any) -> Any:
    net.flat  # noqa: B018  an optimizer has had it in its hands: the weights are laid out anew
    y, _, tape = net.forward(x, reset=reset)
    return y, net.backward(tape, dy)


def _gradients(result: Any) -> dict[str, np.ndarray]:
    y, gradients = result
    return {"y": y, "x": gradients.x, **gradients.params}
