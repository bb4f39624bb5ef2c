# SPDX-License-Identifier: MIT
"""What models produce, against what they hold probable when they are taught what they have produced."""

import fastrnn
import numpy as np
import pytest
from fastrnn import Embedding, NToM, OneToN
from refusal import refused
from tolerance import assert_same_bits

K, END, LONGEST = 6, 2, 7
SOURCES = [[1, 2], [3], [0, 1, 2, 3], [2, 4, 4, 1, 0, 5], [1, 1, 1]]
SEEDS = np.random.default_rng(0).standard_normal((5, 4))
ATTENTIONS = [
    {},
    {"attention": "luong"},
    {"attention": "luong", "score": "dot"},
    {"attention": "luong", "input_feeding": False},
    {"attention": "bahdanau"},
]
N_TO_M = [
    *({"context_to": to, **looks} for to in ("state", "input", "both") for looks in ATTENTIONS),
    *({"cell": "gru", "context": "sequence", "decoder_layers": 2, **looks} for looks in ATTENTIONS),
    {"bidirectional": True, "context": "first_last", "attention": "luong"},
    {"num_layers": 2, "learn_state": True, "context_to": "input"},
    {"feedback": False, "context_to": "both"},
    {"cell": "lstm_projected"},
]
ONE_TO_N = [
    *({"feed": feed, "feedback": back} for feed in ("first", "every") for back in (False, True)),
    {"cell": "lstm", "num_layers": 2, "learn_state": True, "feedback": True},
]


def wide(model):
    """Weights so large that sequences differ."""
    for array in model.parameters().values():
        array *= 2.5
    return model


def n_to_m(options):
    options = {"end": END, "seed": 5, "dtype": "float64", **options}
    return wide(NToM(options.pop("cell", "lstm"), Embedding(6, 5), 8, K, **options)), SOURCES


def one_to_n(options):
    options = {"end": END, "seed": 5, "dtype": "float64", **options}
    return wide(OneToN(options.pop("cell", "gru"), 4, 8, K, **options)), SEEDS


MODELS = [*((n_to_m, options) for options in N_TO_M), *((one_to_n, options) for options in ONE_TO_N)]
NAMES = [f"{make.__name__} " + " ".join(map(str, options.values())) for make, options in MODELS]


def log_softmax(z):
    z = z - z.max(axis=-1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))


def taught(model, x, y):
    """log y_t (T,K) of one x while it reads y, the end behind it."""
    data = model._training_data(x, [y], None)
    batch = data.batch(np.array([0]))
    run = model.decoder.forward(batch.y, model._beginning(batch.x), False)
    return log_softmax(model.readout.forward(run.seen[:, 0]))


@pytest.mark.parametrize(("make", "options"), MODELS, ids=NAMES)
def test_greedy_is_the_most_probable_token_of_each_step(make, options):
    model, x = make(options)
    found = model.decode(x, max_length=LONGEST)
    for n, (tokens, score, finished) in enumerate(zip(found.sequences, found.scores, found.finished)):
        own = taught(model, x[n : n + 1], tokens)
        whole = [*tokens, END] if finished else list(tokens)
        assert finished or len(tokens) == LONGEST
        assert whole == own[: len(whole)].argmax(axis=1).tolist()
        assert score == pytest.approx(own[np.arange(len(whole)), whole].sum(), rel=1e-9)
    assert [tokens.tolist() for tokens in model.predict(x, max_length=LONGEST)] == [
        tokens.tolist() for tokens in found.sequences
    ]


@pytest.mark.parametrize(("make", "options"), MODELS, ids=NAMES)
def test_scores_of_a_beam_are_those_of_its_sequences(make, options):
    model, x = make(options)
    greedy = model.decode(x, max_length=LONGEST)
    found = model.decode(x, max_length=LONGEST, beam=5, n_best=3)
    for n, hypotheses in enumerate(found.n_best):
        assert len(hypotheses) == 3
        scores = [h.score for h in hypotheses]
        assert scores == sorted(scores, reverse=True)
        assert len({(*h.sequence, h.finished) for h in hypotheses}) == 3
        for tokens, score, finished in hypotheses:
            whole = [*tokens, END] if finished else list(tokens)
            own = taught(model, x[n : n + 1], tokens)
            assert score == pytest.approx(own[np.arange(len(whole)), whole].sum(), rel=1e-9)
    assert (found.scores >= greedy.scores - 1e-9).mean() >= 0.8


@pytest.mark.parametrize(("make", "options"), MODELS, ids=NAMES)
def test_a_sequence_is_the_same_whatever_else_is_asked_for(make, options):
    model, x = make({"dtype": "float32", **options})
    for ask in (
        lambda x, size=64: model.decode(x, max_length=LONGEST, batch_size=size),
        lambda x, size=64: model.decode(x, max_length=LONGEST, beam=4, batch_size=size),
    ):
        together = ask(x)
        for other in (ask(x, 2), ask(x, 1)):
            assert_same_bits(other.scores, together.scores)
        alone = [ask(x[n : n + 1]) for n in range(5)]
        for n in range(5):
            assert_same_bits(alone[n].sequences[0], together.sequences[n])
            assert_same_bits(alone[n].scores, together.scores[n : n + 1])
        with fastrnn.threads(2):
            assert_same_bits(ask(x).scores, together.scores)


