# SPDX-License-Identifier: MIT
"""Bad input to backward and load_state_dict, tapes used wrongly: one error, and nothing was changed."""

import fastrnn
import numpy as np
import pytest
from refusal import EITHER, B, H, I, T, refused, zeros


@pytest.fixture
def net():
    return fastrnn.LSTM(I, H, seed=1)


SHAPE = (T, B, H)


@pytest.mark.parametrize(
    ("dy", "dstate", "error", "words"),
    [
        (zeros(T, B, H + 1), None, ValueError, ["dy", (T, B, H + 1), SHAPE]),
        (zeros(T, B), None, ValueError, ["dy", (T, B), SHAPE]),
        (zeros(B, T, H), None, ValueError, ["dy", (B, T, H), SHAPE]),
        (zeros(*SHAPE).astype(complex), None, TypeError, ["dy", "complex128"]),
        ("dy", None, TypeError, ["dy"]),
        (None, zeros(1, B, H), EITHER, ["dstate"]),
        (None, (zeros(1, B, H),), EITHER, ["dstate"]),
        (None, (zeros(1, B, H), zeros(1, B, H + 1)), ValueError, [(1, B, H + 1), (1, B, H)]),
        (None, "dstate", EITHER, ["dstate", "str"]),
    ],
)
def test_gradients_given_to_backward(net, dy, dstate, error, words):
    """And the tape is not used up by a call that was refused."""
    x = np.random.default_rng(1).standard_normal((T, B, I)).astype(np.float32)
    good = zeros(*SHAPE) + 1
    want = net.backward(net.forward(x)[2], good)
    tape = net.forward(x)[2]
    refused(error, words, net.backward, tape, dy, dstate)
    got = net.backward(tape, good)
    np.testing.assert_array_equal(got.flat, want.flat)
    np.testing.assert_array_equal(got.x, want.x)


@pytest.mark.parametrize(
    ("flat", "error", "words"),
    [
        (lambda n: zeros(n + 1), ValueError, ["flat"]),
        (lambda n: zeros(n, 1), ValueError, ["flat"]),
        (lambda n: zeros(n, dtype="float64"), TypeError, ["flat", "float64", "float32"]),
        (lambda n: [0.0] * n, TypeError, ["flat"]),
        (lambda n: zeros(2 * n)[::2], ValueError, ["flat"]),
        (lambda n: np.broadcast_to(np.float32(0), n), ValueError, ["flat"]),
    ],
)
def test_flat_to_add_to(net, flat, error, words):
    y, _, tape = net.forward(zeros(T, B, I) + 1)
    target = flat(net.flat.size)
    refused(error, words, net.backward, tape, y, flat=target)
    assert not np.any(np.asarray(target))
    assert net.backward(tape, y).flat.any()


def test_a_tape_is_used_once(net):
    y, _, tape = net.forward(zeros(T, B, I) + 1)
    assert net.backward(tape, y).flat.any()
    flat = zeros(net.flat.size)
    refused(ValueError, ["tape"], net.backward, tape, y, flat=flat)
    assert not flat.any()


def test_a_tape_belongs_to_its_net(net):
    y, _, tape = net.forward(zeros(T, B, I) + 1)
    twin = fastrnn.LSTM(I, H, seed=1)
    for other in (twin, fastrnn.GRU(I, H), fastrnn.LSTM(I, H, dtype="float64")):
        flat = zeros(other.flat.size, dtype=other.dtype)
        refused(ValueError, ["tape"], other.backward, tape, y.astype(other.dtype), flat=flat)
        assert not flat.any()
    assert net.backward(tape, y).flat.any()


@pytest.mark.parametrize("tape", [None, 3, "tape", object(), np.zeros(3)], ids=repr)
def test_what_is_no_tape(net, tape):
    refused(EITHER, ["tape"], net.backward, tape, zeros(T, B, H))


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (
            lambda s: s.pop("bias_hh_l0"),
            ValueError,
            ["bias_hh_l0"],
        ),
        (lambda s: s.clear(), ValueError, ["weight_ih_l0"]),
        (lambda s: s.update(weight_ih_l1=zeros(20, 5)), ValueError, ["weight_ih_l1"]),
        (lambda s: s.update(weight_ih_l0=zeros(20, 4)), ValueError, ["weight_ih_l0", (20, 4), (20, 3)]),
        (lambda s: s.update(weight_ih_l0=zeros(3, 20)), ValueError, ["weight_ih_l0", (3, 20), (20, 3)]),
        (lambda s: s.update(bias_hh_l0=zeros(1)), ValueError, ["bias_hh_l0", (1,), (20,)]),
        (lambda s: s.update(bias_hh_l0=zeros(20, 1)), ValueError, ["bias_hh_l0", (20, 1), (20,)]),
        (lambda s: s.update(bias_hh_l0=None), TypeError, ["bias_hh_l0"]),
        (lambda s: s.update(bias_hh_l0="bias"), TypeError, ["bias_hh_l0"]),
        (lambda s: s.update(bias_hh_l0=zeros(20).astype(complex)), TypeError, ["bias_hh_l0", "complex128"]),
        (lambda s: s.update(bias_hh_l0=np.full(20, "1")), TypeError, ["bias_hh_l0"]),
    ],
)
def test_state_dict(net, change, error, words):
    """The last names are the wrong ones: what comes before them must not have been written."""
    state = net.state_dict()
    for value in state.values():
        value += 1
    change(state)
    kept = net.flat.copy()
    refused(error, words, net.load_state_dict, state)
    np.testing.assert_array_equal(net.flat, kept)


@pytest.mark.parametrize("mapping", [None, 3, "weights", [1, 2], np.zeros(3)], ids=repr)
def test_what_is_no_state_dict(net, mapping):
    kept = net.flat.copy()
    refused(TypeError, [], net.load_state_dict, mapping)
    np.testing.assert_array_equal(net.flat, kept)


def test_state_dict_of_another_cell(net):
    kept = net.flat.copy()
    refused(
        ValueError,
        ["weight_ih_l0", (3 * H, I), (4 * H, I)],
        net.load_state_dict,
        fastrnn.GRU(I, H).state_dict(),
    )
    refused(
        ValueError,
        ["weight_ih_l0_reverse"],
        net.load_state_dict,
        fastrnn.LSTM(I, H, bidirectional=True).state_dict(),
    )
    refused(ValueError, ["bias_ih_l0"], net.load_state_dict, fastrnn.LSTM(I, H, bias=False).state_dict())
    np.testing.assert_array_equal(net.flat, kept)


def test_attributes_that_cannot_be_exchanged(net):
    for name in ("flat", "isa", "num_directions"):
        with pytest.raises(AttributeError):
            setattr(net, name, getattr(net, name))
