# SPDX-License-Identifier: MIT
"""error_if_nonfinite: NaN and infinity are met where they are, and nothing else is."""

import contextlib
import copy
import pickle

import fastrnn
import numpy as np
import pytest
from clip_cases import build, make_problem, net_of
from fastrnn import Clip, NonFiniteError
from runner import as_state, compare_bits, parts
from shapes import CELLS
from targets import needs_one_engine, using
from workspace import least_workspace

# Every cell in one stack, two of them in others: places are found by code that knows no cell
MIXED = ("reverse", "both", "forward")
STACKS = [(cell, MIXED) for cell in CELLS]
STACKS += [(cell, words) for cell in ("gru", "lstm") for words in (("forward",), ("both", "both"))]
BAD = [(np.nan, "float32"), (np.inf, "float64"), (-np.inf, "float32")]


@contextlib.contextmanager
def found(stage, tensor, **place):
    """The block raises NonFiniteError with these attributes, all others None, and a message that has them."""
    with pytest.raises(NonFiniteError) as caught:
        yield
    error = caught.value
    wanted = {"layer": None, "direction": None, "t": None, "row": None, **place}
    assert vars(error) == {"stage": stage, "tensor": tensor, **wanted}
    words = [f"layer {place['layer']}"] if "layer" in place else []
    words += [f"direction {('forward', 'reverse')[place['direction']]}"] if "direction" in place else []
    words += [f"t={place['t']}"] if "t" in place else []
    words += [f"row {place['row']}"] if "row" in place else []
    where = " at " + ", ".join(words) if words else ""
    assert str(error) == f"{stage}: {tensor} is not finite{where}"


@pytest.fixture(params=STACKS, ids=lambda stack: "-".join([stack[0], *stack[1]]))
def case(request):
    """A problem with lengths that leave padding, none of them 0, and no resets."""
    cell, words = request.param
    case = make_problem(cell, words, 6, 4, 3, 9, seed=1, lengths=True)
    case.lengths[:] = [4, 6, 1, 5]
    return case


def forward(net, case, look=True, **changed):
    x, state = case.x.astype(net.dtype), as_state(case.state, net.dtype)
    options = {"lengths": case.lengths, "error_if_nonfinite": look, **changed}
    return net.forward(x, state, **options)


def backward(net, case, look=True, **changed):
    _, _, tape = forward(net, case, look=False)
    dy, dstate = case.dy.astype(net.dtype), as_state(case.dstate, net.dtype)
    return net.backward(tape, dy, dstate, error_if_nonfinite=look, **changed)


@pytest.mark.parametrize(("bad", "dtype"), BAD)
def test_in_x(target, dtype, case, bad):
    net = net_of(case, target, dtype)
    case.x[[3, 5], [1, 1]] = bad
    case.x[4, 3, 1] = bad
    with found("forward", "x", t=3, row=1):
        forward(net, case)
    with found("forward", "x", t=3, row=1):
        forward(net, case, training=False)


@pytest.mark.parametrize(("bad", "dtype"), BAD)
def test_padding_is_not_read(target, dtype, case, bad):
    needs_one_engine(target)
    net = net_of(case, target, dtype)
    want = forward(net, case, look=False)
    grads = backward(net, case, look=False)
    beyond = np.arange(6)[:, None] >= case.lengths
    assert beyond.any()
    case.x[beyond] = bad
    case.dy[beyond] = bad
    got = forward(net, case)
    compare_bits({"y": got[0], **parts(got[1])}, {"y": want[0], **parts(want[1])})
    again = backward(net, case)
    compare_bits({"x": again.x, "flat": again.flat}, {"x": grads.x, "flat": grads.flat})


@pytest.mark.parametrize(("bad", "dtype"), BAD)
def test_in_the_state(target, dtype, case, bad):
    net = net_of(case, target, dtype)
    for letter, state in zip("hc", case.state):
        kept = state.copy()
        for part, (layer, direction) in enumerate(case.places):
            state[:] = kept
            state[part, 2, -1] = bad
            with found("forward", f"{letter}0", layer=layer, direction=direction, row=2):
                forward(net, case)
        state[:] = kept
    forward(net, case)


def test_in_a_parameter(target, dtype, case):
    for name in case.parameters:
        net = net_of(case, target, dtype)
        net.parameters()[name].flat[-1] = np.nan
        with found("forward", name):
            forward(net, case)
    net.flat[:] = np.inf
    with found("forward", next(iter(case.parameters))):
        forward(net, case)


