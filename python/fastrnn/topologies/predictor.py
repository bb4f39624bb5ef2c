# SPDX-License-Identifier: MIT
"""Predictions of models whose outputs are rows of their own: at each step, or for each sequence."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _check
from ..batching import Batch, LabelledSequences, SequencePairs, Sequences, bucket, sequences
from ..training import Score
from .model import Model

_Array = npt.NDArray[Any]


class Predictor(Model):
    """A model from whose pre-activations z losses and decisions follow."""

    def predict(self, x: Any, *, lengths: npt.ArrayLike | None = None, batch_size: int = 64) -> Any:
        """Decisions: the class (softmax), 0 or 1 an output (sigmoid), the outputs (linear).

        Args:
            x, lengths: as in `fit`.
            batch_size: sequences computed at once.

        Returns:
            In the order of x. Of a model with outputs at each step for a list of sequences a list of arrays (T_n,) or
            (T_n, K), for a padded array one array (N,T) or (N,T,K), which past the end of a sequence holds -1 (class
            ids) or 0. Of a model with one output for each sequence (N,) or (N,K).
        """
        if self._output.by_class:
            return self._collect(x, lengths, batch_size, self._decide, (), np.dtype(np.int64), -1)
        dtype = self._dtype if self._output.hits is None else np.dtype(np.int64)
        return self._collect(x, lengths, batch_size, self._decide, (self._outputs,), dtype, 0)

    def predict_proba(self, x: Any, *, lengths: npt.ArrayLike | None = None, batch_size: int = 64) -> Any:
        """Probabilities y = g(z), K where `predict` decides, and in its form; 0 past a sequence's end.

        Raises:
            ValueError: also where outputs are linear, which are no probabilities.
        """
        _check.probabilistic(self._output.hits is not None)
        return self._collect(x, lengths, batch_size, self._activate, (self._outputs,), self._dtype, 0)

    def _collect(
        self,
        x: Any,
        lengths: npt.ArrayLike | None,
        batch_size: int,
        finish: Callable[[_Array, Batch], _Array],
        item: tuple[int, ...],
        dtype: np.dtype[Any],
        past_end: int,
    ) -> Any:
        size = _check.size("batch_size", batch_size)
        data = self._data(x, lengths)
        rows = np.full((data.rows, *item), past_end, dtype)
        for index in bucket(data.lengths, size):
            batch = data.batch(index)
            rows[batch.where] = finish(self._pre_activations(batch), batch)
        return data.restore(rows)

    def _decide(self, z: _Array, batch: Batch) -> _Array:
        return self._output.decide(z)

    def _activate(self, z: _Array, batch: Batch) -> _Array:
        return self._output.activate(z)

    # ---- the topology ----

    @abstractmethod
    def _data(self, x: Any, lengths: Any) -> SequencePairs | LabelledSequences:
        """The user's x to predict from, checked."""

    @abstractmethod
    def _pre_activations(self, batch: Batch) -> _Array:
        """z (M,K) of the valid steps of a batch, or (B,K) of its sequences."""

    def measure(self, batch: Batch) -> Score:
        """See `Trainable.measure`."""
        return self._loss(self._pre_activations(batch), batch)[0]

    def _targets(self, y: Any, lengths: Any, x: Sequences) -> Sequences:
        """The user's y with a row for each row of x, checked: class ids (T_n,), or numbers (T_n, K)."""
        _check.some_steps("x", x)
        item, dtype = ((), np.int64) if self._output.by_class else ((self._outputs,), self._dtype)
        targets = sequences("y", y, item, dtype, lengths)
        _check.same_lengths(x, targets)
        _check.targets("y", targets, self._output, self._outputs)
        return targets

    def _loss(self, z: _Array, batch: Batch) -> tuple[Score, _Array]:
        """Score and dz; z is overwritten."""
        assert batch.targets is not None  # a dataset made with y
        return self._score(z, batch.targets, batch.steps)
