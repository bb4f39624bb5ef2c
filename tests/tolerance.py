# SPDX-License-Identifier: MIT
"""The one tolerance of the tests: no test has numbers of its own, but for what is promised in double."""

import math

import numpy as np

# The cases are scaled so that the terms of every sum are of order 1. A tensor whose numbers are all smaller than
# that came about by cancellation (one or two elements in a tensor, 1 - y^2 of a saturated unit) and is not asked
# for digits that its terms did not have. In 10,000 random cases of the ladder the worst error was 0.5 of what is
# allowed; with 1/8 instead, 1 case in 1,000 was beyond.
LEAST_SCALE = 1.0


def tolerance(*, steps, inputs, hidden, dtype, backward=False, magnified=1):
    """Relative error allowed: 4 * (2 if backward) * ceil(log2((I + H) * T)) * eps(dtype) * magnified.

    (I + H) * T is how many products lie on the way to one number; rounding errors of their sums grow with the
    logarithm (blocked sums), not with the number. For a stack of layers T is the longest way through it:
    layers * T. magnified: how much a normalisation may enlarge an error (oracle.Cell).
    """
    depth = math.ceil(math.log2(max(2, (inputs + hidden) * steps)))
    return 4 * (2 if backward else 1) * depth * float(np.finfo(dtype).eps) * magnified


def assert_close(got, want, *, steps, inputs, hidden, dtype=None, backward=False, magnified=1, name="result"):
    """got, of the kernel under test, against want, from something trusted and more exact.

    One step (steps == 1): element by element, where an element's scale is max(|want|, rms of want). More
    steps: relative to the largest of the tensor. Neither scale is less than LEAST_SCALE. A tensor of zeros is
    expected exactly.
    """
    got, want = np.asarray(got), np.asarray(want)
    dtype = got.dtype if dtype is None else np.dtype(dtype)
    assert got.dtype == dtype, f"{name} is {got.dtype}, expected {dtype}"
    assert got.shape == want.shape, f"{name} has shape {got.shape}, expected {want.shape}"
    if want.size == 0:
        return
    assert np.isfinite(want).all(), f"{name}: what is expected is not finite, the case is useless"
    want = want.astype(np.float64)
    error = np.abs(got.astype(np.float64) - want)
    if steps <= 1:
        scale = np.maximum(np.abs(want), math.sqrt(np.square(want).mean()))
    else:
        scale = np.full(want.shape, np.abs(want).max())
    if want.any():
        scale = np.maximum(scale, LEAST_SCALE)
    allowed = tolerance(
        steps=steps, inputs=inputs, hidden=hidden, dtype=dtype, backward=backward, magnified=magnified
    )
    wrong = ~(error <= allowed * scale)  # written so that NaN is wrong
    if wrong.any():
        raise AssertionError(worst(got, want, error, scale, allowed, wrong, name))


def worst(got, want, error, scale, allowed, wrong, name):
    """The message: how many are wrong, and the worst of them."""
    relative = np.divide(error, scale, out=np.full(error.shape, np.inf), where=scale > 0)
    relative[error == 0] = 0
    at = np.unravel_index(np.where(np.isnan(relative), np.inf, relative).argmax(), relative.shape)
    place = ", ".join(str(int(n)) for n in at)
    return (
        f"{name}: {int(wrong.sum())} of {wrong.size} elements are wrong; worst is [{place}]: "
        f"got {got[at]!r}, want {want[at]!r}, error {relative[at]:.2e} of the scale {scale[at]:.2e}, "
        f"allowed {allowed:.2e}"
    )


def assert_same_bits(got, want, *, name="result"):
    """Bit for bit, the sign of zero included."""
    got, want = np.ascontiguousarray(got), np.ascontiguousarray(want)
    assert got.dtype == want.dtype, f"{name} is {got.dtype}, expected {want.dtype}"
    assert got.shape == want.shape, f"{name} has shape {got.shape}, expected {want.shape}"
    if got.tobytes() != want.tobytes():
        differ = np.flatnonzero(got.view(f"u{got.itemsize}").ravel() != want.view(f"u{got.itemsize}").ravel())
        at = np.unravel_index(differ[0], got.shape)
        place = ", ".join(str(int(n)) for n in at)
        raise AssertionError(
            f"{name}: {differ.size} of {got.size} elements differ in bits; "
            f"first is [{place}]: {got[at]!r} and {want[at]!r}"
        )
