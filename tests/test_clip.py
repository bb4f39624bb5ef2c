# SPDX-License-Identifier: MIT
"""Gradient clipping against a loop in NumPy (clip_loop.py), and what it must not change."""

import functools
import itertools

import clip_loop
import fastrnn
import numpy as np
import pytest
from clip_cases import make_problem, net_of, run, sizes
from fastrnn import Clip, _core
from runner import compare_bits
from shapes import IN_BFLOAT16
from targets import needs_one_engine, using
from tolerance import assert_close, tolerance
from workspace import least_workspace

LIMITS = {
    "step_value": 0.9,
    "step_norm": 0.7,
    "value": 0.4,
    "norm": 2.0,
}  # step_norm: times sqrt of its count
SUBSETS = [set(names) for n in range(5) for names in itertools.combinations(LIMITS, n)]
HUGE = dict.fromkeys(LIMITS, 1e30)
STATS = ("norm", "stored_norm", "scale", "clamped", "step_clamped", "step_scaled", "dh", "dc")

# directions, T, B, I, H and what else
SETTINGS = {
    "one layer": (["forward"], 6, 3, 4, 19, {}),
    "reverse, lengths": (["reverse"], 7, 4, 3, 17, {"lengths": True, "bias": False}),
    "both, resets": (["both"], 6, 3, 5, 4, {"reset": True}),
    "two layers": (["both", "both"], 7, 5, 4, 11, {"lengths": True, "reset": True}),
    "mixed": (["reverse", "both", "forward"], 6, 4, 3, 8, {"lengths": True, "reset": True, "bias": False}),
    "one row": (["forward", "reverse"], 9, 1, 2, 33, {}),
}


@functools.lru_cache(maxsize=256)
def problem(cell, setting):
    directions, T, B, I, H, options = SETTINGS[setting]  # noqa: E741
    return make_problem(cell, directions, T, B, I, H, seed=1, **options)


def clip_of(names, case):
    count = sum(s.shape[2] for s in case.state)
    limits = {name: LIMITS[name] * (count**0.5 if name == "step_norm" else 1) for name in names}
    return Clip(**limits) if names else None


def accumulated(cell, setting):
    """Something for gradients to be added to."""
    count = sum(a.size for a in problem(cell, setting).parameters.values())
    return np.random.default_rng(2).uniform(-1, 1, count).astype(np.float32).astype(np.float64)


@functools.lru_cache(maxsize=2048)
def wanted(cell, setting, names, added):
    case = problem(cell, setting)
    return clip_loop.backward(case, clip_of(names, case), accumulated(cell, setting) if added else None)


def assert_stats(got, want, allowed):
    """All of Stats; fractions differ only where a number lies on a limit."""
    assert got.keys() == set(STATS)
    for name in STATS:
        assert (got[name] is None) == (want[name] is None), name
        if want[name] is None:
            continue
        assert np.shape(got[name]) == np.shape(want[name]), name
        np.testing.assert_allclose(got[name], want[name], rtol=allowed, atol=allowed, err_msg=name)


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_mode(target, dtype, cell, setting):
    for number, names in enumerate(SUBSETS):
        if dtype == "float32" and number % 5:  # none, two pairs, and all
            continue
        case, added = problem(cell, setting), number % 3 == 1
        want, facts = wanted(cell, setting, frozenset(names), added)
        flat = accumulated(cell, setting) if added else None
        got, stats = run(net_of(case, target, dtype), case, clip_of(names, case), flat, trace=True)
        assert got.keys() == want.keys()
        for name in want:
            if dtype == "float64":
                message = f"{name} with {names}"
                np.testing.assert_allclose(got[name], want[name], rtol=0, atol=1e-11, err_msg=message)
            else:
                about = {**sizes(case), "dtype": dtype, "backward": name.startswith("d")}
                assert_close(got[name], want[name], **about, name=f"{name} with {names}")
        allowed = 1e-11 if dtype == "float64" else tolerance(**sizes(case), dtype=dtype, backward=True)
        assert_stats(stats, facts, allowed)


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_cases_are_clipped(cell, setting):
    """Some numbers and rows are beyond the limits, and others are not."""
    _, facts = wanted(cell, setting, frozenset(LIMITS), False)
    for name in ("clamped", "step_clamped", "step_scaled"):
        assert 0.01 < np.nanmean(facts[name]) < 0.98, name
    assert facts["stored_norm"] < facts["norm"]
    assert facts["scale"] < 1
    plain, _ = wanted(cell, setting, frozenset(), False)
    for name in LIMITS:
        clipped, _ = wanted(cell, setting, frozenset([name]), False)
        differs = not np.array_equal(plain["dflat"], clipped["dflat"])
        assert differs == (name != "norm"), name
        assert np.array_equal(plain["dx"], clipped["dx"]) == (name in ("value", "norm")), name


