# SPDX-License-Identifier: MIT
"""Dropout: what the masks are, that they act where they should, and that backward goes through the same ones."""

import copy
import pickle

import fastrnn
import numpy as np
import pytest
from fastrnn import _core
from masks import OUTPUTS, kept
from refusal import refused
from runner import CLASSES, as_state, build, compare_bits, parts
from shapes import make_case
from targets import using

T, B, H = 12, 7, 40
KINDS = [
    {"dropout": 0.4},
    {"dropout": 0.4, "variational": True},
    {"input_dropout": 0.3},
    {"dropout": 0.4, "variational": True, "input_dropout": 0.3},
]


def copier(width, steps=T, rows=B, **options):
    """y of a net of relu units that hands x on, for x of ones: the product of all masks. The net and that product."""
    net = fastrnn.RNN(width, width, options.pop("num_layers", 2), nonlinearity="relu", bias=False, **options)
    for name, value in net.parameters().items():
        value[...] = np.eye(width) if "weight_ih" in name else 0
    return net, np.ones((steps, rows, width), net.dtype)


def mask(seed, p, *, of="dropout", **options):
    """(T,B,H) the mask of one layer, seen from outside."""
    layers = 2 if of == "dropout" else 1
    net, x = copier(H, num_layers=layers, dtype="float64", **{of: p}, **options)
    return net.forward(x, dropout_seed=seed)[0]


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("variational", [False, True])
def test_a_mask_drops_a_share_p_and_scales_the_rest(target, dtype, p, variational):
    net, x = copier(100, 60, 50, dropout=p, variational=variational, dtype=dtype)
    y, _, _ = net.forward(x, dropout_seed=1)
    np.testing.assert_array_equal(np.unique(y), np.array([0, 1 / (1 - p)], dtype))
    seen = y[:1] if variational else y
    assert abs((seen == 0).mean() - p) < 5 * (p * (1 - p) / seen.size) ** 0.5
    assert (y == y[:1]).all() == variational


def test_masks_of_places_and_seeds_have_nothing_to_do_with_each_other():
    """Neighbours in time, rows, units, layers and seeds agree as often as chance has it."""
    dropped = mask(1, 0.5) == 0
    net, x = copier(H, num_layers=3, dropout=0.5, dtype="float64")
    _, _, tape = net.forward(x, dropout_seed=1)
    first, second = tape._core.output(0), tape._core.output(1)
    np.testing.assert_array_equal(first == 0, dropped)
    alive = first > 0
    pairs = {
        "steps": (dropped[1:], dropped[:-1]),
        "rows": (dropped[:, 1:], dropped[:, :-1]),
        "units": (dropped[:, :, 1:], dropped[:, :, :-1]),
        "seeds": (dropped, mask(2, 0.5) == 0),
        "far seeds": (dropped, mask(1 + 2**32, 0.5) == 0),
        "input": (mask(1, 0.5, variational=True)[0] == 0, mask(1, 0.5, of="input_dropout")[0] == 0),
        "layers": (second[alive] == 0, np.zeros(alive.sum(), bool)),
    }
    for name, (a, b) in pairs.items():
        assert abs((a == b).mean() - 0.5) < 4 * 0.5 / a.size**0.5, name
    assert (dropped[1:] != dropped[:-1]).any(axis=(1, 2)).all()


@pytest.mark.parametrize("variational", [False, True])
def test_a_seed_means_the_same_masks_for_ever(variational):
    """The hash of mask.h once more, in NumPy."""
    want = kept(0.4, 11, OUTPUTS, 1, [0] * T if variational else range(1, T + 1), B, H)
    np.testing.assert_array_equal(mask(11, 0.4, variational=variational) > 0, want)


