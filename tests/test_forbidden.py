# SPDX-License-Identifier: MIT
"""Classes that a CRF forbids to follow each other: against all paths that are left, and PyTorch with such scores."""

import itertools

import fastrnn
import numpy as np
import pytest
from fastrnn.crf import FORBIDDEN
from refusal import refused

K = 4
#: Class 3 is entered from 2 alone, and 1 leads nowhere else; no sequence begins with 3, none ends with 0.
PAIRS = [(0, 3), (1, 3), (3, 3), (1, 0), (1, 2), (None, 3), (0, None)]
X = [[1, 2, 3, 4], [5, 1], [], [4, 4, 1, 0, 2], [3]]
Y = [[0, 2, 3, 1], [2, 2], [], [0, 0, 2, 3, 2], [1]]


def tagger(forbidden=PAIRS, **options):
    return fastrnn.NToN(
        "gru", fastrnn.Embedding(6, 4), 5, K, crf=True, forbidden=forbidden, **{"seed": 0, **options}
    )


def allowed(n, pairs=PAIRS):
    """All paths of n classes without what is forbidden."""
    paths = itertools.product(range(K), repeat=n)
    return [path for path in paths if not set(pairs) & set(itertools.pairwise((None, *path, None)))]


def expected(model, ids):
    """The allowed paths of one sequence, and their probabilities from the equation."""
    w = model.state_dict()
    h, _ = model.rnn(w["embedding.weight"][np.array(ids)][:, None])
    z = np.float64(h[:, 0] @ w["readout.weight"].T + w["readout.bias"])
    start, between, end = (np.float64(w[f"crf.{name}"]) for name in ("start", "transition", "end"))
    paths = allowed(len(ids))
    scores = [
        start[p[0]]
        + end[p[-1]]
        + sum(z[range(len(p)), p])
        + sum(between[a, b] for a, b in itertools.pairwise(p))
        for p in paths
    ]
    p = np.exp(scores - np.max(scores))
    return paths, p / p.sum()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [1.0, 30.0, 3000.0])
def test_what_is_left_is_all_there_is(target, dtype, size):
    model = tagger(dtype=dtype)
    for array in model.parameters().values():
        array *= size
    rng = np.random.default_rng(0)
    model.parameters()["crf.transition"][...] = size * rng.standard_normal((K, K))
    said, probable = model.predict(X), model.predict_proba(X)
    loss = model.evaluate(X, Y)["loss"]
    want = []
    for ids, classes, row, p in zip(X, Y, said, probable):
        if not ids:
            continue
        paths, weights = expected(model, ids)
        assert tuple(row) == paths[weights.argmax()]
        marginals = np.zeros((len(ids), K))
        for path, weight in zip(paths, weights):
            marginals[range(len(ids)), path] += weight
        np.testing.assert_allclose(p, marginals, rtol=0, atol=2e-3 if dtype == "float32" else 1e-9)
        with np.errstate(divide="ignore"):
            want.append(-np.log(weights[paths.index(tuple(classes))]))
    if np.isfinite(want).all():
        assert loss == pytest.approx(sum(want) / sum(map(len, X)), rel=1e-3 if dtype == "float32" else 1e-9)


@pytest.mark.parametrize("pairs", [PAIRS, [(a, b) for a in range(K) for b in range(K) if b != (a + 1) % K]])
def test_nothing_forbidden_is_predicted(target, pairs):
    """Of 300 sequences, of up to 40 steps, by a model that has not learned what is forbidden."""
    rng = np.random.default_rng(2)
    model = tagger(pairs)
    for array in model.parameters().values():
        array *= 20
    for row in model.predict([rng.integers(0, 6, rng.integers(1, 40)) for _ in range(300)]):
        assert not set(pairs) & set(itertools.pairwise((None, *row.tolist(), None)))


def test_loss_and_gradients_are_torchs_of_the_same_scores():
    torch = pytest.importorskip("torch")
    model = tagger(dtype="float64")
    loss, gradients = model.gradients(X, Y)
    weights = {name: torch.tensor(value, requires_grad=True) for name, value in model.state_dict().items()}
    rnn = torch.nn.GRU(4, 5).double()
    own = {name[4:]: value for name, value in weights.items() if name.startswith("rnn.")}
    barred = np.zeros((K + 1, K + 1), bool)
    for a, b in PAIRS:
        barred[K if a is None else a, K if b is None else b] = True
    places = {"start": barred[K, :K], "transition": barred[:K, :K], "end": barred[:K, K]}
    masks = {name: torch.tensor(place) for name, place in places.items()}
    scores = {name: weights[f"crf.{name}"].masked_fill(mask, FORBIDDEN) for name, mask in masks.items()}
    total = 0
    for ids, classes in zip(X, Y):
        if not ids:
            continue
        h, _ = torch.func.functional_call(rnn, own, weights["embedding.weight"][torch.tensor(ids)][:, None])
        z = h[:, 0] @ weights["readout.weight"].T + weights["readout.bias"]
        alpha, score = scores["start"] + z[0], scores["start"][classes[0]] + z[0, classes[0]]
        for t in range(1, len(classes)):
            alpha = z[t] + torch.logsumexp(alpha[:, None] + scores["transition"], 0)
            score = score + scores["transition"][classes[t - 1], classes[t]] + z[t, classes[t]]
        total = total + torch.logsumexp(alpha + scores["end"], 0) - score - scores["end"][classes[-1]]
    want = total / sum(map(len, Y))
    want.backward()
    assert abs(loss - float(want.detach())) <= 1e-8
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradient, weights[name].grad.numpy(), rtol=0, atol=1e-8, err_msg=name)
    for name, mask in places.items():
        assert not gradients[f"crf.{name}"][mask].any()


