# SPDX-License-Identifier: MIT
"""recurrent_dropout and zoneout of every cell: against the papers, the reference and themselves bit by bit."""

import copy
import pickle

import fastrnn
import numpy as np
import oracle
import pytest
from fastrnn import _core
from masks import noise
from runner import as_state, build, compare, compare_bits, parts
from shapes import make_case

SEED = 7


def kinds(cell):
    """Options of noise that the cell has, all numbers different."""
    pair = (0.3, 0.45) if oracle.CELLS[cell].states > 1 else 0.3
    dropout = [{"recurrent_dropout": 0.4}, {"recurrent_dropout": 0.25, "zoneout": pair}]
    return [{"zoneout": pair}, *(dropout if oracle.CELLS[cell].recurrent else [])]


def train(net, case, *, clip=None, **options):
    x, state = case.x.astype(net.dtype), as_state(case.state, net.dtype)
    y, final, tape = net.forward(x, state, dropout_seed=SEED, **case.masks, **options)
    grads = net.backward(tape, case.dy.astype(net.dtype), as_state(case.dstate, net.dtype), clip=clip)
    return {
        "y": y,
        **parts(final),
        "dx": grads.x,
        **parts(grads.state, "dstate"),
        **{"d" + name: value for name, value in grads.params.items()},
    }


def infer(net, case):
    y, final = net(case.x.astype(net.dtype), as_state(case.state, net.dtype), **case.masks)
    return {"y": y, **parts(final)}


