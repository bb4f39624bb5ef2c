# SPDX-License-Identifier: MIT
"""Initial states that are parameters: used where no state is given, and trained with the rest."""

import copy
import pickle

import fastrnn
import numpy as np
import pytest
from refusal import refused
from runner import CLASSES, as_state, build, compare_bits, parts
from shapes import make_case
from targets import using
from tolerance import assert_close

T, B, I, H = 6, 5, 4, 9  # noqa: E741
STACKING = {"num_layers": 2, "bidirectional": True}
LETTERS = ("h0", "c0")


def pair(cell, target, dtype, **options):
    """A case; its net with a learned state, which is that of row 0 of the case; one without, which is given it."""
    case = make_case(cell, T, B, I, H, seed=1, lengths=True, **STACKING)
    names = LETTERS[: len(case.state)]
    learned = {name: s[:, 0] for name, s in zip(names, case.state)}
    plain = build(case, target, dtype)
    with using(target):
        net = CLASSES[cell](I, H, 2, bidirectional=True, learn_state=True, dtype=dtype, **options)
    net.load_state_dict({name: value.astype(dtype) for name, value in (case.parameters | learned).items()})
    return case, net, plain, as_state([np.repeat(s[:, :1], B, 1) for s in case.state], dtype)


def test_the_parameters_stand_behind_the_others(dtype, cell):
    net = CLASSES[cell](3, 5, 2, bidirectional=True, learn_state=True, dtype=dtype, seed=1)
    plain = CLASSES[cell](3, 5, 2, bidirectional=True, dtype=dtype, seed=1)
    names = list(net.parameters())
    count = names.index("h0")
    assert names[:count] == list(plain.parameters())
    assert names[count:] == list(LETTERS[: len(parts(net(np.ones((2, 3), dtype))[1]))])
    np.testing.assert_array_equal(net.flat[: plain.flat.size], plain.flat)
    np.testing.assert_array_equal(net.flat[plain.flat.size :], 0)
    for name in names[count:]:
        view = net.parameters()[name]
        assert view.shape == (4, net._h_size if name == "h0" else 5)
        assert np.shares_memory(view, net.flat)


def test_a_call_without_a_state_begins_with_it(target, dtype, cell):
    case, net, plain, state = pair(cell, target, dtype)
    x = case.x.astype(dtype)
    for training in (False, True):
        for lengths in (None, case.lengths):
            y, after, _ = net.forward(x, lengths=lengths, training=training)
            want, final, _ = plain.forward(x, state, lengths=lengths, training=training)
            compare_bits({"y": y, **parts(after)}, {"y": want, **parts(final)})
    zeros = as_state([np.zeros_like(s) for s in case.state], dtype)
    compare_bits({"y": net(x, zeros)[0]}, {"y": plain(x)[0]})
    one, single = net(x[:, 0])[0], plain(x[:, 0], as_state([s[:, 0] for s in case.state], dtype))[0]
    compare_bits({"y": one}, {"y": single})


def test_a_stream_begins_with_it(target, dtype, cell):
    net = CLASSES[cell](I, H, 2, learn_state=True, dtype=dtype, seed=1)
    widths = [a.shape[1] for a in parts(net(np.ones((2, I), dtype))[1]).values()]
    for name, n in zip(LETTERS, widths):
        net.parameters()[name][...] = np.linspace(-1, 1, 2 * n).reshape(2, n)
    x = np.random.default_rng(2).standard_normal((3, B, I)).astype(dtype)
    want = net(x)[0]
    assert not np.array_equal(want, net(x, as_state([np.zeros((2, B, n)) for n in widths], dtype))[0])
    out = np.empty((B, widths[0]), dtype)
    y, state = net.step(x[0])
    into, other = net.step(x[0], out=out)
    assert into is out
    compare_bits({"y": out, **parts(other)}, {"y": y, **parts(state)})
    for t in range(1, 4):
        compare_bits({"y": y}, {"y": want[t - 1]})
        y, state = net.step(x[t % 3], state)
    net.step(x[0].astype("float16"))  # by way of the checks


