# SPDX-License-Identifier: MIT
"""Zero tolerance: small integers through the relu cell, which is linear where it is positive.

Every sum is a whole number below 2^24, so float32 holds it exactly in whatever order it is summed. One wrong
tile, tail, stride, slot or direction of a weight shows as a wrong integer; nothing can hide in rounding.
"""

import numpy as np
import pytest
from runner import backward, build
from shapes import ladder, lanes, make_case

EXACT = 2**24


def integers(case, random):
    """Turns a case into whole numbers.

    W_hh is a permutation with signs: h grows by addition, not by multiplication, and every column is needed
    once.
    """
    for name, value in case.parameters.items():
        if name.startswith("weight_hh"):
            value[...] = np.eye(case.H)[random.permutation(case.H)] * random.choice([-1, 1], (case.H, 1))
        else:
            value[...] = random.integers(-1, 2, value.shape)
    for array in (case.x, *case.state, case.dy, *case.dstate):
        array[...] = random.integers(-2, 3, array.shape)
    return case


def check(target, dtype, case):
    want = backward(build(case, "reference", "float64"), case)
    got = backward(build(case, target, dtype), case)
    for name in want:
        assert np.abs(want[name]).max(initial=0) < EXACT / 64, "the case is too large to be exact"
        assert (want[name] == np.round(want[name])).all(), f"{name} of the reference is not whole: {case}"
        np.testing.assert_array_equal(got[name], want[name], err_msg=f"{name} on {target} {dtype}, {case}")
    return want


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_integers_on_the_ladder(fast_target, dtype, rows):
    largest = 0.0
    for seed, shape in enumerate(ladder(lanes(fast_target, dtype))):
        if shape[1] == rows:
            random = np.random.default_rng(seed)
            want = check(fast_target, dtype, integers(make_case("rnn_relu", *shape, seed=seed), random))
            largest = max(largest, np.abs(want["dweight_hh_l0"]).max())
    assert largest > 100, "the numbers are so small that nothing was tested"


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("T", [5, 40])
def test_integers_through_directions_and_masks(fast_target, dtype, masked, T):
    random = np.random.default_rng(T)
    case = make_case("rnn_relu", T, 13, 19, 37, seed=T, bidirectional=True, lengths=masked, reset=masked)
    check(fast_target, dtype, integers(case, random))
