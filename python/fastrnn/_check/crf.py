# SPDX-License-Identifier: MIT
"""Checks of what linear-chain CRFs are given."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .layers import lengths
from .values import Array, array, compute_dtype, dense, flag, floats

_Index = npt.NDArray[np.int64]


class CrfScores(NamedTuple):
    """Scores as the kernels take them: all of one dtype, dense; lengths (B,) int64."""

    z: Array
    start: Array
    transition: Array
    end: Array
    lengths: _Index


def crf_scores(z: object, start: object, transition: object, end: object, given_lengths: object) -> CrfScores:
    """z (T,B,K) with finite rows within the lengths; start and end (K,) or None, transition (K,K), all finite."""
    scores = array("z", z)
    dtype = compute_dtype(scores.dtype)
    if scores.ndim != 3 or scores.shape[2] < 1:
        raise ValueError(f"z has shape {scores.shape}, but (T,B,K) with K of at least 1 is needed")
    T, B, K = scores.shape
    pairs = _parameter("transition", transition, (K, K), scores)
    first = np.zeros(K, dtype) if start is None else _parameter("start", start, (K,), scores)
    last = np.zeros(K, dtype) if end is None else _parameter("end", end, (K,), scores)
    steps = lengths(given_lengths, T, B, of="z")
    if steps is None:
        steps = np.full(B, T, np.int64)
    bad = ~np.isfinite(scores).all(axis=2)
    if bad.any():
        bad &= np.arange(T)[:, None] < steps
    if bad.any():
        t, b = (int(place[0]) for place in np.nonzero(bad))
        value = scores[t, b][~np.isfinite(scores[t, b])][0]
        raise ValueError(f"z holds {value} at step {t} of row {b}, but scores must be finite")
    return CrfScores(dense(scores), first, pairs, last, steps)


def _parameter(name: str, value: object, shape: tuple[int, ...], z: Array) -> Array:
    given = array(name, value)
    if given.shape != shape:
        raise ValueError(f"{name} has shape {given.shape}, but z {z.shape} needs {shape}")
    with np.errstate(over="ignore"):  # a double beyond float32 becomes inf, which is reported
        converted = dense(floats(name, given, z.dtype))
    if not np.isfinite(converted).all():
        value = converted[~np.isfinite(converted)][0]
        raise ValueError(
            f"{name} holds {value} as {z.dtype}, but scores must be finite: -1e4 forbids as well as -inf"
        )
    return converted


def crf_tags(value: object, scores: CrfScores) -> _Index:
    """tags (T,B) of integers from 0 to K-1 within the lengths."""
    given = array("tags", value)
    if given.dtype.kind not in "iu":
        raise TypeError(f"tags has dtype {given.dtype}, but integers are needed")
    T, B, K = scores.z.shape
    if given.shape != (T, B):
        raise ValueError(f"tags has shape {given.shape}, but z {scores.z.shape} needs {(T, B)}")
    wrong = ((given < 0) | (given >= K)) & (np.arange(T)[:, None] < scores.lengths)
    if wrong.any():
        t, b = (int(place[0]) for place in np.nonzero(wrong))
        raise ValueError(f"tags holds {given[t, b]} at step {t} of row {b}, but z has tags 0 to {K - 1}")
    return dense(given.astype(np.int64, copy=False))


def crf_values(values: npt.NDArray[np.float64], dtype: np.dtype[Any]) -> None:
    """Sums of finite scores that are finite themselves."""
    wrong = np.flatnonzero(~np.isfinite(values))
    if wrong.size:
        raise ValueError(f"the scores of row {wrong[0]} add up to more than {dtype} can hold")


def crf_output(crf: object, activation: object, loss: object) -> bool:
    """Whether outputs are tags of paths, which needs classes and knows no options of the loss."""
    if not flag("crf", crf):
        return False
    if activation != "softmax":
        raise ValueError(f"crf is True, but activation is {activation!r}: paths of classes need 'softmax'")
    if loss is not None:
        raise ValueError(f"loss is {loss!r:.60}, but crf is True, whose loss has no options")
    return True


def some_crf_steps(count: int) -> None:
    """There is something to take a mean over."""
    if count == 0:
        raise ValueError("every row is empty, but a mean needs at least one step")
