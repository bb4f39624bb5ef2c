# SPDX-License-Identifier: MIT
"""Products cut into pieces for the BLAS: the same sums, however they are cut."""

import numpy as np
import pytest
from fastrnn import products

ROWS = [0, 1, 2, 9, 10, 11, 21, 100, 333]
SIZES = [(1, 1), (3, 5), (64, 10), (256, 95), (512, 200), (1024, 3), (90, 3000)]


@pytest.mark.parametrize("n", ROWS)
@pytest.mark.parametrize(("h", "k"), SIZES)
def test_products(n, h, k):
    """Small integers, so that every order of summation gives the same bits."""
    rng = np.random.default_rng(n + h)
    a, b, d = (rng.integers(-3, 4, shape).astype(np.float32) for shape in ((n, h), (h, k), (n, k)))
    assert np.array_equal(products.product(a, b), a @ b)
    assert np.array_equal(products.product(d, b.T), d @ b.T)
    out = np.ones((k, h), np.float32)
    products.add_product(out, d, a)
    assert np.array_equal(out, 1 + d.T @ a)


def test_pieces_stay_below_the_limit(monkeypatch):
    """Every product of the BLAS has few multiplications and several rows, and a right factor that is fast."""
    seen = []

    def recorded(a, b, out):
        assert b.flags.c_contiguous
        seen.append((a.shape, b.shape))
        out[...] = np.einsum("pnh,hk->pnk", a, b)

    monkeypatch.setattr(products.np, "matmul", recorded)
    for n in (11, 100, 333):
        products.product(np.ones((n, 256), np.float32), np.ones((95, 256), np.float32).T)
    products.add_product(np.zeros((95, 256), np.float32), np.ones((333, 95)), np.ones((333, 256)))
    assert len(seen) > 6
    for (pieces, rows, h), (_, k) in seen:
        assert pieces == 0 or rows * h * k <= 2**18
        assert pieces == 0 or rows >= 5
