# SPDX-License-Identifier: MIT
"""Weights of classes, label smoothing, ignored labels, weights of positives: in the losses and in models."""

import copy
import pickle

import fastrnn
import numpy as np
import pytest
from fastrnn.losses import OUTPUTS, output, sigmoid_cross_entropy, softmax_cross_entropy
from networks import build as tagger
from networks import make, snapshot
from refusal import EITHER, refused

N, K = 7, 4
WEIGHT = [0.5, 2.0, 0.0, 1.25]
POSITIVE = [0.5, 3.0, 1.0, 0.0]


def pre_activations(dtype="float64"):
    rng = np.random.default_rng(4)
    return rng.standard_normal((N, K)).astype(dtype), np.array([0, 1, 2, 3, 1, 1, 0])


def plain(z, labels, weight, smoothing, ignored):
    """Row by row, as torch's documentation says it."""
    total = over = 0
    for row, label in zip(z, labels):
        if label != ignored:
            log_y = row - np.log(np.exp(row).sum())
            total -= (1 - smoothing) * weight[label] * log_y[label]
            total -= smoothing / K * (np.asarray(weight) * log_y).sum()
            over += weight[label]
    return total / over


def plain_sigmoid(z, targets, weight):
    y = 1 / (1 + np.exp(-z))
    return -np.mean(weight * targets * np.log(y) + (1 - targets) * np.log(1 - y))


def complex_step(function, z):
    """Gradient of a plain formula, exact to rounding."""
    gradient = np.empty(z.shape)
    for at in np.ndindex(z.shape):
        moved = z.astype(np.complex128)
        moved[at] += 1e-30j
        gradient[at] = function(moved).imag / 1e-30
    return gradient


