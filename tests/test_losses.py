# SPDX-License-Identifier: MIT
"""Losses and output functions: against plain formulas by complex step, masks, extremes."""

import numpy as np
import pytest
from fastrnn import row_losses
from fastrnn.losses import (
    OUTPUTS,
    mean_squared_error,
    sigmoid,
    sigmoid_cross_entropy,
    softmax,
    softmax_cross_entropy,
)

N, K = 6, 5


def plain_softmax(z, labels):
    return np.mean(np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(z)), labels])


def plain_sigmoid(z, targets):
    y = 1 / (1 + np.exp(-z))
    return -np.mean(targets * np.log(y) + (1 - targets) * np.log(1 - y))


def plain_squares(z, targets):
    return np.mean((z - targets) ** 2)


CASES = {
    "softmax": (softmax_cross_entropy, plain_softmax),
    "sigmoid": (sigmoid_cross_entropy, plain_sigmoid),
    "linear": (mean_squared_error, plain_squares),
}


@pytest.fixture(params=list(CASES))
def activation(request):
    return request.param


def make(activation, dtype="float64", rows=N):
    """z and targets of the right kind."""
    rng = np.random.default_rng(4)
    z = rng.standard_normal((rows, K)).astype(dtype)
    if activation == "softmax":
        return z, rng.integers(0, K, rows)
    return z, rng.uniform(0, 1, (rows, K)).astype(dtype)


def complex_step(function, z, targets):
    """Gradient of a plain formula, exact to rounding: the imaginary part of one step of 1e-30 i."""
    gradient = np.empty(z.shape)
    for at in np.ndindex(z.shape):
        moved = z.astype(np.complex128)
        moved[at] += 1e-30j
        gradient[at] = function(moved, targets).imag / 1e-30
    return gradient


def test_value_and_gradient(activation):
    fused, plain = CASES[activation]
    z, targets = make(activation)
    loss = fused(z, targets)
    assert isinstance(loss.value, float)
    assert abs(loss.value - plain(z, targets)) < 1e-14
    np.testing.assert_allclose(loss.gradient, complex_step(plain, z, targets), rtol=0, atol=1e-15)


def test_float32_stays_float32(activation):
    fused, plain = CASES[activation]
    z, targets = make(activation, "float32")
    loss = fused(z, targets)
    assert loss.gradient.dtype == np.float32
    wide = targets if activation == "softmax" else targets.astype(np.float64)
    assert abs(loss.value - plain(z.astype(np.float64), wide)) < 1e-6
    np.testing.assert_allclose(loss.gradient, complex_step(plain, z, wide), rtol=0, atol=1e-7)
    assert softmax(z).dtype == sigmoid(z).dtype == np.float32


def test_arguments_are_left_alone(activation):
    fused, _ = CASES[activation]
    z, targets = make(activation)
    before = z.copy(), targets.copy()
    fused(z, targets)
    fused(z, targets, mask=np.arange(N) < 3)
    assert np.array_equal(z, before[0])
    assert np.array_equal(targets, before[1])


def test_out_may_be_z(activation):
    fused, _ = CASES[activation]
    z, targets = make(activation)
    want = fused(z, targets)
    into = np.full(z.shape, np.nan)
    got = fused(z, targets, out=into)
    assert got.gradient is into
    assert into.tobytes() == want.gradient.tobytes()
    mask = np.arange(N) % 2 == 0
    masked = fused(z, targets, mask=mask)
    copy = z.copy()
    assert fused(copy, targets, mask=mask, out=copy).gradient is copy
    assert copy.tobytes() == masked.gradient.tobytes()
    assert fused(z, targets, out=z).gradient is z
    assert z.tobytes() == want.gradient.tobytes()


