# SPDX-License-Identifier: MIT
"""OneToN and NToM as they are used: learning, evaluation, files, forms of data, threads, and what they refuse."""

import copy
import json

import fastrnn
import numpy as np
import pytest
from fastrnn import Embedding, NToM, OneToN
from refusal import refused
from tolerance import assert_same_bits

K, END = 5, 0
WORDS = [[1, 2, 3], [4], [2, 2, 1, 3], [], [3, 1]]
SEEDS = np.eye(5)
SOURCES = [[1, 2], [3], [0, 1, 2, 3], [2], [1, 1, 1]]


def one_to_n(**options):
    options = {"inputs": 5, "feedback": True, "end": END, "seed": 3, "dtype": "float64", **options}
    return OneToN(options.pop("cell", "gru"), options.pop("inputs"), 8, K, **options)


def n_to_m(**options):
    options = {"inputs": Embedding(6, 4), "end": END, "seed": 3, "dtype": "float64", **options}
    return NToM(options.pop("cell", "lstm"), options.pop("inputs"), 8, K, **options)


MODELS = {"one to n": (one_to_n, SEEDS), "n to m": (n_to_m, SOURCES)}


@pytest.fixture(params=MODELS)
def made(request):
    """A function that makes a model, and its x."""
    return MODELS[request.param]


def parameters(model):
    return np.concatenate([array.ravel() for array in model.parameters().values()])


@pytest.mark.parametrize("options", [{}, {"num_layers": 2}, {"cell": "lstm"}, {"cell": "rnn_tanh"}])
def test_they_learn_by_heart(made, options):
    make, x = made
    model = make(**options)
    before = model.evaluate(x, WORDS)
    history = model.fit(
        x, WORDS, epochs=120, batch_size=3, optimizer=fastrnn.Adam(2e-2), seed=1, progress=False
    )
    after = model.evaluate(x, WORDS)
    assert history.loss[-1] < 0.2 * history.loss[0]
    assert before["accuracy"] < 0.9
    assert after["accuracy"] == 1.0
    assert after["loss"] < 0.1


@pytest.mark.parametrize("feed", ["first", "every"])
@pytest.mark.parametrize("activation", ["linear", "sigmoid"])
def test_one_to_n_of_numbers_learns_without_feedback(feed, activation):
    rng = np.random.default_rng(0)
    y = [rng.uniform(0.1, 0.9, (n, K)) for n in (4, 2, 5)]
    model = one_to_n(feed=feed, feedback=False, end=None, activation=activation, cell="lstm")
    x = SEEDS[:3]
    before = model.evaluate(x, y)["loss"]
    model.fit(x, y, epochs=150, optimizer=fastrnn.Adam(2e-2), seed=1, progress=False)
    targets = np.concatenate(y)
    least = (
        -np.mean(targets * np.log(targets) + (1 - targets) * np.log(1 - targets))
        if activation == "sigmoid"
        else 0
    )
    assert model.evaluate(x, y)["loss"] - least < 0.2 * (before - least)


def test_the_seed_enters_at_the_first_step_alone_or_at_every_one():
    """Zero recurrent weights: what a step shows of the seed, entered at it."""
    y = [[1, 1, 1, 1]]
    for feed, steps in (("first", 1), ("every", 4)):
        model = one_to_n(feed=feed, feedback=False, end=None, cell="rnn_tanh")
        model.parameters()["rnn.weight_hh_l0"][:] = 0
        losses = []
        for t in range(4):
            target = [row[: t + 1] for row in y]
            losses.append(model.evaluate(SEEDS[:1], target)["loss"] * (t + 1))
        at_step = np.diff([0, *losses])
        assert len(set(np.round(at_step[:steps], 12))) == 1
        assert len(set(np.round(at_step, 12))) == (2 if feed == "first" else 1)


def test_padded_arrays_are_lists(made):
    make, x = made
    y = np.full((5, 6), 99)
    lengths = [len(word) for word in WORDS]
    for row, word in zip(y, WORDS):
        row[: len(word)] = word
    if make is one_to_n:
        got = make().evaluate(x, y, lengths=lengths)
    else:
        sources = np.zeros((5, 4), np.int64)
        for row, source in zip(sources, SOURCES):
            row[: len(source)] = source
        got = make().evaluate(sources, y, lengths=([len(s) for s in SOURCES], lengths))
    assert got == make().evaluate(x, WORDS)