def test_masks_are_those_of_every_target(target, dtype):
    for options in KINDS:
        net, x = copier(9, dtype=dtype, **options)
        with fastrnn.using("reference"):
            other, _ = copier(9, dtype=dtype, **options)
        got, want = net.forward(x, dropout_seed=3)[0], other.forward(x, dropout_seed=3)[0]
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("variational", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_two_layers_are_two_nets_with_a_mask_between(target, dtype, cell, variational, bidirectional, masked):
    """Values, states and all gradients have the bits of nets of one layer that are put together by hand."""
    D = 1 + bidirectional
    width = H // D * (2 if cell == "lstm_projected" else 1)  # of c: what is dropped is H wide
    case = make_case(
        cell, T, B, 5, width, seed=1, num_layers=2, bidirectional=bidirectional, lengths=masked, reset=masked
    )
    net = build(case, target, dtype, dropout=0.4, variational=variational)
    drop = mask(7, 0.4, variational=variational).astype(dtype)
    lower, upper = (fastrnn_layer(case, target, dtype, k) for k in (0, 1))
    x, dy = case.x.astype(dtype), case.dy.astype(dtype)
    state = [s.astype(dtype) for s in case.state]
    dstate = [s.astype(dtype) for s in case.dstate]

    y, final, tape = net.forward(x, as_state(state, dtype), dropout_seed=7, **case.masks)
    grads = net.backward(tape, dy, as_state(dstate, dtype))
    y0, final0, tape0 = lower.forward(x, as_state([s[:D] for s in state], dtype), **case.masks)
    y1, final1, tape1 = upper.forward(y0 * drop, as_state([s[D:] for s in state], dtype), **case.masks)
    grads1 = upper.backward(tape1, dy, as_state([s[D:] for s in dstate], dtype))
    grads0 = lower.backward(tape0, grads1.x * drop, as_state([s[:D] for s in dstate], dtype))

    got = {"y": y, **parts(final), "dx": grads.x, **parts(grads.state, "dstate"), **grads.params}
    want = {"y": y1, "dx": grads0.x}
    for name, a, b in (("state", final0, final1), ("dstate", grads0.state, grads1.state)):
        below, above = parts(a, name), parts(b, name)
        want |= {key: np.concatenate([below[key], above[key]]) for key in below}
    want |= grads0.params | {name.replace("_l0", "_l1"): g for name, g in grads1.params.items()}
    compare_bits(got, {name: want[name] for name in got})


def fastrnn_layer(case, target, dtype, number):
    """Layer `number` of a case as a net of its own."""
    mine = {
        name.replace(f"_l{number}", "_l0"): value.astype(dtype)
        for name, value in case.parameters.items()
        if f"_l{number}" in name
    }
    inputs = mine["weight_ih_l0"].shape[1]
    with using(target):
        net = CLASSES[case.cell](inputs, case.H, bidirectional=case.bidirectional, dtype=dtype)
    net.load_state_dict(mine)
    return net


def test_input_dropout_is_a_mask_on_x(target, dtype, cell):
    case = make_case(cell, T, B, H, 9, seed=2, lengths=True)
    net, plain = build(case, target, dtype, input_dropout=0.3), build(case, target, dtype)
    drop = mask(8, 0.3, of="input_dropout").astype(dtype)
    np.testing.assert_array_equal(drop, np.broadcast_to(drop[:1], drop.shape))
    x, dy = case.x.astype(dtype), case.dy.astype(dtype)
    kept = x.copy()
    y, _, tape = net.forward(x, dropout_seed=8, **case.masks)
    want, _, other = plain.forward(x * drop, **case.masks)
    np.testing.assert_array_equal(x, kept)
    a, b = net.backward(tape, dy), plain.backward(other, dy)
    compare_bits({"y": y, "flat": a.flat, "x": a.x}, {"y": want, "flat": b.flat, "x": b.x * drop})


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_gradients_are_those_of_the_loss(target, cell, options):
    """Against central differences, the masks held fast by their seed."""
    case = make_case(cell, 5, 3, 4, 6, seed=3, num_layers=2, bidirectional=True, lengths=True)
    net = build(case, target, "float64", **options)
    random = np.random.default_rng(4)

    def loss(x):
        y, _, tape = net.forward(x, dropout_seed=5, lengths=case.lengths)
        return (y * case.dy).sum(), tape

    x, eps = case.x, 1e-6  # a norm bends sharply where the numbers of a row are nearly the same
    grads = net.backward(loss(x)[1], case.dy)
    assert not np.array_equal(loss(x)[0], (net(x, lengths=case.lengths)[0] * case.dy).sum())
    for _ in range(5):
        move = random.standard_normal(x.shape)
        slope = (loss(x + eps * move)[0] - loss(x - eps * move)[0]) / (2 * eps)
        assert slope == pytest.approx((grads.x * move).sum(), rel=1e-6, abs=1e-8)
    start = net.flat.copy()
    for _ in range(5):
        move = random.standard_normal(start.shape)
        slopes = []
        for sign in (1, -1):
            net.flat[:] = start + sign * eps * move
            slopes.append(sign * loss(x)[0])
        net.flat[:] = start
        assert sum(slopes) / (2 * eps) == pytest.approx((grads.flat * move).sum(), rel=1e-6, abs=1e-8)


def train(net, x, dy, **options):
    y, state, tape = net.forward(x, dropout_seed=9, **options)
    segments = tape.segments
    grads = net.backward(tape, dy)
    return {"y": y, **parts(state), "x": grads.x, "flat": grads.flat}, segments


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_bits_do_not_depend_on_threads_or_splits(fast_target, dtype, options):
    """With so many numbers that several threads mask them."""
    case = make_case("rnn_tanh", 24, 64, 90, 90, seed=5, num_layers=2, lengths=True)
    net = build(case, fast_target, dtype, **options)
    x, dy = case.x.astype(dtype), case.dy.astype(dtype)
    want = None
    for split in (None, "batch", "units"):
        for n in (1, 2, 7):
            _core.force_split(split)
            try:
                with fastrnn.threads(n):
                    got, _ = train(net, x, dy, lengths=case.lengths)
            finally:
                _core.force_split(None)
            want = want or got
            compare_bits(got, want, f"{n} threads by {split}")


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_bits_do_not_depend_on_max_workspace(target, dtype, cell, options):
    case = make_case(cell, 40, 5, 6, 16, seed=6, num_layers=2, bidirectional=True, lengths=True)
    net = build(case, target, dtype, **options)
    x, dy = case.x.astype(dtype), case.dy.astype(dtype)
    want, _ = train(net, x, dy, lengths=case.lengths)
    with pytest.raises(ValueError, match="at least") as error:
        train(net, x, dy, lengths=case.lengths, max_workspace=1)
    least = int(str(error.value).split()[-1])
    got, segments = train(net, x, dy, lengths=case.lengths, max_workspace=least)
    assert segments > 1
    compare_bits(got, want)


def test_padding_stays_zero_and_is_not_read(target, dtype):
    net = fastrnn.LSTM(6, 9, 2, dropout=0.5, input_dropout=0.5, dtype=dtype, seed=1)
    x = np.ones((5, 3, 6), dtype)
    lengths = [2, 0, 5]
    padding = np.arange(5)[:, None] >= np.array(lengths)
    x[padding] = np.nan
    y, state, tape = net.forward(x, lengths=lengths)
    grads = net.backward(tape, np.where(padding[..., None], np.nan, np.ones_like(y)))
    assert not y[padding].any()
    assert not grads.x[padding].any()
    for a in (y, *parts(state).values(), grads.flat, grads.x):
        assert np.isfinite(a).all()


def test_a_mask_of_a_row_is_its_own(target):
    """A row has the same masks alone at the front of a batch, whatever the others do and however long they are."""
    net = fastrnn.GRU(4, 8, 2, dropout=0.5, input_dropout=0.3, dtype="float64", seed=1)
    x = np.random.default_rng(2).standard_normal((6, 5, 4))
    whole = net.forward(x, dropout_seed=1)[0]
    some = net.forward(x[:, :3], dropout_seed=1, lengths=[4, 6, 2])[0]
    np.testing.assert_allclose(some[:4, 0], whole[:4, 0], rtol=1e-12)
    np.testing.assert_allclose(some[:, 1], whole[:, 1], rtol=1e-12)


def test_inference_drops_nothing(target, dtype, cell):
    case = make_case(cell, T, B, 5, 9, seed=7, num_layers=2)
    net, plain = (
        build(case, target, dtype, dropout=0.5, input_dropout=0.5),
        build(case, target, dtype),
    )
    x = case.x.astype(dtype)
    want = plain(x)[0]
    for got in (
        net(x)[0],
        net.forward(x, training=False)[0],
        net.forward(x, training=False, error_if_nonfinite=True)[0],
        net.step(x[0])[0][None],
    ):
        np.testing.assert_array_equal(got, want[: len(got)])
    assert not np.array_equal(net.forward(x)[0], want)


def test_none_draws_from_the_net_s_own_generator():
    def net():
        return fastrnn.GRU(3, 8, 2, dropout=0.5, seed=1)

    x = np.ones((4, 2, 3), np.float32)

    def draws(net, count=3):
        return [net.forward(x)[0].tobytes() for _ in range(count)]

    first, second = net(), net()
    want = draws(first)
    assert len(set(want)) == 3
    assert draws(second) == want
    assert draws(fastrnn.GRU(3, 8, 2, dropout=0.5, seed=2)) != want
    twins = [copy.deepcopy(first), pickle.loads(pickle.dumps(first))]
    later = draws(first)
    assert not set(later) & set(want)
    for twin in twins:
        assert draws(twin) == later
    third = net()
    third.forward(x, dropout_seed=5)
    third(x)
    assert draws(third) == want


def test_start_values_are_those_without_dropout(cell):
    a, b = CLASSES[cell](3, 5, 2, seed=1), CLASSES[cell](3, 5, 2, seed=1, dropout=0.5, input_dropout=0.1)
    np.testing.assert_array_equal(a.flat, b.flat)


def test_dropped_infinity_is_found():
    """Masks multiply, so that what is not finite stays so."""
    net, x = copier(8, dropout=0.9)
    x[3, 1, :] = np.inf
    with pytest.raises(fastrnn.NonFiniteError):
        net.forward(x, error_if_nonfinite=True)
    assert not np.isfinite(net.forward(x)[0][3, 1]).any()


def test_attributes_and_repr():
    net = fastrnn.LSTM(3, 4, 2, dropout=0.25, variational=True, input_dropout=0.5)
    assert (net.dropout, net.variational, net.input_dropout) == (0.25, True, 0.5)
    assert repr(net) == "LSTM(3, 4, num_layers=2, dropout=0.25, variational=True, input_dropout=0.5)"
    assert "drop" not in repr(fastrnn.LSTM(3, 4, 2))
    with pytest.raises(AttributeError, match="dropout"):
        net.dropout = 0.5


@pytest.mark.parametrize("name", ["dropout", "input_dropout"])
@pytest.mark.parametrize(
    ("value", "error"),
    [
        (-0.1, ValueError),
        (1, ValueError),
        (1.5, ValueError),
        (np.nan, ValueError),
        (True, TypeError),
        ("0", TypeError),
    ],
)
def test_bad_probabilities(name, value, error):
    refused(error, [name, value], fastrnn.LSTM, 3, 4, 2, **{name: value})


def test_options_that_do_not_combine():
    refused(ValueError, ["dropout", "num_layers", 1], fastrnn.LSTM, 3, 4, dropout=0.5)
    refused(ValueError, ["variational", "dropout"], fastrnn.LSTM, 3, 4, 2, variational=True)
    refused(
        ValueError, ["variational", "dropout"], fastrnn.LSTM, 3, 4, 2, variational=True, input_dropout=0.5
    )
    refused(TypeError, ["variational", 1, "bool"], fastrnn.LSTM, 3, 4, 2, dropout=0.5, variational=1)
    refused(ValueError, ["dropout", "num_layers", 1], fastrnn.NToN, "gru", 3, 4, 2, dropout=0.5)


@pytest.mark.parametrize(
    ("seed", "error"), [(-1, ValueError), (2**64, ValueError), (1.5, TypeError), (True, TypeError)]
)
def test_bad_seeds(seed, error):
    net, x = copier(3, dropout=0.5)
    refused(error, ["dropout_seed", seed], net.forward, x, dropout_seed=seed)


def test_a_seed_without_masks():
    x = np.ones((4, 2, 3), np.float32)
    refused(ValueError, ["dropout_seed", "dropout"], fastrnn.GRU(3, 4).forward, x, dropout_seed=1)
    net, _ = copier(3, dropout=0.5)
    refused(ValueError, ["dropout_seed", "training"], net.forward, x, dropout_seed=1, training=False)


def test_the_largest_seed():
    net, x = copier(3, dropout=0.5)
    net.forward(x, dropout_seed=2**64 - 1)


def test_empty_batches():
    net = fastrnn.GRU(3, 4, 2, dropout=0.5, input_dropout=0.5)
    for shape in ((0, 2, 3), (4, 0, 3), (0, 0, 3)):
        y, _, tape = net.forward(np.ones(shape, np.float32))
        assert net.backward(tape, y).x.shape == shape


@pytest.mark.parametrize(
    "refused", [{"max_workspace": 1}, {"error_if_nonfinite": 1}, {"error_if_nonfinite": True}]
)
def test_a_refused_call_draws_nothing(refused):
    net, twin = (fastrnn.GRU(3, 4, zoneout=0.5, input_dropout=0.5, seed=1) for _ in range(2))
    x = np.ones((5, 2, 3), np.float32)
    bad = np.full_like(x, np.nan) if refused.get("error_if_nonfinite") is True else x
    with pytest.raises((ValueError, TypeError, fastrnn.NonFiniteError)):
        net.forward(bad, **refused)
    np.testing.assert_array_equal(net.forward(x)[0], twin.forward(x)[0])