def test_the_loop_without_limits_is_back_propagation(cell):
    """The loop itself: its gradients are the differences of its own loss."""
    case = problem(cell, "mixed")

    def loss():
        y, final, _, _ = clip_loop.forward(case)
        return (y * case.dy).sum() + sum((s * d).sum() for s, d in zip(final, case.dstate))

    values, _ = clip_loop.backward(case)
    random, at, found = np.random.default_rng(3), 0, {}
    for name, a in case.parameters.items():
        found[name] = (a, values["dflat"][at : at + a.size].reshape(a.shape))
        at += a.size
    found |= {"x": (case.x, values["dx"])}
    found |= {f"state{k}": (s, values[f"dstate{k}"]) for k, s in enumerate(case.state)}
    for name, (a, gradient) in found.items():
        for _ in range(3):
            place = tuple(int(random.integers(n)) for n in a.shape)
            kept, step = a[place], 1e-6
            a[place] = kept + step
            above = loss()
            a[place] = kept - step
            below = loss()
            a[place] = kept
            error = abs((above - below) / (2 * step) - gradient[place])
            assert error < 1e-6 * max(1, abs(gradient[place])), (name, place)


def test_by_hand(target, dtype):
    """h_t = 2 h_{t-1}: dL/dh doubles from step to step, or stays at the limit."""
    with using(target):
        net = fastrnn.RNN(1, 1, nonlinearity="relu", bias=False, dtype=dtype)
    net.flat[:] = [0, 2]
    before = np.ones((1, 1, 1), dtype)

    def gradient(clip):
        _, _, tape = net.forward(np.zeros((4, 1, 1), dtype), before)
        grads = net.backward(tape, dstate=np.ones((1, 1, 1), dtype), clip=clip, trace=True)
        return grads.state.item(), list(grads.stats.dh[0, 0]), grads.params["weight_hh_l0"].item()

    assert gradient(None) == (16, [8, 4, 2, 1], 8 + 8 + 8 + 8)
    assert gradient(Clip(step_value=1)) == (2, [2, 2, 2, 1], 8 + 4 + 2 + 1)
    assert gradient(Clip(step_norm=1)) == (2, [2, 2, 2, 1], 8 + 4 + 2 + 1)


def both(result, context):
    """Gradients and statistics as arrays to compare by their bits."""
    values, stats = result
    told = {name: np.asarray(value, np.float64) for name, value in stats.items() if value is not None}
    assert told, context
    return values | told


@pytest.mark.parametrize("setting", SETTINGS)
def test_limits_that_nothing_reaches_change_no_bit(target, dtype, cell, setting):
    needs_one_engine(target)
    case = problem(cell, setting)
    net = net_of(case, target, dtype)
    want, plain = run(net, case)
    assert [name for name, value in plain.items() if value is None] == list(STATS[3:])
    assert plain["norm"] == plain["stored_norm"]
    for clip in (None, Clip(), Clip(**HUGE), *(Clip(**{name: limit}) for name, limit in HUGE.items())):
        for trace in (False, True):
            got, stats = run(net, case, clip, trace=trace)
            compare_bits(got, want, f"with {clip}, trace={trace}")
            np.testing.assert_allclose(stats["norm"], plain["norm"], rtol=1e-6)
            assert stats["scale"] == 1
            for name in ("clamped", "step_clamped", "step_scaled"):
                assert stats[name] is None or not np.nansum(stats[name]), name
            assert (stats["dh"] is not None) == trace
            assert (stats["dc"] is not None) == (trace and len(case.state) == 2)


def test_limits_beyond_the_type(target, dtype, cell):
    case = problem(cell, "one layer")
    net = net_of(case, target, dtype)
    want, _ = run(net, case)
    got, stats = run(net, case, Clip(**dict.fromkeys(LIMITS, 1e300)))
    compare_bits(got, want)
    assert (stats["scale"], stats["clamped"]) == (1, 0)
    assert not stats["step_clamped"].any()
    assert not stats["step_scaled"].any()


@pytest.mark.parametrize("way", ["batch", "units", "alone"])
def test_any_number_of_threads(target, cell, way):
    for setting in ("one row", "two layers"):
        case = problem(cell, setting)
        net, clip = net_of(case, target, "float32"), clip_of(LIMITS, case)
        with fastrnn.threads(1):
            want = both(run(net, case, clip, trace=True), setting)
        _core.force_split(way)
        try:
            for n in (2, 7):
                with fastrnn.threads(n):
                    got = both(run(net, case, clip, trace=True), setting)
                compare_bits(got, want, f"{setting} with {n} threads by {way}")
        finally:
            _core.force_split(None)


