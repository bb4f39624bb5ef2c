# SPDX-License-Identifier: MIT
"""Every target against the reference in float64, within the one tolerance: outputs, states, all gradients."""

import itertools

import numpy as np
import pytest
from runner import as_state, backward, build, compare, compare_bits, forward, trusted
from shapes import EMPTY, ladder, lanes, make_case
from targets import some
from tolerance import assert_close


def check(target, dtype, cell, *shape, **options):
    case, want = trusted(cell, *shape, **options)
    net = build(case, target, dtype)
    context = f"on {target} {dtype}"
    got = backward(net, case)
    compare(got, want, case, dtype, context)
    inference = forward(net, case)
    compare_bits(inference, {name: got[name] for name in inference}, f"of inference {context} ({case})")


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_ladder(fast_target, dtype, cell, rows):
    shapes = [shape for shape in ladder(lanes(fast_target, dtype)) if shape[1] == rows]
    assert len(shapes) >= 60
    shapes = some(fast_target, shapes, 8)
    for seed, shape in enumerate(shapes):
        check(fast_target, dtype, cell, *shape, seed=seed)


@pytest.mark.parametrize(("lengths", "reset"), [(True, False), (False, True), (True, True)])
def test_masks(fast_target, dtype, cell, lengths, reset):
    L = lanes(fast_target, dtype)
    for seed, shape in enumerate(
        [
            (1, 1, 1, 1),
            (1, 7, 3, L + 1),
            (7, 1, 1, L),
            (7, 2, L + 1, 3 * L + 5),
            (9, 8, 3, L - 1 or 1),
            (30, 13, L, 2 * L),
            (8, 33, 2, L + 1),
        ]
    ):
        check(fast_target, dtype, cell, *shape, seed=100 + seed, lengths=lengths, reset=reset)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_layers_and_directions(fast_target, dtype, cell, num_layers, bidirectional):
    L = lanes(fast_target, dtype)
    stacking = {"num_layers": num_layers, "bidirectional": bidirectional}
    for seed, (masked, bias) in enumerate(itertools.product([False, True], repeat=2)):
        check(
            fast_target,
            dtype,
            cell,
            7,
            5,
            3,
            L + 1,
            seed=200 + seed,
            bias=bias,
            lengths=masked,
            reset=masked,
            **stacking,
        )


@pytest.mark.parametrize(
    ("T", "B", "I", "H"), [(200, 2, 3, 33), (90, 7, 300, 24), (3, 150, 40, 30), (30, 32, 1, 64)]
)
def test_long_wide_and_tall(fast_target, dtype, cell, T, B, I, H):  # noqa: E741
    check(fast_target, dtype, cell, T, B, I, H, seed=300)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("shape", EMPTY)
def test_no_steps_or_no_rows(target, dtype, cell, shape, bidirectional):
    case, want = trusted(cell, *shape, seed=400, num_layers=2, bidirectional=bidirectional)
    got = backward(build(case, target, dtype), case)
    compare(got, want, case, dtype, f"on {target}")
    if shape[0] == 0:
        compare_bits({"dstate0": got["dstate0"]}, {"dstate0": case.dstate[0].astype(dtype)})
        assert all(not value.any() for name, value in got.items() if name.startswith(("dweight", "dbias")))


@pytest.mark.parametrize("garbage", [np.nan, np.inf, 1e30])
def test_padding_is_never_read(target, dtype, cell, garbage):
    case = make_case(cell, 7, 5, 6, 9, seed=500, num_layers=2, bidirectional=True, lengths=True, reset=True)
    net = build(case, target, dtype)
    clean = backward(net, case)
    padding = np.arange(case.T)[:, None] >= case.lengths
    assert padding.any()
    assert not padding.all()
    case.x[padding] = garbage
    case.dy[padding] = garbage
    case.reset[padding] ^= True
    dirty = backward(net, case)
    compare_bits(dirty, clean, f"with {garbage} in the padding")
    for name in ("y", "dx"):
        assert not dirty[name][padding].any(), f"{name} of the padding is not 0"
    compare_bits(
        forward(net, case), {name: clean[name] for name in clean if name in ("y", "state0", "state1")}
    )


def test_masks_that_mask_nothing(target, dtype, cell):
    case = make_case(cell, 6, 5, 3, 9, seed=600, bidirectional=True)
    net = build(case, target, dtype)
    bare = backward(net, case)
    compare_bits(backward(net, case, lengths=np.full(case.B, case.T)), bare, "with full lengths")
    compare_bits(backward(net, case, reset=np.zeros((case.T, case.B), bool)), bare, "without a boundary")


def test_a_sequence_does_not_depend_on_its_neighbours(fast_target, dtype, cell):
    """The rows of a batch with masks, each alone: what leaks from row to row would show."""
    case, want = trusted(cell, 7, 9, 4, 11, seed=700, bidirectional=True, lengths=True, reset=True)
    net = build(case, fast_target, dtype)
    for b in range(case.B):
        row = slice(b, b + 1)
        y, state = net(
            case.x[:, row].astype(dtype),
            as_state([s[:, row] for s in case.state], dtype),
            lengths=case.lengths[row],
            reset=case.reset[:, row],
        )
        assert_close(y, want["y"][:, row], **case.sizes, name=f"y of row {b}")
        state = state if isinstance(state, tuple) else (state,)
        for k, s in enumerate(state):
            assert_close(s, want[f"state{k}"][:, row], **case.sizes, name=f"state{k} of row {b}")


