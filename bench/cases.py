# SPDX-License-Identifier: MIT
"""What is measured: named cases, and the same data for every peer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1}
MODES = ("infer", "train", "step")


@dataclass(frozen=True)
class Case:
    """One layer at one shape, float32, zero initial state.

    infer: the whole sequence, weights unchanged since the last call. train: forward, and backward from a given dy to
    x and all parameters, which have changed since the last call. step: one step of a stream, T = 1.
    """

    cell: str
    mode: str
    T: int
    B: int
    I: int  # noqa: E741
    H: int

    @property
    def name(self) -> str:
        """Such as lstm-train-50x16x128x128."""
        return f"{self.cell}-{self.mode}-{self.T}x{self.B}x{self.I}x{self.H}"

    @property
    def operations(self) -> float:
        """Floating-point operations of the products: 2 a weight and row, three times that with backward."""
        once = 2.0 * self.T * self.B * GATES[self.cell] * self.H * (self.I + self.H)
        return 3 * once if self.mode == "train" else once


SHAPES = [
    (100, 1, 64, 64),
    (100, 1, 256, 256),
    (50, 16, 128, 128),
    (50, 32, 256, 256),
    (784, 32, 1, 128),
    (100, 64, 512, 512),
]
STEP_SHAPES = [(1, 1, 64, 64), (1, 1, 128, 128), (1, 1, 256, 256)]


def cases(
    cells: list[str], modes: list[str], shapes: list[tuple[int, int, int, int]] | None = None
) -> list[Case]:
    """All cases of the given cells and modes."""
    return [
        Case(cell, mode, *shape)
        for cell in cells
        for mode in modes
        for shape in (shapes or (STEP_SHAPES if mode == "step" else SHAPES))
    ]


def data(case: Case) -> dict[str, Any]:
    """x (T,B,I), dy (T,B,H) and the four parameters by torch's names."""
    rng = np.random.default_rng(0)
    bound, rows = case.H**-0.5, GATES[case.cell] * case.H

    def uniform(*shape: int) -> np.ndarray:
        return rng.uniform(-bound, bound, shape).astype(np.float32)

    return {
        "x": rng.normal(size=(case.T, case.B, case.I)).astype(np.float32),
        "dy": rng.normal(size=(case.T, case.B, case.H)).astype(np.float32),
        "weight_ih_l0": uniform(rows, case.I),
        "weight_hh_l0": uniform(rows, case.H),
        "bias_ih_l0": uniform(rows),
        "bias_hh_l0": uniform(rows),
    }
