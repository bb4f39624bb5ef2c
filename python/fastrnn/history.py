# SPDX-License-Identifier: MIT
"""What a training run measures: scores of batches, records of epochs, and the history made of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import _check

_Curve = npt.NDArray[np.float64]


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

    @property
    def of(self) -> float:
        """What the mean is over, weighted or not."""
        return self.count if self.weight is None else self.weight


@dataclass
class Sum:
    """Adds up the scores of batches.

    Attributes:
        loss: sum of losses, not their mean.
        weight: what it is a sum over.
        count, hits, steps: as of `Score`.
    """

    loss: float = 0.0
    weight: float = 0
    count: int = 0
    hits: int | None = 0
    steps: int = 0

    def add(self, score: Score) -> None:
        """One more batch."""
        self.loss += score.loss * score.of
        self.weight += score.of
        self.count += score.count
        self.hits = None if self.hits is None or score.hits is None else self.hits + score.hits
        self.steps += score.steps

    def score(self) -> Score:
        """Of all batches together, of which there is at least one."""
        mean = self.loss / self.weight if self.weight else 0.0  # nothing counts: see losses.py
        return Score(mean, self.count, self.hits, self.steps, self.weight)


class Record(NamedTuple):
    """One epoch."""

    training: Score
    validation: Score | None
    gradient_norm: float
    learning_rate: float
    seconds: float


@dataclass(frozen=True, eq=False)
class History:
    """What a fit measured, one entry an epoch; of a resumed run also the epochs before.

    Attributes:
        loss: (epochs,) mean training loss while the epoch ran: parameters change under it.
        accuracy: (epochs,) the same for the share of right decisions; None for linear outputs.
        validation_loss: (epochs,) on the validation data after the epoch; None without such data.
        validation_accuracy: (epochs,) None without such data and for linear outputs.
        gradient_norm: (epochs,) mean over updates of the global L2 norm before it is clipped by `Clip.norm`.
        learning_rate: (epochs,) of the last update of the epoch.
        seconds: (epochs,) wall time of training, without validation, callbacks and checkpoints.
        steps_per_second: (epochs,) time steps (tokens) trained on a second, padding not counted.

    Its repr tells of the last epoch, and of the seconds of all.
    """

    loss: _Curve
    accuracy: _Curve | None
    validation_loss: _Curve | None
    validation_accuracy: _Curve | None
    gradient_norm: _Curve
    learning_rate: _Curve
    seconds: _Curve
    steps_per_second: _Curve

    def __repr__(self) -> str:
        told = [f"epochs={len(self.loss)}"]
        if len(self.loss):
            curves = ("loss", "accuracy", "validation_loss", "validation_accuracy")
            told += [
                f"{name}={getattr(self, name)[-1]:.4g}" for name in curves if getattr(self, name) is not None
            ]
            told.append(f"seconds={self.seconds.sum():.3g}")
        return f"History({', '.join(told)})"

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Draws the losses and, where there are any, the accuracies over epochs; validation dashed.

        Args:
            path: file to write, its format by its name.

        Returns:
            The matplotlib Figure, which notebooks show.

        Raises:
            ImportError: matplotlib is not installed (pip install fastrnn[plot]).
        """
        from .diagnostics import _figure

        drawn = ["loss"] if self.accuracy is None else ["loss", "accuracy"]
        figure = _figure()(figsize=(5 * len(drawn), 4), layout="constrained")
        for axes, name in zip(figure.subplots(1, len(drawn), squeeze=False)[0], drawn):
            for prefix, style in (("", "-"), ("validation_", "--")):
                curve = getattr(self, prefix + name)
                if curve is not None:
                    label = (prefix or "training_").replace("_", " ") + name
                    axes.plot(np.arange(1, len(curve) + 1), curve, style, marker=".", label=label)
            axes.set(xlabel="epoch", ylabel=name)
            axes.grid(alpha=0.3)
            axes.legend()
        if path is not None:
            figure.savefig(_check.path(path), dpi=150)
        return figure


def history(records: Sequence[Record]) -> History:
    """The curves of all epochs."""
    validated = any(record.validation is not None for record in records)
    seconds = np.array([record.seconds for record in records], np.float64)
    return History(
        loss=np.array([record.training.loss for record in records], np.float64),
        accuracy=_curve(measured(records, "accuracy")),
        validation_loss=_curve(measured(records, "validation_loss")) if validated else None,
        validation_accuracy=_curve(measured(records, "validation_accuracy")) if validated else None,
        gradient_norm=np.array([record.gradient_norm for record in records], np.float64),
        learning_rate=np.array([record.learning_rate for record in records], np.float64),
        seconds=seconds,
        steps_per_second=np.array([record.training.steps for record in records], np.float64) / seconds,
    )


def measured(records: Iterable[Record], monitor: str) -> list[float | None]:
    """What early stopping or a schedule monitors, for each epoch; None where there was no such thing."""
    scores = [
        record.validation if monitor.startswith("validation_") else record.training for record in records
    ]
    name = "accuracy" if monitor.endswith("accuracy") else "loss"
    return [None if score is None else getattr(score, name) for score in scores]


def _curve(values: Sequence[float | None]) -> _Curve | None:
    return None if None in values else np.array(values, np.float64)
