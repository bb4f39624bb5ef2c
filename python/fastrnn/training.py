# SPDX-License-Identifier: MIT
"""The training loop, the same for every topology.

It knows batches, losses, gradient buffers and an optimizer, but neither what a batch holds nor what a model
computes: `Learner` and `Dataset` say all it needs. The same data, seed and settings give the same parameters
bit for bit, however many threads the kernels use.
"""

from __future__ import annotations

import importlib
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from . import gradients as grads
from .batching import bucket
from .clip import Clip
from .optim import Optimizer

_Array = npt.NDArray[Any]
_Curve = npt.NDArray[np.float64]
_Index = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Score:
    """What one batch, or several added up, came to.

    Attributes:
        loss: mean loss over `count` (rows, or elements: see losses.py).
        count: what the mean is over.
        hits: right decisions among `count`; None where outputs are no decisions.
        steps: time steps without padding.
        weight: what the mean is over where it is weighted; None: `count`.
    """

    loss: float
    count: int
    hits: int | None
    steps: int
    weight: float | None = None

    @property
    def accuracy(self) -> float | None:
        """Share of right decisions; None also where nothing counts."""
        return None if self.hits is None or not self.count else self.hits / self.count


@dataclass(frozen=True, eq=False)
class History:
    """What a fit measured, one entry an epoch.

    Attributes:
        loss: (epochs,) mean training loss while the epoch ran: parameters change under it.
        accuracy: (epochs,) the same for the share of right decisions; None for linear outputs.
        validation_loss: (epochs,) on the validation data after the epoch; None without such data.
        validation_accuracy: (epochs,) None without such data and for linear outputs.
        gradient_norm: (epochs,) mean over batches of the global L2 norm before it is clipped by `Clip.norm`.
        seconds: (epochs,) wall time of training, without validation.
        steps_per_second: (epochs,) time steps (tokens) trained on a second, padding not counted.
    """

    loss: _Curve
    accuracy: _Curve | None
    validation_loss: _Curve | None
    validation_accuracy: _Curve | None
    gradient_norm: _Curve
    seconds: _Curve
    steps_per_second: _Curve


_Batch = TypeVar("_Batch")
_BatchOut = TypeVar("_BatchOut", covariant=True)
_BatchIn = TypeVar("_BatchIn", contravariant=True)


class Dataset(Protocol[_BatchOut]):
    """Sequences that can be had in batches."""

    @property
    def lengths(self) -> _Index:
        """(N,) steps of each sequence."""

    def batch(self, index: _Index) -> _BatchOut:
        """The batch of the sequences in `index`, none of which is empty."""


class Learner(Protocol[_BatchIn]):
    """A model as the loop sees it."""

    def buffers(self) -> Mapping[str, _Array]:
        """Flat parameter buffers, the same arrays at each call."""

    def gradient_buffers(self) -> Mapping[str, grads.Gradient]:
        """New gradients, all zero, under the names and in the order of `buffers`."""

    def measure(self, batch: _BatchIn) -> Score:
        """Loss and hits of a batch."""

    def learn(
        self, batch: _BatchIn, gradients: Mapping[str, grads.Gradient], clip: Clip | None = None
    ) -> Score:
        """The same, and the gradients of the batch's mean loss added to `gradients`, but for `norm` clipped."""


def fit(
    learner: Learner[_Batch],
    data: Dataset[_Batch],
    *,
    epochs: int,
    batch_size: int,
    optimizer: Optimizer,
    clip: Clip | None = None,
    validation: Dataset[_Batch] | None = None,
    shuffle: bool = True,
    seed: int | None = None,
    progress: bool = True,
) -> History:
    """Trains a model on data that were checked.

    Interrupted (KeyboardInterrupt), it leaves what was learned so far: each buffer as its last update left it.

    Raises:
        FloatingPointError: the loss or the gradient of a batch is not finite; the parameters are those before
            it.
    """
    gradients = learner.gradient_buffers()
    trainer = _Trainer(learner, gradients, optimizer, clip)
    rng = np.random.default_rng(seed) if shuffle else None
    total = int(data.lengths.sum())
    records: list[_Record] = []
    for epoch in range(1, epochs + 1):
        with _Progress(f"epoch {epoch}/{epochs}", total, progress) as bar:
            record = trainer.epoch(data, bucket(data.lengths, batch_size, rng), epoch, bar)
            if validation is not None:
                record = record._replace(validation=evaluate(learner, validation, batch_size))
            bar.close(record)
        records.append(record)
    return _history(records)


def evaluate(learner: Learner[_Batch], data: Dataset[_Batch], batch_size: int) -> Score:
    """Loss and hits over all of `data`, which holds at least one time step."""
    total = _Sum()
    with np.errstate(all="ignore"):  # a diverged model has a loss of inf or nan, and that is the answer
        for index in bucket(data.lengths, batch_size):
            total.add(learner.measure(data.batch(index)))
    return total.score()