def test_parameter_gradients_are_added(target, dtype, cell):
    case, want = trusted(cell, 5, 4, 3, 9, seed=800, num_layers=2)
    net = build(case, target, dtype)
    flat = np.ones_like(net.flat)
    _, _, tape = net.forward(case.x.astype(dtype), as_state(case.state, dtype))
    grads = net.backward(tape, case.dy.astype(dtype), as_state(case.dstate, dtype), flat=flat)
    assert grads.flat is flat or np.shares_memory(grads.flat, flat)
    for name, value in grads.params.items():
        assert np.shares_memory(value, flat)
        assert_close(value, 1 + want["d" + name], **case.sizes, dtype=dtype, backward=True, name=name)


def test_norm_of_the_gradients(target, dtype, cell):
    case = make_case(cell, 5, 4, 3, 9, seed=900, num_layers=2, bidirectional=True)
    net = build(case, target, dtype)
    _, _, tape = net.forward(case.x.astype(dtype))
    grads = net.backward(tape, case.dy.astype(dtype))
    want = np.linalg.norm(grads.flat.astype(np.float64))
    assert isinstance(grads.stats.norm, float)
    assert grads.stats.norm == pytest.approx(want, rel=1e-13)
    _, _, tape = net.forward(case.x.astype(dtype))
    flat = np.full_like(net.flat, 3)  # the norm is of what stands there in the end
    grads = net.backward(tape, case.dy.astype(dtype), flat=flat)
    want = np.linalg.norm(grads.flat.astype(np.float64))
    assert grads.stats.norm == pytest.approx(want, rel=1e-13)


def test_what_is_not_asked_for(target, dtype, cell):
    case = make_case(cell, 5, 4, 3, 9, seed=1000, num_layers=2, bidirectional=True)
    net = build(case, target, dtype)
    zero_dy, zero_dstate = (
        np.zeros_like(case.dy, dtype),
        as_state([np.zeros_like(s) for s in case.dstate], dtype),
    )
    dy, dstate = case.dy.astype(dtype), as_state(case.dstate, dtype)
    zero_state = as_state([np.zeros_like(s) for s in case.state], dtype)

    def gradients(*arguments, state=zero_state, **options):
        grads = net.backward(net.forward(case.x.astype(dtype), state)[2], *arguments, **options)
        return grads.x, grads.flat, *(grads.state if isinstance(grads.state, tuple) else [grads.state])

    full = gradients(dy, dstate)
    _, *without = gradients(dy, dstate, x_gradient=False)
    assert _ is None
    for left, right in [
        (without, full[1:]),
        (gradients(None, dstate), gradients(zero_dy, dstate)),
        (gradients(dy, None), gradients(dy, zero_dstate)),
        (gradients(), gradients(zero_dy, zero_dstate)),
        (gradients(dy, dstate, state=None), full),
    ]:
        for a, b in zip(left, right):
            np.testing.assert_array_equal(a, b)


EXTREMES = np.array([0, 1e-38, -1e-30, 1e-3, -1, 8, -20, 90, -100, 1e4, -1e10, 1e30, -1e30])


def test_extreme_inputs(fast_target, dtype, cell):
    """Gates driven to their ends: no overflow on the way, and a saturated unit passes no gradient."""
    case = make_case(cell, 1, EXTREMES.size, 1, lanes(fast_target, dtype) + 1, seed=1100)
    case.x[0, :, 0] = EXTREMES.astype(np.float32)
    want = backward(build(case, "reference", "float64"), case)
    got = backward(build(case, fast_target, dtype), case)
    for name in ("y", *(f"state{k}" for k in range(len(case.state)))):
        rows = [(got[name][0, b], want[name][0, b]) for b in range(EXTREMES.size)]
        for b, (mine, theirs) in enumerate(rows):
            assert_close(mine, theirs, **case.sizes, dtype=dtype, name=f"{name} of x={EXTREMES[b]} ({case})")
    for name, value in got.items():
        assert np.isfinite(value).all(), name


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_not_hidden(target, dtype, cell, bad):
    """It stays in its row, and there NaN stays NaN: minima and maxima inside of exp must not swallow it."""
    case = make_case(cell, 4, 5, 3, 9, seed=1200)
    net = build(case, target, dtype)
    clean = forward(net, case)
    case.x[1, 2, 0] = bad
    dirty = forward(net, case)
    others = [0, 1, 3, 4]
    for name in clean:
        compare_bits(
            {name: dirty[name][:, others]}, {name: clean[name][:, others]}, f"beside a row with {bad}"
        )
    compare_bits({"y": dirty["y"][0]}, {"y": clean["y"][0]}, f"before {bad}")
    if np.isnan(bad):
        assert np.isnan(dirty["y"][1:, 2]).all()
        assert np.isnan(dirty["state0"][0, 2]).all()
