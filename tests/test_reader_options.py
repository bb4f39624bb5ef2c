# SPDX-License-Identifier: MIT
"""What NToN and NToOne take alike: ids with features beside them, tied embeddings, every option of the layers."""

import copy
import json
import pickle

import fastrnn
import numpy as np
import pytest
from fastrnn.options import DEFAULTS, OF_THE_MACHINE, ModelOptions
from networks import snapshot
from refusal import EITHER, refused

V, E, F, K = 7, 4, 2, 3
LENGTHS = [4, 1, 3, 5]
EMBEDDING = fastrnn.Embedding(V, E)
BOTH = (EMBEDDING, F)


def pair(lengths=LENGTHS):
    rng = np.random.default_rng(1)
    return [rng.integers(0, V, n) for n in lengths], [rng.standard_normal((n, F)) for n in lengths]


def labels(topology, lengths=LENGTHS):
    rng = np.random.default_rng(2)
    return (
        [rng.integers(0, K, n) for n in lengths]
        if topology is fastrnn.NToN
        else rng.integers(0, K, len(lengths))
    )


@pytest.fixture(params=[fastrnn.NToN, fastrnn.NToOne])
def topology(request):
    return request.param


def padded(arrays, fill):
    out = np.full((len(arrays), 5, *arrays[0].shape[1:]), fill, arrays[0].dtype)
    for row, array in zip(out, arrays):
        row[: len(array)] = array
    return out


# ---- ids and features ----


def test_a_pair_is_the_table_beside_the_features(topology):
    """As a model of features alone that is given both."""
    model = topology("gru", BOTH, 5, K, dtype="float64", seed=1)
    assert model.rnn.input_size == E + F
    state = model.state_dict()
    table = state.pop("embedding.weight")
    plain = topology("gru", E + F, 5, K, dtype="float64", seed=2)
    plain.load_state_dict(state)
    ids, features = pair()
    joined = [np.hstack((table[i], f)) for i, f in zip(ids, features)]
    for got, want in zip(model.predict_proba((ids, features)), plain.predict_proba(joined)):
        assert got.tobytes() == want.tobytes()
    y = labels(topology)
    loss, gradients = model.gradients((ids, features), y)
    other, wanted = plain.gradients(joined, y)
    assert loss == other
    assert all(gradients[name].tobytes() == wanted[name].tobytes() for name in wanted)
    seen = np.unique(np.concatenate(ids))
    assert np.flatnonzero(gradients["embedding.weight"].any(axis=1)).tolist() == seen.tolist()


