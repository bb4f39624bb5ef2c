# SPDX-License-Identifier: MIT
"""NToOne as a whole: pools, padding, forms of x and y, training, files. Values and gradients: test_topologies_torch."""

import copy
import pickle

import fastrnn
import numpy as np
import pytest
from networks import FEATURES, VOCABULARY, K, make, padded, snapshot
from refusal import EITHER, refused

LENGTHS = [4, 1, 3, 6, 2, 6]
POOLS = ["last", "mean", "max", "learned"]


@pytest.fixture(params=POOLS)
def pool(request):
    return request.param


@pytest.fixture(params=["softmax", "sigmoid", "linear"])
def activation(request):
    return request.param


def build(cell="lstm", inputs="ids", **options):
    source = fastrnn.Embedding(VOCABULARY, 4) if inputs == "ids" else FEATURES
    options = {"dtype": "float64", "seed": 1, "bidirectional": True, **options}
    return fastrnn.NToOne(cell, source, 5, K, **options)


def data(inputs="ids", activation="softmax"):
    x, y = make(inputs, activation, LENGTHS)
    return x, np.array([targets[0] for targets in y])


# ---- what it computes ----


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_pools_of_a_layers_outputs(pool, cell):
    """The formulas, over the outputs of the layer used by itself for each sequence."""
    model = build(cell, "features", pool=pool)
    x, _ = data("features")
    w = model.parameters()
    for got, sequence in zip(model.predict_proba(x), x):
        h, state = model.rnn(sequence)
        if pool == "learned":
            scores = np.tanh(h @ w["pool.weight"].T + w["pool.bias"]) @ w["pool.vector"]
            p = np.exp(scores) @ h / np.exp(scores).sum()
        else:
            last = np.concatenate((h[-1, :5], h[0, 5:]))
            p = {"last": last, "mean": h.mean(axis=0), "max": h.max(axis=0)}[pool]
        if pool == "last":
            final = state[0] if cell == "lstm" else state
            np.testing.assert_array_equal(p, final.reshape(-1))
        z = p @ w["readout.weight"].T + w["readout.bias"]
        np.testing.assert_allclose(got, np.exp(z) / np.exp(z).sum(), rtol=1e-12)


@pytest.mark.parametrize("inputs", ["ids", "features"])
def test_a_sequence_does_not_depend_on_its_batch(pool, inputs, dtype):
    bound = 1e-13 if dtype == "float64" else 1e-6
    model = build("gru", inputs, pool=pool, dtype=dtype)
    x, _ = data(inputs)
    together = model.predict_proba(x)
    for got, sequence in zip(together, x):
        np.testing.assert_allclose(got, model.predict_proba([sequence])[0], rtol=bound)
    np.testing.assert_allclose(model.predict_proba(x, batch_size=2), together, rtol=bound)


@pytest.mark.parametrize("inputs", ["ids", "features"])
def test_padding_never_influences_anything(pool, inputs, activation):
    x, y = data(inputs, activation)
    wide = padded(x, -(2**62) if inputs == "ids" else np.nan)
    model, again = (build("gru", inputs, pool=pool, activation=activation) for _ in range(2))
    loss, gradients = model.gradients(x, y)
    other, of_padded = again.gradients(wide, y, lengths=LENGTHS)
    assert loss == other
    for name in gradients:
        assert gradients[name].tobytes() == of_padded[name].tobytes(), name
    settings = {"epochs": 2, "batch_size": 2, "seed": 0, "progress": False}
    model.fit(x, y, **settings)
    again.fit(wide, y, lengths=LENGTHS, **settings)
    assert snapshot(model) == snapshot(again)
    assert model.evaluate(x, y) == again.evaluate(wide, y, lengths=LENGTHS)
    assert model.predict(x).tobytes() == again.predict(wide, lengths=LENGTHS).tobytes()