def test_what_is_drawn_is_drawn_as_often_as_it_is_probable():
    model, x = one_to_n({"feed": "every"})
    count = 4000
    drawn = model.generate(np.repeat(x[:1], count, axis=0), max_length=1, seed=3)
    ended = np.array([not len(tokens) for tokens in drawn.sequences])
    first = [END if end else tokens[0] for tokens, end in zip(drawn.sequences, ended)]
    share = np.bincount(first, minlength=K) / count
    want = np.exp(taught(model, x[:1], [0])[0])
    assert np.abs(share - want).max() < 4 * np.sqrt(0.25 / count)
    again = model.generate(np.repeat(x[:1], count, axis=0), max_length=1, seed=3)
    assert_same_bits(again.scores, drawn.scores)
    assert (
        model.generate(x, max_length=9, seed=4).scores.tolist()
        != model.generate(x, max_length=9, seed=5).scores.tolist()
    )
    unseeded = [model.generate(x, max_length=9).scores.tolist() for _ in range(2)]
    assert unseeded[0] != unseeded[1]
    cold = model.generate(x, max_length=LONGEST, temperature=0.0)
    assert [s.tolist() for s in cold.sequences] == [
        s.tolist() for s in model.decode(x, max_length=LONGEST).sequences
    ]


@pytest.mark.parametrize("feedback", [False, True])
@pytest.mark.parametrize("feed", ["first", "every"])
def test_numbers_are_those_that_are_fed_back(feed, feedback):
    options = {"activation": "linear", "feed": feed, "feedback": feedback, "seed": 1, "dtype": "float64"}
    model = OneToN("gru", 4, 8, 3, **options)
    for numbers, seed in zip(model.predict(SEEDS, max_length=LONGEST), SEEDS):
        data = model._training_data(seed[None], [numbers], None)
        batch = data.batch(np.array([0]))
        run = model.decoder.forward(batch.y, model._beginning(batch.x), False)
        np.testing.assert_allclose(model.readout.forward(run.seen[:, 0]), numbers, rtol=1e-10, atol=1e-12)


def test_sigmoid_outputs_are_zeros_and_ones():
    model = OneToN("lstm", 4, 8, 3, activation="sigmoid", feedback=True, seed=1)
    assert set(np.unique(model.predict(SEEDS.astype("float32"), max_length=50))) <= {0.0, 1.0}
    drawn = model.generate(SEEDS.astype("float32"), max_length=50, seed=1).sequences
    assert set(np.unique(drawn)) == {0.0, 1.0}


def test_nothing_is_asked_for():
    for make in (one_to_n, n_to_m):
        model, x = make({})
        assert model.decode(x[:0], max_length=3).sequences == []
        assert model.generate(x[:0], max_length=3).sequences == []


@pytest.mark.parametrize("make", [one_to_n, n_to_m])
@pytest.mark.parametrize(
    ("name", "options", "error", "words"),
    [
        ("decode", {"max_length": 0}, ValueError, ["max_length", 0]),
        ("decode", {"max_length": 2.0}, TypeError, ["max_length", "float"]),
        ("decode", {"max_length": 2, "beam": 0}, ValueError, ["beam", 0]),
        ("decode", {"max_length": 2, "beam": 2, "n_best": 3}, ValueError, ["n_best", 3, 2]),
        ("decode", {"max_length": 2, "alpha": -1.0}, ValueError, ["alpha", -1.0]),
        ("decode", {"max_length": 2, "batch_size": 0}, ValueError, ["batch_size", 0]),
        ("generate", {"max_length": 2, "temperature": -1.0}, ValueError, ["temperature", -1.0]),
        ("generate", {"max_length": 2, "top_k": 0}, ValueError, ["top_k", 0]),
        ("generate", {"max_length": 2, "top_p": 0.0}, ValueError, ["top_p", 0]),
        ("generate", {"max_length": 2, "top_p": 1.5}, ValueError, ["top_p", 1.5]),
        ("generate", {"max_length": 2, "seed": -1}, ValueError, ["seed", -1]),
    ],
)
def test_refused(make, name, options, error, words):
    model, x = make({})
    refused(error, words, getattr(model, name), x, **options)


def test_more_is_refused():
    numbers = OneToN("gru", 4, 8, 3, activation="linear", seed=1)
    refused(ValueError, ["decode", "linear", "generate"], numbers.decode, SEEDS, max_length=3)
    refused(ValueError, ["top_k", "linear"], numbers.generate, SEEDS, max_length=3, top_k=2)
    model, x = n_to_m({})
    refused(ValueError, ["x", "empty"], model.decode, [[1], []], max_length=3)
    refused(ValueError, ["x", 9], model.decode, [[9]], max_length=3)
    seeded, _ = one_to_n({})
    refused(ValueError, ["lengths", "seeds"], seeded.decode, SEEDS, max_length=3, lengths=[1])
    model.readout.bias[:] = np.nan
    refused(ValueError, ["NaN"], model.decode, x, max_length=3)


