# SPDX-License-Identifier: MIT
"""Mean losses over rows that all count, each with its gradient from the same pass; the equations stand in losses.py.

Arguments are checked by the caller, there is at least one row, and `out`, which receives the gradient, may be z.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

_Array = npt.NDArray[Any]
_Mask = npt.NDArray[np.bool_]

_AT_ONCE = 2**13  # elements of z whose intermediate results are kept at once


class Loss(NamedTuple):
    """A mean loss and its gradient.

    Attributes:
        value: mean over all that counts.
        gradient: (N,K), the gradient of `value` to the pre-activations.
        weight: what the mean is over: rows, elements, or the weights of the labels.
    """

    value: float
    gradient: _Array
    weight: float = 1.0


def softmax(z: _Array) -> _Array:
    """exp(z_k) / sum_j exp(z_j) over the last axis of z (N,K); the largest exponent is 0."""
    y: _Array = np.exp(z - z.max(axis=-1, keepdims=True))
    y /= y.sum(axis=-1, keepdims=True)
    return y


def sigmoid(z: _Array) -> _Array:
    """1 / (1 + exp(-z)), written with exp(-|z|) so that neither tail overflows."""
    tail = np.exp(-np.abs(z))
    y: _Array = np.where(z >= 0, 1, tail)
    y /= 1 + tail
    return y


RowLoss = Callable[[_Array, _Array, "_Array | None"], Loss]


def over_mask(rows: RowLoss, z: _Array, targets: _Array, mask: _Mask | None, out: _Array | None) -> Loss:
    """Runs a loss over the rows that count, and puts its gradient back among zeros."""
    if mask is None or mask.all():
        return rows(z, targets, out)
    loss = rows(z[mask], targets[mask], None)
    gradient = np.empty_like(z) if out is None else out
    gradient[...] = 0
    gradient[mask] = loss.gradient
    return Loss(loss.value, gradient, loss.weight)


def softmax_rows(z: _Array, labels: _Array, out: _Array | None) -> Loss:
    """Cross entropy of softmax(z)."""
    rows = np.arange(len(z))
    dz: _Array = np.subtract(z, z.max(axis=1, keepdims=True), out=out)
    at_label = dz[rows, labels]
    np.exp(dz, out=dz)
    total = dz.sum(axis=1)
    value = float(np.mean(np.log(total) - at_label, dtype=np.float64))
    dz *= (1 / (total * len(z)))[:, None]
    dz[rows, labels] -= 1 / len(z)
    return Loss(value, dz, len(z))


def weighted_softmax_rows(
    z: _Array, labels: _Array, out: _Array | None, weights: _Array, smoothing: float
) -> Loss:
    """The same with weights (K,) of z's dtype and label smoothing."""
    own = weights[labels]
    over = float(own.sum(dtype=np.float64))
    if over == 0:
        return nothing(z, out)
    rows, own, spread = np.arange(len(z)), own * (1 - smoothing), weights * (smoothing / len(weights))
    mass = own + spread.sum()
    dz: _Array = np.subtract(z, z.max(axis=1, keepdims=True), out=out)
    aimed = own * dz[rows, labels] + dz @ spread
    np.exp(dz, out=dz)
    total = dz.sum(axis=1)
    value = float(np.sum(mass * np.log(total) - aimed, dtype=np.float64)) / over
    dz *= (mass / (total * over))[:, None]
    dz -= spread / over
    dz[rows, labels] -= own / over
    return Loss(value, dz, over)


def nothing(z: _Array, out: _Array | None) -> Loss:
    """Nothing counts."""
    dz = np.empty_like(z) if out is None else out
    dz[...] = 0
    return Loss(0.0, dz, 0.0)


def sigmoid_rows(z: _Array, targets: _Array, out: _Array | None) -> Loss:
    """Binary cross entropy of sigmoid(z), so many rows at a time as stay in the cache."""
    dz = np.empty_like(z) if out is None else out
    total, rows = 0.0, max(1, _AT_ONCE // z.shape[1])
    for start in range(0, len(z), rows):
        part = slice(start, start + rows)
        total += _sigmoid_piece(z[part], targets[part].astype(z.dtype, copy=False), dz[part])
    dz *= 1 / dz.size
    return Loss(total / dz.size, dz, dz.size)


def _sigmoid_piece(z: _Array, targets: _Array, out: _Array) -> float:
    """The sum of the losses; sigmoid(z) - targets in `out`, which may be z."""
    tail = np.exp(-np.abs(z))
    terms = np.log1p(tail)
    terms += np.maximum(z, 0)
    terms -= z * targets
    y = np.where(z >= 0, 1, tail)
    tail += 1
    y /= tail
    np.subtract(y, targets, out=out)
    return float(terms.sum(dtype=np.float64))


def weighted_sigmoid_rows(z: _Array, targets: _Array, out: _Array | None, weights: _Array) -> Loss:
    """The same with weights (K,) of positives, of z's dtype."""
    targets = targets.astype(z.dtype, copy=False)
    positive = weights * targets
    both = 1 - targets + positive
    terms = (1 - targets) * z + both * (np.log1p(np.exp(-np.abs(z))) + np.maximum(-z, 0))
    value = float(np.mean(terms, dtype=np.float64))
    dz: _Array = np.multiply(both, sigmoid(z), out=out)
    dz -= positive
    dz *= 1 / dz.size
    return Loss(value, dz, dz.size)


def squared_rows(z: _Array, targets: _Array, out: _Array | None) -> Loss:
    """Squares of z - targets."""
    dz: _Array = np.subtract(z, targets, out=out, dtype=z.dtype, casting="same_kind")
    value = float(np.mean(np.square(dz, dtype=np.float64)))
    dz *= 2 / dz.size
    return Loss(value, dz, dz.size)