def test_evaluation_is_of_the_parts(made):
    """The loss over all is the mean over its steps, whatever the batches."""
    make, x = made
    model = make()
    whole = model.evaluate(x, WORDS, batch_size=5)
    assert model.evaluate(x, WORDS, batch_size=2)["loss"] == pytest.approx(whole["loss"], rel=1e-12)
    parts = [model.evaluate(x[n : n + 1], WORDS[n : n + 1])["loss"] * (len(WORDS[n]) + 1) for n in range(5)]
    steps = sum(len(word) + 1 for word in WORDS)
    assert whole["loss"] == pytest.approx(sum(parts) / steps, rel=1e-12)


def test_files_and_copies(made, tmp_path):
    pytest.importorskip("safetensors", reason="files need the extra io")
    make, x = made
    model = make()
    model.fit(x, WORDS, epochs=2, progress=False)
    model.save(tmp_path / "model.safetensors")
    read = fastrnn.load(tmp_path / "model.safetensors")
    assert repr(read) == repr(model)
    assert read.arguments == model.arguments
    for other in (read, copy.deepcopy(model)):
        assert other.evaluate(x, WORDS) == model.evaluate(x, WORDS)
        assert_same_bits(parameters(other), parameters(model))


def test_seeds_and_threads_give_the_same_bits(made):
    make, x = made
    big = [x[n % 5] for n in range(200)] if isinstance(x, list) else np.tile(x, (40, 1))
    words = [WORDS[n % 5] for n in range(200)]

    def trained(threads):
        model = make(dtype="float32")
        with fastrnn.threads(threads):
            history = model.fit(big, words, epochs=2, batch_size=64, seed=4, progress=False)
        return parameters(model), history.loss

    first, second = trained(1), trained(2)
    assert_same_bits(first[0], second[0])
    assert_same_bits(first[1], second[1])


def test_dropout_and_workspace_reach_the_layers(made):
    make, x = made
    model = make(num_layers=2, dropout=0.5, max_workspace=200_000)
    first, second = (model.gradients(x, WORDS)[0] for _ in range(2))
    assert first != second
    assert model.evaluate(x, WORDS) == model.evaluate(x, WORDS)


def test_a_decoder_of_one_layer_drops_nothing_between_layers():
    model = n_to_m(num_layers=2, dropout=0.5, decoder_layers=1)
    assert model.encoder.dropout == 0.5
    assert model.decoder.rnn.dropout == 0


def test_clip_reaches_every_part(made):
    make, x = made
    model = make()
    y = WORDS
    data = model._training_data(x, y, None)
    gradients = model.gradient_buffers()
    model.learn(data.batch(np.arange(5)), gradients, fastrnn.Clip(value=1e-5))
    for name, gradient in gradients.items():
        assert np.abs(gradient.flat).max() == pytest.approx(1e-5), name


def test_the_first_state_is_copied_only_where_it_fits():
    assert "bridge.weight" not in n_to_m().parameters()
    for options in (
        {"bidirectional": True},
        {"decoder_hidden": 9},
        {"decoder_layers": 2},
        {"decoder_cell": "gru"},
        {"context": "transform"},
        {"num_layers": 2, "direction": ("reverse", "forward")},
    ):
        assert "bridge.weight" in n_to_m(**options).parameters(), options
    assert "bridge.weight" not in n_to_m(decoder_hidden=9, context_to="input").parameters()


REFUSED = [
    ({"end": 5}, ValueError, ["end", 5, 4]),
    ({"end": -1}, ValueError, ["end", -1]),
    ({"end": 1.0}, TypeError, ["end", "float"]),
    ({"end": 0, "activation": "linear"}, ValueError, ["end", "linear"]),
    ({"embedding": 4, "feedback": False}, ValueError, ["embedding", "feedback"]),
    ({"embedding": 4, "activation": "sigmoid", "end": None}, ValueError, ["embedding", "sigmoid"]),
    ({"embedding": 0}, ValueError, ["embedding", 0]),
    ({"feedback": 1}, TypeError, ["feedback", 1]),
    ({"activation": "tanh"}, ValueError, ["activation", "tanh"]),
    ({"nonsense": 1}, TypeError, ["nonsense"]),
    ({"cell": "lst"}, ValueError, ["cell", "lst"]),
]