@pytest.mark.parametrize("at_once", [3, 10, 20, 99])
@pytest.mark.parametrize("rows", [1, 6, 7])
def test_rows_come_in_pieces(monkeypatch, rows, at_once):
    """Of several pieces, the last of which may be shorter, or of rows longer than a piece."""
    z, targets = make("sigmoid", rows=rows)
    whole = sigmoid_cross_entropy(z, targets)
    monkeypatch.setattr(row_losses, "_AT_ONCE", at_once)
    loss = sigmoid_cross_entropy(z, targets, out=z)
    assert loss.value == pytest.approx(plain_sigmoid(*make("sigmoid", rows=rows)), rel=1e-14)
    np.testing.assert_allclose(loss.gradient, whole.gradient, rtol=1e-14)


@pytest.mark.parametrize("kept", [[0, 1, 2, 3, 4, 5], [1, 4], [3]])
def test_masked_rows_are_never_read(activation, kept):
    fused, _ = CASES[activation]
    z, targets = make(activation)
    want = fused(z[kept], targets[kept])
    mask = np.zeros(N, bool)
    mask[kept] = True
    z[~mask] = np.nan
    targets = targets.copy()
    targets[~mask] = -7
    loss = fused(z, targets, mask=mask)
    assert loss.value == want.value
    assert loss.gradient[mask].tobytes() == want.gradient.tobytes()
    assert not loss.gradient[~mask].any()


def test_extreme_pre_activations_stay_finite(dtype):
    most = float(np.finfo(dtype).max) / 4
    z = np.array([[most, -most, 0], [-most, -most, -most], [1e4, 1e4, -1e4]], dtype)
    loss = softmax_cross_entropy(z, np.array([0, 1, 2]))
    assert loss.value == pytest.approx((0 + np.log(3) + 2e4 + np.log(2)) / 3, rel=1e-6)
    np.testing.assert_allclose(loss.gradient[1] * 3, [1 / 3, -2 / 3, 1 / 3], rtol=1e-6)
    np.testing.assert_array_equal(softmax(z)[0], [1, 0, 0])
    assert sigmoid_cross_entropy(z, np.array([[1, 0, 1]] * 3, dtype)).value > 0
    np.testing.assert_array_equal(sigmoid(z)[0], [1, 0, 0.5])
    one = sigmoid_cross_entropy(np.array([[-1e4]], dtype), np.ones((1, 1), dtype))
    assert one.value == 1e4
    assert one.gradient[0, 0] == -1


def test_small_probabilities_keep_their_digits():
    """log1p and the shifted exponent: 1 - y would be 0 here."""
    z = np.array([[-40.0]])
    assert sigmoid_cross_entropy(z, np.zeros((1, 1))).value == pytest.approx(np.exp(-40), rel=1e-14, abs=0)
    assert sigmoid(z)[0, 0] == pytest.approx(np.exp(-40), rel=1e-14, abs=0)


@pytest.mark.parametrize("kind", [bool, np.int8, np.uint64, np.float16])
def test_targets_of_any_real_dtype(kind):
    z, _ = make("sigmoid", "float32")
    ones = np.eye(N, K)
    for fused in (sigmoid_cross_entropy, mean_squared_error):
        want = fused(z, ones.astype(np.float32))
        got = fused(z, ones.astype(kind))
        assert got.value == want.value
        assert got.gradient.tobytes() == want.gradient.tobytes()


def test_outputs_decide_and_count():
    z = np.array([[0.2, 0.9, -1.0], [-0.1, -3.0, 0.0]])
    soft, sig, linear = OUTPUTS["softmax"], OUTPUTS["sigmoid"], OUTPUTS["linear"]
    assert soft.decide(z).tolist() == [1, 2]
    assert soft.hits(z, np.array([1, 0])) == 1
    assert sig.decide(z).tolist() == [[1, 1, 0], [0, 0, 0]]
    assert sig.hits(z, np.array([[1, 0, 0], [0, 1, 0]])) == 4
    assert linear.decide(z) is z
    assert linear.hits is None
    np.testing.assert_allclose(soft.activate(z).sum(axis=1), 1)
    np.testing.assert_allclose(sig.activate(z), 1 / (1 + np.exp(-z)))


