# SPDX-License-Identifier: MIT
"""What is measured on a GPU: the cases of `cases.py` with an arithmetic, lengths, and weights that have changed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from cases import Case

DTYPES = ("float16", "bfloat16", "tf32", "float32")
CELLS = ("lstm", "gru")
MODES = ("infer", "train", "step")
LENGTHS_SEED = 1


@dataclass(frozen=True)
class DeviceCase(Case):
    """A case on a GPU, all arrays in its memory.

    dtype: what products multiply; ours keeps x, y, sums and states in float32, peers are all of that type.
    lengths: rows of 1 to T steps. updated: the parameters have changed on the host since the last call, so that they
    cross to the device and are packed within the time measured; otherwise they lie there, packed.
    """

    dtype: str = "float32"
    lengths: bool = False
    updated: bool = False

    @property
    def name(self) -> str:
        """Such as bfloat16-lengths-lstm-train-512x64x512x512."""
        words = [
            self.dtype,
            *(word for word in ("bidirectional", "lengths", "updated") if getattr(self, word)),
        ]
        return f"{'-'.join(words)}-{super().name}"

    @property
    def cudnn_regime(self) -> str:
        """Which algorithm PyTorch asks of cuDNN on GPUs like A100 and H100 (aten/src/ATen/native/cudnn/RNN.cpp).

        "small": CUDNN_RNN_ALGO_PERSIST_STATIC_SMALL_H, of any arithmetic. "fast": PERSIST_STATIC, an LSTM in float16.
        "standard": the rest, which is all that has lengths.
        """
        if self.lengths:
            return "standard"
        if self.H <= 128 or (self.H <= 192 and self.mode != "train"):
            return "small"
        fits = self.H % 128 == self.I % 128 == self.B % 8 == 0 and self.H <= 1024 and self.B <= 128
        alone = (self.cell, self.dtype, self.layers, self.directions) == ("lstm", "float16", 1, 1)
        return "fast" if fits and alone else "standard"

    def record(self) -> dict[str, Any]:
        """All of it for a result file; label: what charts write beside the shape."""
        words = [self.dtype, *(word for word in ("lengths", "updated") if getattr(self, word))]
        return super().record() | {"label": " ".join(words), "cudnn_regime": self.cudnn_regime}


def row_lengths(case: DeviceCase) -> np.ndarray | None:
    """(B,) steps of the rows, uniform in 1..T, the longest of which has T; None: all have T."""
    if not case.lengths:
        return None
    drawn = np.random.default_rng(LENGTHS_SEED).integers(1, case.T + 1, case.B)
    drawn[0] = case.T
    return drawn


FAST = [(512, 16, 256, 256), (512, 64, 512, 512), (512, 64, 1024, 1024), (512, 128, 1024, 1024)]
SMALL = (512, 64, 128, 128)
STANDARD = [(100, 1, 256, 256), (512, 64, 256, 256), (512, 64, 512, 512), (512, 64, 1024, 1024)]
WIDE = (256, 64, 1536, 1536)  # too wide for weights in registers
NARROW = (512, 64, 320, 320)  # no multiple of 128
TYPICAL = (512, 64, 512, 512)
BOTH_WAYS = (256, 32, 256, 256)
STEPS = [(1, 1, 256, 256), (1, 64, 1024, 1024)]
QUICK = [(50, 8, 128, 128)]


def _long(quick: bool) -> list[DeviceCase]:
    """The sequences, as inference."""
    if quick:
        return [DeviceCase(c, "infer", *shape, dtype=d) for c in CELLS for d in DTYPES for shape in QUICK]
    nets = [DeviceCase("lstm", "infer", *shape, dtype="float16") for shape in FAST]
    nets += [
        DeviceCase(cell, "infer", *shape, dtype=dtype)
        for dtype in ("bfloat16", "float32")
        for cell in CELLS
        for shape in (SMALL, *STANDARD)
    ]
    nets.append(DeviceCase("gru", "infer", *TYPICAL, dtype="float16"))
    nets.append(DeviceCase("lstm", "infer", *NARROW, dtype="float16"))
    nets += [DeviceCase(cell, "infer", *TYPICAL, dtype="tf32") for cell in CELLS]
    nets.append(DeviceCase("lstm", "infer", *WIDE, dtype="bfloat16"))
    for dtype in ("bfloat16", "float32"):
        nets.append(DeviceCase("lstm", "infer", *BOTH_WAYS, layers=2, bidirectional=True, dtype=dtype))
        nets.append(DeviceCase("lstm", "infer", *TYPICAL, dtype=dtype, lengths=True))
    return nets


def device_grid(
    cells: list[str],
    modes: list[str],
    dtypes: list[str],
    shapes: list[tuple[int, int, int, int]] | None = None,
    quick: bool = False,
) -> list[DeviceCase]:
    """The cases with these cells, modes and arithmetics; with shapes, one layer at each instead of the grid."""
    if shapes:
        return [
            DeviceCase(cell, mode, *shape, dtype=dtype)
            for dtype in dtypes
            for cell in cells
            for mode in modes
            for shape in shapes
        ]
    nets = _long(quick)
    cases = [*nets, *(replace(net, mode="train") for net in nets)]
    updated = [("bfloat16", QUICK[0] if quick else TYPICAL)] + ([] if quick else [("float32", TYPICAL)])
    cases += [DeviceCase("lstm", "train", *shape, dtype=dtype, updated=True) for dtype, shape in updated]
    cases += [
        DeviceCase(cell, "step", *shape, dtype=dtype)
        for dtype in (("float32",) if quick else ("float16", "bfloat16", "float32"))
        for cell in CELLS
        for shape in (STEPS[:1] if quick else STEPS)
    ]
    return [case for case in cases if case.cell in cells and case.mode in modes and case.dtype in dtypes]
