# SPDX-License-Identifier: MIT
"""Truncated back-propagation: every window against plain calls, the limits of k1 and k2, one clear error."""

import dataclasses

import fastrnn
import numpy as np
import pytest
from refusal import B, H, I, T, refused, zeros
from runner import CLASSES, as_state, build, compare_bits, parts
from shapes import make_case
from tolerance import assert_close

STEPS = 11
PAIRS = [(3, 3), (4, 4), (3, 5), (2, 7), (4, 11), (3, 40), (1, 1), (1, 2), (11, 11), (20, 30)]


def make(cell, *, masks=False, seed=1, num_layers=2):
    return make_case(cell, STEPS, 4, 3, 5, seed=seed, num_layers=num_layers, lengths=masks, reset=masks)


def clamped(case, begin, end):
    """Arguments of the steps begin .. end-1."""
    lengths = None if case.lengths is None else np.clip(case.lengths - begin, 0, end - begin)
    return {"lengths": lengths, "reset": None if case.reset is None else case.reset[begin:end]}


def by_hand(net, case, k1, k2):
    """One plain forward to where a window begins, and one plain forward and backward over it, for each window.

    Everything in full: no state is shared between windows.
    """
    x, state = case.x.astype(net.dtype), as_state(case.state, net.dtype)
    total = {"flat": np.zeros(net.flat.size), "dx": np.zeros(case.x.shape)}
    total |= {f"dstate{k}": np.zeros(a.shape) for k, a in enumerate(case.state)}
    lengths = np.full(case.B, case.T) if case.lengths is None else case.lengths
    for losses in range(0, case.T, k1):
        end = min(losses + k1, case.T)
        begin = losses if k1 == k2 else max(0, end - k2)
        _, entering = net(x[:begin], state, **clamped(case, 0, begin))
        _, _, tape = net.forward(x[begin:end], entering, **clamped(case, begin, end))
        dy = case.dy[begin:end].astype(net.dtype)
        dy[: losses - begin] = 0
        ends_here = (lengths <= end) & ((lengths > losses) | (losses == 0))
        dstate = as_state([np.where(ends_here[:, None], a, 0) for a in case.dstate], net.dtype)
        grads = net.backward(tape, dy, dstate)
        total["flat"] += grads.flat
        total["dx"][begin:end] += grads.x
        if begin == 0:
            for name, a in parts(grads.state, "dstate").items():
                total[name] += a
    return total


def truncated(net, case, bptt, **options):
    """y, states, gradients, and what backward measured."""
    x, state = case.x.astype(net.dtype), as_state(case.state, net.dtype)
    y, after, tape = net.forward(x, state, **case.masks, bptt=bptt)
    grads = net.backward(tape, case.dy.astype(net.dtype), as_state(case.dstate, net.dtype), **options)
    found = {"flat": grads.flat, "dx": grads.x, **parts(grads.state, "dstate")}
    return {"y": y, **parts(after)}, found, grads.stats


def plain(net, case, **options):
    return truncated(net, case, None, **options)


def close(got, want, case):
    assert got.keys() == want.keys()
    for name in want:
        assert_close(got[name], want[name], **case.sizes, backward=True, name=name)


@pytest.mark.parametrize("masks", [False, True], ids=["", "masks"])
@pytest.mark.parametrize("pair", PAIRS)
def test_every_window_by_hand(cell, pair, masks):
    case = make(cell, masks=masks)
    net = build(case, fastrnn.active(), "float64")
    outputs, got, _ = truncated(net, case, pair)
    close(got, by_hand(net, case, *pair), case)
    want, _, _ = plain(net, case)
    if masks:  # bits depend on how many rows run in one call
        close(outputs, want, case)
    else:
        compare_bits(outputs, want)


@pytest.mark.parametrize("masks", [False, True], ids=["", "masks"])
@pytest.mark.parametrize("k1", [1, 3, 4, STEPS])
def test_far_enough_is_the_whole(target, cell, k1, masks):
    """k2 >= T: each loss goes back to the start, the gradient of the initial state included."""
    case = make(cell, masks=masks)
    net = build(case, target, "float64")
    _, got, _ = truncated(net, case, (k1, STEPS))
    close(got, plain(net, case)[1], case)


