# SPDX-License-Identifier: MIT
"""Who owns the memory of parameters and tapes, and what others may do with it."""

import copy
import gc

import fastrnn
import numpy as np
import pytest


def test_a_tape_of_a_dead_net_is_refused():
    """Also where a new net lies at the address of the old one, which is likely."""
    x = np.ones((3, 2, 4), np.float32)
    for _ in range(20):
        net = fastrnn.LSTM(4, 6, seed=0)
        tape = net.forward(x)[2]
        del net
        gc.collect()
        other = fastrnn.LSTM(4, 9, num_layers=2, seed=0)
        with pytest.raises(ValueError, match="another net"):
            other.backward(tape)


def test_the_memory_of_parameters_cannot_be_taken_away():
    net = fastrnn.GRU(3, 5, seed=1)
    with pytest.raises(ValueError, match="resize"):
        net.flat.resize(1, refcheck=False)
    flat = net.flat
    flat.flags.writeable = False
    assert net.flat.flags.writeable
    kept = flat.copy()
    del net
    gc.collect()
    np.testing.assert_array_equal(flat, kept)


def test_writes_through_any_view_are_seen(target):
    net = fastrnn.RNN(3, 5, seed=2)
    x = np.ones((2, 1, 3), np.float32)
    bias = net.parameters()["bias_ih_l0"]
    for _ in range(3):
        bias += 1
        twin = fastrnn.RNN(3, 5)
        twin.load_state_dict(net.state_dict())
        np.testing.assert_array_equal(net(x)[0], twin(x)[0])
    del bias
    net.flat[:] = 0
    assert (net(x)[0] == 0).all()
    assert (net.step(x[0])[0] == 0).all()


def test_parameters_may_be_exchanged_through_views():
    net = fastrnn.LSTM(5, 5, seed=3)
    before, views = net.state_dict(), net.parameters()
    net.load_state_dict(
        {**views, "weight_ih_l0": views["weight_hh_l0"], "weight_hh_l0": views["weight_ih_l0"]}
    )
    np.testing.assert_array_equal(views["weight_ih_l0"], before["weight_hh_l0"])
    np.testing.assert_array_equal(views["weight_hh_l0"], before["weight_ih_l0"])


def test_a_copy_keeps_the_target(target):
    net = fastrnn.GRU(3, 5, seed=4)
    with fastrnn.using("reference"):
        assert copy.deepcopy(net).isa == net.isa == target


@pytest.mark.parametrize("hidden", [5, 16, 33])
def test_infinite_inputs_stay_in_their_row(target, cell, dtype, hidden):
    """Lanes beyond the last unit must not turn them into NaN for all."""
    net = fastrnn.layers.CELLS[cell](3, hidden, dtype=dtype, seed=5)
    x = np.random.default_rng(6).standard_normal((4, 2, 3)).astype(dtype)
    x[1, 0, 0] = np.inf
    y, _, tape = net.forward(x)
    grads = net.backward(tape, np.ones_like(y))
    assert np.isfinite(grads.x[:, 1]).all()
    np.testing.assert_allclose(y[:, 1:], net(x[:, 1:])[0], rtol=1e-5, atol=1e-6)
    weights = [grads.params[f"{name}_l0"] for name in ("weight_hh", "bias_ih", "bias_hh")]
    with fastrnn.using("reference"):
        trusted = fastrnn.layers.CELLS[cell](3, hidden, dtype=dtype)
    trusted.load_state_dict(net.state_dict())
    want = trusted.backward(trusted.forward(x)[2], np.ones_like(y)).params
    for got, name in zip(weights, ("weight_hh", "bias_ih", "bias_hh")):
        np.testing.assert_array_equal(np.isfinite(got), np.isfinite(want[f"{name}_l0"]))


def test_a_reset_stops_what_is_not_finite(target, cell, dtype):
    net = fastrnn.layers.CELLS[cell](3, 5, dtype=dtype, seed=7)
    x = np.random.default_rng(8).standard_normal((4, 1, 3)).astype(dtype)
    x[0] = np.nan
    reset = np.zeros((4, 1), bool)
    reset[1] = True
    y, _, tape = net.forward(x, reset=reset)
    assert np.isnan(y[0]).all()
    assert np.isfinite(y[1:]).all()
    grads = net.backward(tape, np.concatenate([np.zeros_like(y[:1]), np.ones_like(y[1:])]))
    assert np.isfinite(grads.x[1:]).all()


def test_lengths_may_be_overwritten_before_stats_are_read():
    """What was measured of steps is arranged when it is asked for."""
    net = fastrnn.GRU(3, 4, seed=1)
    lengths = np.array([5, 2])
    y, _, tape = net.forward(np.ones((5, 2, 3), np.float32), lengths=lengths)
    clip = fastrnn.Clip(step_value=1e-3)
    stats = net.backward(tape, np.ones_like(y), clip=clip).stats
    _, _, tape = net.forward(np.ones((5, 2, 3), np.float32), lengths=[5, 2])
    want = net.backward(tape, np.ones_like(y), clip=clip).stats.step_clamped
    lengths[:] = 0
    np.testing.assert_array_equal(stats.step_clamped, want)