# ---- tokens of their own while they learn


@pytest.mark.parametrize("make", [one_to_n, n_to_m])
@pytest.mark.parametrize("forcing", ["token", "batch"])
def test_teacher_forcing(make, forcing, tmp_path):
    pytest.importorskip("safetensors", reason="checkpoints need the extra io")
    y = [[1, 3], [4, 4, 0], [], [5], [1, 1, 1]]

    def trained(epochs=4, **options):
        model, x = make({"feedback": True})
        history = model.fit(
            x, y, epochs=epochs, batch_size=2, seed=3, progress=False, forcing=forcing, **options
        )
        return history.loss, np.concatenate([a.ravel() for a in model.parameters().values()])

    taught_all, own = trained(), trained(teacher_forcing=0.5)
    assert not np.array_equal(taught_all[1], own[1])
    assert_same_bits(trained(teacher_forcing=0.5)[1], own[1])
    assert_same_bits(trained(teacher_forcing=lambda epoch: 0.5)[1], own[1])
    assert_same_bits(trained(teacher_forcing=lambda epoch: 1.0)[1], taught_all[1])
    assert not np.array_equal(trained(teacher_forcing=lambda epoch: 1 - 0.2 * epoch)[1], own[1])
    place = tmp_path / "run.safetensors"
    trained(epochs=2, teacher_forcing=0.5, checkpoint=place)
    resumed = trained(teacher_forcing=0.5, checkpoint=place, resume=True)
    assert_same_bits(resumed[0], own[0])
    assert_same_bits(resumed[1], own[1])


def test_teacher_forcing_of_epochs_that_come(tmp_path):
    pytest.importorskip("safetensors", reason="checkpoints need the extra io")
    y, ratios = [[1, 3], [4, 4, 0], [], [5], [1, 1, 1]], [1.0, 0.6, 0.3, 0.0]

    def trained(epochs=4, **options):
        asked = []
        model, x = n_to_m({"feedback": True})
        model.fit(
            x, y, epochs=epochs, batch_size=2, seed=3, progress=False, **options,
            teacher_forcing=lambda epoch: (asked.append(epoch), ratios[epoch - 1])[1],
        )  # fmt: skip
        return asked, np.concatenate([a.ravel() for a in model.parameters().values()])

    whole, place = trained(), tmp_path / "run.safetensors"
    assert whole[0] == [1, 2, 3, 4]
    assert trained(epochs=2, checkpoint=place)[0] == [1, 2]
    resumed = trained(checkpoint=place, resume=True)
    assert resumed[0] == [3, 4]
    assert_same_bits(resumed[1], whole[1])
    assert trained(checkpoint=place, resume=True)[0] == []


def test_teacher_forcing_is_refused():
    y = [[1], [1], [1], [1], [1]]
    model, x = n_to_m({})
    for bad, error, words in (
        (1.5, ValueError, ["teacher_forcing", 1.5]),
        ("all", TypeError, ["teacher_forcing", "all"]),
        (lambda epoch: 2.0, ValueError, ["teacher_forcing(1)", 2.0]),
    ):
        refused(error, words, model.fit, x, y, epochs=1, teacher_forcing=bad, progress=False)
    refused(ValueError, ["forcing", "step"], model.fit, x, y, epochs=1, forcing="step", progress=False)
    silent, seeds = one_to_n({})
    refused(ValueError, ["teacher_forcing", 0.5], silent.fit, seeds, y, epochs=1, teacher_forcing=0.5)
    assert model._forcing.ratio == 1.0


# ---- extreme temperatures and outputs


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("temperature", [1e-20, 1e-40, 1e-300, 5e-324])
@pytest.mark.parametrize("options", [{}, {"top_k": 50}, {"top_p": 0.9}, {"top_k": 100, "top_p": 0.5}])
def test_hardly_any_temperature_is_greedy(dtype, temperature, options):
    model = OneToN("gru", 2, 16, 2000, feedback=True, dtype=dtype, seed=0)
    x = np.random.default_rng(0).standard_normal((20, 2))
    drawn = model.generate(x, max_length=4, temperature=temperature, **options)
    greedy = model.generate(x, max_length=4, temperature=0.0)
    assert np.array_equal(drawn.sequences, greedy.sequences)
    assert_same_bits(drawn.scores, greedy.scores)


@pytest.mark.parametrize("temperature", [0.0, 1e3])
def test_scores_of_sure_outputs_are_finite(temperature):
    model = OneToN("gru", 2, 3, 2, activation="sigmoid", dtype="float64", seed=0)
    model.readout.weight[:], model.readout.bias[:] = 0, (-800, 800)
    found = model.generate(np.ones((40, 2)), max_length=3, temperature=temperature)
    wrong = [np.count_nonzero(y != (0, 1)) for y in found.sequences]
    assert any(wrong) == bool(temperature)
    np.testing.assert_allclose(found.scores, -800.0 * np.array(wrong), rtol=1e-15)