@pytest.mark.parametrize("clip", [None, fastrnn.Clip(step_value=0.5, step_norm=0.7, value=0.1, norm=0.3)])
@pytest.mark.parametrize("masks", [False, True], ids=["", "masks"])
@pytest.mark.parametrize("pair", [(STEPS, STEPS), (STEPS, STEPS + 5), (99, 99)])
def test_one_window_has_the_bits_of_a_plain_call(target, dtype, cell, pair, masks, clip):
    case = make(cell, masks=masks)
    net = build(case, target, dtype)
    want, got = (f(net, case, *a, clip=clip, trace=True) for f, a in ((plain, ()), (truncated, (pair,))))
    compare_bits(got[0] | got[1], want[0] | want[1])
    for name, value in want[2].to_dict().items():
        np.testing.assert_array_equal(getattr(got[2], name), value, err_msg=name)


def test_truncation_forgets(cell):
    """A loss beyond the reach of k2 leaves no gradient: else nothing was truncated."""
    net = CLASSES[cell](I, H, seed=3, dtype="float64")
    x = np.random.default_rng(4).standard_normal((8, B, I))
    dy = np.zeros((8, B, net.output_size))
    dy[5] = 1
    for (k1, k2), first in (((2, 2), 4), ((2, 3), 3), ((4, 4), 4), ((3, 5), 1), ((1, 1), 5), ((1, 3), 3)):
        _, _, tape = net.forward(x, bptt=(k1, k2))
        grads = net.backward(tape, dy)
        reached = np.abs(grads.x).sum((1, 2)) > 0
        np.testing.assert_array_equal(np.flatnonzero(reached), np.arange(first, 6), err_msg=f"{k1}, {k2}")


@pytest.mark.parametrize("pair", [(3, 3), (3, 5)])
def test_layouts(cell, pair):
    case = make_case(cell, STEPS, 2, 3, 5, seed=5, num_layers=2, reset=True)
    net = build(case, fastrnn.active(), "float64")
    turned = build(case, fastrnn.active(), "float64", batch_first=True)
    x, dy, cut = case.x, case.dy, case.reset
    y, state, tape = net.forward(x, reset=cut, bptt=pair)
    grads = net.backward(tape, dy)
    y2, state2, tape = turned.forward(x.transpose(1, 0, 2), reset=cut.T, bptt=pair)
    grads2 = turned.backward(tape, dy.transpose(1, 0, 2))
    want = {"y": y, "dx": grads.x, "flat": grads.flat, **parts(state), **parts(grads.state, "d")}
    got = {"y": y2.transpose(1, 0, 2), "dx": grads2.x.transpose(1, 0, 2), "flat": grads2.flat}
    compare_bits(got | parts(state2) | parts(grads2.state, "d"), want)
    one, _, _ = net.forward(x[:, :1], reset=cut[:, :1], bptt=pair)
    y3, state3, tape = net.forward(x[:, 0], reset=cut[:, 0], bptt=pair)
    grads3 = net.backward(tape, dy[:, 0])
    compare_bits({"y": y3}, {"y": one[:, 0]})
    assert grads3.x.shape == (STEPS, 3)
    close({"dx": grads3.x}, {"dx": grads.x[:, 0]}, case)
    for some in (state3, grads3.state):
        assert tuple(a.shape for a in parts(some).values()) == net._state_shapes(1, True)