def test_against_torch(activation, dtype):
    torch = pytest.importorskip("torch", reason="PyTorch is an optional further oracle")
    fused, _ = CASES[activation]
    z, targets = make(activation, dtype, rows=50)
    theirs = {
        "softmax": torch.nn.functional.cross_entropy,
        "sigmoid": torch.nn.functional.binary_cross_entropy_with_logits,
        "linear": torch.nn.functional.mse_loss,
    }[activation]
    tensor = torch.tensor(z, requires_grad=True)
    value = theirs(tensor, torch.tensor(targets))
    value.backward()
    loss = fused(z, targets)
    bound = 4 * float(np.finfo(dtype).eps)
    assert loss.value == pytest.approx(value.item(), rel=bound)
    np.testing.assert_allclose(loss.gradient, tensor.grad.numpy(), rtol=0, atol=bound / 10)


Z = np.zeros((2, 3), np.float32)
LABELS = np.array([0, 2])
NUMBERS = np.zeros((2, 3))


@pytest.mark.parametrize(
    ("function", "arguments", "options", "error", "words"),
    [
        (softmax_cross_entropy, ([[0.0]], LABELS), {}, TypeError, "z is of type list"),
        (softmax_cross_entropy, (Z.astype(int), LABELS), {}, TypeError, "int64"),
        (softmax_cross_entropy, (Z[0], LABELS), {}, ValueError, r"z has shape \(3,\), but \(N,K\)"),
        (softmax_cross_entropy, (Z, [0, 1]), {}, TypeError, "labels is of type list"),
        (softmax_cross_entropy, (Z, LABELS * 1.0), {}, TypeError, "labels has dtype float64, but integers"),
        (softmax_cross_entropy, (Z, LABELS > 0), {}, TypeError, "labels has dtype bool"),
        (softmax_cross_entropy, (Z, LABELS[:1]), {}, ValueError, r"labels has shape \(1,\), but z \(2, 3\)"),
        (softmax_cross_entropy, (Z, np.array([0, 3])), {}, ValueError, "labels holds 3, but 0 to 2"),
        (softmax_cross_entropy, (Z, np.array([-1, 0])), {}, ValueError, "labels holds -1, but 0 to 2"),
        (softmax_cross_entropy, (Z[:0], LABELS[:0]), {}, ValueError, "no row counts of the 0 of z"),
        (softmax_cross_entropy, (Z, LABELS), {"mask": LABELS > 5}, ValueError, "no row counts of the 2"),
        (softmax_cross_entropy, (Z, LABELS), {"mask": LABELS}, TypeError, "mask has dtype int64, but bool"),
        (softmax_cross_entropy, (Z, LABELS), {"mask": Z > 0}, ValueError, r"mask has shape \(2, 3\)"),
        (softmax_cross_entropy, (Z, LABELS), {"out": NUMBERS}, TypeError, "out has dtype float64"),
        (softmax_cross_entropy, (Z, LABELS), {"out": Z[:1]}, ValueError, r"out has shape \(1, 3\)"),
        (sigmoid_cross_entropy, (Z, NUMBERS + 1.5), {}, ValueError, "targets holds 1.5, but 0 to 1"),
        (sigmoid_cross_entropy, (Z, NUMBERS * np.nan), {}, ValueError, "targets holds nan, but 0 to 1"),
        (sigmoid_cross_entropy, (Z, LABELS), {}, ValueError, r"targets has shape \(2,\), but z \(2, 3\)"),
        (mean_squared_error, (Z, NUMBERS * 1j), {}, TypeError, "targets has dtype complex128, but real"),
        (mean_squared_error, (Z, NUMBERS.astype(str)), {}, TypeError, "targets has dtype <U"),
    ],
)
def test_bad_input(function, arguments, options, error, words):
    with pytest.raises(error, match=words):
        function(*arguments, **options)
    assert not Z.any()