def test_learned_pooling_of_one_step_is_that_step():
    model = build("gru", pool="learned")
    last = build("gru", pool="last")
    state = model.state_dict()
    last.load_state_dict({name: a for name, a in state.items() if not name.startswith("pool.")})
    np.testing.assert_allclose(model.predict_proba([[3], [5]]), last.predict_proba([[3], [5]]), rtol=1e-14)


def test_last_asks_nothing_of_single_steps():
    """The gradient enters at the final state, so that backward reads no dy."""
    model = build("gru", pool="last")
    x, y = data()
    seen = {}
    backward = model.rnn.backward

    class Watched:
        def __getattr__(self, name):
            return getattr(model.rnn, name)

        def backward(self, tape, dy=None, **options):
            seen["dy"] = dy
            return backward(tape, dy, **options)

    twin = copy.copy(model)
    twin.rnn = Watched()
    twin.learn(twin._training_data(x, y, None).batch(np.arange(6)), twin.gradient_buffers())
    assert seen == {"dy": None}


# ---- forms ----


def test_predictions_have_one_row_a_sequence(pool, activation):
    model = build(pool=pool, activation=activation)
    x, y = data(activation=activation)
    got = model.predict(x, batch_size=4)
    assert got.shape == ((6,) if activation == "softmax" else (6, K))
    assert got.dtype == (np.float64 if activation == "linear" else np.int64)
    assert model.predict([]).shape == ((0,) if activation == "softmax" else (0, K))
    score = model.evaluate(x, y)
    if activation == "linear":
        assert score.keys() == {"loss"}
        assert score["loss"] == pytest.approx(np.square(got - y).mean(), rel=1e-12)
        return
    want = y if activation == "softmax" else y > 0.5
    assert score["accuracy"] == (got == want).mean()
    y_hat = model.predict_proba(x)
    assert np.array_equal(y_hat.argmax(axis=1) if activation == "softmax" else y_hat > 0.5, got)


def test_parameters_of_learned_pooling():
    model = build(pool="learned")
    shapes = {name: a.shape for name, a in model.parameters().items() if name.startswith("pool.")}
    assert shapes == {"pool.weight": (10, 10), "pool.bias": (10,), "pool.vector": (10,)}
    flat = np.concatenate([model.parameters()[name].reshape(-1) for name in shapes])
    assert flat.std() == pytest.approx(10**-0.5 / 3**0.5, rel=0.2)
    assert not any(name.startswith("pool.") for name in build(pool="max").parameters())