@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize("smoothing", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("ignored", [None, 1, -100])
def test_cross_entropy_against_the_formula(weight, smoothing, ignored, dtype):
    z, labels = pre_activations(dtype)
    if ignored == -100:
        labels[[0, 4]] = -100
    loss = softmax_cross_entropy(
        z, labels, class_weight=weight, label_smoothing=smoothing, ignore_index=ignored
    )

    def wanted(z):
        return plain(z, labels, weight or [1] * K, smoothing, ignored)

    wide = z.astype(np.float64)
    bound = 1e-14 if dtype == "float64" else 1e-6
    assert loss.gradient.dtype == dtype
    assert abs(loss.value - wanted(wide)) < bound
    np.testing.assert_allclose(loss.gradient, complex_step(wanted, wide), rtol=0, atol=bound)
    kept = labels != ignored
    assert not loss.gradient[~kept].any()
    assert loss.weight == (np.asarray(weight)[labels[kept]].sum() if weight else kept.sum())


def test_binary_cross_entropy_against_the_formula(dtype):
    z, _ = pre_activations(dtype)
    targets = np.random.default_rng(5).uniform(0, 1, z.shape).astype(dtype)
    loss = sigmoid_cross_entropy(z, targets, pos_weight=POSITIVE)
    wide = z.astype(np.float64), targets.astype(np.float64)
    bound = 1e-15 if dtype == "float64" else 1e-6
    assert loss.gradient.dtype == dtype
    assert abs(loss.value - plain_sigmoid(*wide, POSITIVE)) < bound
    want = complex_step(lambda z: plain_sigmoid(z, wide[1], POSITIVE), wide[0])
    np.testing.assert_allclose(loss.gradient, want, rtol=0, atol=bound)


def test_off_is_the_same_bits(dtype):
    z, labels = pre_activations(dtype)
    off = fastrnn.CrossEntropy()
    for loss in (softmax_cross_entropy, off.rows, output("softmax", off, K).loss):
        got = loss(z, labels, out=np.empty_like(z))
        want = OUTPUTS["softmax"].loss(z, labels, np.empty_like(z))
        assert (got.value, got.gradient.tobytes()) == (want.value, want.gradient.tobytes())
    ignoring = softmax_cross_entropy(z, labels, ignore_index=-100)
    assert ignoring.gradient.tobytes() == softmax_cross_entropy(z, labels).gradient.tobytes()


def test_out_may_be_z_and_masks_combine():
    z, labels = pre_activations()
    options = {"class_weight": WEIGHT, "label_smoothing": 0.1, "ignore_index": 0}
    mask = np.arange(N) % 3 != 1
    want = softmax_cross_entropy(z[mask], labels[mask], **options)
    labels[~mask] = -7
    got = softmax_cross_entropy(z, labels, mask=mask, out=z, **options)
    assert got.gradient is z
    assert got.value == want.value
    assert got.gradient[mask].tobytes() == want.gradient.tobytes()
    assert not got.gradient[~mask].any()


def test_extreme_pre_activations_stay_finite(dtype):
    most = float(np.finfo(dtype).max) / 4
    z = np.array([[most, -most, 0, 0], [-most] * 4, [1e4, 1e4, -1e4, 0]], dtype)
    loss = softmax_cross_entropy(z, np.array([0, 1, 3]), class_weight=WEIGHT, label_smoothing=0.1)
    assert np.isfinite(loss.value)
    assert np.isfinite(loss.gradient).all()
    targets = np.ones_like(z)
    loss = sigmoid_cross_entropy(np.clip(z, -1e4, 1e4), targets, pos_weight=[2.0] * K)
    assert loss.value == pytest.approx(2 * (1e4 * 6 + 3 * np.log(2)) / 12, rel=1e-6)


@pytest.mark.parametrize("options", [{"ignore_index": 2}, {"class_weight": WEIGHT}])
def test_where_nothing_counts_the_loss_is_zero(options):
    z, _ = pre_activations()
    loss = softmax_cross_entropy(z, np.full(N, 2), out=z, **options)
    assert (loss.value, loss.weight) == (0.0, 0.0)
    assert loss.gradient is z
    assert not z.any()


# ---- in models ----


def losses():
    return {
        "weights": fastrnn.CrossEntropy(class_weight=[0.5, 2, 1.25]),
        "smoothing": fastrnn.CrossEntropy(label_smoothing=0.1),
        "ignoring": fastrnn.CrossEntropy(ignore_index=-100),
        "all": fastrnn.CrossEntropy([0.5, 2, 1.25], 0.1, 1),
    }


@pytest.mark.parametrize("name", losses())
@pytest.mark.parametrize("topology", [fastrnn.NToN, fastrnn.NToOne])
def test_a_mean_does_not_depend_on_batches(name, topology):
    x, y = make(lengths=[4, 5, 1, 3, 4, 2])
    if topology is fastrnn.NToOne:
        y = np.array([labels[0] for labels in y])
    model = topology("gru", fastrnn.Embedding(9, 4), 5, 3, loss=losses()[name], dtype="float64", seed=1)
    whole = model.evaluate(x, y, batch_size=100)
    assert model.evaluate(x, y, batch_size=1) == pytest.approx(whole, rel=1e-12)
    assert model.gradients(x, y)[0] == pytest.approx(whole["loss"], rel=1e-12)


def test_ignored_steps_count_nowhere():
    x, y = make()
    model = tagger(loss=fastrnn.CrossEntropy(ignore_index=-100))
    y[0][1:] = -100
    before, _ = model.gradients(x, y)
    hits = [model.predict(x)[n] == y[n] for n in range(len(x))]
    counted = [y[n] != -100 for n in range(len(x))]
    want = np.concatenate(hits).sum() / np.concatenate(counted).sum()
    assert model.evaluate(x, y)["accuracy"] == pytest.approx(want)
    plain = tagger()
    short_x, short_y = [x[0][:1], *x[1:]], [y[0][:1], *y[1:]]
    assert before == pytest.approx(plain.gradients(short_x, short_y)[0], rel=1e-12)


def test_a_batch_without_a_label_teaches_nothing():
    x, y = make(lengths=[3, 3, 5])
    y[2][:] = -100
    model, twin = (tagger(loss=fastrnn.CrossEntropy(ignore_index=-100)) for _ in range(2))
    settings = {"epochs": 1, "shuffle": False, "progress": False}
    history = model.fit(x, y, batch_size=2, optimizer=fastrnn.SGD(0.1), **settings)
    twin.fit(x[:2], y[:2], batch_size=2, optimizer=fastrnn.SGD(0.1), **settings)
    assert snapshot(model) == snapshot(twin)
    assert np.isfinite(history.loss).all()


def test_the_first_batch_may_count_nowhere():
    """Progress shows a mean over nothing."""
    pytest.importorskip("tqdm", reason="progress bars are optional")
    x, y = make(lengths=[1, 3, 5])
    y[0][:] = -100
    model = tagger(loss=fastrnn.CrossEntropy(ignore_index=-100))
    history = model.fit(x, y, epochs=1, batch_size=1, shuffle=False)
    assert np.isfinite([*history.loss, *history.accuracy]).all()


@pytest.mark.parametrize("copy_of", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_keep_the_loss(copy_of):
    x, y = make()
    model = tagger(loss=losses()["all"])
    assert copy_of(model).gradients(x, y)[0] == model.gradients(x, y)[0] != tagger().gradients(x, y)[0]


@pytest.mark.parametrize(
    "loss", [*losses().values(), fastrnn.BinaryCrossEntropy(np.array([1, 2, 3]))], ids=repr
)
def test_files_keep_the_loss(loss, tmp_path):
    pytest.importorskip("safetensors", reason="saves a model")
    activation = "softmax" if isinstance(loss, fastrnn.CrossEntropy) else "sigmoid"
    model = tagger(activation=activation, loss=loss)
    model.save(tmp_path / "model.safetensors")
    again = fastrnn.load(tmp_path / "model.safetensors")
    assert repr(again) == repr(model)
    assert again.arguments["loss"] == loss
    x, y = make(activation=activation)
    assert again.gradients(x, y)[0] == model.gradients(x, y)[0]


def test_the_loss_is_told_by_values_alone():
    weights = np.array([1, 2, 3])
    loss = fastrnn.CrossEntropy(weights, np.float32(0.5), np.int64(2))
    weights[:] = 0
    assert loss == fastrnn.CrossEntropy([1.0, 2.0, 3.0], 0.5, 2)
    assert hash(loss) == hash(fastrnn.CrossEntropy((1, 2, 3), 0.5, 2))
    assert all(type(value) is float for value in (*loss.class_weight, loss.label_smoothing))


# ---- bad input ----


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"class_weight": [1, -1]}, ["class_weight", "at least 0"]),
        ({"class_weight": [1, np.nan]}, ["class_weight", "finite"]),
        ({"class_weight": [0, 0]}, ["class_weight", "greater"]),
        ({"class_weight": []}, ["class_weight", "(0,)", "(K,)"]),
        ({"class_weight": [[1, 2]]}, ["class_weight", "(1, 2)", "(K,)"]),
        ({"class_weight": 2.0}, ["class_weight", "(K,)"]),
        ({"class_weight": "balanced"}, ["class_weight", "real numbers"]),
        ({"class_weight": {0: 1.0}}, ["class_weight", "dict"]),
        ({"label_smoothing": 1.5}, ["label_smoothing", "1.5", "from 0 to 1"]),
        ({"label_smoothing": -0.1}, ["label_smoothing", "-0.1"]),
        ({"label_smoothing": None}, ["label_smoothing", "None"]),
        ({"ignore_index": 1.0}, ["ignore_index", "1.0"]),
        ({"ignore_index": True}, ["ignore_index", "True"]),
    ],
)
def test_bad_options(options, words):
    refused(EITHER, words, fastrnn.CrossEntropy, **options)