def test_a_padded_pair(topology):
    ids, features = pair()
    y = labels(topology)
    targets = padded(y, -3) if topology is fastrnn.NToN else y
    wide = padded(ids, -(2**62)), padded(features, np.nan)
    model, again = (topology("lstm", BOTH, 5, K, seed=1) for _ in range(2))
    settings = {"epochs": 2, "batch_size": 2, "seed": 0, "progress": False}
    model.fit((ids, features), y, **settings, validation_data=((ids, features), y))
    again.fit(wide, targets, lengths=LENGTHS, **settings, validation_data=(wide, targets, LENGTHS))
    assert snapshot(model) == snapshot(again)
    rows, grid = model.predict((ids, features)), again.predict(wide, lengths=LENGTHS)
    for row, line in zip(rows, grid):
        assert np.array_equal(row, line[: len(row)] if topology is fastrnn.NToN else line)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (pair()[0], ["pair", "(ids, features)", "list"]),
        (pair()[1][0], ["pair", "(ids, features)", "ndarray"]),
        ((*pair(), 3), ["pair", "(ids, features)"]),
        (pair()[::-1], ["ids of x[0]", "float64", "integers"]),
        ((pair()[0], pair()[0]), ["features of x[0]", "(4,)", "(T,2)"]),
        ((pair()[0], pair()[1][:-1]), ["4 sequences", "features 3"]),
        ((pair()[0], pair([4, 1, 3, 6])[1]), ["x[3]", "length 5", "length 6"]),
        ((pair()[0], padded(pair()[1], 0.0)), ["a list", "a padded array"]),
        ((np.zeros((4, 5), int), np.zeros((4, 6, F))), ["ids of shape (4, 5) has T=5", "(4, 6, 2) has T=6"]),
        ((pair()[0],), ["x is a tuple of 1", "pair (ids, features)", "the features are missing"]),
        (list(zip(*pair())), ["x is a list of 4 pairs", "one pair: ([ids of each], [features of each])"]),
        ([ids.tolist() for ids in pair()[0][1:3]], ["x must be the pair (ids, features)", "ids of x[0]"]),
        (([i + 1 for i in pair()[0]], pair()[1]), ["ids of x[", "7", "0 to 6"]),
        ((pair()[0], [f * np.nan for f in pair()[1]]), ["features of x[0]", "nan", "finite"]),
    ],
)
def test_bad_pairs(topology, x, words):
    model = topology("gru", BOTH, 5, K, seed=1)
    y = labels(topology)
    words = [word.rstrip("[") for word in words]
    refused(EITHER, words, model.fit, x, y, epochs=1, progress=False)
    refused(EITHER, words, model.predict, x)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ((EMBEDDING,), ["inputs", "(Embedding, number of features)"]),
        ((F, EMBEDDING), ["inputs", "(Embedding, number of features)"]),
        ((EMBEDDING, F, F), ["inputs", "(Embedding, number of features)"]),
        ((EMBEDDING, EMBEDDING), ["inputs[1]", "Embedding"]),
        ((EMBEDDING, 0), ["inputs[1]", "0", "at least 1"]),
        ((EMBEDDING, 2.0), ["inputs[1]", "2.0"]),
        ("words", ["inputs", "words"]),
        (None, ["inputs", "None"]),
    ],
)
def test_bad_inputs(topology, inputs, words):
    refused(EITHER, words, topology, "gru", inputs, 5, K)


# ---- tied embeddings ----


def tied(**options):
    options = {"seed": 1, "dtype": "float64", **options}
    return fastrnn.NToN("gru", EMBEDDING, E, V, tie=True, **options)


def words_and_next():
    rng = np.random.default_rng(3)
    x = [rng.integers(0, V - 1, n) for n in LENGTHS]
    return x, [(s + 1) % V for s in x]


def test_a_tied_readout_is_the_table():
    model = tied()
    assert "readout.weight" not in model.parameters()
    x, _ = words_and_next()
    table, bias = model.parameters()["embedding.weight"], model.parameters()["readout.bias"]
    for got, ids in zip(model.predict_proba(x), x):
        h, _ = model.rnn(table[ids])
        z = h @ table.T + bias
        np.testing.assert_allclose(got, np.exp(z) / np.exp(z).sum(axis=1, keepdims=True), rtol=1e-12)


def test_gradients_of_both_uses_are_added():
    """As the sum of those of a model that has two copies of the table."""
    x, y = words_and_next()
    model = tied()
    apart = fastrnn.NToN("gru", EMBEDDING, E, V, seed=2, dtype="float64")
    state = model.state_dict()
    apart.load_state_dict({**state, "readout.weight": state["embedding.weight"]})
    loss, gradients = model.gradients(x, y)
    other, wanted = apart.gradients(x, y)
    wanted["embedding.weight"] = wanted["embedding.weight"] + wanted.pop("readout.weight")
    assert loss == other
    assert gradients.keys() == wanted.keys()
    for name in wanted:
        np.testing.assert_allclose(gradients[name], wanted[name], rtol=0, atol=1e-16, err_msg=name)


def test_training_moves_rows_that_no_input_has():
    """Tokens that never occur as an input are still outputs; norm, clipping and clearing see the whole table."""
    x, y = words_and_next()
    model, by_hand = tied(), tied()
    before = model.state_dict()
    norm = 0.01
    for _ in range(2):
        _, gradients = by_hand.gradients(x, y)
        total = np.sqrt(sum(np.square(g).sum() for g in gradients.values()))
        for name, array in by_hand.parameters().items():
            array -= 0.5 * norm / (total + 1e-6) * gradients[name]
    history = model.fit(
        x,
        y,
        epochs=2,
        batch_size=10,
        optimizer=fastrnn.SGD(0.5),
        clip=fastrnn.Clip(norm=norm),
        progress=False,
    )
    assert history.gradient_norm[1] == pytest.approx(total, rel=1e-12)
    for name, array in model.parameters().items():
        np.testing.assert_allclose(array, by_hand.parameters()[name], rtol=0, atol=1e-14)
    assert (model.parameters()["embedding.weight"][V - 1] != before["embedding.weight"][V - 1]).all()


