# SPDX-License-Identifier: MIT
"""Matrix products outside of the recurrence, on the register tile of the recurrent kernels.

They are as fast as a BLAS or faster, and the bits of a row of `product` depend on nothing but the row, so that a
sequence has the same results in every batch. A BLAS would also give large products to threads of its own, which spin
while they wait for each other: where cores are busy with other processes, training a decoder with attention then took
several times as long. The threads here are those of `fastrnn.set_num_threads`, and no number of them changes a bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from . import _core

_Array = npt.NDArray[Any]

_PIECE = 128  # rows that are added up one after the other: sums of all rows are as precise as a BLAS's


def product(a: _Array, b: _Array) -> _Array:
    """a b: (N,H) times (H,K) -> (N,K); b is dense, or the transposed view of what is dense."""
    out = np.empty((a.shape[0], b.shape[1]), b.dtype)
    rows = np.ascontiguousarray(a)
    if b.flags.c_contiguous:
        _core.linear(rows, b, True, None, False, out)
    else:
        _core.linear(rows, b.T, False, None, False, out)
    return out


def add_product(out: _Array, a: _Array, b: _Array) -> None:
    """out (K,H) += a^T b with a (N,K) and b (N,H), the sums of pieces of N in their order."""
    for start in range(0, len(a), _PIECE):
        part = slice(start, start + _PIECE)
        out += product(a[part].T, np.ascontiguousarray(b[part]))