def test_gradients_are_sums_over_the_batch(target, dtype, cell):
    case, net, plain, state = pair(cell, target, dtype)
    x, dy, dstate = case.x.astype(dtype), case.dy.astype(dtype), as_state(case.dstate, dtype)
    grads = net.backward(net.forward(x, lengths=case.lengths)[2], dy, dstate)
    want = plain.backward(plain.forward(x, state, lengths=case.lengths)[2], dy, dstate)
    size = plain.flat.size
    compare_bits({"flat": grads.flat[:size], "x": grads.x}, {"flat": want.flat, "x": want.x})
    compare_bits(parts(grads.state), parts(want.state))
    for name, rows in zip(LETTERS, parts(want.state).values()):
        assert_close(
            grads.params[name], rows.astype("float64").sum(1), **case.sizes, dtype=dtype, backward=True
        )
        assert np.shares_memory(grads.params[name], grads.flat)
    assert grads.stats.norm == pytest.approx(np.linalg.norm(grads.flat.astype("float64")), rel=1e-5)
    assert grads.stats.norm > want.stats.norm


def test_gradients_are_added_and_clamped(target, dtype, cell):
    case, net, *_ = pair(cell, target, dtype)
    x, dy = case.x.astype(dtype), case.dy.astype(dtype)
    once = net.backward(net.forward(x)[2], dy).flat
    start = np.linspace(-1, 1, once.size).astype(dtype)
    twice = start.copy()
    net.backward(net.forward(x)[2], dy, flat=twice)
    at = net._layout["h0"][1]
    np.testing.assert_allclose(twice[at:], start[at:] + once[at:], rtol=1e-4, atol=1e-5)
    limit = float(np.abs(once[at:]).max()) / 2
    clip = fastrnn.Clip(value=limit)
    grads = net.backward(net.forward(x)[2], dy, clip=clip)
    np.testing.assert_array_equal(grads.flat, np.clip(once, -limit, limit).astype(dtype))
    assert grads.stats.stored_norm == pytest.approx(np.linalg.norm(grads.flat.astype("float64")), rel=1e-5)
    assert grads.stats.norm == pytest.approx(np.linalg.norm(once.astype("float64")), rel=1e-5)
    assert grads.stats.clamped == pytest.approx((np.abs(once) > limit).mean())


def test_with_a_given_state_it_has_no_gradient(target, dtype, cell):
    case, net, plain, state = pair(cell, target, dtype)
    x, dy = case.x.astype(dtype), case.dy.astype(dtype)
    for _ in range(3):  # in memory that other results have left
        grads = net.backward(net.forward(x)[2], dy)
        del grads
        grads = net.backward(net.forward(x, state)[2], dy)
        want = plain.backward(plain.forward(x, state)[2], dy)
        np.testing.assert_array_equal(grads.flat[: want.flat.size], want.flat)
        np.testing.assert_array_equal(grads.flat[want.flat.size :], 0)
    added = np.ones_like(grads.flat)
    net.backward(net.forward(x, state)[2], dy, flat=added)
    np.testing.assert_array_equal(added[want.flat.size :], 1)


def test_gradients_are_those_of_the_loss(target, cell):
    """Against central differences."""
    case, net, *_ = pair(cell, target, "float64")
    grads = net.backward(net.forward(case.x, lengths=case.lengths)[2], case.dy)
    eps = 1e-5
    for name in LETTERS[: len(case.state)]:
        move = np.random.default_rng(3).standard_normal(net.parameters()[name].shape)
        losses = []
        for sign in (1, -2, 1):
            net.parameters()[name][...] += sign * eps * move
            losses.append((net(case.x, lengths=case.lengths)[0] * case.dy).sum())
        slope = (losses[0] - losses[1]) / (2 * eps)
        assert slope == pytest.approx((grads.params[name] * move).sum(), rel=1e-6, abs=1e-8)