@pytest.mark.parametrize(("options", "error", "words"), REFUSED)
def test_arguments_are_refused(made, options, error, words):
    refused(error, words, made[0], **options)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"feed": "last"}, ValueError, ["feed", "last"]),
        ({"bidirectional": True}, ValueError, ["bidirectional", "forward"]),
        ({"direction": "reverse"}, ValueError, ["direction", "forward"]),
    ],
)
def test_arguments_of_one_to_n_are_refused(options, error, words):
    refused(error, words, one_to_n, **options)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"context": "first"}, ValueError, ["context", "first"]),
        ({"context_to": "output"}, ValueError, ["context_to", "output"]),
        ({"initial": "c"}, ValueError, ["initial", "c"]),
        ({"initial": "h", "cell": "gru"}, ValueError, ["initial", "gru"]),
        ({"initial": "h", "context_to": "input"}, ValueError, ["initial", "context_to"]),
        ({"decoder_cell": "lst"}, ValueError, ["decoder_cell", "lst"]),
        ({"decoder_hidden": 0}, ValueError, ["decoder_hidden", 0]),
        ({"decoder_layers": 0}, ValueError, ["decoder_layers", 0]),
    ],
)
def test_arguments_of_n_to_m_are_refused(options, error, words):
    refused(error, words, n_to_m, **options)


@pytest.mark.parametrize(
    ("y", "error", "words"),
    [
        (WORDS[:4], ValueError, [5, 4]),
        ([[1, 5], *WORDS[1:]], ValueError, ["y[0]", 5]),
        ([[1, END, 2], *WORDS[1:]], ValueError, ["y[0]", END, 1]),
        ([[0.5], *WORDS[1:]], TypeError, ["y[0]", "float64"]),
        (3, TypeError, ["y"]),
    ],
)
def test_targets_are_refused(made, y, error, words):
    make, x = made
    model = make()
    before = parameters(model).tobytes()
    refused(error, words, model.fit, x, y, epochs=1, progress=False)
    assert parameters(model).tobytes() == before


def test_nothing_to_produce_is_refused(made):
    make, x = made
    refused(ValueError, ["y", "empty"], make(end=None).fit, x, [[]] * 5, epochs=1, progress=False)
    refused(ValueError, ["x"], make().fit, x[:0], [], epochs=1, progress=False)


def test_seeds_are_refused():
    model = one_to_n()
    refused(ValueError, ["x", 4, 5], model.fit, np.zeros((5, 4)), WORDS, epochs=1)
    refused(ValueError, ["nan"], model.fit, SEEDS * np.nan, WORDS, epochs=1)
    ids = one_to_n(inputs=Embedding(5, 3))
    refused(ValueError, ["x", 7], ids.fit, [1, 2, 3, 4, 7], WORDS, epochs=1)
    refused(ValueError, ["x", "seeds"], ids.fit, 3, WORDS, epochs=1)


def test_sources_are_refused():
    model = n_to_m()
    refused(ValueError, ["x", "empty"], model.fit, [[1], [], [2], [3], [4]], WORDS, epochs=1)
    refused(ValueError, ["x[1]", 6], model.fit, [[1], [6], [2], [3], [4]], WORDS, epochs=1)
    refused(TypeError, ["lengths"], model.fit, SOURCES, WORDS, lengths=[1, 2, 3, 4, 5], epochs=1)


def test_gradient_flow_wants_one_of_their_layers(made):
    make, x = made
    refused(TypeError, [type(make()).__name__, "decoder"], fastrnn.gradient_flow, make(), x, WORDS)


# ---- labels that are ignored, and the end


