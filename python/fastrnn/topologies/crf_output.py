# SPDX-License-Identifier: MIT
"""Losses and decisions of whole paths of tags, for models whose readout scores the tags of each step."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _check
from .._check.crf import CrfScores
from ..batching import Batch, Sequences
from ..crf import Crf, crf_gradients, losses, probabilities, viterbi
from ..gradients import Gradient
from ..training import Score

_Array = npt.NDArray[Any]


class CrfOutput:
    """What `losses.Output` is for single steps.

    The loss is the mean over steps of the negative log likelihood of the tags, "token_mean" of torchcrf: nats a step,
    as the cross entropy of softmax, and equal to it where all scores of the CRF are 0. A decision is the tag of a
    step on the best path.

    Args:
        part: the parameters.
    """

    def __init__(self, part: Crf) -> None:
        self._part = part

    def check_steps(self, x: Sequences) -> None:
        """For each sequence there are tags that are not forbidden."""
        if self._part.barred is not None:
            _check.some_path("x", x, self._part.barred)

    def check_tags(self, y: Sequences) -> None:
        """What is to be learned is not forbidden."""
        if self._part.barred is not None:
            _check.none_forbidden("y", y, self._part.barred)

    def learn(self, z: _Array, batch: Batch, gradient: Gradient) -> tuple[Score, _Array]:
        """Score and dz (M,K) of z (M,K); the part's gradient is added to `gradient`."""
        scores = self._scores(z, batch)
        loss = crf_gradients(scores, self._tags(batch), 1.0 / len(z))
        self._part.add_gradient(loss, gradient.flat)
        return self._score(loss.values, scores, batch), batch.pick(loss.z)

    def measure(self, z: _Array, batch: Batch) -> Score:
        """Score of z (M,K)."""
        scores = self._scores(z, batch)
        return self._score(losses(scores, self._tags(batch)), scores, batch)

    def decide(self, z: _Array, batch: Batch) -> npt.NDArray[np.int64]:
        """(M,) the tags of the best paths."""
        return batch.pick(viterbi(self._scores(z, batch)).tags)

    def activate(self, z: _Array, batch: Batch) -> _Array:
        """(M,K) the probability of each tag at each step."""
        return batch.pick(probabilities(self._scores(z, batch))[0])

    def _scores(self, z: _Array, batch: Batch) -> CrfScores:
        return self._part.scores(batch.put(z, (*batch.shape, z.shape[1])), batch.lengths)

    @staticmethod
    def _score(values: npt.NDArray[np.float64], scores: CrfScores, batch: Batch) -> Score:
        decided = batch.pick(viterbi(scores).tags)
        steps = len(decided)
        hits = int(np.count_nonzero(decided == batch.targets))
        return Score(float(values.sum()) / steps, steps, hits, steps)

    @staticmethod
    def _tags(batch: Batch) -> npt.NDArray[np.int64]:
        assert batch.targets is not None  # a dataset made with y
        return batch.put(batch.targets, batch.shape)