@pytest.mark.parametrize("pair", [(3, 3), (3, 5)])
def test_what_is_measured(cell, pair):
    """Norms of steps are those of the owning window; those of parameters are of the sum."""
    case = make(cell, masks=True)
    net = build(case, fastrnn.active(), "float64")
    clip = fastrnn.Clip(step_value=0.5, step_norm=0.7, norm=0.3)
    _, got, stats = truncated(net, case, pair, clip=clip, trace=True)
    assert stats.norm == stats.stored_norm == pytest.approx(np.linalg.norm(got["flat"]))
    assert stats.scale == clip.scale(stats.norm) < 1
    want = {name: [] for name in ("dh", "step_clamped", "step_scaled", *(["dc"] * (len(net._STATES) > 1)))}
    k1, k2 = pair
    for losses in range(0, STEPS, k1):
        end = min(losses + k1, STEPS)
        begin = losses if k1 == k2 else max(0, end - k2)
        _, entering = net(case.x[:begin], as_state(case.state, "float64"), **clamped(case, 0, begin))
        _, _, tape = net.forward(case.x[begin:end], entering, **clamped(case, begin, end))
        dy = case.dy[begin:end].copy()
        dy[: losses - begin] = 0
        here = (case.lengths <= end) & ((case.lengths > losses) | (losses == 0))
        dstate = as_state([np.where(here[:, None], a, 0) for a in case.dstate], "float64")
        steps = net.backward(tape, dy, dstate, clip=dataclasses.replace(clip, norm=None), trace=True).stats
        for name, found in want.items():
            found.append(getattr(steps, name)[..., losses - begin :])
    for name, found in want.items():
        values = getattr(stats, name)
        assert values.shape == (2, 1, STEPS)
        np.testing.assert_allclose(values, np.concatenate(found, axis=2), err_msg=name)
    assert (stats.dc is None) == (len(net._STATES) == 1)
    assert truncated(net, case, pair)[2].dh is None


@pytest.mark.parametrize("given", [False, True], ids=["fresh", "flat"])
def test_clamped_gradients_are_clamped_once(cell, given):
    """`Clip.value` acts on the sum over windows, and on what `flat` held, as in one call."""
    case = make(cell)
    net = build(case, fastrnn.active(), "float64")
    start = np.full(net.flat.size, 0.04)
    flat = start.copy() if given else None
    _, summed, _ = truncated(net, case, (3, 5))
    sums = summed["flat"] + (start if given else 0)
    _, got, stats = truncated(net, case, (3, 5), clip=fastrnn.Clip(value=0.05), flat=flat)
    assert flat is None or got["flat"] is flat
    np.testing.assert_allclose(got["flat"], np.clip(sums, -0.05, 0.05), atol=1e-12)
    assert stats.norm == pytest.approx(np.linalg.norm(sums))
    assert stats.stored_norm == pytest.approx(np.linalg.norm(got["flat"]))
    assert stats.clamped == np.mean(np.abs(sums) > 0.05) > 0


@pytest.mark.parametrize("pair", [(3, 3), (3, 5), (STEPS, STEPS)])
def test_the_tape_keeps_what_it_needs(cell, pair):
    case = make(cell, masks=True)
    net = build(case, fastrnn.active(), "float32")

    def gradients(spoil):
        x, state = case.x.astype("float32"), as_state(case.state, "float32")
        lengths, reset = case.lengths.copy(), case.reset.copy()
        y, final, tape = net.forward(x, state, lengths=lengths, reset=reset, bptt=pair)
        if spoil:
            for array in (x, y, reset, *parts(state).values(), *parts(final).values()):
                array[...] = True if array.dtype == bool else 99
            lengths[...] = 1
        grads = net.backward(tape, case.dy.astype("float32"), as_state(case.dstate, "float32"))
        return {"x": grads.x, "flat": grads.flat, **parts(grads.state)}

    compare_bits(gradients(spoil=True), gradients(spoil=False))


def test_memory_is_bounded():
    """With k2 > k1 the tape of one window exists at a time."""
    net = fastrnn.GRU(I, H, seed=3)
    x = np.zeros((40, B, I), np.float32)
    _, _, tape = net.forward(x, bptt=(4, 8))
    assert tape.windows == 10
    assert all(window.tape is None for window in tape._windows)
    assert (
        sum(window.state is not None for window in tape._windows) == 8
    )  # two begin at 0, where no state was given
    assert all(window.tape for window in net.forward(x, bptt=(4, 4))[2]._windows)