@pytest.mark.parametrize(("bad", "dtype"), BAD)
def test_in_dy(target, dtype, case, bad):
    """Back-propagation meets the latest one first."""
    net = net_of(case, target, dtype)
    case.dy[2, 0, -1] = case.dy[4, 3, 1] = bad
    with found("backward", "dy", t=4, row=3):
        backward(net, case)


@pytest.mark.parametrize(("bad", "dtype"), BAD)
def test_in_dstate(target, dtype, case, bad):
    net = net_of(case, target, dtype)
    for letter, state in zip("hc", case.dstate):
        kept = state.copy()
        for part, (layer, direction) in enumerate(case.places):
            state[:] = kept
            state[part, 1, 0] = bad
            with found("backward", f"d{letter}_n", layer=layer, direction=direction, row=1):
                backward(net, case)
        state[:] = kept
    backward(net, case)


def test_a_bad_dy_leaves_the_tape(target, case):
    """It is found before back-propagation begins; what is found later uses the tape up."""
    net = net_of(case, target, "float64")
    want = backward(net, case)
    _, _, tape = forward(net, case)
    with pytest.raises(NonFiniteError):
        net.backward(tape, np.full(case.dy.shape, np.nan), error_if_nonfinite=True)
    assert not tape.used
    got = net.backward(tape, case.dy, as_state(case.dstate, "float64"), error_if_nonfinite=True)
    compare_bits({"flat": got.flat}, {"flat": want.flat})


# ------------------------------------------------------------------ overflow on the way
# Of float32: the reference has no overflow between its results, it computes in double.


def relu_net(target, words, W_ih, W_hh):
    """A net of one unit, in float32, whose weights are (words, ) numbers and without bias."""
    net = build("rnn_relu", words, 1, 1, target, "float32", bias=False)
    for name, a in net.parameters().items():
        a[:] = 0
        layer = int(name.split("_l")[1][0])
        a[:, :1] = (W_ih if "_ih" in name else W_hh)[layer]
    return net


@pytest.mark.parametrize("layer", [0, 1, 2])
@pytest.mark.parametrize("words", [["forward"] * 3, ["reverse"] * 3, ["both"] * 3], ids="-".join)
def test_overflow_of_h(target, words, layer):
    """The h of one layer grows by 1e15 a step: 1, 1e15, 1e30, then beyond 3e38."""
    growth = [0.0, 0.0, 0.0]
    growth[layer] = 1e15
    net = relu_net(target, words, [1.0, 1.0, 1.0], growth)
    x = np.zeros((9, 3, 1), np.float32)
    lengths = np.array([9, 3, 7])
    x[5, 2] = x[6, 2] = 1  # too late for the forward direction, and early enough for the reverse one
    x[3, 0] = 1
    reverse = words[0] == "reverse"
    t, row = (3, 2) if reverse else (6, 0)  # row 2 ends at t = 6: there the reverse direction starts
    for training in (True, False):
        with found("forward", "h", layer=layer, direction=int(reverse), t=t, row=row):
            net.forward(x, lengths=lengths, error_if_nonfinite=True, training=training)
    x[5:7, 2] = x[3, 0] = 0
    net.forward(x, lengths=lengths, error_if_nonfinite=True)


@pytest.mark.parametrize("words", [["forward", "forward"], ["reverse", "reverse"]], ids="-".join)
@pytest.mark.parametrize("layer", [0, 1])
def test_overflow_of_dh(fast_target, words, layer):
    """dL/dh of one layer grows by 1e15 a step back; its h is small enough to stay finite."""
    growth = [0.0, 0.0]
    growth[layer] = 1e15
    net = relu_net(fast_target, words, [1e-36, 1.0] if layer else [1e-36, 1e-10], growth)
    T = 5
    x = np.ones((T, 2, 1), np.float32)
    before = np.zeros((2, 2, 1), np.float32)
    lengths = np.array([2, T])
    # h_0 = 1e-36 and then 1e-21, 1e-6, 1e9, 1e24
    y, _, tape = net.forward(x, before, lengths=lengths, error_if_nonfinite=True)
    dy = np.zeros_like(y)
    reverse = words[0] == "reverse"
    dy[0 if reverse else T - 1, 1] = 1e10 if layer == 0 else 1.0  # dL/dh: 1, 1e15, 1e30, beyond
    t = 3 if reverse else T - 1 - 3
    flat = np.full(net.flat.size, 7, np.float32)
    with found("backward", "dh", layer=layer, direction=int(reverse), t=t, row=1):
        net.backward(tape, dy, flat=flat, error_if_nonfinite=True)
    assert (flat == 7).all()
    assert tape.used


