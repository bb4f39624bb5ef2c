# SPDX-License-Identifier: MIT
"""Output functions y = g(z) and their losses, each with its gradient from the same pass.

    softmax   y_k = exp(z_k) / sum_j exp(z_j)   loss = log sum_j exp(z_j) - z_label       dz = y - onehot
    sigmoid   y_k = 1 / (1 + exp(-z_k))         loss = max(z,0) - z t + log1p(exp(-|z|))  dz = y - t
    linear    y_k = z_k                         loss = (z - t)^2                          dz = 2 (z - t)

Every loss is the mean over what counts: over rows for softmax, over rows times columns for sigmoid and
linear, as torch.nn.CrossEntropyLoss, BCEWithLogitsLoss and MSELoss; the gradient is that of the mean. A row
is one step of one sequence. Rows whose mask is False are not read (they may hold NaN), count nowhere, and get
dz = 0.

With weights w_k of classes and label smoothing e, targets of softmax are spread over the classes, and with weights
p_k of positives those of sigmoid count more; all as in torch:

    softmax   q_k = (1-e) w_label [k = label] + e w_k / K     loss = -sum_k q_k log y_k     dz_k = y_k sum_j q_j - q_k
              the mean is over sum_n w_label(n)
    sigmoid   loss = -p t log y - (1-t) log(1-y)              dz = (1 - t + p t) y - p t

Where nothing counts, because all weights of a batch are 0 or all labels `ignore_index`, the loss is 0 and dz = 0
(torch's is NaN): such a batch teaches nothing.

All are written so that no finite z overflows: no exponent is positive. Means run in double.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _check
from .row_losses import (
    Loss,
    RowLoss,
    nothing,
    over_mask,
    sigmoid,
    sigmoid_rows,
    softmax,
    softmax_rows,
    squared_rows,
    weighted_sigmoid_rows,
    weighted_softmax_rows,
)

_Array = npt.NDArray[Any]
_Mask = npt.NDArray[np.bool_]


def softmax_cross_entropy(
    z: _Array,
    labels: _Array,
    *,
    mask: _Mask | None = None,
    out: _Array | None = None,
    class_weight: Sequence[float] | _Array | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
) -> Loss:
    """Cross entropy of softmax(z) against one label a row.

    Args:
        z: pre-activations (N,K), float32 or float64.
        labels: (N,) ints in 0 .. K-1; those of masked rows are not read.
        mask: (N,) bool, True where a row counts; None counts all.
        out: (N,K) of z's dtype that receives the gradient; may be z itself.
        class_weight, label_smoothing, ignore_index: as in `CrossEntropy`.

    Raises:
        TypeError: z, labels, mask or out are of another dtype.
        ValueError: shapes do not fit, a label is out of range, or no row counts.

    >>> loss = softmax_cross_entropy(np.array([[0.0, 0.0]]), np.array([1]))
    >>> round(loss.value, 4), loss.gradient.tolist()
    (0.6931, [[0.5, -0.5]])
    """
    chosen = CrossEntropy(class_weight, label_smoothing, ignore_index)
    _check.loss_arguments(z, labels, mask, out, "labels", by_class=True, ignored=chosen.ignore_index)
    _check.weights_of("class_weight", chosen.class_weight, z.shape[1])
    return over_mask(chosen.rows, z, labels, mask, out)


def sigmoid_cross_entropy(
    z: _Array,
    targets: _Array,
    *,
    mask: _Mask | None = None,
    out: _Array | None = None,
    pos_weight: Sequence[float] | _Array | None = None,
) -> Loss:
    """Binary cross entropy of sigmoid(z) against targets, element by element (multi-label outputs).

    Args:
        z: pre-activations (N,K), float32 or float64.
        targets: (N,K) bool or numbers in 0 .. 1.
        mask, out: as in `softmax_cross_entropy`.
        pos_weight: as in `BinaryCrossEntropy`.

    Raises:
        TypeError: z, targets, mask or out are of another dtype.
        ValueError: shapes do not fit, a target is outside 0 .. 1, or no row counts.

    >>> round(sigmoid_cross_entropy(np.array([[0.0]]), np.array([[1.0]])).value, 4)
    0.6931
    """
    chosen = BinaryCrossEntropy(pos_weight)
    _check.loss_arguments(z, targets, mask, out, "targets", by_class=False, unit_range=True)
    _check.weights_of("pos_weight", chosen.pos_weight, z.shape[1])
    return over_mask(chosen.rows, z, targets, mask, out)


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
    return over_mask(squared_rows, z, targets, mask, out)


@dataclass(frozen=True)
class CrossEntropy:
    """What counts in the cross entropy of softmax outputs, as in torch.nn.CrossEntropyLoss.

    A model's constructor takes it as ``loss=``; it then holds for `fit`, `evaluate` and `gradients`, and is kept in
    files. The accuracy counts all steps alike, but for those ignored.

    Args:
        class_weight: (K,) numbers of at least 0, how much a step of each class counts; None: 1. The loss is the mean
            weighted by them. What is to balance rare classes: ``N / (K * np.bincount(y))``.
        label_smoothing: e from 0 to 1; the target becomes (1-e) of the label and e/K of every class.
        ignore_index: a label, within the classes or not, such as -100, whose steps count nowhere.

    Where no step of a batch counts, its loss and gradient are 0; data of which no step counts are refused.

    Raises:
        TypeError, ValueError: an argument does not fit.

    >>> CrossEntropy(class_weight=[1, 2.5], ignore_index=-100)
    CrossEntropy(class_weight=(1.0, 2.5), label_smoothing=0.0, ignore_index=-100)
    """

    class_weight: Sequence[float] | _Array | None = None
    label_smoothing: float = 0.0
    ignore_index: int | None = None

    def __post_init__(self) -> None:
        _set(self, "class_weight", _check.weights("class_weight", self.class_weight))
        _set(self, "label_smoothing", _check.number("label_smoothing", self.label_smoothing, 0.0, 1.0))
        _set(self, "ignore_index", _check.ignore_index(self.ignore_index))

    def counts(self, labels: _Array) -> npt.NDArray[np.bool_]:
        """(N,) bool: the steps that count at all."""
        counted = (
            np.ones(labels.shape, np.bool_) if self.ignore_index is None else labels != self.ignore_index
        )
        if self.class_weight is not None:
            counted[counted] = np.asarray(self.class_weight)[labels[counted]] > 0
        return counted

    def rows(self, z: _Array, labels: _Array, out: _Array | None) -> Loss:
        """See `Output.loss`."""
        if self.ignore_index is None:
            return self._counted(z, labels, out)
        kept = labels != self.ignore_index
        return over_mask(self._counted, z, labels, kept, out) if kept.any() else nothing(z, out)

    def _counted(self, z: _Array, labels: _Array, out: _Array | None) -> Loss:
        """No label is ignored."""
        if self.class_weight is None and not self.label_smoothing:
            return softmax_rows(z, labels, out)
        weights = np.ones(z.shape[1]) if self.class_weight is None else np.asarray(self.class_weight)
        return weighted_softmax_rows(z, labels, out, weights.astype(z.dtype), self.label_smoothing)


@dataclass(frozen=True)
class BinaryCrossEntropy:
    """What counts in the binary cross entropy of sigmoid outputs, as in torch.nn.BCEWithLogitsLoss.

    Args:
        pos_weight: (K,) numbers of at least 0, by which each output's positive targets count more; None: 1.

    Raises:
        TypeError, ValueError: an argument does not fit.

    >>> BinaryCrossEntropy(pos_weight=[1, 20])
    BinaryCrossEntropy(pos_weight=(1.0, 20.0))
    """

    pos_weight: Sequence[float] | _Array | None = None

    def __post_init__(self) -> None:
        _set(self, "pos_weight", _check.weights("pos_weight", self.pos_weight))

    def rows(self, z: _Array, targets: _Array, out: _Array | None) -> Loss:
        """See `Output.loss`."""
        if self.pos_weight is None:
            return sigmoid_rows(z, targets, out)
        return weighted_sigmoid_rows(z, targets, out, np.asarray(self.pos_weight, z.dtype))


def _set(chosen: object, name: str, value: object) -> None:
    object.__setattr__(chosen, name, value)  # of a frozen one, while it is made


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
        chosen: what counts; None: everything alike.
    """

    by_class: bool
    unit_range: bool
    activate: Callable[[_Array], _Array]
    decide: Callable[[_Array], _Array]
    loss: RowLoss
    hits: Callable[[_Array, _Array], int] | None
    chosen: CrossEntropy | BinaryCrossEntropy | None = None

    def counts(self, targets: _Array) -> bool:
        """Whether any of these targets, not one of them padding, counts in the loss."""
        return not isinstance(self.chosen, CrossEntropy) or bool(self.chosen.counts(targets).any())

    @property
    def ignored(self) -> int | None:
        """The label that counts nowhere."""
        return self.chosen.ignore_index if isinstance(self.chosen, CrossEntropy) else None


OUTPUTS: Mapping[str, Output] = MappingProxyType(
    {
        "softmax": Output(True, False, softmax, _argmax, softmax_rows, _label_hits),
        "sigmoid": Output(False, True, sigmoid, _positive, sigmoid_rows, _threshold_hits),
        "linear": Output(False, False, _same, _same, squared_rows, None),
    }
)


def output(activation: str, loss: object, outputs: int) -> Output:
    """The output function of that name with what counts in its loss, for K outputs.

    Raises:
        TypeError: `loss` is no such object.
        ValueError: it belongs to another activation, or has weights for another number of outputs.
    """
    plain = OUTPUTS[_check.choice("activation", activation, tuple(OUTPUTS))]
    if loss is None:
        return plain
    wanted = {"softmax": CrossEntropy, "sigmoid": BinaryCrossEntropy}.get(activation)
    chosen: CrossEntropy | BinaryCrossEntropy = _check.loss_of(loss, activation, wanted)
    name = "class_weight" if isinstance(chosen, CrossEntropy) else "pos_weight"
    _check.weights_of(name, getattr(chosen, name), outputs)
    return replace(plain, loss=chosen.rows, chosen=chosen)