class _Record(NamedTuple):
    """One epoch."""

    training: Score
    validation: Score | None
    gradient_norm: float
    seconds: float


class _Sum:
    """Adds up the steps of batches."""

    def __init__(self) -> None:
        self._loss = 0.0
        self._weight: float = 0
        self._count = 0
        self._hits: int | None = 0
        self._steps = 0

    def add(self, score: Score) -> None:
        weight = score.count if score.weight is None else score.weight
        self._loss += score.loss * weight
        self._weight += weight
        self._count += score.count
        self._hits = None if self._hits is None or score.hits is None else self._hits + score.hits
        self._steps += score.steps

    def score(self) -> Score:
        mean = self._loss / self._weight if self._weight else 0.0  # nothing counts: see losses.py
        return Score(mean, self._count, self._hits, self._steps, self._weight)


class _Trainer:
    """One model, its gradients and its optimizer."""

    def __init__(
        self,
        learner: Learner[Any],
        gradients: Mapping[str, grads.Gradient],
        optimizer: Optimizer,
        clip: Clip | None,
    ) -> None:
        self._learner = learner
        self._gradients = gradients
        self._flat = [gradient.flat for gradient in gradients.values()]
        self._optimizer = optimizer
        self._clip = clip

    def epoch(self, data: Dataset[Any], batches: Sequence[_Index], epoch: int, bar: _Progress) -> _Record:
        """One pass over the data."""
        total, norms = _Sum(), 0.0
        start = time.perf_counter()
        for number, index in enumerate(batches, 1):
            with np.errstate(all="ignore"):  # what overflows is found below, by its loss or norm
                score = self._learner.learn(data.batch(index), self._gradients, self._clip)
                norm = grads.norm(self._gradients.values())
            place = f"in epoch {epoch}, batch {number} of {len(batches)}"
            _require_finite(f"the loss is {score.loss}", score.loss, place)
            _require_finite(f"the norm of the gradient is {norm}", norm, place)
            scale = 1.0 if self._clip is None else self._clip.scale(norm)
            self._optimizer.update(list(self._learner.buffers().values()), self._flat, scale)
            for gradient in self._gradients.values():
                gradient.clear()
            total.add(score)
            norms += norm
            bar.advance(score.steps, total)
        seconds = time.perf_counter() - start
        return _Record(total.score(), None, norms / len(batches), seconds)


def _require_finite(what: str, value: float, place: str) -> None:
    if not math.isfinite(value):
        raise FloatingPointError(
            f"{what} {place}; the parameters are those before this batch "
            f"(a lower learning rate or clip=fastrnn.Clip(norm=...) may help)"
        )


def _history(records: Sequence[_Record]) -> History:
    def curve(values: Sequence[float | None]) -> _Curve | None:
        return None if None in values else np.array(values, np.float64)

    seconds = np.array([record.seconds for record in records])
    validated = [record.validation for record in records if record.validation is not None]
    return History(
        loss=np.array([record.training.loss for record in records]),
        accuracy=curve([record.training.accuracy for record in records]),
        validation_loss=curve([score.loss for score in validated]) if validated else None,
        validation_accuracy=curve([score.accuracy for score in validated]) if validated else None,
        gradient_norm=np.array([record.gradient_norm for record in records]),
        seconds=seconds,
        steps_per_second=np.array([record.training.steps for record in records]) / seconds,
    )


class _Progress:
    """A tqdm bar over the time steps of one epoch; nothing where tqdm is not installed or not wanted."""

    def __init__(self, title: str, total: int, wanted: bool) -> None:
        self._bar: Any = None
        if wanted and (tqdm := _tqdm()) is not None:
            self._bar = tqdm(total=total, desc=title, unit="tok", unit_scale=True)

    def __enter__(self) -> _Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self, steps: int, total: _Sum) -> None:
        """Shows that `steps` more are done, and the means so far."""
        if self._bar is not None:
            self._bar.set_postfix_str(_means(total.score()), refresh=False)
            self._bar.update(steps)

    def close(self, record: _Record) -> None:
        """Shows the epoch's final means."""
        if self._bar is not None:
            text = _means(record.training)
            if record.validation is not None:
                text += ", " + _means(record.validation, "val_")
            self._bar.set_postfix_str(text, refresh=False)


def _means(score: Score, prefix: str = "") -> str:
    text = f"{prefix}loss={score.loss:.4f}"
    return text if score.accuracy is None else f"{text}, {prefix}accuracy={score.accuracy:.4f}"


def _tqdm() -> Any:
    """The class of progress bars for a terminal or a notebook, None where tqdm is not installed."""
    try:
        return importlib.import_module("tqdm.auto").tqdm
    except ImportError:
        return None