def test_overflow_of_dc(fast_target):
    """Gates are 1/2 and the memory is 0: what comes from behind and through the output is too much in sum."""
    with using(fast_target):
        net = fastrnn.LSTM(2, 3, direction="forward")
    net.flat[:] = 0
    _, _, tape = net.forward(np.zeros((4, 2, 2), np.float32))
    dy, dstate = np.zeros((4, 2, 3), np.float32), [np.zeros((1, 2, 3), np.float32) for _ in range(2)]
    dy[3, 1, 2] = dstate[1][0, 1, 2] = 3e38
    with found("backward", "dc", layer=0, direction=0, t=3, row=1):
        net.backward(tape, dy, tuple(dstate), error_if_nonfinite=True)


@pytest.mark.parametrize(
    ("tensor", "W_ih", "W_hh", "x", "h0", "place"),
    [
        ("dweight_ih_l0", 1e-20, 0, 1e20, 0, {}),
        ("dweight_hh_l0", 0, 1e-20, 0, 1e20, {}),
        ("dx", 1e20, 0, 1e-20, 0, {"t": 0, "row": 0}),
        ("dh0", 0, 1e20, 0, 1e-20, {"layer": 0, "direction": 0, "row": 0}),
    ],
)
def test_overflow_of_a_result(target, tensor, W_ih, W_hh, x, h0, place):
    """dL/dh is 1e20 and finite, and one product of it is not."""
    net = relu_net(target, ["forward"], [W_ih], [W_hh])
    state = np.full((1, 1, 1), h0, np.float32)
    _, _, tape = net.forward(np.full((1, 1, 1), x, np.float32), state, error_if_nonfinite=True)
    flat = np.full(2, 7, np.float32)
    with found("backward", tensor, **place):
        net.backward(tape, np.full((1, 1, 1), 1e20, np.float32), flat=flat, error_if_nonfinite=True)
    assert (flat == 7).all()


def test_large_but_finite(target):
    """Squares of 1e30 are no float32, and no error."""
    net = relu_net(target, ["forward"], [1e-20], [0])
    _, _, tape = net.forward(np.ones((3, 2, 1), np.float32), error_if_nonfinite=True)
    grads = net.backward(tape, np.full((3, 2, 1), 1e30, np.float32), trace=True, error_if_nonfinite=True)
    np.testing.assert_allclose(grads.stats.dh, 2**0.5 * 1e30, rtol=1e-6)


# ------------------------------------------------------------------ where there is nothing to find

CLIPS = (None, Clip(step_value=0.5, step_norm=1.0, value=0.3, norm=1.0))


@pytest.mark.parametrize("clip", CLIPS, ids=["without", "with"])
def test_clean_runs_keep_their_bits(target, dtype, case, clip):
    needs_one_engine(target)
    net = net_of(case, target, dtype)
    start = np.random.default_rng(1).uniform(-1, 1, net.flat.size).astype(dtype)
    least = least_workspace(net, case.x.astype(dtype), lengths=case.lengths)
    for budget in (None, least):
        for flat in (None, start):
            results = []
            for look in (False, True):
                y, after, tape = forward(net, case, look, max_workspace=budget)
                dy, dstate = case.dy.astype(dtype), as_state(case.dstate, dtype)
                given = None if flat is None else flat.copy()
                options = {"flat": given, "clip": clip, "trace": True, "error_if_nonfinite": look}
                grads = net.backward(tape, dy, dstate, **options)
                assert given is None or grads.flat is given
                told = {
                    name: np.asarray(a, np.float64)
                    for name, a in grads.stats.to_dict().items()
                    if a is not None
                }
                state = parts(grads.state, "dstate")
                results.append({"y": y, **parts(after), "dx": grads.x, "flat": grads.flat, **state, **told})
            compare_bits(results[1], results[0])


