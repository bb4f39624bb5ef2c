# SPDX-License-Identifier: MIT
"""Products of rows, and sums over rows in pieces for the BLAS: the same sums, however they are cut."""

import fastrnn
import numpy as np
import pytest
from fastrnn import products
from tolerance import assert_same_bits

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


def test_pieces_stay_below_the_limit():
    """Every product of the BLAS has few multiplications, or there is one product alone."""
    seen = []

    class Recorded(np.ndarray):
        def __matmul__(self, other):
            seen.append((self.shape, other.shape))
            return np.asarray(self) @ np.asarray(other)

    for n, k, h in ((333, 95, 256), (1000, 20, 128), (50, 3000, 512)):
        seen.clear()
        dz = np.ones((n, k), np.float32).view(Recorded)
        products.add_product(np.zeros((k, h), np.float32), dz, np.ones((n, h), np.float32))
        assert sum(rows for (_, rows), _ in seen) == n
        assert len(seen) == 1 or all(8 * rows * width <= 2**18 for (_, rows), (_, width) in seen)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_row_has_the_same_bits_in_every_product(dtype):
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((200, 70)).astype(dtype), rng.standard_normal((70, 45)).astype(dtype)
    whole, turned = products.product(a, b), products.product(a, np.asfortranarray(b))
    assert_same_bits(turned, whole)
    for start, end in ((0, 1), (1, 3), (3, 17), (199, 200)):
        assert_same_bits(products.product(a[start:end], b), whole[start:end])
    with fastrnn.threads(2):
        many = products.product(np.tile(a, (20, 1)), b)
    assert_same_bits(many, np.tile(whole, (20, 1)))
