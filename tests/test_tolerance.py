# SPDX-License-Identifier: MIT
"""The comparisons see what they are there to see."""

import numpy as np
import pytest
from tolerance import assert_close, assert_same_bits, tolerance

ONE = {"steps": 1, "inputs": 3, "hidden": 5}
MANY = {"steps": 4, "inputs": 3, "hidden": 5}


def test_the_formula():
    assert tolerance(**ONE, dtype="float32") == 4 * 3 * 2.0**-23
    assert tolerance(**MANY, dtype="float64", backward=True) == 8 * 5 * 2.0**-52
    assert tolerance(steps=0, inputs=1, hidden=1, dtype="float64") == 4 * 2.0**-52


@pytest.mark.parametrize("sizes", [ONE, MANY], ids=["one step", "many steps"])
def test_just_inside_and_just_outside(sizes):
    want = np.array([[1.0, -1.0], [0.25, 1.0]])
    allowed = tolerance(**sizes, dtype="float64")
    inside, outside = want.copy(), want.copy()
    inside[0, 1] += 0.9 * allowed
    outside[0, 1] += 1.1 * allowed
    assert_close(inside, want, **sizes)
    with pytest.raises(
        AssertionError, match=r"y: 1 of 4 elements are wrong; worst is \[0, 1\]: got .*-0.99.*want .*-1.0"
    ):
        assert_close(outside, want, **sizes, name="y")


def test_one_step_is_element_by_element():
    want = np.array([1000.0, 1.0, 1.0, 1.0])
    got = want + np.array([0, 0, 0, 600 * tolerance(**ONE, dtype="float64")])
    with pytest.raises(AssertionError, match=r"worst is \[3\]"):
        assert_close(got, want, **ONE)
    assert_close(got, want, **MANY)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("sizes", [ONE, MANY], ids=["one step", "many steps"])
def test_not_finite_is_wrong(sizes, wrong):
    want = np.ones((2, 3), np.float32)
    got = want.copy()
    got[1, 2] = wrong
    with pytest.raises(AssertionError, match=r"worst is \[1, 2\]"):
        assert_close(got, want, **sizes)
    with pytest.raises(AssertionError, match="not finite"):
        assert_close(want, got, **sizes)


def test_zeros_are_exact():
    assert_close(np.zeros(3), np.zeros(3), **MANY)
    with pytest.raises(AssertionError, match="1 of 3 elements"):
        assert_close(np.array([0, 0, 1e-300]), np.zeros(3), **MANY)


@pytest.mark.parametrize("sizes", [ONE, MANY], ids=["one step", "many steps"])
def test_what_cancelled_has_the_scale_of_its_terms(sizes):
    want, allowed = np.array([1e-5]), tolerance(**sizes, dtype="float64")
    assert_close(want + 0.9 * allowed, want, **sizes)
    with pytest.raises(AssertionError, match="1 of 1 elements"):
        assert_close(want + 1.1 * allowed, want, **sizes)


def test_shape_and_dtype_count():
    with pytest.raises(AssertionError, match="shape"):
        assert_close(np.zeros((3, 1)), np.zeros((1, 3)), **ONE)
    with pytest.raises(AssertionError, match="float64, expected float32"):
        assert_close(np.zeros(3), np.zeros(3), **ONE, dtype="float32")
    with pytest.raises(AssertionError, match="shape"):
        assert_same_bits(np.zeros((3, 1)), np.zeros((1, 3)))
    with pytest.raises(AssertionError, match="float32"):
        assert_same_bits(np.zeros(3), np.zeros(3, np.float32))


def test_bits_see_the_last_digit_and_the_sign_of_zero():
    a = np.array([[1.0, 0.0], [2.0, 3.0]])
    assert_same_bits(a, a.copy())
    assert_same_bits(a, np.asfortranarray(a))
    for b in (np.nextafter(1.0, 2), 1.0), (-0.0, 0.0):
        with pytest.raises(AssertionError, match=r"1 of 2 elements differ in bits; first is \[0\]"):
            assert_same_bits(np.array([b[0], 7]), np.array([b[1], 7]))