def test_statistics_are_told_as_without(target, case):
    """What is measured in order to look is not told unless it is wanted."""
    needs_one_engine(target)
    net = net_of(case, target, "float32")
    stats = backward(net, case).stats
    assert (stats.dh, stats.dc, stats.step_clamped, stats.step_scaled) == (None,) * 4
    assert stats.norm == backward(net, case, look=False).stats.norm


@pytest.mark.parametrize("shape", [(0, 3), (4, 0), (0, 0)])
def test_nothing_to_look_at(target, cell, shape):
    net = build(cell, ["both", "both"], 3, 5, target, "float32")
    y, _, tape = net.forward(np.zeros((*shape, 3), np.float32), error_if_nonfinite=True)
    net.backward(tape, np.zeros_like(y), error_if_nonfinite=True)


@pytest.mark.parametrize("batch_first", [False, True])
def test_other_layouts(target, cell, batch_first):
    """t and row are those of time and batch, however x lies."""
    with using(target):
        net = fastrnn.layers.CELLS[cell](3, 5, batch_first=batch_first, seed=0)
    x = np.zeros((2, 4, 3) if batch_first else (4, 2, 3), np.float32)
    x[(1, 3) if batch_first else (3, 1)] = np.nan
    with found("forward", "x", t=3, row=1):
        net.forward(x, error_if_nonfinite=True)
    one = np.zeros((4, 3), np.float32)
    y, _, tape = net.forward(one, error_if_nonfinite=True)
    dy = np.zeros_like(y)
    dy[2] = np.nan
    with found("backward", "dy", t=2, row=0):
        net.backward(tape, dy, error_if_nonfinite=True)
    one[1] = np.inf
    with found("forward", "x", t=1, row=0):
        net.forward(one, error_if_nonfinite=True)


def test_nothing_is_raised_unless_asked(target, case):
    net = net_of(case, target, "float32")
    case.x[0, 0] = case.dy[0, 0] = np.nan
    y, _, _ = forward(net, case, look=False)
    assert np.isnan(y[:, 0]).any()
    assert np.isfinite(y[:, 1:]).all()
    assert np.isnan(backward(net, case, look=False).flat).any()


@pytest.mark.parametrize(
    "clip", [Clip(step_value=1.0), Clip(step_norm=1.0), Clip(value=1.0), Clip(norm=1.0)], ids=str
)
def test_clipping_hides_no_nan(target, dtype, case, clip):
    """A NaN is no number that could be clamped: it stays, and is counted nowhere."""
    net = net_of(case, target, dtype)
    case.dy[2, 0] = np.nan
    grads = backward(net, case, look=False, clip=clip)
    assert np.isnan(grads.flat).any()
    assert np.isnan(grads.stats.norm)
    with found("backward", "dy", t=2, row=0):
        backward(net, case, clip=clip)


def test_an_infinity_that_is_clamped_is_found(fast_target):
    """step_value makes a number of it, and the run looks healthy."""
    net = relu_net(fast_target, ["forward"], [1e-36], [1e15])
    y, _, tape = net.forward(np.ones((5, 1, 1), np.float32), error_if_nonfinite=True)
    dy = np.zeros_like(y)
    dy[4] = dy[3] = 3e38
    clip = Clip(step_value=3.2e38)
    with found("backward", "dh", layer=0, direction=0, t=3, row=0):
        net.backward(tape, dy, clip=clip, error_if_nonfinite=True)


def test_the_error_travels():
    error = NonFiniteError("backward", "dh", 1, 0, 5, 2)
    assert isinstance(error, FloatingPointError)
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(other) is NonFiniteError
        assert vars(other) == vars(error)
        assert (
            str(other) == str(error) == "backward: dh is not finite at layer 1, direction forward, t=5, row 2"
        )
    assert str(NonFiniteError("forward", "x")) == "forward: x is not finite"
    assert fastrnn.NonFiniteError is NonFiniteError


@pytest.mark.parametrize("wrong", [1, "yes", None])
def test_it_is_a_flag(wrong):
    net = fastrnn.RNN(2, 3)
    x = np.zeros((2, 1, 2), np.float32)
    with pytest.raises(TypeError, match="error_if_nonfinite"):
        net.forward(x, error_if_nonfinite=wrong)
    _, _, tape = net.forward(x)
    with pytest.raises(TypeError, match="error_if_nonfinite"):
        net.backward(tape, error_if_nonfinite=wrong)