def test_a_reset_still_means_zeros(target, dtype, cell):
    plain, net = CLASSES[cell](I, H, dtype=dtype), CLASSES[cell](I, H, learn_state=True, dtype=dtype)
    net.flat[: plain.flat.size] = plain.flat
    net.flat[plain.flat.size :] = 1
    reset = np.zeros((T, B), bool)
    reset[2] = True
    x = np.ones((T, B, I), dtype)
    got, want = net(x, reset=reset)[0], plain(x, reset=reset)[0]
    np.testing.assert_array_equal(got[2:], want[2:])
    assert not np.array_equal(got[:2], want[:2])


def test_max_workspace_keeps_the_bits(target, dtype, cell):
    case = make_case(cell, 40, 5, 6, 16, seed=6)
    net = CLASSES[cell](6, 16, learn_state=True, dtype=dtype, seed=1)
    net.flat[:] = np.random.default_rng(1).uniform(-0.3, 0.3, net.flat.size)
    x, dy = case.x.astype(dtype), case.dy.astype(dtype)
    with pytest.raises(ValueError, match="at least") as error:
        net.forward(x, max_workspace=1)
    y, state, tape = net.forward(x, max_workspace=int(str(error.value).split()[-1]))
    assert tape.segments > 1
    want_y, final, whole = net.forward(x)
    compare_bits(
        {"y": y, **parts(state), "flat": net.backward(tape, dy).flat},
        {"y": want_y, **parts(final), "flat": net.backward(whole, dy).flat},
    )


@pytest.mark.parametrize(
    "how", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))], ids=["copy", "pickle"]
)
def test_copies(cell, how):
    _, net, _, _ = pair(cell, fastrnn.active(), "float32")
    twin = how(net)
    assert repr(twin) == repr(net)
    assert "learn_state=True" in repr(net)
    np.testing.assert_array_equal(twin.flat, net.flat)
    x = np.ones((3, 2, I), np.float32)
    np.testing.assert_array_equal(twin(x)[0], net(x)[0])


def test_state_dict_loads_back(cell):
    _, net, plain, _ = pair(cell, fastrnn.active(), "float32")
    other = CLASSES[cell](I, H, 2, bidirectional=True, learn_state=True)
    other.load_state_dict(net.state_dict())
    np.testing.assert_array_equal(other.flat, net.flat)
    refused(ValueError, ["lacks", "h0"], other.load_state_dict, plain.state_dict())
    refused(ValueError, ["unknown", "h0"], plain.load_state_dict, net.state_dict())


def test_a_written_state_is_used_by_the_next_call(target, cell):
    net = CLASSES[cell](I, H, learn_state=True, seed=1)
    x = np.ones((3, 2, I), np.float32)
    before = net(x)[0]
    net.parameters()["h0"][...] = 0.5
    assert not np.array_equal(net(x)[0], before)


def test_what_is_not_finite_is_named():
    net = fastrnn.LSTM(I, H, learn_state=True)
    net.parameters()["c0"][0, 3] = np.nan
    with pytest.raises(fastrnn.NonFiniteError, match="c0"):
        net.forward(np.ones((3, 2, I), np.float32), error_if_nonfinite=True)


def test_bad_flag():
    refused(TypeError, ["learn_state", 1, "bool"], fastrnn.GRU, 3, 4, learn_state=1)


def test_a_model_learns_it(tmp_path):
    pytest.importorskip("safetensors", reason="saves a model")
    random = np.random.default_rng(1)
    x = [random.integers(0, 6, n) for n in (4, 7, 2, 5)]
    y = [
        np.eye(len(tokens), dtype=int)[0] for tokens in x
    ]  # the first step is told from the others by its state
    net = fastrnn.NToN("lstm", fastrnn.Embedding(6, 4), 8, 2, learn_state=True, seed=1)
    net.fit(x, y, epochs=60, optimizer=fastrnn.Adam(3e-2), seed=1, progress=False)
    assert net.rnn.parameters()["h0"].all()
    assert net.rnn.parameters()["c0"].all()
    net.save(tmp_path / "model.safetensors")
    again = fastrnn.load(tmp_path / "model.safetensors")
    assert again.arguments["learn_state"] is again.rnn.learn_state is True
    np.testing.assert_array_equal(again.rnn.flat, net.rnn.flat)
    assert net.evaluate(x, y)["accuracy"] == 1.0
