# SPDX-License-Identifier: MIT
"""This library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import fastrnn
import numpy as np
from cases import Case


def version() -> str:
    """Version and target."""
    return f"{fastrnn.__version__} ({fastrnn.active()})"


def set_threads(n: int) -> None:
    """Threads of a call."""
    fastrnn.set_num_threads(n)


def make(case: Case, data: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """See `peers`."""
    options = {"nonlinearity": "tanh"} if case.cell == "rnn_tanh" else {}
    layer = {"lstm": fastrnn.LSTM, "gru": fastrnn.GRU, "rnn_tanh": fastrnn.RNN}[case.cell]
    net = layer(case.I, case.H, seed=0, **options)
    net.load_state_dict({name: data[name] for name in net.state_dict()})
    x, dy = data["x"], data["dy"]
    if case.mode == "infer":
        return lambda: {"y": net(x)[0]}
    if case.mode == "train":
        return lambda: _train(net, x, dy)
    y = np.empty((case.B, case.H), np.float32)
    _, start = net.step(x[0])
    zero = [np.zeros_like(s) for s in (start if isinstance(start, tuple) else (start,))]
    state = tuple(zero) if isinstance(start, tuple) else zero[0]
    x_t = np.ascontiguousarray(x[0])

    def step() -> dict[str, Any]:
        net.step(x_t, state, y)
        return {}

    return step


def _train(net: Any, x: Any, dy: Any) -> dict[str, Any]:
    net.flat  # noqa: B018  an optimizer has had it in its hands: the weights are laid out anew
    y, _, tape = net.forward(x)
    gradients = net.backward(tape, dy)
    return {"y": y, "x": gradients.x, **gradients.params}