def test_training_keeps_to_it_with_decay_and_in_a_file(tmp_path):
    model = tagger()
    before = model.state_dict()
    history = model.fit(X, Y, epochs=60, optimizer=fastrnn.AdamW(0.05, weight_decay=0.1), progress=False)
    assert np.isfinite(history.loss).all()
    assert all(np.isfinite(array).all() for array in model.parameters().values())
    assert (
        model.state_dict()["crf.transition"] != before["crf.transition"]
    ).all()  # the decay acts everywhere
    assert [row.tolist() for row in model.predict(X)] == Y
    pytest.importorskip("safetensors")
    model.save(tmp_path / "tagger")
    again = fastrnn.load(tmp_path / "tagger")
    assert again.arguments == model.arguments
    assert again.arguments["forbidden"] == tuple(
        sorted(PAIRS, key=lambda p: [-1 if k is None else k for k in p])
    )
    for one, two in zip(model.predict_proba(X), again.predict_proba(X)):
        np.testing.assert_array_equal(one, two)


def test_pairs_and_a_matrix_say_the_same():
    inner = [(a, b) for a, b in PAIRS if a is not None and b is not None]
    matrix = np.zeros((K, K), bool)
    matrix[tuple(zip(*inner))] = True
    models = [
        tagger(given) for given in (inner, np.array(inner), [*inner, inner[0]], matrix, matrix.tolist())
    ]
    assert all(model.arguments == models[0].arguments for model in models)
    assert "forbidden" not in tagger([]).arguments
    assert tagger([]).arguments == tagger(None).arguments == tagger(np.zeros((K, K), bool)).arguments


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(
    ("n", "labels", "words"),
    [
        (0, [0, 2, 2, 0], ["y[0] ends with class 0 at step 3", "(0, None)"]),
        (3, [0, 0, 3, 2, 2], ["y[3] goes from class 0 to class 3 at step 2", "(0, 3)"]),
        (1, [3, 1], ["y[1] begins with class 3", "(None, 3)"]),
        (4, [0], ["y[4] ends with class 0 at step 0", "(0, None)"]),
    ],
)
def test_labels_that_are_forbidden_are_named(n, labels, words, padded, monkeypatch):
    y = [*Y[:n], labels, *Y[n + 1 :]]
    x, options = X, {}
    if padded:
        grid = np.full((2, 5, 5), 3)  # 3 behind the end of a row would be forbidden if it counted
        for side, given in zip(grid, (X, y)):
            for row, entry in zip(side, given):
                row[: len(entry)] = entry
        (x, y), options = grid, {"lengths": [len(entry) for entry in X]}
    monkeypatch.setattr(fastrnn._check.models, "_PIECE", 3)  # pieces that end within sequences
    model = tagger()
    before = model.state_dict()
    refused(ValueError, words, model.evaluate, x, y, **options)
    refused(ValueError, words, model.fit, x, y, epochs=1, progress=False, **options)
    refused(ValueError, words, model.gradients, x, y, **options)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_lengths_of_which_nothing_is_left():
    """Classes that go round by two have no way of odd length."""
    model = tagger([(a, b) for a in range(K) for b in range(K) if b != 1 - a] + [(None, 1), (0, None)])
    assert [row.tolist() for row in model.predict([[1, 2], [], [3, 4, 5, 1]])] == [[0, 1], [], [0, 1, 0, 1]]
    words = ["x[1] has 3 steps", "forbidden leaves no sequence"]
    refused(ValueError, words, model.predict, [[1, 2], [3, 4, 5]])
    refused(ValueError, words, model.predict_proba, [[1, 2], [3, 4, 5]])


@pytest.mark.parametrize(
    ("forbidden", "error", "words"),
    [
        (5, TypeError, ["forbidden is 5", "pairs (from, to)"]),
        ("ab", TypeError, ["forbidden is 'ab'", "pairs (from, to)"]),
        ([(0,)], TypeError, ["forbidden[0] is (0,)", "a pair"]),
        ([(0, 1), (0, 4)], ValueError, ["forbidden[1][1] is 4", "at most 3"]),
        ([(0, 1), (-1, 0)], ValueError, ["forbidden[1][0] is -1", "at least 0"]),
        ([(0, 1.5)], TypeError, ["forbidden[0][1] is 1.5", "not an integer"]),
        ([(None, None)], ValueError, ["forbidden[0] is (None, None)", "a class"]),
        (np.zeros((3, 3), bool), ValueError, ["shape (3, 3)", "outputs=4", "(4, 4)"]),
        (np.zeros((4, 4)), TypeError, ["forbidden[0] is [0.0, 0.0, 0.0, 0.0]", "a pair"]),
        ([[True, False], [True]], ValueError, ["forbidden"]),
        ([(None, k) for k in range(K)], ValueError, ["leaves no sequence of the 4 classes"]),
    ],
)
def test_what_is_no_list_of_pairs(forbidden, error, words):
    refused(error, words, tagger, forbidden)


def test_it_is_for_a_crf():
    refused(ValueError, ["crf is False"], fastrnn.NToN, "gru", 3, 4, K, forbidden=[(0, 1)])
