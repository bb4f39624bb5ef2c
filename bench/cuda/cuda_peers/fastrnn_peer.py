# SPDX-License-Identifier: MIT
"""This library on arrays of the GPU: inference and training by forward and backward, streams by step in place.

The same calls on arrays of NumPy are the CPU backend, which all others are held against.
"""

from __future__ import annotations

from dataclasses import asdict
from itertools import cycle
from typing import Any

import fastrnn
import numpy as np
from device_cases import DeviceCase
from fastrnn.layers import CELLS
from peers import Work


def version() -> str:
    """Of the package."""
    return fastrnn.__version__


def make(case: DeviceCase, data: dict[str, Any], lengths: Any, device: str = "cuda") -> Work:
    """See `cuda_peers`. On "cpu" products are float32 whatever the case says."""
    net = _net(case, device)
    net.load_state_dict({name: data[name] for name in net.state_dict()})
    place = np.asarray if device == "cpu" else fastrnn.cuda.asarray
    x, dy = place(data["x"]), place(data["dy"])
    if case.mode == "step":
        return _stream(net, case, [place(row) for row in data["x"]], place)
    if case.mode == "infer":
        run = lambda: net.forward(x, lengths=lengths, training=False)  # noqa: E731
        return Work(run, lambda result: {"y": np.asarray(result[0])})

    def train() -> Any:
        if case.updated:
            net.flat  # noqa: B018  an optimizer has had it in its hands
        y, _, tape = net.forward(x, lengths=lengths)
        return y, net.backward(tape, dy)

    return Work(train, _gradients)


def plan(case: DeviceCase) -> list[dict[str, Any]]:
    """What `fastrnn.explain` says of the loops that the case runs; the microseconds of a step are modelled."""
    found = fastrnn.explain(_net(case, "cuda"), case.T, case.B)
    return [asdict(loop) for loop in found.loops if case.mode == "train" or not loop.backward]


def _net(case: DeviceCase, device: str) -> Any:
    options: dict[str, Any] = {"dtype": "float32", "device": device}
    if device != "cpu":
        options |= {"allow_tf32": True} if case.dtype == "tf32" else {"dtype": case.dtype}
    return CELLS[case.cell](case.I, case.H, case.layers, bidirectional=case.bidirectional, **options)


def _stream(net: Any, case: DeviceCase, inputs: list[Any], place: Any) -> Work:
    rows, y = cycle(inputs), place(np.empty((case.B, case.H), net.dtype))
    states = tuple(place(np.zeros((case.layers, case.B, case.H), net.dtype)) for _ in net._STATES)
    state = states if len(states) > 1 else states[0]
    return Work(lambda: net.step(next(rows), state, y), lambda result: {"y": np.asarray(result[0])})


def _gradients(result: Any) -> dict[str, np.ndarray]:
    y, gradients = result
    arrays = {"y": y, "x": gradients.x, **gradients.params}
    return {name: np.asarray(array) for name, array in arrays.items()}