def test_threads_where_they_are_wanted(fast_target, dtype, cell):
    """Large enough that work is shared among threads without being forced to."""
    case = make_problem(cell, ["forward"], 24, 64, 40, 96, seed=4, lengths=True, reset=True)
    net, clip = net_of(case, fast_target, dtype), clip_of(LIMITS, case)
    results = []
    for n in (1, 2, 7):
        with fastrnn.threads(n):
            results.append(both(run(net, case, clip, trace=True), n))
    for got in results[1:]:
        compare_bits(got, results[0])


@pytest.mark.parametrize("setting", SETTINGS)
def test_less_memory(target, dtype, cell, setting):
    """The states between segments are kept and the rest computed again: the same bits, clipped alike."""
    case = problem(cell, setting)
    net, clip = net_of(case, target, dtype), clip_of(LIMITS, case)
    want = both(run(net, case, clip, trace=True), setting)
    masks = {"lengths": case.lengths, "reset": case.reset}
    least = least_workspace(net, case.x.astype(dtype), **masks)
    for budget in (least, 2 * least):
        got = both(run(net, case, clip, trace=True, max_workspace=budget), setting)
        compare_bits(got, want, f"within {budget} bytes")


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("cell", IN_BFLOAT16)
def test_bfloat16(target, cell, setting):
    """Roughly what the loop says: products are rounded to 8 bits."""
    case = problem(cell, setting)
    clip = clip_of(LIMITS, case)
    want, facts = clip_loop.backward(case, clip)
    got, stats = run(net_of(case, target, "bfloat16"), case, clip, trace=True)
    for name in want:
        assert np.abs(got[name] - want[name]).max() <= 0.06 * max(1, np.abs(want[name]).max()), name
    for name in ("norm", "stored_norm", "scale", "dh", "dc"):
        if facts[name] is not None:
            np.testing.assert_allclose(stats[name], facts[name], rtol=0.06, err_msg=name)
    plain, _ = clip_loop.backward(case)
    assert np.abs(plain["dx"] - want["dx"]).max() > 0.1, "hardly clipped"


def losses(target, nonlinearity, recurrent, lr, clip, dtype="float64"):
    """Of 300 updates that teach a net to give its input again, one step later; fewer where a loss is not finite."""
    with using(target):
        net = fastrnn.RNN(1, 16, nonlinearity=nonlinearity, dtype=dtype, seed=0)
    net.parameters()["weight_hh_l0"][:] = recurrent
    readout = (np.random.default_rng(0).standard_normal(16) / 4).astype(dtype)
    optimizer, found = fastrnn.SGD(lr), []
    for update in range(300):
        x = np.random.default_rng([1, update]).uniform(-1, 1, (20, 16, 1)).astype(dtype)
        y, _, tape = net.forward(x)
        error = y @ readout
        error[1:] -= x[:-1, :, 0]
        with np.errstate(over="ignore"):
            found.append(float((error.astype(np.float64) ** 2).mean()))
        if not np.isfinite(error).all():
            break
        grads = net.backward(tape, 2 * error[:, :, None] * readout / np.asarray(error.size, dtype), clip=clip)
        optimizer.update([net.flat], [grads.flat], scale=grads.stats.scale)
    return np.array(found)


def test_a_run_that_overflows_learns_with_norm(target):
    """The state of a net with relu grows by 1.1 a step."""
    setting = (target, "relu", 1.1 * np.eye(16), 0.1)
    without = losses(*setting, None, "float32")
    assert len(without) < 10
    assert not np.isfinite(without[-1])
    clipped = losses(*setting, Clip(norm=1.0), "float32")
    assert len(clipped) == 300
    assert clipped[-10:].mean() < 0.05 < clipped[0] / 100


def test_runs_that_do_not_learn_learn_with_clipping(target):
    """The gradient of a net with tanh and large weights explodes, and the updates throw it about.

    One such run is chaotic, and the last bit of a sum decides what becomes of it: six starts, and their mean.
    """

    def end(clip):
        rotations = [
            np.linalg.qr(np.random.default_rng(k).standard_normal((16, 16)))[0] for k in range(5, 11)
        ]
        runs = [losses(target, "tanh", 3.0 * turned, 3.0, clip) for turned in rotations]
        return np.mean([run[-10:].mean() for run in runs])

    assert end(None) > 0.4
    assert end(Clip(step_norm=0.01)) < 0.1
    assert end(Clip(norm=0.5)) < 0.1


def test_what_is_no_clip_is_refused(target):
    net = fastrnn.RNN(2, 3)
    _, _, tape = net.forward(np.zeros((2, 1, 2), np.float32))
    for wrong in (1.0, {"norm": 1.0}, "norm"):
        with pytest.raises(TypeError, match="clip"):
            net.backward(tape, clip=wrong)
    assert not tape.used
    for name in LIMITS:
        for limit in (0, -1, np.inf, np.nan):
            with pytest.raises(ValueError, match=name):
                Clip(**{name: limit})
        for limit in ("1", True, [1.0]):
            with pytest.raises(TypeError, match=name):
                Clip(**{name: limit})