def test_a_label_that_is_no_token_is_read_as_the_start(made):
    make, x = made
    y = [[1, -100, 3], [-100], [2, 2, -7, 3], [], [3, 1]]
    y[2][2] = -100
    model = make(loss=fastrnn.CrossEntropy(ignore_index=-100))
    start = model.decoder.feedback.start
    read = np.array([[start] * 5, [1, -100, 2, 0, 3]])
    assert model.decoder.feedback.previous(read)[1].tolist() == [start] * 5
    assert model.decoder.feedback.previous(read[::-1])[1].tolist() == [1, start, 2, 0, 3]
    loss, gradients = model.gradients(x, y)
    assert loss == pytest.approx(model.evaluate(x, y)["loss"], rel=1e-12)
    table, direction = model.parameters()["feedback.weight"], np.random.default_rng(0).standard_normal(K + 1)
    around = []
    for step in (1e-6, -2e-6):
        table += step * direction[:, None]
        around.append(model.evaluate(x, y)["loss"])
    numeric = (around[0] - around[1]) / 2e-6
    assert numeric == pytest.approx((gradients["feedback.weight"] * direction[:, None]).sum(), rel=1e-6)
    for forcing in (1.0, 0.5, 0.0):
        model.fit(x, y, epochs=2, batch_size=3, teacher_forcing=forcing, progress=False, seed=0)


def test_ends_count_where_all_else_is_ignored(made):
    make, x = made
    y, nothing = [[-100], [-100, -100], [], [-100], []], [[], [], [], [], []]
    model = make(loss=fastrnn.CrossEntropy(ignore_index=-100), feedback=False)
    assert model.evaluate(x, y)["loss"] > 0
    weightless = make(loss=fastrnn.CrossEntropy(class_weight=[0, 1, 1, 1, 1]))
    refused(ValueError, ["y has 5 steps", "none counts"], weightless.evaluate, x, nothing)


@pytest.mark.parametrize(("dtype", "end"), [("u1", 0), ("i4", 0), ("u1", 280)])
def test_an_end_behind_tokens_in_a_file(dtype, end, tmp_path):
    tokens = np.random.default_rng(0).integers(1, 5, (5, 4)).astype(dtype)
    np.save(tmp_path / "y.npy", tokens)
    mapped = np.load(tmp_path / "y.npy", mmap_mode="r")
    model = NToM("gru", Embedding(6, 4), 8, 300, end=end, seed=3)
    lengths = (None, [4, 0, 2, 4, 1])
    assert model.evaluate(SOURCES, mapped, lengths=lengths) == model.evaluate(
        SOURCES, [row[:n] for row, n in zip(tokens, lengths[1])]
    )


HOSTILE = [None, -1, 0, 2**31, 2**60, 1e308, 1.5, "x", [], [1, 2], [{"vocabulary": 5, "size": 3}, 2**50]]


@pytest.mark.parametrize(
    "name", ["inputs", "hidden", "outputs", "embedding", "num_layers", "decoder_hidden", "decoder_layers"]
)
def test_a_file_of_other_sizes_is_refused_before_anything_is_made(made, name, tmp_path):
    numpy = pytest.importorskip("safetensors.numpy", reason="files need the extra io")
    model = made[0](embedding=3)
    assert type(model).least_parameters(model.arguments) <= len(parameters(model))
    path = tmp_path / "model.safetensors"
    for value in HOSTILE:
        form = json.loads(fastrnn.io.describe(model)["fastrnn"])
        if name not in form["arguments"] or (name == "embedding" and value is None):
            continue
        form["arguments"][name] = value
        numpy.save_file(model.state_dict(), path, {"fastrnn": json.dumps(form)})
        refused(ValueError, [path, "does not fit"], fastrnn.load, path)


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (NToM, {"context": "transform"}),
        (NToM, {"context_to": "input"}),
        (NToM, {"attention": "luong"}),
        (NToM, {"decoder_layers": 2}),
        (fastrnn.NToOne, {"pool": "learned"}),
    ],
)
def test_matrices_beside_the_layers_are_in_the_file(make, options, tmp_path):
    numpy = pytest.importorskip("safetensors.numpy", reason="files need the extra io")
    model, path = make("indrnn_tanh", 2, 4, 3, **options), tmp_path / "model.safetensors"
    form = json.loads(fastrnn.io.describe(model)["fastrnn"])
    form["arguments"] |= {"hidden": 20_000, **({"decoder_hidden": 20_000} if make is NToM else {})}
    numbers = {"numbers": np.zeros(1_000_000, np.float32)}
    numpy.save_file(numbers, path, {"fastrnn": json.dumps(form)})
    refused(ValueError, ["1000000 numbers", "at least"], fastrnn.load, path)


