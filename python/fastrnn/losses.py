# SPDX-License-Identifier: MIT
"""Output functions y = g(z) and their losses, each with its gradient from the same pass.

    softmax   y_k = exp(z_k) / sum_j exp(z_j)   loss = log sum_j exp(z_j) - z_label       dz = y - onehot
    sigmoid   y_k = 1 / (1 + exp(-z_k))         loss = max(z,0) - z t + log1p(exp(-|z|))  dz = y - t
    linear    y_k = z_k                         loss = (z - t)^2                          dz = 2 (z - t)

Every loss is the mean over what counts: over rows for softmax, over rows times columns for sigmoid and
linear, as torch.nn.CrossEntropyLoss, BCEWithLogitsLoss and MSELoss; the gradient is that of the mean. A row
is one step of one sequence. Rows whose mask is False are not read (they may hold NaN), count nowhere, and get
dz = 0.

All are written so that no finite z overflows: no exponent is positive. Means run in double.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import _check

_Array = npt.NDArray[Any]
_Mask = npt.NDArray[np.bool_]


class Loss(NamedTuple):
    """A mean loss and its gradient.

    Attributes:
        value: mean over all that counts.
        gradient: (N,K), the gradient of `value` to the pre-activations.
    """

    value: float
    gradient: _Array


def softmax_cross_entropy(
    z: _Array, labels: _Array, *, mask: _Mask | None = None, out: _Array | None = None
) -> Loss:
    """Cross entropy of softmax(z) against one label a row.

    Args:
        z: pre-activations (N,K), float32 or float64.
        labels: (N,) ints in 0 .. K-1; those of masked rows are not read.
        mask: (N,) bool, True where a row counts; None counts all.
        out: (N,K) of z's dtype that receives the gradient; may be z itself.

    Raises:
        TypeError: z, labels, mask or out are of another dtype.
        ValueError: shapes do not fit, a label is out of range, or no row counts.

    >>> loss = softmax_cross_entropy(np.array([[0.0, 0.0]]), np.array([1]))
    >>> round(loss.value, 4), loss.gradient.tolist()
    (0.6931, [[0.5, -0.5]])
    """
    _check.loss_arguments(z, labels, mask, out, "labels", by_class=True)
    return _over_mask(_softmax_rows, z, labels, mask, out)


def sigmoid_cross_entropy(
    z: _Array, targets: _Array, *, mask: _Mask | None = None, out: _Array | None = None
) -> Loss:
    """Binary cross entropy of sigmoid(z) against targets, element by element (multi-label outputs).

    Args:
        z: pre-activations (N,K), float32 or float64.
        targets: (N,K) bool or numbers in 0 .. 1.
        mask, out: as in `softmax_cross_entropy`.

    Raises:
        TypeError: z, targets, mask or out are of another dtype.
        ValueError: shapes do not fit, a target is outside 0 .. 1, or no row counts.

    >>> round(sigmoid_cross_entropy(np.array([[0.0]]), np.array([[1.0]])).value, 4)
    0.6931
    """
    _check.loss_arguments(z, targets, mask, out, "targets", by_class=False, unit_range=True)
    return _over_mask(_sigmoid_rows, z, targets, mask, out)


def mean_squared_error(
    z: _Array, targets: _Array, *, mask: _Mask | None = None, out: _Array | None = None
) -> Loss:
    """Mean of (z - targets)^2 over all elements.

    Args:
        z: outputs (N,K), float32 or float64.
        targets: (N,K) bool or numbers.
        mask, out: as in `softmax_cross_entropy`.

    Raises:
        TypeError: z, targets, mask or out are of another dtype.
        ValueError: shapes do not fit, or no row counts.

    >>> mean_squared_error(np.array([[3.0, 1.0]]), np.array([[1.0, 1.0]])).value
    2.0
    """
    _check.loss_arguments(z, targets, mask, out, "targets", by_class=False)
    return _over_mask(_squared_rows, z, targets, mask, out)


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


_RowLoss = Callable[[_Array, _Array, "_Array | None"], Loss]


def _over_mask(rows: _RowLoss, z: _Array, targets: _Array, mask: _Mask | None, out: _Array | None) -> Loss:
    """Runs a loss over the rows that count, and puts its gradient back among zeros."""
    if mask is None or mask.all():
        return rows(z, targets, out)
    loss = rows(z[mask], targets[mask], None)
    gradient = np.empty_like(z) if out is None else out
    gradient[...] = 0
    gradient[mask] = loss.gradient
    return Loss(loss.value, gradient)


def _softmax_rows(z: _Array, labels: _Array, out: _Array | None) -> Loss:
    """Arguments checked, every row counts, N > 0; `out` may be z."""
    rows = np.arange(len(z))
    dz: _Array = np.subtract(z, z.max(axis=1, keepdims=True), out=out)
    at_label = dz[rows, labels]
    np.exp(dz, out=dz)
    total = dz.sum(axis=1)
    value = float(np.mean(np.log(total) - at_label, dtype=np.float64))
    dz *= (1 / (total * len(z)))[:, None]
    dz[rows, labels] -= 1 / len(z)
    return Loss(value, dz)


def _sigmoid_rows(z: _Array, targets: _Array, out: _Array | None) -> Loss:
    targets = targets.astype(z.dtype, copy=False)
    terms = np.maximum(z, 0) - z * targets + np.log1p(np.exp(-np.abs(z)))
    value = float(np.mean(terms, dtype=np.float64))
    dz: _Array = np.subtract(sigmoid(z), targets, out=out)
    dz *= 1 / dz.size
    return Loss(value, dz)


def _squared_rows(z: _Array, targets: _Array, out: _Array | None) -> Loss:
    dz: _Array = np.subtract(z, targets, out=out, dtype=z.dtype, casting="same_kind")
    value = float(np.mean(np.square(dz, dtype=np.float64)))
    dz *= 2 / dz.size
    return Loss(value, dz)


def _same(z: _Array) -> _Array:
    return z


def _argmax(z: _Array) -> _Array:
    best: _Array = z.argmax(axis=1)
    return best


def _positive(z: _Array) -> _Array:
    return (z > 0).astype(np.int64)


def _label_hits(z: _Array, labels: _Array) -> int:
    return int(np.count_nonzero(z.argmax(axis=1) == labels))


def _threshold_hits(z: _Array, targets: _Array) -> int:
    return int(np.count_nonzero((z > 0) == (targets > 0.5)))


@dataclass(frozen=True)
class Output:
    """What the choice of the output function g brings with it.

    Attributes:
        by_class: targets are one int a row, else K numbers a row.
        unit_range: targets must lie in 0 .. 1.
        activate: pre-activations (N,K) -> y = g(z) (N,K).
        decide: pre-activations -> what `predict` returns: class ids (N,), 0/1 (N,K), or z itself (N,K).
        loss: (z, targets, out) -> Loss over rows that all count; arguments are checked by the caller.
        hits: (z, targets) -> number of decisions that are right, one a row or one an element; None where
            outputs are no decisions.
    """

    by_class: bool
    unit_range: bool
    activate: Callable[[_Array], _Array]
    decide: Callable[[_Array], _Array]
    loss: _RowLoss
    hits: Callable[[_Array, _Array], int] | None


OUTPUTS: Mapping[str, Output] = MappingProxyType(
    {
        "softmax": Output(True, False, softmax, _argmax, _softmax_rows, _label_hits),
        "sigmoid": Output(False, True, sigmoid, _positive, _sigmoid_rows, _threshold_hits),
        "linear": Output(False, False, _same, _same, _squared_rows, None),
    }
)