@pytest.mark.parametrize(
    ("activation", "loss", "words"),
    [
        ("softmax", fastrnn.CrossEntropy([1, 2]), ["class_weight", "2 numbers", "3 outputs"]),
        ("sigmoid", fastrnn.BinaryCrossEntropy([1, 2]), ["pos_weight", "2 numbers", "3 outputs"]),
        ("softmax", fastrnn.BinaryCrossEntropy(), ["BinaryCrossEntropy", "softmax", "fastrnn.CrossEntropy"]),
        ("sigmoid", fastrnn.CrossEntropy(), ["CrossEntropy", "sigmoid", "fastrnn.BinaryCrossEntropy"]),
        ("linear", fastrnn.CrossEntropy(), ["CrossEntropy", "linear", "no options"]),
        ("softmax", "cross_entropy", ["cross_entropy", "str", "fastrnn.CrossEntropy"]),
        ("softmax", {"class_weight": [1, 2, 3]}, ["dict", "fastrnn.CrossEntropy"]),
    ],
)
@pytest.mark.parametrize("topology", [fastrnn.NToN, fastrnn.NToOne])
def test_losses_that_do_not_fit(topology, activation, loss, words):
    refused(EITHER, words, topology, "gru", 2, 4, 3, activation=activation, loss=loss)


def test_data_of_which_nothing_counts():
    x, y = make(lengths=[2, 3])
    model = tagger(loss=fastrnn.CrossEntropy(ignore_index=-100))
    nothing = [np.full(len(labels), -100) for labels in y]
    refused(EITHER, ["y", "5 steps", "none counts", "ignore_index=-100"], model.fit, x, nothing, epochs=1)
    refused(
        EITHER, ["validation_data", "none counts"], model.fit, x, y, epochs=1, validation_data=(x, nothing)
    )
    grid = np.full((1, 4), 0)
    grid[0, :2] = -100
    refused(EITHER, ["2 steps", "none counts"], model.evaluate, np.zeros((1, 4), int), grid, lengths=[2])
    rare = tagger(loss=fastrnn.CrossEntropy(class_weight=[0, 1, 1]))
    refused(EITHER, ["5 steps", "none counts"], rare.gradients, x, [np.zeros(2, int), np.zeros(3, int)])
    one = fastrnn.NToOne("gru", 2, 4, 3, loss=fastrnn.CrossEntropy(ignore_index=7))
    refused(EITHER, ["2 targets", "none counts"], one.fit, np.zeros((2, 3, 2)), [7, 7], epochs=1)


def test_labels_beyond_the_classes_and_the_ignored_one():
    x, y = make(lengths=[2, 3])
    model = tagger(loss=fastrnn.CrossEntropy(ignore_index=-100))
    y[1][2] = -1
    refused(EITHER, ["y[1]", "-1", "step 2", "0 to 2", "-100"], model.fit, x, y, epochs=1)