def test_without_x_gradient_and_without_dy(cell):
    case = make(cell)
    net = build(case, fastrnn.active(), "float64")
    _, want, _ = truncated(net, case, (3, 5))
    _, got, _ = truncated(net, case, (3, 5), x_gradient=False)
    assert got.pop("dx") is None
    want.pop("dx")
    compare_bits(got, want)
    _, _, tape = net.forward(case.x, bptt=(3, 5))
    grads = net.backward(tape, None, as_state(case.dstate, "float64"))
    assert not grads.x[:6].any()  # the last window begins at 11 - 5
    assert grads.x[6:].any()


def test_no_steps(cell):
    net = CLASSES[cell](I, H, seed=3)
    for shape in ((0, B, I), (4, 0, I)):
        y, _, tape = net.forward(zeros(*shape), bptt=(2, 3))
        grads = net.backward(tape, y)
        assert grads.x.shape == shape
        assert not grads.flat.any()


# ---- bad input ----


@pytest.mark.parametrize(
    ("bptt", "error", "words"),
    [
        ((3, 2), ValueError, ["bptt", (3, 2), "k1"]),
        ((0, 2), ValueError, ["k1", 0]),
        ((2, 2.0), TypeError, ["k2", 2.0]),
        ((2, True), TypeError, ["k2", True]),
        (5, TypeError, ["bptt", 5, "(k1, k2)"]),
        ((1, 2, 3), TypeError, ["bptt", (1, 2, 3)]),
        ("ab", TypeError, ["bptt", "'ab'"]),
    ],
)
def test_a_wrong_pair(bptt, error, words):
    refused(error, words, fastrnn.LSTM(I, H).forward, zeros(T, B, I), bptt=bptt)


@pytest.mark.parametrize(
    ("options", "word"),
    [({"bidirectional": True}, "bidirectional"), ({"direction": "reverse"}, "reverse")],
)
def test_both_directions_are_refused(options, word):
    net = fastrnn.LSTM(I, H, **options)
    refused(ValueError, ["bptt=(2, 3)", word], net.forward, zeros(T, B, I), bptt=(2, 3))


def test_what_does_not_go_together():
    forward = fastrnn.LSTM(I, H).forward
    x = zeros(T, B, I)
    refused(ValueError, ["bptt=(2, 3)", "max_workspace=999"], forward, x, bptt=(2, 3), max_workspace=999)
    refused(ValueError, ["bptt=(2, 3)", "training"], forward, x, bptt=(2, 3), training=False)
    refused(TypeError, ["training"], forward, x, bptt=(2, 3), training=1)


def test_arguments_are_checked_for_the_whole_sequence():
    """Lengths and masks, which are cut for windows, are refused as without windows."""
    forward = fastrnn.LSTM(I, H).forward
    x = zeros(T, B, I)
    for options in (
        {"lengths": [T + 1, 1]},
        {"lengths": [1]},
        {"reset": np.zeros((T + 1, B), bool)},
        {"state": (zeros(1, B, H + 1), zeros(1, B, H))},
    ):
        with pytest.raises(ValueError) as want:
            forward(x, **options)
        with pytest.raises(ValueError) as got:
            forward(x, bptt=(2, 3), **options)
        assert str(got.value) == str(want.value)


@pytest.mark.parametrize("pair", [(2, 2), (2, 3)])
def test_bad_input_to_backward_changes_nothing(pair):
    net, twin = fastrnn.LSTM(I, H, seed=1), fastrnn.LSTM(I, H, seed=1)
    x, dy, flat = zeros(T, B, I) + 1, zeros(T, B, H) + 1, net.flat * 0
    _, _, tape = net.forward(x, bptt=pair)
    refused(ValueError, ["another net"], twin.backward, tape, dy)
    refused(ValueError, ["dy", (T + 1, B, H), (T, B, H)], net.backward, tape, zeros(T + 1, B, H), flat=flat)
    refused(ValueError, ["dstate", (1, B, H)], net.backward, tape, dy, (zeros(B, H), None), flat=flat)
    refused(ValueError, ["flat", (3,)], net.backward, tape, dy, flat=zeros(3))
    refused(TypeError, ["clip"], net.backward, tape, dy, clip=5.0, flat=flat)
    refused(TypeError, ["trace"], net.backward, tape, dy, trace=1, flat=flat)
    refused(TypeError, ["x_gradient"], net.backward, tape, dy, x_gradient=1, flat=flat)
    assert not flat.any()
    assert not tape.used
    net.backward(tape, dy, flat=flat)
    assert tape.used
    refused(ValueError, ["used"], net.backward, tape, dy)


