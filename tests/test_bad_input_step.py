# SPDX-License-Identifier: MIT
"""Bad input to step: one error that names both sides, and neither out nor state was changed."""

import fastrnn
import numpy as np
import pytest
from refusal import B, H, I, T, refused, zeros


@pytest.fixture
def net():
    return fastrnn.LSTM(I, H, seed=1)


@pytest.mark.parametrize(
    ("x", "error", "words"),
    [
        (zeros(B, I + 4), ValueError, [(B, I + 4), (4 * H, I)]),
        (zeros(I + 4), ValueError, [(I + 4,), (4 * H, I)]),
        (zeros(T, B, I), ValueError, [(T, B, I)]),
        (zeros(), ValueError, [()]),
        ("x", TypeError, []),
        (None, TypeError, []),
        (zeros(B, I).astype(complex), TypeError, ["complex128"]),
    ],
)
def test_x_of_step(net, x, error, words):
    refused(error, words, net.step, x)
    state = (zeros(1, B, H) + 1, zeros(1, B, H) + 1)
    y = zeros(B, H) + 1
    refused(error, words, net.step, x, state, out=y)
    for array in (*state, y):
        assert (array == 1).all()


def read_only(a):
    a.flags.writeable = False
    return a


GOOD_STATE = (1, B, H)


@pytest.mark.parametrize(
    ("out", "state", "error", "words"),
    [
        (lambda: zeros(B, H + 1), None, ValueError, ["out", (B, H + 1), (B, H)]),
        (lambda: zeros(H), None, ValueError, ["out", (H,), (B, H)]),
        (lambda: zeros(B, H, dtype="float64"), None, TypeError, ["out", "float64", "float32"]),
        (lambda: read_only(zeros(B, H)), None, ValueError, ["out"]),
        (lambda: [[0.0] * H] * B, None, TypeError, ["out"]),
        (
            lambda: zeros(B, H),
            lambda: (read_only(zeros(*GOOD_STATE)), zeros(*GOOD_STATE)),
            ValueError,
            ["state"],
        ),
        (
            lambda: zeros(B, H),
            lambda: (zeros(*GOOD_STATE), zeros(*GOOD_STATE, dtype="float64")),
            TypeError,
            ["state", "float64", "float32"],
        ),
    ],
)
def test_out_of_step(net, out, state, error, words):
    state = state() if state else (zeros(*GOOD_STATE), zeros(*GOOD_STATE))
    target = out()
    refused(error, words, net.step, zeros(B, I) + 1, state, out=target)
    for array in (*state, target):
        assert not np.any(array)


def test_out_may_not_be_what_is_read(net):
    """No array may be written while it is read, or be written twice."""
    square = fastrnn.LSTM(H, H, seed=2)
    x = np.random.default_rng(3).standard_normal((B, H)).astype(np.float32)
    state = (zeros(1, B, H) + 1, zeros(1, B, H) + 1)
    want, new = square.step(x, state)
    h, c = (s.copy() for s in state)
    refused(ValueError, ["out"], square.step, x, (h, c), out=h[0])
    refused(ValueError, ["state"], square.step, x, (h, h), out=zeros(B, H))
    for array in (h, c):
        assert (array == 1).all()
    kept = x.copy()
    refused(ValueError, ["out"], square.step, x, (h, c), out=x)
    np.testing.assert_array_equal(x, kept)
    got, _ = square.step(x, (h, c), out=zeros(B, H))
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(c, new[1])


def test_a_reverse_direction_cannot_stream():
    net = fastrnn.LSTM(I, H, bidirectional=True)
    refused(ValueError, ["bidirectional"], net.step, zeros(B, I))
