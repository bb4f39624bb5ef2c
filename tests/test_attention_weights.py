# SPDX-License-Identifier: MIT
"""Where a decoder looks: against PyTorch's weights of the same equations, in any batch, and what is refused."""

import fastrnn
import numpy as np
import pytest
from fastrnn import Embedding, NToM
from refusal import refused

END = 1
SOURCES = [[4, 1], [3], [0, 1, 2, 3, 5], [2, 4, 4, 1], [1, 1, 6]]
TARGETS = [[2, 3, 0], [4, 4], [0], [], [3, 3, 2, 0, 4]]
FORMS = [
    {"attention": "luong"},
    {"attention": "luong", "score": "dot"},
    {"attention": "luong", "input_feeding": False},
    {"attention": "bahdanau"},
    {"attention": "luong", "bidirectional": True, "context_to": "input", "decoder_layers": 2},
]


def make(options, end=END, activation="softmax"):
    options = {"seed": 1, "dtype": "float64", **options}
    return NToM("lstm", Embedding(9, 4), 6, 5, activation=activation, end=end, **options)


@pytest.mark.parametrize("end", [END, None])
@pytest.mark.parametrize("options", FORMS)
def test_against_torch(options, end):
    torch = pytest.importorskip("torch")
    import torch_models
    from torch_producers import translate

    model = make(options, end)
    tensors = torch_models.tensors_of(model)
    found = model.attention_weights(SOURCES, TARGETS)
    for x, y, weights in zip(SOURCES, TARGETS, found):
        looked = []
        if y:
            translate(model, tensors, x, np.array(y), end, looked)
            want = torch.stack(looked).detach().numpy()[: len(y)]
            np.testing.assert_allclose(weights, want, rtol=0, atol=1e-12)
        assert weights.shape == (len(y), len(x))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("options", FORMS)
def test_they_sum_to_one_without_padding_and_do_not_depend_on_the_batch(options, dtype):
    model = make(options | {"dtype": dtype})
    found = model.attention_weights(SOURCES, TARGETS)
    sources, targets = (np.zeros((5, 6), int) for _ in range(2))  # padded with a token that is one
    for rows, ragged in ((sources, SOURCES), (targets, TARGETS)):
        for row, given in zip(rows, ragged):
            row[: len(given)] = given
    lengths = [len(x) for x in SOURCES], [len(y) for y in TARGETS]
    padded = model.attention_weights(sources, targets, lengths=lengths)
    small = model.attention_weights(SOURCES, TARGETS, batch_size=2)
    for n, weights in enumerate(found):
        assert weights.dtype == dtype
        assert (weights > 0).all()
        np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=0, atol=1e-6)
        alone = model.attention_weights([SOURCES[n]], [TARGETS[n]])[0]
        for other in (padded[n], small[n], alone):
            np.testing.assert_allclose(weights, other, rtol=0, atol=1e-6 if dtype == "float32" else 1e-13)


def test_a_model_that_learned_to_turn_round_looks_from_the_end_to_the_beginning():
    rng = np.random.default_rng(0)
    x = [rng.permutation(8)[:5] + 1 for _ in range(200)]
    model = NToM(
        "gru",
        Embedding(9, 16),
        32,
        9,
        attention="luong",
        input_feeding=False,
        end=0,
        bidirectional=True,
        seed=0,
    )
    with fastrnn.threads(1):
        model.fit(x, [row[::-1] for row in x], epochs=30, optimizer=fastrnn.Adam(1e-2), progress=False)
        said = model.decode(x[:20], max_length=9)
        looks = np.array(
            [weights.argmax(axis=1) for weights in model.attention_weights(x[:20], said.sequences)]
        )
    assert (looks == np.arange(5)[::-1]).mean() > 0.8


def test_numbers_have_weights_too():
    model = make({"attention": "bahdanau"}, None, "linear")
    found = model.attention_weights(SOURCES, [np.zeros((n, 5)) for n in (2, 1, 4, 3, 1)])
    assert [weights.shape for weights in found] == [(2, 2), (1, 1), (4, 5), (3, 4), (1, 3)]


def test_refused():
    plain, model = make({}), make({"attention": "luong"})
    words = "made with attention='luong' or 'bahdanau', but it is None"
    refused(ValueError, [words], plain.attention_weights, SOURCES, TARGETS)
    refused(
        ValueError, ["x has 1 entries, but y has 2 sequences"], model.attention_weights, [[1]], [[2], [3]]
    )
    refused(ValueError, ["y[0] holds the end 1 at step 0"], model.attention_weights, [[1]], [[1]])
    refused(ValueError, ["batch_size is 0"], model.attention_weights, [[1]], [[2]], batch_size=0)
