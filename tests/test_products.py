# SPDX-License-Identifier: MIT
"""Products of rows, and sums over rows in pieces: the same sums, however they are cut, and by no BLAS."""

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


def test_no_product_is_the_blas():
    """Its threads spin where cores are busy, and their number changes bits."""

    class Own(np.ndarray):
        def __array_ufunc__(self, ufunc, method, *inputs, **options):
            assert ufunc is not np.matmul
            plain = [np.asarray(each) if isinstance(each, Own) else each for each in inputs]
            return getattr(ufunc, method)(*plain, **options)

    a, b = np.ones((333, 95), np.float32).view(Own), np.ones((333, 256), np.float32).view(Own)
    with pytest.raises(AssertionError):
        a.T @ b
    out = np.zeros((95, 256), np.float32)
    products.add_product(out, a, b)
    assert (out == 333).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_over_rows_are_precise_and_the_same_for_any_number_of_threads(dtype):
    rng = np.random.default_rng(4)
    a, b = (rng.standard_normal((5000, n)).astype(dtype) for n in (40, 256))
    found = []
    for threads in (1, 2, 3):
        with fastrnn.threads(threads):
            found.append(np.zeros((40, 256), dtype))
            products.add_product(found[-1], a, b)
    assert_same_bits(found[1], found[0])
    assert_same_bits(found[2], found[0])
    want = a.T.astype(np.longdouble) @ b.astype(np.longdouble)
    # 40 sums of 128 products each, of which a rounding is half a unit of a partial sum of about sqrt(5000)
    assert np.abs(found[0] - want).max() <= 100 * np.finfo(dtype).eps * np.sqrt(5000)


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
