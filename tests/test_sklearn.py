# SPDX-License-Identifier: MIT
"""The estimators in what scikit-learn offers: clones, pipelines, searches, cross-validation."""

import pickle
import subprocess
import sys

import fastrnn
import numpy as np
import pytest

pytest.importorskip("sklearn", reason="estimators need the extra sklearn")

from fastrnn.sklearn import SequenceClassifier, SequenceRegressor, SequenceTagger
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

ALL = [SequenceClassifier, SequenceRegressor, SequenceTagger]
QUICK = {"hidden": 8, "epochs": 2, "random_state": 0}


def ids(count=120, seed=1):
    """The first token is the class, by name; each tag tells the token before."""
    rng = np.random.default_rng(seed)
    x = [rng.integers(0, 3, rng.integers(1, 7)) for _ in range(count)]
    names = np.array(["ape", "bee", "cat"])
    return x, names[[s[0] for s in x]], [names[np.concatenate((s[:1], s[:-1]))] for s in x]


def features(count=120, seed=1, steps=None):
    rng = np.random.default_rng(seed)
    x = [rng.standard_normal((steps or rng.integers(1, 7), 2)) for _ in range(count)]
    return (np.stack(x) if steps else x), np.array([s[:, 0].mean() for s in x])


@pytest.mark.parametrize("kind", ALL)
def test_parameters(kind):
    optimizer = fastrnn.Adam(0.1)
    estimator = kind("gru", 8, optimizer=optimizer, clip=fastrnn.Clip(norm=1.0))
    parameters = estimator.get_params()
    assert parameters["cell"] == "gru"
    assert parameters["optimizer"] is optimizer
    assert ("pool" in parameters) == (kind is not SequenceTagger)
    twin = clone(estimator.set_params(hidden=9))
    assert twin.hidden == 9
    assert twin.optimizer is not optimizer
    assert twin.optimizer.lr == 0.1
    with pytest.raises(ValueError, match="Invalid parameter 'units'"):
        estimator.set_params(units=3)
    assert repr(kind(hidden=3)) == f"{kind.__name__}(hidden=3)"


def test_what_they_are():
    assert is_classifier(SequenceClassifier())
    assert is_regressor(SequenceRegressor())
    assert not is_classifier(SequenceTagger())


@pytest.mark.parametrize("pool", ["last", "max"])
def test_a_classifier_learns_labels_of_any_type(pool):
    x, y, _ = ids()
    model = SequenceClassifier(
        "gru",
        16,
        pool=pool,
        vocabulary=3,
        embedding=8,
        epochs=15,
        optimizer=fastrnn.Adam(0.02),
        random_state=0,
    )
    assert model.fit(x, y) is model
    assert model.classes_.tolist() == ["ape", "bee", "cat"]
    test, labels, _ = ids(seed=2)
    assert model.score(test, labels) == np.mean(model.predict(test) == labels) > 0.9
    assert (
        model.predict_proba(test).argmax(axis=1).tolist()
        == model.classes_.searchsorted(model.predict(test)).tolist()
    )
    np.testing.assert_allclose(model.predict_proba(test).sum(axis=1), 1, rtol=1e-5)
    assert len(model.history_.loss) == 15
    assert not hasattr(model, "n_features_in_")
    for labels in (
        np.array([10, 20, 30])[[s[0] for s in x]],
        np.array([True, False, True])[[s[0] for s in x]],
    ):
        again = model.fit(x, labels)
        assert set(again.predict(test)) <= set(labels)
        assert again.predict(test).dtype == labels.dtype


def test_each_fit_begins_anew():
    x, y, _ = ids()
    optimizer = fastrnn.Adam(0.02)
    model = SequenceClassifier(vocabulary=3, optimizer=optimizer, **QUICK)
    first = model.fit(x, y).predict_proba(x)
    assert model.fit(x, y).predict_proba(x).tobytes() == first.tobytes()
    assert optimizer.steps == 0
    other = clone(model).set_params(random_state=1).fit(x, y)
    assert other.predict_proba(x).tobytes() != first.tobytes()
    states = [np.random.RandomState(4) for _ in range(2)]
    results = [clone(model).set_params(random_state=s).fit(x, y).predict_proba(x).tobytes() for s in states]
    assert results[0] == results[1]
    assert pickle.loads(pickle.dumps(model)).predict_proba(x).tobytes() == first.tobytes()


@pytest.mark.parametrize("columns", [None, 1, 2])
def test_a_regressor_has_the_form_of_its_targets(columns):
    x, y = features()
    y = y if columns is None else np.stack([y, -y][:columns], axis=1)
    model = SequenceRegressor(
        "gru", 16, pool="mean", epochs=30, batch_size=8, optimizer=fastrnn.Adam(0.01), random_state=0
    ).fit(x, y)
    assert model.n_features_in_ == 2
    assert model.predict(x).shape == y.shape
    assert model.score(x, y) > 0.8


@pytest.mark.parametrize("form", ["list", "array"])
def test_a_tagger(form):
    x, _, y = ids(200)
    if form == "array":
        x = np.random.default_rng(3).integers(0, 3, (200, 5))
        y = np.array(["ape", "bee", "cat"])[np.concatenate((x[:, :1], x[:, :-1]), axis=1)]
    else:
        x, y = [*x, []], [*y, []]
    model = SequenceTagger(
        "gru", 16, vocabulary=3, epochs=15, batch_size=8, optimizer=fastrnn.Adam(0.02), random_state=0
    ).fit(x, y)
    assert model.classes_.tolist() == ["ape", "bee", "cat"]
    predicted = model.predict(x)
    assert isinstance(predicted, list) == (form == "list")
    hits = sum((np.asarray(a) == np.asarray(b)).sum() for a, b in zip(predicted, y) if len(b))
    assert model.score(x, y) == hits / sum(map(len, y)) > 0.9
    assert model.predict_proba(x)[0].shape == (len(x[0]), 3)