def test_values_of_a_tied_gradient_are_clipped():
    x, y = words_and_next()
    model = tied()
    buffers = model.gradient_buffers()
    batch = model._training_data(x, y, None).batch(np.arange(4))
    model.learn(batch, buffers, fastrnn.Clip(value=1e-3))
    assert max(np.abs(gradient.flat).max() for gradient in buffers.values()) == 1e-3
    buffers["embedding"].clear()
    assert not buffers["embedding"].flat.any()


@pytest.mark.parametrize("copy_of", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_is_tied_to_its_own_table(copy_of):
    model = tied()
    twin = copy_of(model)
    x, y = words_and_next()
    before = snapshot(model)
    twin.fit(x, y, epochs=2, shuffle=False, progress=False)
    assert snapshot(model) == before
    model.fit(x, y, epochs=2, shuffle=False, progress=False)
    assert snapshot(model) == snapshot(twin)
    assert np.shares_memory(twin.readout.weight, twin.parameters()["embedding.weight"])


def test_a_tied_model_in_a_file(tmp_path):
    pytest.importorskip("safetensors", reason="saves a model")
    model = tied()
    model.save(tmp_path / "model.safetensors")
    again = fastrnn.load(tmp_path / "model.safetensors")
    assert repr(again) == repr(model)
    assert snapshot(again) == snapshot(model)
    assert "tie" not in fastrnn.NToN("gru", 2, 3, 4).arguments


def test_a_tied_table_starts_as_a_readout_does():
    model = fastrnn.NToN("gru", fastrnn.Embedding(500, 64), 64, 500, tie=True, seed=1)
    assert model.parameters()["embedding.weight"].std() == pytest.approx(1 / 8, rel=0.02)


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        (("gru", EMBEDDING, E + 1, V), {}, ["tie", "h has 5", "size 4"]),
        (("gru", EMBEDDING, E, V), {"bidirectional": True}, ["tie", "h has 8", "size 4"]),
        (("lstm_projected", EMBEDDING, E, V), {}, ["tie", "h has 2", "size 4"]),
        (("gru", EMBEDDING, E, V + 1), {}, ["tie", "outputs is 8", "vocabulary of the Embedding is 7"]),
        (("gru", 3, 4, 5), {}, ["tie", "no Embedding"]),
    ],
)
def test_what_cannot_be_tied(arguments, options, words):
    refused(EITHER, words, fastrnn.NToN, *arguments, tie=True, **options)


def test_tie_is_a_bool():
    refused(EITHER, ["tie", "1"], fastrnn.NToN, "gru", EMBEDDING, E, V, tie=1)


# ---- options of the layers ----

OPTIONS = {
    "bias": "one",
    "bidirectional": True,
    "direction": "reverse",
    "dropout": 0.25,
    "variational": True,
    "input_dropout": 0.25,
    "recurrent_dropout": 0.5,
    "zoneout": (0.25, 0.5),
    "learn_state": True,
    "init": "orthogonal",
    "t_max": 9,
    "forget_bias": 1.5,
}
NEEDED = {"variational": {"dropout": 0.25}, "t_max": {"init": "chrono"}}


def test_every_option_of_the_layers_is_one_of_models():
    assert ModelOptions.__annotations__.keys() == DEFAULTS.keys() - {"batch_first", "dtype", "seed"}
    assert OPTIONS.keys() == ModelOptions.__annotations__.keys() - set(OF_THE_MACHINE)


