# SPDX-License-Identifier: MIT
"""Models as estimators of scikit-learn: for Pipeline, GridSearchCV, cross_val_score. Importing it needs scikit-learn.

    from fastrnn.sklearn import SequenceClassifier

    scores = cross_val_score(SequenceClassifier("gru", hidden=32, vocabulary=128, epochs=5), names, languages)

X is a list of N sequences, or one array of sequences of equal length: features (T_n, I), or (N,T,I) in all; token ids
(T_n,), or (N,T), where `vocabulary` says how many there are. Arguments are kept as they are, checked by `fit`, and
never changed: each fit begins anew with a copy of `optimizer`. `model_` is the fastrnn model, `history_` what its fit
measured.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted
except ImportError:
    raise ImportError("fastrnn.sklearn needs scikit-learn: pip install fastrnn[sklearn]") from None

from . import _check
from .callbacks import EarlyStopping
from .clip import Clip
from .embedding import Embedding
from .optim import Optimizer
from .schedules import Schedule
from .topologies import NToN, NToOne

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["SequenceClassifier", "SequenceRegressor", "SequenceTagger"]

_Array = npt.NDArray[Any]


class _SequenceEstimator(BaseEstimator):  # type: ignore[misc]
    """What the three share."""

    def __init__(
        self,
        cell: str = "lstm",
        hidden: int = 64,
        *,
        vocabulary: int | None = None,
        embedding: int = 32,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        model_options: Mapping[str, Any] | None = None,
        epochs: int = 10,
        batch_size: int = 32,
        optimizer: Optimizer | None = None,
        clip: Clip | None = None,
        schedule: Schedule | None = None,
        early_stopping: EarlyStopping | None = None,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.cell = cell
        self.hidden = hidden
        self.vocabulary = vocabulary
        self.embedding = embedding
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.dropout = dropout
        self.model_options = model_options
        self.epochs = epochs
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.clip = clip
        self.schedule = schedule
        self.early_stopping = early_stopping
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = self.vocabulary is not None
        tags.input_tags.three_d_array = self.vocabulary is None
        return tags

    def _learn(self, make: type[NToN | NToOne], X: Any, y: Any, outputs: int, **more: Any) -> Self:
        """A new model, trained; the estimator changes when all has worked."""
        rng = None if self.random_state is None else check_random_state(self.random_state)
        seeds = [None, None] if rng is None else rng.randint(2**31 - 1, size=2).tolist()
        inputs: Embedding | int
        if self.vocabulary is None:
            inputs = _check.sequence_width("X", X)
        else:
            inputs = Embedding(self.vocabulary, self.embedding)
        model = make(
            self.cell,
            inputs,
            self.hidden, outputs, num_layers=self.num_layers, bidirectional=self.bidirectional,
            dropout=self.dropout, seed=seeds[0], **more, **(self.model_options or {}),
        )  # fmt: skip
        history = model.fit(
            X, y, epochs=self.epochs, batch_size=self.batch_size, optimizer=copy.deepcopy(self.optimizer),
            clip=self.clip, schedule=self.schedule, early_stopping=self.early_stopping, seed=seeds[1],
            progress=bool(self.verbose),
        )  # fmt: skip
        self.model_, self.history_ = model, history
        if isinstance(inputs, int):
            self.n_features_in_ = inputs
        return self

    def _fitted(self) -> Any:
        """The model, if there is one."""
        check_is_fitted(self, "model_")
        return self.model_


class _OneOutput(_SequenceEstimator):
    """One output for each sequence."""

    def __init__(
        self,
        cell: str = "lstm",
        hidden: int = 64,
        *,
        pool: str = "last",
        vocabulary: int | None = None,
        embedding: int = 32,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        model_options: Mapping[str, Any] | None = None,
        epochs: int = 10,
        batch_size: int = 32,
        optimizer: Optimizer | None = None,
        clip: Clip | None = None,
        schedule: Schedule | None = None,
        early_stopping: EarlyStopping | None = None,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        super().__init__(
            cell, hidden, vocabulary=vocabulary, embedding=embedding, num_layers=num_layers,
            bidirectional=bidirectional, dropout=dropout, model_options=model_options, epochs=epochs,
            batch_size=batch_size, optimizer=optimizer, clip=clip, schedule=schedule,
            early_stopping=early_stopping, random_state=random_state, verbose=verbose,
        )  # fmt: skip
        self.pool = pool


class SequenceClassifier(ClassifierMixin, _OneOutput):  # type: ignore[misc]
    """One class for each sequence, by `NToOne`.

    Args:
        cell, hidden, pool, num_layers, bidirectional, dropout: as in `NToOne`.
        vocabulary: X holds token ids below it; None: features.
        embedding: size of the vector of a token.
        model_options: further arguments of `NToOne`, by name.
        epochs, batch_size, optimizer, clip, schedule: as in its `fit`.
        early_stopping: as in `fit`; its monitor is "loss" or "accuracy", as there are no validation data.
        random_state: of the initial weights, the order of batches and masks: an int or a RandomState.
        verbose: show progress.

    Attributes:
        classes_: (K,) the labels, sorted; of any type that sorts.
        model_, history_: of the last fit.
        n_features_in_: I, where X holds features.

    Raises:
        TypeError, ValueError: an argument does not fit; `fit` says so.
        sklearn.exceptions.NotFittedError: predict before fit.
    """

    def fit(self, X: Any, y: Any) -> Self:
        """Trains a new model on N sequences and their labels (N,)."""
        labels = _check.label_array("y", y)
        check_classification_targets(labels)
        classes, ids = np.unique(labels, return_inverse=True)
        self._learn(NToOne, X, ids, len(classes), pool=self.pool)
        self.classes_ = classes
        return self

    def predict(self, X: Any) -> _Array:
        """Labels (N,)."""
        ids = self._fitted().predict(X)
        return np.asarray(self.classes_[ids])

    def predict_proba(self, X: Any) -> _Array:
        """Probabilities (N,K), in the order of `classes_`."""
        return np.asarray(self._fitted().predict_proba(X))


class SequenceRegressor(RegressorMixin, _OneOutput):  # type: ignore[misc]
    """One number, or K numbers, for each sequence, by `NToOne` with linear outputs and the mean squared error.

    Numbers far from 0 and 1 take long to reach: `sklearn.compose.TransformedTargetRegressor` scales them.

    Args, attributes but `classes_`, and what is raised as of `SequenceClassifier`.
    """

    def fit(self, X: Any, y: Any) -> Self:
        """Trains a new model on N sequences and their numbers (N,) or (N,K)."""
        targets = np.asarray(y)
        columns = targets[:, None] if targets.ndim == 1 else targets
        outputs = columns.shape[-1] if columns.ndim == 2 else 1
        self._learn(NToOne, X, columns, outputs, pool=self.pool, activation="linear")
        self._one = targets.ndim == 1
        return self

    def predict(self, X: Any) -> _Array:
        """Numbers, in the form of the y of `fit`."""
        predicted = np.asarray(self._fitted().predict(X))
        return predicted[:, 0] if self._one else predicted


class SequenceTagger(_SequenceEstimator):
    """One class for each step of each sequence, by `NToN`.

    To scikit-learn it is no classifier, whose labels would be one a sequence: folds are not stratified.

    Args, attributes and what is raised as of `SequenceClassifier`, but for pool.
    """

    def fit(self, X: Any, y: Any) -> Self:
        """Trains a new model on N sequences and the labels of their steps: a list of (T_n,), or (N,T)."""
        rows = [_check.label_array(f"y[{n}]", tags) for n, tags in enumerate(y)]
        _check.some_labels("y", rows)
        classes, ids = np.unique(np.concatenate([row for row in rows if row.size]), return_inverse=True)
        ends = np.cumsum([len(row) for row in rows])
        self._learn(NToN, X, _like(X, np.split(ids, ends[:-1])), len(classes))
        self.classes_ = classes
        return self

    def predict(self, X: Any) -> Any:
        """Labels of all steps: for a list of sequences a list of (T_n,), for an array (N,T)."""
        ids = self._fitted().predict(X)
        return [self.classes_[row] for row in ids] if isinstance(ids, list) else self.classes_[ids]

    def predict_proba(self, X: Any) -> Any:
        """Probabilities (T_n,K) of all steps, in the form of `predict`."""
        return self._fitted().predict_proba(X)

    def score(self, X: Any, y: Any) -> float:
        """Share of right labels among all steps."""
        rows = [_check.label_array(f"y[{n}]", tags) for n, tags in enumerate(y)]
        _check.some_labels("y", rows)
        predicted = self.predict(X)
        _check.same_rows("X", predicted, "y", rows)
        right = sum(int(np.count_nonzero(a == b)) for a, b in zip(predicted, rows))
        return right / sum(map(len, rows))


def _like(X: Any, rows: list[_Array]) -> Any:
    """Labels in the form in which X came, where they have it: checked by `fit` of the model."""
    as_array = isinstance(X, np.ndarray) and X.dtype != object and len({len(row) for row in rows}) == 1
    return np.stack(rows) if as_array else rows