@pytest.mark.parametrize("pair", [(2, 2), (2, 3)])
def test_what_is_not_finite_is_found_at_its_time(pair):
    net = fastrnn.RNN(I, H, seed=1)
    x, dy = zeros(T, B, I), zeros(T, B, H) + 1
    x[3, 1, 0] = np.nan
    with pytest.raises(fastrnn.NonFiniteError) as caught:
        net.forward(x, bptt=pair, error_if_nonfinite=True)
    assert (caught.value.tensor, caught.value.t, caught.value.row) == ("x", 3, 1)
    dy[2, 0, 1] = np.inf
    flat = net.flat * 0
    _, _, tape = net.forward(zeros(T, B, I), bptt=pair)
    with pytest.raises(fastrnn.NonFiniteError) as caught:
        net.backward(tape, dy, flat=flat, error_if_nonfinite=True)
    assert (caught.value.tensor, caught.value.t, caught.value.row) == ("dy", 2, 0)
    assert not flat.any()


def test_repr():
    net = fastrnn.GRU(I, H, seed=1)
    _, _, tape = net.forward(zeros(T, B, I), bptt=(2, 3))
    assert repr(tape) == "TruncatedTape(bptt=(2, 3), windows=2, used=False)"


@pytest.mark.parametrize("option", ["dropout", "input_dropout"])
def test_masks_would_differ(option):
    net = fastrnn.GRU(I, H, 2, seed=1, **{option: 0.5})
    refused(ValueError, ["bptt", f"{option}=0.5"], net.forward, zeros(T, B, I), bptt=(2, 3))


def test_a_learned_state_learns_from_the_windows_that_reach_it(cell):
    net = CLASSES[cell](I, H, 2, learn_state=True, seed=1, dtype="float64")
    x = np.random.default_rng(2).standard_normal((8, B, I))
    net.flat[:] = np.random.default_rng(3).uniform(-0.5, 0.5, net.flat.size)
    y, _, tape = net.forward(x)
    want = net.backward(tape, y)
    y2, _, tape = net.forward(x, bptt=(2, 8))
    got = net.backward(tape, y2)
    np.testing.assert_array_equal(y2, y)
    assert got.params["h0"].any()
    np.testing.assert_allclose(got.flat, want.flat)


@pytest.mark.parametrize("pair", [(2, 2), (2, 3), (STEPS, STEPS)])
def test_a_tape_outlives_gradients_that_are_not_finite(pair):
    net = fastrnn.LSTM(I, H, seed=1)
    x = np.ones((STEPS, B, I), np.float32)
    y, after, tape = net.forward(x, bptt=pair)
    dy, bad = np.ones_like(y), np.full_like(after[0], np.inf)
    with pytest.raises(fastrnn.NonFiniteError):
        net.backward(tape, np.full_like(dy, np.nan), error_if_nonfinite=True)
    with pytest.raises(fastrnn.NonFiniteError):
        net.backward(tape, dy, (bad, None), error_if_nonfinite=True)
    assert not tape.used
    flat = np.full_like(net.flat, np.nan)
    with pytest.raises(fastrnn.NonFiniteError):
        net.backward(tape, dy, flat=flat, error_if_nonfinite=True)
    assert np.isnan(flat).all()
    assert tape.used


def test_a_final_gradient_stays_in_its_window():
    """The row that ends first has an infinite one: the windows of later steps have none of it."""
    net = fastrnn.LSTM(I, H, seed=1)
    _, after, tape = net.forward(np.ones((6, 2, I), np.float32), lengths=[2, 6], bptt=(2, 2))
    dh = np.zeros_like(after[0])
    dh[:, 0] = np.inf
    dx = net.backward(tape, None, (dh, None)).x
    assert np.isfinite(dx[2:]).all()
