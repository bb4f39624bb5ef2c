# SPDX-License-Identifier: MIT
"""Matrix products by NumPy's BLAS, on the calling thread alone where that is the better choice.

OpenBLAS, which NumPy's wheels carry, gives a product of more than 2^18 multiplications to threads of its own.
They spin while they wait for each other. Where cores are busy with other processes or with our own threads,
or where a container sees more cores than it may use, a product of 50 microseconds was seen to take 16
milliseconds. Products outside the recurrence are a tenth of a network's work, so they are cut into pieces
that stay below. Alone, a piece is as fast as its share of the whole; and the bits no longer depend on the
number of threads of the BLAS. Where pieces would be too thin to be efficient, the product is large enough for
threads, and is left whole.

The right factor of pieces is laid out row by row: of a transposed one OpenBLAS computes so small products at half the
speed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_Array = npt.NDArray[Any]

_MOST = 2**18  # multiplications of a piece
_THINNEST = 8  # rows of a piece


def product(a: _Array, b: _Array) -> _Array:
    """a b: (N,H) times (H,K) -> (N,K), cut along N."""
    n, k = a.shape[0], b.shape[1]
    rows = _MOST // max(1, b.size)
    if n <= rows or rows < _THINNEST:
        whole: _Array = a @ b
        return whole
    b = np.ascontiguousarray(b)
    # Even pieces: a last piece of one row would be a product of another kind, with a limit of its own
    few, longer = divmod(n, -(-n // rows))
    middle = longer * (few + 1)
    out = np.empty((n, k), b.dtype)
    for part, size in ((slice(middle), few + 1), (slice(middle, n), few)):
        np.matmul(a[part].reshape(-1, size, a.shape[1]), b, out=out[part].reshape(-1, size, k))
    return out


def add_product(out: _Array, a: _Array, b: _Array) -> None:
    """out (K,H) += a^T b with a (N,K) and b (N,H), cut along N so far that pieces along K are not thin."""
    rows = _MOST // (_THINNEST * b.shape[1])
    if rows < 2 * _THINNEST:
        rows = max(1, len(a))
    for start in range(0, len(a), rows):
        part = slice(start, start + rows)
        out += product(a[part].T, b[part])
