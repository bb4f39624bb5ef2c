# SPDX-License-Identifier: MIT
"""The training loop, the same for every topology.

It knows batches, losses, gradient buffers and an optimizer, but neither what a batch holds nor what a model
computes: `Learner` and `Feed` say all it needs. The same data, seed and settings give the same parameters
bit for bit, however many threads the kernels use.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from . import _check
from .accumulation import Update
from .batching import bucket
from .callbacks import Callback, EarlyStopping, StopTraining
from .clip import Clip
from .feeds import Buckets, Dataset, Feed, Learner
from .history import History, Record, Score, Sum, history, measured
from .interrupts import Shield
from .optim import Optimizer
from .place import Place
from .progress import Progress
from .schedules import Schedule

if TYPE_CHECKING:
    from .checkpoint import Store

__all__ = ["Dataset", "History", "Learner", "Score", "evaluate", "fit"]

_Batch = TypeVar("_Batch")


@dataclass(frozen=True)
class Options:
    """How a run goes on, in what has been checked.

    Attributes:
        clip: see `fit` of the topologies, as the others.
        schedule:
        early_stopping:
        accumulate:
        callbacks:
        progress:
    """

    clip: Clip | None = None
    schedule: Schedule | None = None
    early_stopping: EarlyStopping | None = None
    accumulate: int = 1
    callbacks: Sequence[Callback] = ()
    progress: bool = True


def fit(
    learner: Learner[_Batch],
    data: Dataset[_Batch] | Feed[_Batch],
    *,
    epochs: int,
    batch_size: int,
    optimizer: Optimizer,
    validation: Dataset[_Batch] | None = None,
    shuffle: bool = True,
    seed: int | None = None,
    store: Store | None = None,
    **options: Any,
) -> History:
    """Trains a model on data that were checked, with the `Options`.

    Interrupted (KeyboardInterrupt), it leaves what was learned so far, as the last update left it, and writes a
    checkpoint if there is a store; the message says so.

    Raises:
        FloatingPointError: the loss or the gradient of a batch is not finite; the parameters are those before
            it.
    """
    feed = data if isinstance(data, Feed) else Buckets(data, batch_size, shuffle, seed)
    run = _Run(learner, feed, optimizer, epochs, batch_size, validation, Options(**options), store)
    return run.fit()


def evaluate(learner: Learner[_Batch], data: Dataset[_Batch], batch_size: int) -> Score:
    """Loss and hits over all of `data`, which holds at least one time step."""
    total = Sum()
    with np.errstate(all="ignore"):  # a diverged model has a loss of inf or nan, and that is the answer
        for index in bucket(data.lengths, batch_size):
            total.add(learner.measure(data.batch(index)))
    return total.score()


class _Run:
    """One model on its way, and what callbacks see of it: see `TrainingState`."""

    def __init__(
        self,
        learner: Learner[Any],
        feed: Feed[Any],
        optimizer: Optimizer,
        epochs: int,
        batch_size: int,
        validation: Dataset[Any] | None,
        options: Options,
        store: Store | None,
    ) -> None:
        self.model, self.optimizer, self.epochs = learner, optimizer, epochs
        self._feed, self._validation, self._batch_size = feed, validation, batch_size
        self._options, self._store = options, store
        self._update = Update(learner, options.accumulate, options.clip)
        self._base = optimizer.lr
        self._rated = -1  # for which count the schedule's rate is set
        self._shield = Shield()
        self._place = Place()
        if store is not None:
            self._place = self._resumed(store) or Place(masks=store.masks())

    def _resumed(self, store: Store) -> Place | None:
        from .checkpoint import Parts

        options = self._options
        settings = {
            "clip": options.clip,
            "schedule": options.schedule,
            "early_stopping": options.early_stopping,
            "accumulate": options.accumulate,
            "validation": self._validation is not None,
        }
        model: Any = self.model  # one that can be saved, as there is a store
        return store.begin(Parts(model, self.optimizer, self._feed, options.callbacks, settings, self.epochs))

    # ---- what callbacks see ----

    @property
    def epoch(self) -> int:
        """Under way, or just ended."""
        return self._place.epoch if self._place.batch or not self._place.records else len(self._place.records)

    @property
    def batch(self) -> int:
        """Batches done in this epoch."""
        return self._place.batch

    @property
    def updates(self) -> int:
        """Of the parameters."""
        return self._place.updates

    @property
    def loss(self) -> float:
        """Mean over this epoch so far."""
        if self._place.batch:
            return self._place.total.score().loss
        return self._place.records[-1].training.loss if self._place.records else math.nan

    @property
    def history(self) -> History:
        """Of the epochs that ended."""
        return history(self._place.records)

    def __repr__(self) -> str:
        return f"<training of {self.model!r}, epoch {self.epoch} of {self.epochs}>"

    # ---- the loop ----

    def fit(self) -> History:
        """See `fit`."""
        try:
            with self._shield:
                self._go()
        except KeyboardInterrupt:
            raise KeyboardInterrupt(self._interrupted()) from None
        finally:
            if self._options.schedule is not None:
                self.optimizer.lr = self._base
        self._restore_best()
        for callback in self._options.callbacks:
            callback.on_fit_end(self)
        return history(self._place.records)

    def _go(self) -> None:
        """All epochs that are left."""
        stop = self._tell("on_fit_begin")
        while self._place.epoch <= self.epochs and not stop and not self._without_gain():
            stop = self._epoch()
        if self._store is not None:
            self._store.write(self._place)

    def _epoch(self) -> bool:
        """One pass over the data, or what is left of it; whether to stop."""
        title = f"epoch {self._place.epoch}/{self.epochs}"
        with Progress(title, self._feed.steps, self._place.total.steps, self._options.progress) as bar:
            if self._train(bar):
                return True
            record = self._record()
            bar.close(record)
        with self._shield.held():
            self._place.next_epoch(record)
            self._feed.after_epoch()
            self._keep_best()
        stop = self._tell("on_epoch_end")
        self._save("epochs", len(self._place.records))
        return stop

    def _train(self, bar: Progress) -> bool:
        """The updates of an epoch that are left; whether to stop."""
        batches = self._feed.epoch(self._place.epoch, self._place.batch)
        while True:
            start = time.perf_counter()
            self._set_rate()
            scores = self._learn(islice(batches, self._options.accumulate))
            if not scores:
                break
            norm = self._norm(len(scores))
            with self._shield.held():
                self._step(scores, norm, start)
            bar.advance(sum(score.steps for score in scores), self._place.total.score())
            stop = self._tell("on_update_end")
            self._save("updates", self._place.updates)
            if stop:
                return True
        _check.some_batches(self._place.batch, self._place.epoch)
        return False

    def _learn(self, batches: Iterator[Any]) -> list[Score]:
        """The batches of one update."""
        scores: list[Score] = []
        for batch in batches:
            with np.errstate(all="ignore"):  # what overflows is found by its loss or norm
                score = self._feed.learn(self.model, batch, self._update.gradients, self._update.clip)
                scores.append(score)
                self._require_finite("the loss", score.loss, len(scores))
                self._update.add(score)
        return scores

    def _norm(self, batches: int) -> float:
        """Of the gradient of one update of so many batches."""
        with np.errstate(all="ignore"):
            norm = self._update.norm()
        self._require_finite("the norm of the gradient", norm, batches)
        return norm

    def _step(self, scores: list[Score], norm: float, start: float) -> None:
        """One update. Nothing interrupts it."""
        self._update.apply(self.optimizer, self.model.buffers(), norm)
        self._feed.after_update()
        place = self._place
        for score in scores:
            place.total.add(score)
        place.batch += len(scores)
        place.updates += 1
        place.epoch_updates += 1
        place.norms += norm
        place.rate = self.optimizer.lr
        if self._store is not None:
            place.masks = self._store.masks()
        place.seconds += time.perf_counter() - start

    def _record(self) -> Record:
        """The epoch, whose updates are done."""
        place = self._place
        validation = None
        if self._validation is not None:
            validation = evaluate(self.model, self._validation, self._batch_size)
        norm = place.norms / place.epoch_updates
        return Record(place.total.score(), validation, norm, place.rate, place.seconds)

    # ---- what happens around it ----

    def _set_rate(self) -> None:
        """The rate of the next update."""
        schedule = self._options.schedule
        if schedule is None:
            return
        n = self._place.updates if schedule.per == "update" else len(self._place.records)
        if n != self._rated:
            self.optimizer.lr = schedule.rate(self._base, n, self._measured(schedule.monitor))
            self._rated = n

    def _measured(self, monitor: str | None) -> list[float]:
        """One value an epoch; there are such values, or the monitor would have been refused."""
        values = [] if monitor is None else measured(self._place.records, monitor)
        return [math.nan if value is None else value for value in values]

    def _without_gain(self) -> bool:
        """Whether early stopping is due."""
        stopping = self._options.early_stopping
        return stopping is not None and stopping.stops(self._measured(stopping.monitor))

    def _keep_best(self) -> None:
        """Copies the parameters after the best epoch."""
        stopping = self._options.early_stopping
        if stopping is None or not stopping.restore_best:
            return
        if stopping.best(self._measured(stopping.monitor)) == len(self._place.records) - 1:
            self._place.best = {name: buffer.copy() for name, buffer in self.model.buffers().items()}

    def _restore_best(self) -> None:
        """At the end."""
        if self._place.best is not None:
            for name, buffer in self.model.buffers().items():
                buffer[...] = self._place.best[name]

    def _tell(self, event: str) -> bool:
        """Calls all callbacks; whether one of them wants to stop."""
        stop = False
        for callback in self._options.callbacks:
            try:
                stop = getattr(callback, event)(self) is True or stop
            except StopTraining:
                stop = True
        return stop

    def _save(self, unit: str, done: int) -> None:
        if self._store is not None and self._store.due(unit, done):
            self._store.write(self._place)

    def _interrupted(self) -> str:
        """What to say after Ctrl-C, a checkpoint written if there is to be one."""
        place = self._place
        text = (
            f"fit was interrupted in epoch {place.epoch} of {self.epochs} after {place.batch} batches; "
            f"the model holds its {place.updates} updates so far"
        )
        if self._store is None or self._store.path is None:
            return text
        self._store.write(place)
        return f"{text}, and so does the checkpoint {self._store.path}: resume=True goes on from there"

    def _require_finite(self, what: str, value: float, batches: int) -> None:
        if not math.isfinite(value):
            place = f"epoch {self._place.epoch}, batch {self._place.batch + batches}"
            of = "" if self._feed.batches is None else f" of {self._feed.batches}"
            raise FloatingPointError(
                f"{what} is {value} in {place}{of}; the parameters are those before this batch "
                f"(a lower learning rate or clip=fastrnn.Clip(norm=...) may help)"
            )
