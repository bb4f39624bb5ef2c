# SPDX-License-Identifier: MIT
"""What is measured: named cases, and the same data for every peer."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1}
MODES = ("infer", "train", "step")
STREAM = 8  # inputs of a stream; a step takes the next one, the first after the last
EPISODE = 100  # mean steps between two resets of a row


@dataclass(frozen=True)
class Case:
    """A net at one shape, float32, zero initial state.

    infer: the whole sequence, weights unchanged since the last call. train: forward, and backward from a given dy to
    x and all parameters, which have changed since the last call. step: the next step of a stream, T = 1.

    resets: rows begin anew inside the sequence. strided: x is (B,T,I), a view of features-major memory (B,I,T), and
    y is (B,T,D*H). label, source: of a real client, whose name it is and where its shape was read.
    """

    cell: str
    mode: str
    T: int
    B: int
    I: int  # noqa: E741
    H: int
    layers: int = 1
    bidirectional: bool = False
    peepholes: bool = False
    resets: bool = False
    strided: bool = False
    label: str = ""
    source: str = ""

    @property
    def name(self) -> str:
        """Such as lstm-train-50x16x128x128, or rnnoise-gru-step-1x1x256x256."""
        label = f"{self.label}-" if self.label else ""
        return f"{label}{self.cell}-{self.mode}-{self.T}x{self.B}x{self.I}x{self.H}"

    @property
    def directions(self) -> int:
        """2 if bidirectional, else 1."""
        return 2 if self.bidirectional else 1

    @property
    def parts(self) -> list[tuple[str, int]]:
        """Suffix of the parameters and width of the input, of each layer and direction."""
        return [
            (f"_l{layer}" + "_reverse" * reverse, self.directions * self.H if layer else self.I)
            for layer in range(self.layers)
            for reverse in range(self.directions)
        ]

    @property
    def operations(self) -> float:
        """Floating-point operations of the products: 2 a weight and row, three times that with backward."""
        weights = sum(GATES[self.cell] * self.H * (width + self.H) for _, width in self.parts)
        return (6.0 if self.mode == "train" else 2.0) * self.T * self.B * weights

    def record(self) -> dict[str, Any]:
        """All of it for a result file."""
        return {"case": self.name, **asdict(self)}


SHAPES = [
    (100, 1, 64, 64),
    (100, 1, 128, 128),
    (100, 1, 256, 256),
    (50, 16, 128, 128),
    (50, 32, 256, 256),
    (100, 64, 512, 512),
    (25, 64, 1024, 1024),
    (784, 32, 1, 128),
    (200, 128, 64, 64),
]
TRAIN_SHAPES = [(1, 1, 128, 128), (1, 1, 256, 256), *SHAPES]
STEP_SHAPES = [(1, 1, 64, 64), (1, 1, 128, 128), (1, 1, 256, 256)]
GRID = {"infer": SHAPES, "train": TRAIN_SHAPES, "step": STEP_SHAPES}
QUICK = {
    "infer": [(100, 1, 128, 128), (50, 16, 128, 128)],
    "train": [(1, 1, 128, 128), (50, 16, 128, 128)],
    "step": [(1, 1, 128, 128)],
}


def grid(
    cells: list[str],
    modes: list[str],
    shapes: list[tuple[int, int, int, int]] | None = None,
    quick: bool = False,
) -> list[Case]:
    """Every cell in every mode at every shape: those of the grid, unless shapes are given."""
    table = QUICK if quick else GRID
    return [Case(cell, mode, *shape) for cell in cells for mode in modes for shape in (shapes or table[mode])]


def data(case: Case) -> dict[str, Any]:
    """x, dy and the parameters by torch's names; reset (T,B) or None.

    x is (T,B,I), for a stream (STREAM,B,I), and dy (T,B,D*H); with strided both begin B, T.
    """
    rng = np.random.default_rng(0)
    bound, rows, T, B = case.H**-0.5, GATES[case.cell] * case.H, case.T, case.B

    def uniform(*shape: int) -> np.ndarray:
        return rng.uniform(-bound, bound, shape).astype(np.float32)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, np.float32)

    width = case.directions * case.H
    arrays: dict[str, Any] = {
        "x": normal(B, case.I, T).transpose(0, 2, 1)
        if case.strided
        else normal(STREAM if case.mode == "step" else T, B, case.I),
        "dy": normal(*((B, T) if case.strided else (T, B)), width),
        "reset": rng.random((T, B)) < 1 / EPISODE if case.resets else None,
    }
    for suffix, inputs in case.parts:
        arrays["weight_ih" + suffix] = uniform(rows, inputs)
        arrays["weight_hh" + suffix] = uniform(rows, case.H)
        arrays["bias_ih" + suffix] = uniform(rows)
        arrays["bias_hh" + suffix] = uniform(rows)
        if case.peepholes:
            arrays["weight_ch" + suffix] = uniform(3 * case.H)
    return arrays