@pytest.mark.parametrize("kind", range(3))
@pytest.mark.parametrize("masked", [False, True])
def test_the_reference_against_the_papers(cell, kind, masked):
    case = make_case(cell, 5, 3, 3, 4, seed=1, num_layers=2, bidirectional=True, lengths=masked, reset=masked)
    for options in kinds(cell)[kind : kind + 1]:
        net = build(case, "reference", "float64", **options)
        of_oracle = {**case.stacking, **case.masks, "noise": noise(case, SEED, **options)}
        y, final = oracle.stack(cell, case.x, case.state, case.parameters, **of_oracle)
        grads = oracle.gradients(cell, case.x, case.state, case.parameters, case.dy, case.dstate, **of_oracle)
        want = {"y": y, **parts(final), "dx": grads.pop("x"), **{"d" + name: g for name, g in grads.items()}}
        got = train(net, case)
        assert got.keys() == want.keys()
        for name, value in want.items():
            np.testing.assert_allclose(got[name], value, rtol=0, atol=1e-10, err_msg=f"{name} {options}")
        of_oracle["noise"] = noise(case, None, **options)
        y, final = oracle.stack(cell, case.x, case.state, case.parameters, **of_oracle)
        for name, value in {"y": y, **parts(final)}.items():
            np.testing.assert_allclose(infer(net, case)[name], value, rtol=0, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("kind", range(3))
@pytest.mark.parametrize("masked", [False, True])
def test_every_target_against_the_reference(fast_target, dtype, cell, kind, masked):
    for options in kinds(cell)[kind : kind + 1]:
        for seed, shape in enumerate([(1, 1, 2, 3), (6, 5, 7, 21), (3, 2, 1, 40), (0, 2, 3, 4)]):
            case = make_case(
                cell, *shape, seed=seed, num_layers=2, bidirectional=True, lengths=masked, reset=masked
            )
            reference = build(case, "reference", "float64", **options)
            net = build(case, fast_target, dtype, **options)
            clip = fastrnn.Clip(step_value=0.4, step_norm=1.5) if seed % 2 else None
            compare(train(net, case, clip=clip), train(reference, case, clip=clip), case, dtype, f"{options}")
            compare(infer(net, case), infer(reference, case), case, dtype, f"inference {options}")


@pytest.mark.parametrize("split", ["batch", "units", "alone"])
def test_any_number_of_threads(fast_target, cell, split):
    case = make_case(cell, 9, 7, 5, 33, seed=2, bidirectional=True, lengths=True, reset=True)
    net = build(case, fast_target, "float32", **kinds(cell)[-1])
    with fastrnn.threads(1):
        want = train(net, case)
    _core.force_split(split)
    try:
        for n in (2, 7):
            with fastrnn.threads(n):
                compare_bits(train(net, case), want, f"with {n} threads by {split}")
    finally:
        _core.force_split(None)


@pytest.mark.parametrize("masked", [False, True])
def test_in_less_memory(target, dtype, cell, masked):
    case = make_case(
        cell, 23, 5, 4, 19, seed=3, num_layers=2, bidirectional=True, lengths=masked, reset=masked
    )
    net = build(case, target, dtype, **kinds(cell)[-1])
    with pytest.raises(ValueError, match="at least") as refused:
        net.forward(case.x.astype(dtype), max_workspace=1)
    compare_bits(train(net, case, max_workspace=int(str(refused.value).split()[-1])), train(net, case))


def test_streaming_has_the_bits_of_inference(target, dtype, cell):
    case = make_case(cell, 9, 3, 6, 11, seed=4, num_layers=2)
    net = build(case, target, dtype, **kinds(cell)[-1])
    want, state, ys = infer(net, case), as_state(case.state, dtype), []
    for x in case.x.astype(dtype):
        y, state = net.step(x, state)
        ys.append(y)
    compare_bits({"y": np.stack(ys), **parts(state)}, want)


def test_seeds_repeat_and_follow(cell):
    case = make_case(cell, 6, 3, 4, 9, seed=5)
    net = build(case, fastrnn.active(), "float32", seed=1, **kinds(cell)[-1])
    twin = build(case, fastrnn.active(), "float32", seed=1, **kinds(cell)[-1])
    x = case.x.astype(np.float32)
    compare_bits(train(net, case), train(twin, case), "of the same seed")
    first, second = net.forward(x)[0], net.forward(x)[0]
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(twin.forward(x)[0], first)
    other = pickle.loads(pickle.dumps(copy.deepcopy(twin)))
    np.testing.assert_array_equal(other.forward(x)[0], second)
    compare_bits(infer(net, case), infer(other, case), "of inference, which draws nothing")


def test_a_net_without_noise_is_the_other_kernel(cell):
    """And with almost none the same to rounding."""
    case = make_case(cell, 6, 3, 4, 9, seed=6)
    plain, noisy = (
        build(case, fastrnn.active(), "float64"),
        build(case, fastrnn.active(), "float64", zoneout=1e-300),
    )
    assert "masked" in noisy.kernel
    assert "masked" not in plain.kernel
    for name, value in infer(plain, case).items():
        np.testing.assert_allclose(infer(noisy, case)[name], value, rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="no dropout"):
        plain.forward(case.x, dropout_seed=1)


def test_shares():
    """Zoned out entirely but for a share: a state keeps its number from step to step as often as p says."""
    net = fastrnn.LSTM(3, 50, zoneout=(0.3, 0.6), seed=1)
    x = np.random.default_rng(2).standard_normal((40, 20, 3)).astype(np.float32)
    y, _, _ = net.forward(x, dropout_seed=1)
    same = (y[1:] == y[:-1]).mean()
    assert abs(same - 0.3) < 5 * (0.21 / y.size) ** 0.5
    assert abs((y[0] == 0).mean() - 0.3) < 5 * (0.21 / y[0].size) ** 0.5


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: fastrnn.LSTM(3, 4, zoneout=1.0), ValueError, "zoneout is 1.0, but must be less than 1"),
        (lambda: fastrnn.LSTM(3, 4, zoneout=(0.1, 0.2, 0.3)), ValueError, "zoneout has 3 numbers"),
        (lambda: fastrnn.GRU(3, 4, zoneout=(0.1, 0.2)), ValueError, "the state of gru is h"),
        (lambda: fastrnn.GRU(3, 4, recurrent_dropout=-0.5), ValueError, "recurrent_dropout is -0.5"),
        (lambda: fastrnn.GRU(3, 4, recurrent_dropout="0.5"), TypeError, "recurrent_dropout is '0.5'"),
        (lambda: fastrnn.GRU(3, 4, recurrent_dropout=0.5, dtype="bfloat16"), ValueError, "recurrent_dropout do not"),
        (lambda: fastrnn.RNN(3, 4, zoneout=0.5, dtype="bfloat16"), ValueError, "zoneout do not combine"),
        (lambda: fastrnn.IndRNN(3, 4, recurrent_dropout=0.5), ValueError, r"recurrent_dropout .* IndRNN has none"),
    ],
)  # fmt: skip
def test_bad_input(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_repr_and_truncation():
    net = fastrnn.LSTM(3, 4, recurrent_dropout=0.25, zoneout=(0.1, 0.2))
    assert "recurrent_dropout=0.25, zoneout=(0.1, 0.2)" in repr(net)
    assert repr(eval(repr(net), {"LSTM": fastrnn.LSTM})) == repr(net)
    with pytest.raises(ValueError, match=r"recurrent_dropout=0\.25 would draw other masks"):
        net.forward(np.ones((8, 1, 3), np.float32), bptt=(2, 4))