@pytest.mark.parametrize("steps", [None, 4])
def test_cross_validation_of_lists_and_arrays(steps):
    x, y = features(60, steps=steps)
    labels = np.where(y > 0, "up", "down")
    assert cross_val_score(SequenceClassifier("gru", **QUICK), x, labels, cv=3).shape == (3,)
    assert cross_val_score(SequenceRegressor("gru", **QUICK), x, y, cv=3).shape == (3,)
    predicted = cross_val_predict(SequenceClassifier("gru", **QUICK), x, labels, cv=3, method="predict_proba")
    assert predicted.shape == (60, 2)
    tags = [np.where(s[:, 0] > 0, "up", "down") for s in x]
    scores = cross_val_score(SequenceTagger("gru", **QUICK), x, tags, cv=3, error_score="raise")
    assert (scores > 0).all()


def test_a_search_in_a_pipeline():
    x, y = features(60)
    labels = np.where(y > 0, "up", "down")
    pipeline = Pipeline([
        ("scale", FunctionTransformer(lambda rows: [3 * row for row in rows])),
        ("net", SequenceClassifier("gru", **QUICK)),
    ])  # fmt: skip
    grid = {"net__hidden": [2, 16], "net__optimizer": [fastrnn.SGD(1e-9), fastrnn.Adam(0.05)]}
    search = GridSearchCV(pipeline, grid, cv=3, error_score="raise").fit(x, labels)
    assert isinstance(search.best_params_["net__optimizer"], fastrnn.Adam)
    assert search.predict(x).shape == (60,)
    assert search.best_score_ > 0.7


def test_options_reach_the_model():
    x, y = features(20)
    stopped = SequenceRegressor(
        **{**QUICK, "epochs": 9}, optimizer=fastrnn.SGD(0.0), bidirectional=True, num_layers=2, dropout=0.1,
        model_options={"dtype": "float64"}, schedule=fastrnn.schedules.Step(1, 0.5),
        early_stopping=fastrnn.EarlyStopping(2, monitor="loss", min_delta=10.0),
    ).fit(x, y)  # fmt: skip
    assert len(stopped.history_.loss) == 3
    arguments = stopped.model_.arguments
    assert (arguments["bidirectional"], arguments["num_layers"], arguments["dropout"]) == (True, 2, 0.1)
    assert arguments["dtype"] == "float64"


X, Y, TAGS = ids(6)


@pytest.mark.parametrize(
    ("estimator", "x", "y", "error", "words"),
    [
        (SequenceClassifier(vocabulary=3), X, Y[:-1], ValueError, "x has 6 sequences, but y has 5"),
        (SequenceClassifier(vocabulary=3), X, Y[:, None], ValueError, r"y has shape \(6, 1\)"),
        (SequenceClassifier(vocabulary=2), X, Y, ValueError, r"vocabulary=2"),
        (SequenceClassifier(), X, Y, ValueError, r"X\[0\] has shape \(\d,\), but features are .* vocabulary"),
        (
            SequenceClassifier(),
            np.zeros((6, 2)),
            Y,
            ValueError,
            r"X has shape \(6, 2\), but features are \(N,T,I\)",
        ),
        (SequenceClassifier(), [[], []], Y[:2], ValueError, "X holds 2 sequences, all empty"),
        (SequenceClassifier(vocabulary=3), X, np.linspace(0, 1, 6), ValueError, "Unknown label type"),
        (SequenceClassifier("elman", vocabulary=3), X, Y, ValueError, "cell is 'elman'"),
        (SequenceClassifier(vocabulary=3, epochs=0), X, Y, ValueError, "epochs is 0"),
        (SequenceRegressor(vocabulary=3), X, np.zeros((6, 1, 1)), ValueError, r"y has shape \(6, 1, 1\)"),
        (SequenceRegressor(vocabulary=3), X, np.full(6, np.nan), ValueError, r"y\[0\] holds nan"),
        (SequenceTagger(vocabulary=3), X, TAGS[:-1], ValueError, "x has 6 sequences, but y has 5"),
        (
            SequenceTagger(vocabulary=3),
            X,
            [t[:-1] for t in TAGS],
            ValueError,
            r"x\[0\] has length \d, but y\[0\]",
        ),
        (SequenceTagger(vocabulary=3), X, [[]] * 6, ValueError, "y holds 6 sequences, all empty"),
        (SequenceTagger(vocabulary=3), X, Y, ValueError, r"y\[0\] has shape \(\)"),
    ],
)
def test_bad_input(estimator, x, y, error, words):
    with pytest.raises(error, match=words):
        estimator.fit(x, y)
    with pytest.raises(NotFittedError):
        estimator.predict(x)


def test_scores_of_other_lengths():
    model = SequenceTagger(vocabulary=3, **QUICK).fit(X, TAGS)
    with pytest.raises(ValueError, match="X has 6 sequences, but y has 5"):
        model.score(X, TAGS[:-1])
    with pytest.raises(ValueError, match=r"X\[5\] has length \d, but y\[5\] has length 9"):
        model.score(X, [*TAGS[:-1], ["ape"] * 9])


def test_without_scikit_learn_the_message_says_what_to_install():
    code = "import sys; sys.modules['sklearn'] = None\ntry: import fastrnn.sklearn\nexcept ImportError as e: print(e)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "fastrnn.sklearn needs scikit-learn: pip install fastrnn[sklearn]"