def test_the_steps_of_an_epoch_are_the_lengths_of_its_data(made):
    """What a progress bar counts to, and what it counts."""
    make, x = made
    model = make()
    data = model._training_data(x, WORDS, None)
    score = model.measure(data.batch(np.arange(5)))
    assert score.steps == data.lengths.sum()


def test_padding_is_not_what_the_end_follows(made):
    """The model would learn to stop behind labels that teach nothing, and never stop."""
    make, x = made
    model = make(loss=fastrnn.CrossEntropy(ignore_index=-100))
    padded = np.full((5, 4), -100)
    for row, word in zip(padded, WORDS):
        row[: len(word)] = word
    whole = None if make is one_to_n else [len(source) for source in SOURCES]
    refused(ValueError, ["y[0]", -100, "lengths"], model.fit, x, padded, epochs=1, progress=False)
    sources = x
    if make is n_to_m:
        sources = np.zeros((5, 4), np.int64)
        for row, source in zip(sources, SOURCES):
            row[: len(source)] = source
    counts = [len(word) for word in WORDS]
    lengths = counts if make is one_to_n else (whole, counts)
    assert model.evaluate(sources, padded, lengths=lengths) == model.evaluate(x, WORDS)
    inside = [[1, -100, 3], *WORDS[1:]]
    assert model.evaluate(x, inside)["loss"] > 0


def test_lengths_name_what_they_are_of():
    refused(ValueError, ["lengths[2]", 9, "y"], n_to_m().fit, np.ones((3, 4), int), np.ones((3, 5), int),
            lengths=([1, 2, 3], [1, 2, 9]), epochs=1)  # fmt: skip
    refused(ValueError, ["lengths[2]", 9, "y of shape (3, 5) has T=5"], n_to_m().evaluate, np.ones((3, 4), int),
            np.ones((3, 5), int), lengths=([1, 2, 3], [1, 2, 9]))  # fmt: skip
    refused(TypeError, ["lengths is [4, 5]", "pair of lists (lengths of x, lengths of y)"], n_to_m().evaluate,
            np.ones((2, 4), int), np.ones((2, 5), int), lengths=[4, 5])  # fmt: skip


def test_seeds_have_one_axis_of_entries():
    ids, features = one_to_n(inputs=Embedding(5, 3)), one_to_n(inputs=2)
    refused(ValueError, ["x", (2, 1), "seeds"], ids.evaluate, [[1], [2]], [[1], [2]])
    refused(ValueError, ["x", (3,), "seeds"], features.evaluate, [1, 2, 3], [[1], [2], [3]])
    both = one_to_n(inputs=(Embedding(5, 3), 2))
    refused(TypeError, ["x", "pair"], both.evaluate, [1, 2, 3], [[1], [2], [3]])
    assert both.evaluate(([1, 2], np.ones((2, 2))), [[1], [2]])["loss"] > 0


def test_messages_say_what_would_do():
    tagger = fastrnn.NToN("gru", 4, 3, 2, seed=0)
    refused(ValueError, ["x[0]", "fastrnn.Embedding"], tagger.evaluate, [[1, 2, 3]], [[0, 0, 0]])
    refused(ValueError, ["y[0]", "NToOne"], tagger.evaluate, [np.ones((2, 4))], [0])
    refused(TypeError, ["inputs", "features", "Embedding"], fastrnn.NToN, "gru", "x", 3, 2)
    optimizer, x, y = fastrnn.Adam(), [np.ones((2, 4))], [[0, 1]]
    tagger.fit(x, y, epochs=1, optimizer=optimizer, progress=False)
    other = fastrnn.NToN("gru", 4, 3, 2, seed=1)
    refused(
        ValueError,
        ["other arrays", "as large"],
        other.fit,
        x,
        y,
        epochs=1,
        optimizer=optimizer,
        progress=False,
    )
