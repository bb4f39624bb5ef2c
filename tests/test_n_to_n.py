# SPDX-License-Identifier: MIT
"""NToN as a whole: what it computes, its gradients, padding, and the form of predictions."""

import copy
import pickle

import fastrnn
import numpy as np
import pytest
from networks import CELLS, FEATURES, LENGTHS, VOCABULARY, K, build, make, padded, snapshot


@pytest.fixture(params=["softmax", "sigmoid", "linear"])
def activation(request):
    return request.param


@pytest.fixture(params=["ids", "features"])
def inputs(request):
    return request.param


# ---- what it computes ----


def layer_of(model):
    """A layer with the parameters of the model's, used by itself."""
    arguments = model.arguments
    size = arguments["inputs"] if isinstance(arguments["inputs"], int) else arguments["inputs"].size
    layer = fastrnn.layers.CELLS[arguments["cell"]](
        size, 5, arguments["num_layers"], bidirectional=arguments["bidirectional"], dtype="float64"
    )
    state = model.state_dict().items()
    layer.load_state_dict({n.removeprefix("rnn."): a for n, a in state if n.startswith("rnn.")})
    return layer


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("num_layers", "bidirectional"), [(1, False), (2, True)])
def test_it_is_embedding_layers_readout(cell, inputs, num_layers, bidirectional):
    model = build(cell, inputs, num_layers=num_layers, bidirectional=bidirectional)
    x, _ = make(inputs)
    layer, parameters = layer_of(model), model.parameters()
    for got, chosen, sequence in zip(model.predict_proba(x), model.predict(x), x):
        rows = parameters["embedding.weight"][sequence] if inputs == "ids" else sequence
        h, _ = layer(rows)
        z = h @ parameters["readout.weight"].T + parameters["readout.bias"]
        want = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(got, want, rtol=1e-12)
        assert np.array_equal(chosen, want.argmax(axis=1) if len(want) else [])


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_against_differences(cell, inputs, activation):
    """Each parameter moved both ways by 1e-5: second-order differences in double are good to 1e-9, or where 5 numbers
    are normalised, which bends more, to 1e-8.
    """
    bound = 1e-7 if "layer_norm" in cell else 1e-8
    model = build(cell, inputs, activation, bidirectional=True)
    x, y = make(inputs, activation)
    loss, gradients = model.gradients(x, y)
    assert loss == pytest.approx(model.evaluate(x, y)["loss"], rel=1e-14)
    assert gradients.keys() == model.parameters().keys()
    for name, array in model.parameters().items():
        want = np.empty_like(array)
        for at in np.ndindex(array.shape):
            kept = array[at]
            array[at] = kept + 1e-5
            above = model.evaluate(x, y)["loss"]
            array[at] = kept - 1e-5
            below = model.evaluate(x, y)["loss"]
            array[at] = kept
            want[at] = (above - below) / 2e-5
        np.testing.assert_allclose(gradients[name], want, rtol=0, atol=bound, err_msg=name)


@pytest.mark.parametrize("cell", ["rnn_tanh", "rnn_relu", "lstm", "gru"])
@pytest.mark.parametrize(("num_layers", "bidirectional"), [(1, False), (2, True)])
def test_against_torch(cell, inputs, activation, num_layers, bidirectional):
    torch = pytest.importorskip("torch", reason="PyTorch is an optional further oracle")
    model = build(cell, inputs, activation, num_layers=num_layers, bidirectional=bidirectional)
    x, y = make(inputs, activation)
    loss, gradients = model.gradients(x, y)
    tensors = {n: torch.tensor(a, requires_grad=True) for n, a in model.parameters().items()}
    options = {"nonlinearity": cell[4:]} if cell.startswith("rnn") else {}
    kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}.get(cell, torch.nn.RNN)
    size = 4 if inputs == "ids" else FEATURES
    theirs = kind(size, 5, num_layers, bidirectional=bidirectional, dtype=torch.float64, **options)
    layer = {n.removeprefix("rnn."): t for n, t in tensors.items() if n.startswith("rnn.")}
    z = []
    for sequence in x:
        if len(sequence):
            rows = torch.tensor(sequence)
            rows = tensors["embedding.weight"][rows] if inputs == "ids" else rows
            h, _ = torch.func.functional_call(theirs, layer, (rows,))
            z.append(h @ tensors["readout.weight"].T + tensors["readout.bias"])
    function = {
        "softmax": torch.nn.functional.cross_entropy,
        "sigmoid": torch.nn.functional.binary_cross_entropy_with_logits,
        "linear": torch.nn.functional.mse_loss,
    }[activation]
    value = function(torch.cat(z), torch.tensor(np.concatenate(y)))
    value.backward()
    assert loss == pytest.approx(value.item(), rel=1e-12)
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradient, tensors[name].grad.numpy(), rtol=0, atol=1e-10, err_msg=name)


def test_parameters_have_torchs_names_and_are_views():
    model = build(bidirectional=True)
    shapes = {name: array.shape for name, array in model.parameters().items()}
    assert shapes["embedding.weight"] == (VOCABULARY, 4)
    assert shapes["rnn.weight_ih_l0"] == (20, 4)
    assert shapes["rnn.weight_hh_l0_reverse"] == (20, 5)
    assert shapes["readout.weight"] == (K, 10)
    assert shapes["readout.bias"] == (K,)
    assert len(shapes) == 11
    model.parameters()["readout.bias"][:] = [0, 0, 1e6]
    assert all((tags == 2).all() for tags in model.predict(make()[0]))