@pytest.mark.parametrize("copy_of", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_are_models_of_their_own(pool, copy_of):
    model = build("gru", pool=pool)
    x, y = data()
    twin = copy_of(model)
    before = snapshot(model)
    twin.fit(x, y, epochs=2, shuffle=False, progress=False)
    assert snapshot(model) == before
    model.fit(x, y, epochs=2, shuffle=False, progress=False)
    assert snapshot(model) == snapshot(twin)


def test_files(pool, tmp_path):
    pytest.importorskip("safetensors", reason="saves a model")
    model = build("lstm", pool=pool, num_layers=2)
    path = tmp_path / "model.safetensors"
    model.save(path)
    again = fastrnn.load(path)
    assert repr(again) == repr(model)
    assert snapshot(again) == snapshot(model)
    assert again.predict_proba(data()[0]).tobytes() == model.predict_proba(data()[0]).tobytes()


# ---- training ----


def test_a_task_that_needs_memory_is_learned(pool):
    """Which of two tokens came first, among others."""
    rng = np.random.default_rng(4)
    x = [rng.permutation(np.r_[0, 1, rng.integers(2, 5, rng.integers(0, 4))]) for _ in range(200)]
    y = [int(list(s).index(0) < list(s).index(1)) for s in x]
    model = fastrnn.NToOne("gru", fastrnn.Embedding(5, 6), 12, 2, pool=pool, seed=1)
    model.fit(
        x[:150], y[:150], epochs=30, batch_size=8, optimizer=fastrnn.Adam(0.02), seed=1, progress=False,
        validation_data=(x[150:], y[150:]),
    )  # fmt: skip
    assert model.evaluate(x[150:], y[150:])["accuracy"] == 1.0


@pytest.mark.parametrize("inputs", ["ids", "features", "both"])
@pytest.mark.parametrize("lengths", [LENGTHS, [4] * 3])
def test_speed_is_of_steps_not_of_sequences(inputs, lengths):
    ids, features = (make(each, lengths=lengths)[0] for each in ("ids", "features"))
    source, x = {
        "ids": (fastrnn.Embedding(VOCABULARY, 4), ids),
        "features": (FEATURES, features),
        "both": ((fastrnn.Embedding(VOCABULARY, 4), FEATURES), (ids, features)),
    }[inputs]
    model = fastrnn.NToOne("gru", source, 5, K)
    history = model.fit(x, [0] * len(lengths), epochs=1, progress=False)
    np.testing.assert_allclose(history.steps_per_second * history.seconds, sum(lengths))


def test_gradient_flow_of_a_model():
    x, y = data("features")
    flow = fastrnn.gradient_flow(build("gru", "features", pool="last"), x, y)
    assert flow.dh.shape == (1, 2, 6)
    assert (flow.dh > 0).all()


# ---- bad input ----

X, Y = data()
F, _ = data("features")


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        ([X[0], [], X[1]], Y[:3], ["x[1]", "empty", "NToOne"]),
        (X, Y[:-1], ["6 sequences", "5"]),
        (X, [*Y[:-1], 3], ["y[5]", "3", "0 to 2"]),
        (X, [*Y[:-1], -1], ["y[5]", "-1"]),
        (X, Y * 1.0, ["y", "float64", "integers"]),
        (X, Y[:, None], ["(6, 1)", "(N,)"]),
        (X, None, ["y"]),
        (X, 3, ["()", "(N,)"]),
        (X, "words", ["y"]),
        ([], [], ["x", "no sequence"]),
        ([[1, 9]], [0], ["x[0]", "9", "0 to 8"]),
        (F, Y, ["float64", "integers"]),
    ],
)
def test_bad_data(x, y, words):
    model = build()
    before = snapshot(model)
    refused(EITHER, words, model.fit, x, y, epochs=1, progress=False)
    refused(EITHER, words, model.evaluate, x, y)
    refused(EITHER, ["validation_data", *words], model.fit, X, Y, epochs=1, validation_data=(x, y))
    assert snapshot(model) == before


@pytest.mark.parametrize("call", ["predict", "predict_proba"])
def test_an_empty_sequence_is_named(call):
    model = build()
    refused(EITHER, ["x[2]", "empty"], getattr(model, call), [[1], [2], [], []])
    refused(EITHER, ["x[1]", "empty"], getattr(model, call), np.zeros((2, 3), int), lengths=[2, 0])


def test_bad_numbers():
    model = build("gru", "features", activation="linear")
    y = np.zeros((6, K))
    refused(
        EITHER,
        ["y[2]", "nan", "finite"],
        model.fit,
        F,
        np.where(np.arange(6)[:, None] == 2, np.nan, y),
        epochs=1,
    )
    refused(EITHER, ["(6,)", "(N,3)"], model.fit, F, y[:, 0], epochs=1)
    refused(EITHER, ["x[0]", "nan", "step 0"], model.predict, [np.full((1, FEATURES), np.nan)])
    sigmoid = build("gru", "features", activation="sigmoid")
    refused(EITHER, ["y[0]", "1.5", "0 to 1"], sigmoid.fit, F, y + 1.5, epochs=1)


@pytest.mark.parametrize("wrong", ["first", None, 3])
def test_bad_pools(wrong):
    refused(EITHER, [repr(wrong), "'last'", "'learned'"], build, pool=wrong)
