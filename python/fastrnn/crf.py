# SPDX-License-Identifier: MIT
r"""Linear-chain conditional random fields (Lafferty, McCallum and Pereira, 2001): scores of whole paths of tags.

A path y of a sequence of n steps has the score

    s(y) = start[y_1] + sum_t z_t[y_t] + sum_(t>1) transition[y_(t-1), y_t] + end[y_n]

and the probability P(y) = exp(s(y)) / Z with Z the sum over all K^n paths, by the forward algorithm:

    alpha_1[k] = start[k] + z_1[k]
    alpha_t[k] = z_t[k] + log sum_j exp(alpha_(t-1)[j] + transition[j, k])
    log Z      = log sum_k exp(alpha_n[k] + end[k])

The gradient of log Z - s(y) is the expected number of uses of a score less the number of uses by y: to z_t[k] it is
P(y_t = k) less 1 where y_t is k.

All functions take a batch, time-major, with lengths, and read nothing past the end of a row. An empty row has one
path, of score 0 and probability 1. The result for a row does not depend on what else is in the batch. Scores may be
large, and -1e4 forbids what it stands at.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import _check, _core
from ._check.crf import CrfScores

_Array = npt.NDArray[Any]


class CrfLoss(NamedTuple):
    """A loss of tags, and its gradients.

    Attributes:
        value: negative log likelihood, reduced.
        z: (T,B,K) gradient to z, 0 past the end of a row.
        start, transition, end: (K,) (K,K) (K,) gradients to the other scores.
    """

    value: float
    z: _Array
    start: _Array
    transition: _Array
    end: _Array


class CrfPaths(NamedTuple):
    """The best path of each row.

    Attributes:
        tags: (T,B) int64, -1 past the end of a row.
        scores: (B,) float64, s(y).
    """

    tags: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]


def crf_log_likelihood(
    z: _Array,
    tags: npt.NDArray[np.integer[Any]],
    transition: _Array,
    *,
    start: _Array | None = None,
    end: _Array | None = None,
    lengths: npt.ArrayLike | None = None,
) -> npt.NDArray[np.float64]:
    """log P(tags) = s(tags) - log Z of each row.

    Args:
        z: (T,B,K) scores of tags at each step, float32 or float64.
        tags: (T,B) ints from 0 to K-1, not read past the end of a row.
        transition: (K,K) transition[j,k] is the score of k after j.
        start, end: (K,) scores of the first and the last tag; None: 0.
        lengths: (B,) ints from 0 to T; None: all T.

    Raises:
        TypeError: an argument is of another type.
        ValueError: a shape does not fit, a tag is out of range, or a score, or the sum of some, is not finite.

    >>> crf_log_likelihood(np.zeros((3, 1, 2)), np.array([[0], [1], [1]]), np.zeros((2, 2))).round(4).tolist()
    [-2.0794]
    """
    scores = _check.crf_scores(z, start, transition, end, lengths)
    values = losses(scores, _check.crf_tags(tags, scores))
    _check.crf_values(values, scores.z.dtype)
    return 0.0 - values


def crf_loss(
    z: _Array,
    tags: npt.NDArray[np.integer[Any]],
    transition: _Array,
    *,
    start: _Array | None = None,
    end: _Array | None = None,
    lengths: npt.ArrayLike | None = None,
    reduction: str = "token_mean",
) -> CrfLoss:
    """Negative log likelihood of tags over the batch, and its gradients, with what torchcrf calls reduction.

    Args:
        z, tags, transition, start, end, lengths: as in `crf_log_likelihood`.
        reduction: "token_mean", the sum over all steps, which is in nats a step as a cross entropy is; "mean" over the
            rows that are not empty; or "sum".

    Raises:
        TypeError, ValueError: as `crf_log_likelihood`; also where a mean is over nothing.

    >>> loss = crf_loss(np.zeros((1, 1, 2)), np.array([[1]]), np.zeros((2, 2)))
    >>> round(loss.value, 4), loss.z.tolist()
    (0.6931, [[[0.5, -0.5]]])
    """
    _check.choice("reduction", reduction, ("token_mean", "mean", "sum"))
    scores = _check.crf_scores(z, start, transition, end, lengths)
    labels = _check.crf_tags(tags, scores)
    over = 1
    if reduction != "sum":
        steps = scores.lengths
        over = int(steps.sum() if reduction == "token_mean" else np.count_nonzero(steps))
        _check.some_crf_steps(over)
    loss = crf_gradients(scores, labels, 1.0 / over)
    _check.crf_values(loss.values, scores.z.dtype)
    return CrfLoss(float(loss.values.sum()) / over, loss.z, loss.start, loss.transition, loss.end)


def crf_marginals(
    z: _Array,
    transition: _Array,
    *,
    start: _Array | None = None,
    end: _Array | None = None,
    lengths: npt.ArrayLike | None = None,
) -> _Array:
    """(T,B,K) probabilities of each tag at each step, P(y_t = k), 0 past the end of a row.

    Args and raises as in `crf_log_likelihood`.

    >>> crf_marginals(np.zeros((1, 1, 4)), np.zeros((4, 4))).tolist()
    [[[0.25, 0.25, 0.25, 0.25]]]
    """
    scores = _check.crf_scores(z, start, transition, end, lengths)
    p, log_z = probabilities(scores)
    _check.crf_values(log_z, scores.z.dtype)
    return p


def crf_decode(
    z: _Array,
    transition: _Array,
    *,
    start: _Array | None = None,
    end: _Array | None = None,
    lengths: npt.ArrayLike | None = None,
) -> CrfPaths:
    """The path of the highest score of each row, by Viterbi's algorithm; of equal ones the one whose tags are
    lowest, from the last on.

    Args and raises as in `crf_log_likelihood`.

    >>> z = np.array([[[0.0, 1.0]], [[0.0, 1.0]]])
    >>> tags, scores = crf_decode(z, np.array([[0.0, 0.5], [0.0, -9.0]]))
    >>> tags.tolist(), scores.tolist()
    ([[0], [1]], [1.5])
    """
    scores = _check.crf_scores(z, start, transition, end, lengths)
    tags, values = viterbi(scores)
    _check.crf_values(values, scores.z.dtype)
    return CrfPaths(tags, values)


class _Gradients(NamedTuple):
    values: npt.NDArray[np.float64]  # (B,) negative log likelihoods
    z: _Array
    start: _Array
    transition: _Array
    end: _Array


def losses(scores: CrfScores, tags: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """(B,) negative log likelihoods of tags; arguments checked, results not."""
    return _values(scores, tags, None, None, 1.0)


def crf_gradients(scores: CrfScores, tags: npt.NDArray[np.int64], scale: float) -> _Gradients:
    """The same, and gradients of `scale` times their sum."""
    dz = np.empty(scores.z.shape, scores.z.dtype)
    dtransition = np.empty_like(scores.transition)
    values = _values(scores, tags, dz, dtransition, scale)
    if len(dz) == 0:
        return _Gradients(values, dz, np.zeros_like(scores.start), dtransition, np.zeros_like(scores.end))
    last: _Array = dz[scores.lengths - 1, np.arange(len(values))]  # of an empty row 0, as its first
    return _Gradients(values, dz, dz[0].sum(axis=0), dtransition, last.sum(axis=0))


def probabilities(scores: CrfScores) -> tuple[_Array, npt.NDArray[np.float64]]:
    """`crf_marginals` of scores that are checked, and log Z (B,)."""
    p = np.empty(scores.z.shape, scores.z.dtype)
    return p, _values(scores, None, p, None, 1.0)


def viterbi(scores: CrfScores) -> CrfPaths:
    """`crf_decode` of scores that are checked."""
    paths = CrfPaths(np.empty(scores.z.shape[:2], np.int64), np.empty(scores.z.shape[1]))
    _core.crf_viterbi(
        scores.z, scores.lengths, scores.start, scores.transition, scores.end, paths.tags, paths.scores
    )
    return paths


def _values(
    scores: CrfScores,
    tags: npt.NDArray[np.int64] | None,
    dz: _Array | None,
    dtransition: _Array | None,
    scale: float,
) -> npt.NDArray[np.float64]:
    """(B,) log Z less the score of the tags, and gradients where they are wanted."""
    values = np.empty(scores.z.shape[1])
    _core.crf_values(
        scores.z, scores.lengths, tags, scores.start, scores.transition, scores.end, values, dz, dtransition, scale
    )  # fmt: skip
    return values


# What stands for minus infinity in the scores of a model, since the kernels take finite ones. No sum of other scores
# outweighs it, so that a path with such a score is the best, or probable at all, only where there is no other one; and
# scores of this size add up to no infinity in float32, as the kernels keep them relative to the largest at each step.
FORBIDDEN = -1e30


class Crf:
    """The scores of a model's CRF besides z: start (K,), transition (K,K) and end (K,).

    Where they are forbidden, the scores are `FORBIDDEN`, whatever the parameters are, whose gradients there are 0.

    Args:
        tags: K.
        dtype: float32 or float64.
        rng: source of the initial U(-0.1, 0.1), as torchcrf; drawn in double and rounded.
        forbidden: pairs (from, to), see _check/forbidden.py.

    Raises:
        ValueError: the sizes together cannot be addressed.
    """

    def __init__(
        self, tags: int, dtype: np.dtype[Any], rng: np.random.Generator, forbidden: _check.Pairs = ()
    ) -> None:
        _check.product(tags=tags, columns=tags + 2)
        self.flat: _Array = rng.uniform(-0.1, 0.1, tags * (tags + 2)).astype(dtype, copy=False)
        self._tags = tags
        #: (K+1,K+1), None where nothing is forbidden
        self.barred = _check.barred(forbidden, tags) if forbidden else None

    def parameters(self) -> dict[str, _Array]:
        """{"start": (K,), "transition": (K,K), "end": (K,)}, writable views."""
        return self._views(self.flat)

    def _views(self, flat: _Array) -> dict[str, _Array]:
        K = self._tags
        return {
            "start": flat[:K],
            "transition": flat[K : K + K * K].reshape(K, K),
            "end": flat[K + K * K :],
        }

    def _barred(self) -> _Array:
        """(K(K+2),) which numbers of `flat` are forbidden."""
        assert self.barred is not None
        K = self._tags
        return np.concatenate((self.barred[K, :K], self.barred[:K, :K].reshape(-1), self.barred[:K, K]))

    def add_gradient(self, loss: Any, flat: _Array) -> None:
        """Adds the gradients of `crf_gradients` to a buffer like `flat`."""
        found = np.concatenate((loss.start, loss.transition.reshape(-1), loss.end))
        if self.barred is not None:
            found[self._barred()] = 0
        flat += found

    def scores(self, z: _Array, lengths: npt.NDArray[np.int64] | None) -> CrfScores:
        """With z (T,B,K) of this dtype, dense, what the functions above take."""
        T, B, _ = z.shape
        steps = np.full(B, T, np.int64) if lengths is None else np.ascontiguousarray(lengths, np.int64)
        flat = self.flat
        if self.barred is not None:
            flat = np.where(self._barred(), self.flat.dtype.type(FORBIDDEN), self.flat)
        own = self._views(flat)
        return CrfScores(z, own["start"], own["transition"], own["end"], steps)
