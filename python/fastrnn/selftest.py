# SPDX-License-Identifier: MIT
"""A quick check of an installation: forward and backward of every cell on every target against the reference."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _core
from .layers import CELLS
from .runtime import available, using

_T, _B, _I, _H = 6, 5, 7, 19  # tails of every vector width, and several rows a tile


def _results(cell: str, dtype: str, isa: str) -> list[npt.NDArray[Any]]:
    """y, gradient of x and of the parameters, on the same input whatever the target."""
    rng = np.random.default_rng(0)
    with using(isa):
        net = CELLS[cell](_I, _H, bidirectional=True, dtype=dtype, seed=0)
    x, dy = (rng.normal(size=(_T, _B, n)).astype("f").astype(dtype) for n in (_I, net.output_size))
    y, _, tape = net.forward(x, lengths=[6, 0, 3, 5, 6])
    assert tape is not None
    gradients = net.backward(tape, dy)
    assert gradients.x is not None
    return [y, gradients.x, gradients.flat]


def main() -> int:
    """Prints one line for each kernel; 1 where one is wrong, else 0."""
    wrong = 0
    for isa in available():
        for cell in _core.cells():
            for dtype in ("float32", "float64"):
                got, want = _results(cell, dtype, isa), _results(cell, dtype, "reference")
                error = max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(got, want))
                bound = 8 * math.ceil(math.log2((_I + _H) * _T)) * np.finfo(dtype).eps
                if "layer_norm" in cell:  # which divides by a standard deviation, or by sqrt(epsilon)
                    bound /= math.sqrt(1e-5)
                wrong += not error <= bound
                kernel = f"{cell}_{dtype.replace('float', 'f')}__{isa}"
                verdict = "ok" if error <= bound else f"WRONG: more than {bound:.1e}"
                print(f"{kernel:32s} error {error:.1e}  {verdict}")
    print(f"{wrong} wrong" if wrong else "all kernels agree with the reference")
    return 1 if wrong else 0