def test_state_dict_goes_to_another_model():
    one, other = build(seed=1), build(seed=2)
    assert snapshot(one) != snapshot(other)
    state = one.state_dict()
    other.load_state_dict(state)
    assert snapshot(one) == snapshot(other)
    state["readout.bias"][:] = 7
    assert snapshot(one) == snapshot(other), "a state_dict holds copies"


def test_seed_makes_the_initial_weights():
    assert snapshot(build(seed=3)) == snapshot(build(seed=3))
    assert snapshot(build(seed=3)) != snapshot(build(seed=4))
    assert snapshot(build(seed=None)) != snapshot(build(seed=None))


@pytest.mark.parametrize("copy_of", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_are_models_of_their_own(inputs, copy_of):
    model = build("lstm", inputs)
    x, y = make(inputs)
    model.fit(x, y, epochs=1, progress=False)
    twin = copy_of(model)
    assert snapshot(twin) == snapshot(model)
    before = snapshot(model)
    twin.fit(x, y, epochs=2, shuffle=False, progress=False)
    assert snapshot(model) == before
    model.fit(x, y, epochs=2, shuffle=False, progress=False)
    assert snapshot(model) == snapshot(twin)
    for got, want in zip(twin.predict_proba(x), model.predict_proba(x)):
        assert got.tobytes() == want.tobytes()


# ---- padding ----


def test_padding_never_influences_anything(inputs, activation):
    x, y = make(inputs, activation)
    garbage = -(2**62) if inputs == "ids" else np.nan
    wide = padded(x, garbage)
    targets = padded(y, -5 if activation == "softmax" else np.nan)
    model, again = build("gru", inputs, activation), build("gru", inputs, activation)
    loss, gradients = model.gradients(x, y)
    loss_padded, gradients_padded = again.gradients(wide, targets, lengths=LENGTHS)
    assert loss == loss_padded
    for name in gradients:
        assert gradients[name].tobytes() == gradients_padded[name].tobytes(), name
    settings = {"epochs": 2, "batch_size": 2, "seed": 0, "progress": False}
    model.fit(x, y, **settings)
    again.fit(wide, targets, lengths=LENGTHS, **settings)
    assert snapshot(model) == snapshot(again)
    assert model.evaluate(x, y) == again.evaluate(wide, targets, lengths=LENGTHS)


def test_rows_of_tokens_that_do_not_occur_have_no_gradient():
    x = [np.array([3, 5, 7, 5]), np.array([7])]
    _, gradients = build().gradients(x, [np.zeros(4, int), np.zeros(1, int)])
    touched = np.flatnonzero(gradients["embedding.weight"].any(axis=1))
    assert touched.tolist() == [3, 5, 7]


def test_empty_sequences_contribute_nothing(inputs):
    x, y = make(inputs)
    full = [n for n in range(len(x)) if len(x[n])]
    loss, gradients = build("lstm", inputs).gradients(x, y)
    want, expected = build("lstm", inputs).gradients([x[n] for n in full], [y[n] for n in full])
    assert loss == want
    assert all(gradients[name].tobytes() == expected[name].tobytes() for name in gradients)
    assert [len(tags) for tags in build("lstm", inputs).predict(x)] == LENGTHS


# ---- prediction ----


def test_predictions_are_in_the_form_of_x(inputs, activation):
    model = build("gru", inputs, activation)
    x, _ = make(inputs, activation)
    wide = padded(x, 0)
    rows = model.predict(x, batch_size=2)
    grid = model.predict(wide, lengths=LENGTHS)
    item = () if activation == "softmax" else (K,)
    assert grid.shape == (len(x), 6, *item)
    assert grid.dtype == (np.float64 if activation == "linear" else np.int64)
    for row, line, length in zip(rows, grid, LENGTHS):
        assert row.shape == (length, *item)
        np.testing.assert_allclose(row, line[:length], rtol=1e-12)
        assert (line[length:] == (-1 if activation == "softmax" else 0)).all()
    assert model.predict([]) == []


def test_probabilities(activation):
    model = build(activation=activation)
    x, _ = make(activation=activation)
    if activation == "linear":
        with pytest.raises(ValueError, match="activation is 'linear', but probabilities need"):
            model.predict_proba(x)
        return
    for y, chosen in zip(model.predict_proba(x), model.predict(x)):
        assert y.shape == (len(chosen), K)
        if activation == "softmax":
            np.testing.assert_allclose(y.sum(axis=1), 1, rtol=1e-14)
            assert np.array_equal(y.argmax(axis=1), chosen)
        else:
            assert np.array_equal(y > 0.5, chosen == 1)
    assert not model.predict_proba(padded(x, 0), lengths=LENGTHS)[1].any()


def test_evaluate_counts_steps_not_sequences(activation):
    model = build(activation=activation)
    x, y = make(activation=activation)
    want = model.evaluate(x, y, batch_size=1)
    got = model.evaluate(x, y, batch_size=100)
    assert got == pytest.approx(want, rel=1e-12)
    if activation == "linear":
        assert want.keys() == {"loss"}
    else:
        right = np.concatenate(model.predict(x)) == (np.concatenate(y) if activation == "softmax" else
                                                     np.concatenate(y) > 0.5)  # fmt: skip
        assert got["accuracy"] == right.mean()
