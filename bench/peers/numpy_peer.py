# SPDX-License-Identifier: MIT
"""NumPy by hand: what somebody who knows NumPy would write with no framework (`numpy_cells.py`).

The input product of all steps is one, work arrays are filled in place, sigmoids come from the one tanh of all gates;
training is BPTT with one product over all steps for each gradient of a weight.
"""

from __future__ import annotations

from itertools import cycle
from typing import Any

import numpy as np
from cases import Case

from . import CannotRun, Work, cell_name
from .numpy_cells import CELLS, Parameters


def version() -> str:
    """Version of NumPy."""
    return str(np.__version__)


def set_threads(n: int) -> None:
    """OpenBLAS has read its variable."""


def make(case: Case, data: dict[str, Any]) -> Work:
    """See `peers`."""
    if case.resets and case.bidirectional:
        raise CannotRun("resets are written for one direction")
    if case.mode == "train" and case.peepholes:
        raise CannotRun("backward is not written for peepholes")
    if case.mode == "step":
        return _stream(case, data)
    net = _Net(case, data)
    x, dy = data["x"], data["dy"]
    if case.mode == "infer":
        return Work(lambda: net.forward(x), lambda y: {"y": y})
    return Work(lambda: (net.forward(x), net.backward(dy)), lambda result: {"y": result[0], **result[1]})


def _own(data: dict[str, Any], suffix: str) -> Parameters:
    return Parameters(
        data["weight_ih" + suffix],
        data["weight_hh" + suffix],
        data["bias_ih" + suffix],
        data["bias_hh" + suffix],
        data.get("weight_ch" + suffix),
    )


class _Net:
    """Layers and directions of a case."""

    def __init__(self, case: Case, data: dict[str, Any]) -> None:
        self._case = case
        kind = CELLS[cell_name(case)]
        keep = None if data["reset"] is None else ~data["reset"][:, :, None]
        self._cells = [kind(_own(data, suffix), keep) for suffix, _ in case.parts]
        self._inputs: list[np.ndarray] = []

    def forward(self, x: np.ndarray) -> np.ndarray:
        """y in the layout of the case."""
        D = self._case.directions
        y = x.transpose(1, 0, 2) if self._case.strided else x
        self._inputs = []
        for layer in range(self._case.layers):
            self._inputs.append(y := np.ascontiguousarray(y))
            sides = [cell.forward(y[:: 1 - 2 * k]) for k, cell in enumerate(self._cells[layer * D :][:D])]
            y = sides[0] if D == 1 else np.concatenate([sides[0], sides[1][::-1]], -1)
        return y.transpose(1, 0, 2) if self._case.strided else y

    def backward(self, dy: np.ndarray) -> dict[str, np.ndarray]:
        """Gradients of x and of the parameters."""
        D, H = self._case.directions, self._case.H
        dx = dy.transpose(1, 0, 2) if self._case.strided else dy
        gradients: dict[str, np.ndarray] = {}
        for layer in reversed(range(self._case.layers)):
            below = []
            for k, cell in enumerate(self._cells[layer * D :][:D]):
                turn = slice(None, None, 1 - 2 * k)
                own, parameters = cell.backward(self._inputs[layer][turn], dx[turn, :, k * H : (k + 1) * H])
                below.append(own[turn])
                suffix = f"_l{layer}" + "_reverse" * k
                gradients |= {name + suffix: a for name, a in parameters.items()}
            dx = below[0] if D == 1 else below[0] + below[1]
        return {"x": dx.transpose(1, 0, 2) if self._case.strided else dx, **gradients}


def _stream(case: Case, data: dict[str, Any]) -> Work:
    inputs = cycle(list(data["x"]))
    cells = [CELLS[cell_name(case)](_own(data, suffix), None) for suffix, _ in case.parts]
    for cell in cells:
        cell.start(case.B)

    def run() -> np.ndarray:
        y = next(inputs)
        for cell in cells:
            y = cell.step(y)
        return y

    return Work(run, lambda y: {"y": y})