@pytest.mark.parametrize("name", OPTIONS)
def test_options_reach_the_layer_and_files(topology, name, tmp_path):
    pytest.importorskip("safetensors", reason="saves a model")
    options = {name: OPTIONS[name], **NEEDED.get(name, {})}
    model = topology("lstm", F, 5, K, num_layers=2, seed=1, **options)
    plain = topology("lstm", F, 5, K, num_layers=2, seed=1)
    assert repr(model.rnn) != repr(plain.rnn)
    if name != "direction":
        assert getattr(model.rnn, name) == OPTIONS[name]
    model.save(tmp_path / "model.safetensors")
    again = fastrnn.load(tmp_path / "model.safetensors")
    assert repr(again.rnn) == repr(model.rnn)
    assert snapshot(again) == snapshot(model)


def test_options_begin_as_those_of_the_layer(topology):
    """NumPy's numbers and bools become plain ones, as JSON takes them."""
    options = {"dropout": np.float32(0.5), "bidirectional": np.bool_(True), "bias": np.bool_(False)}
    model = topology("gru", F, 5, K, num_layers=2, **options)
    assert {name: model.arguments[name] for name in options} == {
        "dropout": 0.5, "bidirectional": True, "bias": False,
    }  # fmt: skip
    assert all(type(model.arguments[name]) in (bool, float) for name in options)


@pytest.mark.parametrize("name", ["batch_first", "proj_size", "colour"])
def test_unknown_options(topology, name):
    refused(
        EITHER,
        [topology.__name__ + "()", "unexpected keyword argument", name],
        topology,
        "gru",
        F,
        5,
        K,
        **{name: 1},
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"zoneout": 1.0}, ["zoneout", "1.0"]),
        ({"direction": "up"}, ["direction", "'up'"]),
        ({"direction": "both", "bidirectional": True}, ["bidirectional", "direction"]),
        ({"dropout": 0.5}, ["dropout", "num_layers"]),
        ({"forget_bias": 1.0}, ["forget_bias", "gru"]),
        ({"max_workspace": 0}, ["max_workspace", "0"]),
        ({"max_workspace": 1e6}, ["max_workspace", "1000000.0"]),
    ],
)
def test_bad_layer_options(topology, options, words):
    refused(EITHER, words, topology, "gru", F, 5, K, **options)


def test_max_workspace_changes_no_bit(topology):
    x = [np.random.default_rng(n).standard_normal((60, F)) for n in range(3)]
    y = labels(topology, [60] * 3)
    plain, small = (topology("gru", F, 16, K, max_workspace=limit, seed=1) for limit in (None, 40_000))
    batch = small._data(x, None).batch(np.arange(3))
    assert small._read(batch)[2].segments > 1
    settings = {"epochs": 2, "shuffle": False, "progress": False}
    plain.fit(x, y, **settings)
    small.fit(x, y, **settings)
    assert snapshot(plain) == snapshot(small)
    assert small.arguments["max_workspace"] == 40_000


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"inputs": []}, ["inputs", "pair"]),
        ({"inputs": [5, 3]}, ["inputs", "pair"]),
        ({"inputs": [{"vocabulary": V, "size": E}, "2"]}, ["inputs[1]", "2"]),
        ({"inputs": [{"vocabulary": V, "size": E}, 10**12]}, ["numbers stored", "at least"]),
        ({"inputs": 10**12, "hidden": "5"}, ["hidden", "5"]),
        ({"outputs": [3]}, ["outputs"]),
        ({"loss": {"class_weight": [1]}}, ["loss", "dict"]),
        ({"loss": {"pos_weight": [1, 2, 3]}}, ["loss", "BinaryCrossEntropy"]),
        ({"loss": {"pos_weight": [-1]}}, ["pos_weight", "damaged"]),
        ({"zoneout": [0.5]}, ["zoneout"]),
        ({"batch_first": True}, ["batch_first"]),
        ({"max_workspace": "all"}, ["max_workspace"]),
    ],
)
def test_files_that_describe_no_model(topology, changes, words, tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy", reason="writes a file")
    model = topology("gru", BOTH, 5, K, seed=1)
    arguments = {**model.arguments, "inputs": [{"vocabulary": V, "size": E}, F], **changes}
    text = json.dumps({"format": 1, "class": topology.__name__, "arguments": arguments})
    path = tmp_path / "model.safetensors"
    safetensors.save_file(model.state_dict(), path, {"fastrnn": text})
    refused(ValueError, words, fastrnn.load, path)
