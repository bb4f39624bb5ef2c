# SPDX-License-Identifier: MIT
"""Matrix products outside of the recurrence.

`product`, of rows with a matrix of parameters, runs on the register tile of the recurrent kernels: as fast as a BLAS or
faster, and the bits of a row depend on nothing but the row, so that a sequence has the same results in every batch.

`add_product`, over all rows, is left to NumPy's BLAS, on the calling thread alone where that is the better choice:
OpenBLAS, which NumPy's wheels carry, gives a product of more than 2^18 multiplications to threads of its own. They spin
while they wait for each other. Where cores are busy with other processes or with our own threads, or where a container
sees more cores than it may use, a product of 50 microseconds was seen to take 16 milliseconds. So it is cut into pieces
that stay below. Alone, a piece is as fast as its share of the whole; and the bits no longer depend on the number of
threads of the BLAS. Where pieces would be too thin to be efficient, the product is large enough for threads, and is
left whole.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from . import _core

_Array = npt.NDArray[Any]

_MOST = 2**18  # multiplications of a piece
_THINNEST = 8  # rows of a piece


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
    """out (K,H) += a^T b with a (N,K) and b (N,H), cut along N so far that pieces along K are not thin."""
    rows = _MOST // (_THINNEST * b.shape[1])
    if rows < 2 * _THINNEST:
        rows = max(1, len(a))
    for start in range(0, len(a), rows):
        part = slice(start, start + rows)
        out += a[part].T @ b[part]
