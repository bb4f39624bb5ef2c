# SPDX-License-Identifier: MIT
"""What a training run tells while it runs, and how it is stopped.

class Watch(fastrnn.Callback):
    def on_epoch_end(self, state):
        print(state.epoch, state.history.loss[-1])
        return state.history.loss[-1] < 0.1  # True stops

model.fit(x, y, epochs=100, callbacks=[Watch()])
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from . import _check
from .history import History
from .optim import Optimizer


class TrainingState(Protocol):
    """What callbacks see of a run; it is the same object all the time, and says what is true now.

    Attributes:
        model: what is trained. Its parameters may be read and changed.
        optimizer: whose `lr` may be set where there is no schedule.
        epoch: the one under way, or just ended; from 1.
        epochs: how many there will be.
        batch: batches done in this epoch.
        updates: of the parameters, in the whole run.
        loss: mean training loss of this epoch so far.
        history: of the epochs that ended.
    """

    @property
    def model(self) -> Any: ...  # noqa: D102
    @property
    def optimizer(self) -> Optimizer: ...  # noqa: D102
    @property
    def epoch(self) -> int: ...  # noqa: D102
    @property
    def epochs(self) -> int: ...  # noqa: D102
    @property
    def batch(self) -> int: ...  # noqa: D102
    @property
    def updates(self) -> int: ...  # noqa: D102
    @property
    def loss(self) -> float: ...  # noqa: D102
    @property
    def history(self) -> History: ...  # noqa: D102


class StopTraining(Exception):
    """Raised by a callback, it ends `fit` as if all epochs were done; nobody else sees it."""


class Callback:
    """Base of what `fit(callbacks=[...])` calls. Override what is wanted.

    Each returns None to go on, or True to stop. A run that stops within an epoch has no entry for it in its history.
    An exception other than `StopTraining` ends `fit` and reaches its caller.
    """

    def on_fit_begin(self, state: TrainingState) -> bool | None:
        """Before the first update, of a resumed run too."""
        return None

    def on_update_end(self, state: TrainingState) -> bool | None:
        """After each update of the parameters."""
        return None

    def on_epoch_end(self, state: TrainingState) -> bool | None:
        """After each epoch, its validation done."""
        return None

    def on_fit_end(self, state: TrainingState) -> None:
        """After the last update, the best parameters restored if early stopping does that; not after an error."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of the callback, as JSON can say it."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes what `state_dict` gave, when a run is resumed."""


@dataclass(frozen=True)
class EarlyStopping:
    """Stops a fit when `monitor` has not got better for `patience` epochs in a row.

    Better is below the best so far by more than min_delta, for accuracies above it; NaN never is.

    Args:
        patience: at least 1.
        min_delta: at least 0.
        monitor: "validation_loss", "loss", "validation_accuracy" or "accuracy".
        restore_best: at the end of fit, early or not, the model gets the parameters after its best epoch. The state
            of the optimizer stays that of the last update. An interrupted fit restores nothing.

    Raises:
        TypeError, ValueError: an argument is of another type, or out of its range.

    >>> EarlyStopping(2).stops([3.0, 2.0, 2.5, 2.0])
    True
    """

    patience: int
    min_delta: float = 0.0
    monitor: str = "validation_loss"
    restore_best: bool = True

    def __post_init__(self) -> None:
        _check.size("patience", self.patience)
        _check.number("min_delta", self.min_delta, 0.0)
        _check.monitor(self.monitor)
        _check.flag("restore_best", self.restore_best)

    def best(self, measured: Sequence[float]) -> int:
        """Which of the epochs measured is the best, from 0; -1 if none is."""
        sign = -1 if self.monitor.endswith("accuracy") else 1
        best, at = math.inf, -1
        for epoch, value in enumerate(measured):
            if sign * value < best - self.min_delta:
                best, at = sign * value, epoch
        return at

    def stops(self, measured: Sequence[float]) -> bool:
        """Whether the last epochs were all without gain."""
        return len(measured) - 1 - self.best(measured) >= self.patience
