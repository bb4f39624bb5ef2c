# SPDX-License-Identifier: MIT
"""dtype="bfloat16": products of rounded numbers, everything else in float32."""

import copy
import pickle

import fastrnn
import numpy as np
import pytest
from fastrnn import _core
from runner import backward, build, compare, compare_bits, forward, parts, trusted
from shapes import IN_BFLOAT16, make_case

# What docs/performance.md promises, relative to the largest. A rectified unit near 0 passes its gradient or does not.
ERROR, RELU_GRADIENT_ERROR = 1e-2, 0.25
SHAPES = [
    (1, 1, 1, 1),
    (2, 1, 7, 3),
    (5, 3, 1, 17),
    (7, 4, 33, 40),
    (3, 9, 40, 96),
    (600, 1, 2, 5),
    (3, 200, 5, 16),
]


@pytest.fixture(params=IN_BFLOAT16)
def cell(request):
    """The cells of one phase a step, which are made for bfloat16."""
    return request.param


def rounded(a):
    """The bfloat16 next to each number."""
    bits = np.asarray(a, np.float32).view(np.uint32).astype(np.uint64)
    up = bits + 0x7FFF + ((bits >> 16) & 1)
    return (up & 0xFFFF0000).astype(np.uint32).view(np.float32)


def round_case(case):
    """The case with numbers that bfloat16 has, but for biases."""
    for name, value in case.parameters.items():
        if name.startswith(("weight_ih", "weight_hh")):
            case.parameters[name] = rounded(value).astype(np.float64)
    case.x = rounded(case.x).astype(np.float64)
    case.state = tuple(rounded(s).astype(np.float64) for s in case.state)
    return case


@pytest.mark.parametrize("shape", SHAPES)
def test_one_step_of_exact_numbers(target, cell, shape):
    """Nothing is rounded: y must be as exact as that of float32, so no product is left out or paired wrongly."""
    case = round_case(make_case(cell, 1, *shape[1:], seed=1))
    want = forward(build(case, "reference", "float64"), case)
    compare(forward(build(case, target, "bfloat16"), case), want, case, "float32")


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients(target, cell, shape, masked):
    """Against the reference, which rounds alike: off by a unit of bfloat16 where the last bit of a float decides."""
    case = make_case(cell, *shape, seed=2, lengths=masked, reset=masked, num_layers=2)
    want = backward(build(case, "reference", "bfloat16"), case)
    got = backward(build(case, target, "bfloat16"), case)
    for name, value in want.items():
        scale = max(np.abs(value).max(), 1.0)
        error = np.abs(got[name] - value).max() / scale
        assert error <= 2**-6, f"{name} is off by {error:.1e} ({case})"


@pytest.mark.parametrize("shape", [(20, 8, 64, 128), (100, 2, 16, 64)])
def test_documented_error(target, cell, shape):
    if target in ("portable", "reference") and shape[0] == 100:
        pytest.skip("the same arithmetic as of the other shape, slowly")
    case, want = trusted(cell, *shape, seed=3)
    got = backward(build(case, target, "bfloat16"), case)
    for name, value in want.items():
        error = np.abs(got[name] - value).max() / np.abs(value).max()
        limit = RELU_GRADIENT_ERROR if cell.endswith("relu") and name.startswith("d") else ERROR
        assert error <= limit, f"{name} is off by {error:.1e}, {limit} is promised ({case})"
    assert np.abs(got["y"] - want["y"]).max() > 1e-5, "nothing was rounded"


@pytest.mark.parametrize("split", ["batch", "units", "alone"])
def test_bits(target, cell, split):
    """The same for any team, step by step, in inference and training."""
    case = make_case(cell, 6, 5, 7, 40, seed=4, num_layers=2, bidirectional=True, lengths=True, reset=True)
    net = build(case, target, "bfloat16")
    with fastrnn.threads(1):
        want = backward(net, case)
        compare_bits(forward(net, case), {k: want[k] for k in forward(net, case)}, "of inference")
    _core.force_split(split)
    try:
        with fastrnn.threads(3):
            compare_bits(backward(net, case), want, f"with 3 threads by {split}")
    finally:
        _core.force_split(None)


def test_streaming(target, cell):
    case = make_case(cell, 9, 3, 6, 21, seed=5, num_layers=2)
    net = build(case, target, "bfloat16")
    x = case.x.astype(np.float32)
    y, want = net(x)
    state = None
    for t in range(case.T):
        y_t, state = net.step(x[t], state)
        np.testing.assert_array_equal(y_t, y[t])
    compare_bits(parts(state), parts(want))


def test_what_is_not_finite_stays_so(target):
    net = fastrnn.LSTM(4, 5, dtype="bfloat16", seed=0)
    x = np.zeros((3, 2, 4), np.float32)
    x.view(np.uint32)[1, 0, 2] = 0x7F800001  # a NaN that rounding would carry to infinity
    y, _ = net(x)
    assert np.isnan(y[1:, 0]).any()
    assert np.isfinite(y[:, 1]).all()
    assert np.isfinite(y[0]).all()


@pytest.mark.parametrize("H", [1, 3, 4, 17])
def test_infinity_is_not_multiplied_by_missing_units(target, H):
    """The unit beside the last one does not exist: 0 * inf there would be NaN everywhere one step later."""
    net = fastrnn.RNN(1, H, dtype="bfloat16", seed=0)
    y, _ = net(np.array([np.inf, 0, 0], np.float32)[:, None])
    assert np.isfinite(y).all()


def test_the_net_says_so():
    net = fastrnn.GRU(3, 4, dtype="bfloat16", seed=0)
    assert repr(net) == "GRU(3, 4, dtype='bfloat16')"
    assert net.dtype == np.float32
    assert "bf16" in net.kernel
    assert "f32" in fastrnn.GRU(3, 4).kernel
    x = np.random.default_rng(0).standard_normal((5, 2, 3)).astype(np.float32)
    want = net(x)[0]
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert other.bfloat16
        np.testing.assert_array_equal(other(x)[0], want)
    assert (fastrnn.GRU(3, 4, seed=0)(x)[0] != want).any()


def test_parameters_are_kept_in_float32():
    net = fastrnn.RNN(3, 4, dtype="bfloat16", seed=0)
    np.testing.assert_array_equal(net.flat, fastrnn.RNN(3, 4, seed=0).flat)


@pytest.mark.parametrize("wrong", ["bf16", "float16", "int32", None])
def test_other_dtypes_are_refused(wrong):
    with pytest.raises((TypeError, ValueError), match="float32, float64 or bfloat16"):
        fastrnn.LSTM(3, 4, dtype=wrong)


def test_a_model_learns_and_is_kept(tmp_path):
    """A label that only the first token tells: the loss falls, and a file restores the model bit for bit."""
    pytest.importorskip("safetensors")
    random = np.random.default_rng(0)
    x = random.integers(0, 4, (64, 6))
    y = np.repeat(x[:, :1] % 2, 6, axis=1)
    model = fastrnn.NToN("lstm", fastrnn.Embedding(4, 8), hidden=16, outputs=2, dtype="bfloat16", seed=0)
    assert model.rnn.bfloat16
    before = model.evaluate(x, y)["loss"]
    model.fit(x, y, epochs=30, optimizer=fastrnn.Adam(2e-2), progress=False)
    assert model.evaluate(x, y)["loss"] < before / 10
    model.save(tmp_path / "model.safetensors")
    other = fastrnn.load(tmp_path / "model.safetensors")
    assert other.rnn.bfloat16
    np.testing.assert_array_equal(other.predict_proba(x), model.predict_proba(x))
