# SPDX-License-Identifier: MIT
"""How a model of any topology is trained and measured, given how it learns from one batch."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from .. import _check, training
from ..callbacks import Callback, EarlyStopping
from ..clip import Clip
from ..embedding import EmbeddingTable
from ..feeds import Batches, Windows
from ..gradients import Gradient, RowGradient
from ..optim import Adam, Optimizer
from ..recurrent import Recurrent
from ..schedules import Schedule
from ..training import History, Score
from .part import Part

_Array = npt.NDArray[Any]
_Kind = TypeVar("_Kind")


class Trainable(ABC):
    """What can be fitted: parts with parameters, and gradients of the loss of a batch.

    A batch is whatever the dataset of the topology makes of some sequences.
    """

    _parts: dict[str, Part]

    def fit(
        self,
        x: Any,
        y: Any = None,
        *,
        epochs: int,
        batch_size: int = 32,
        optimizer: Optimizer | None = None,
        clip: Clip | None = None,
        lengths: npt.ArrayLike | None = None,
        validation_data: tuple[Any, ...] | None = None,
        shuffle: bool = True,
        seed: int | None = None,
        progress: bool = True,
        schedule: Schedule | None = None,
        early_stopping: EarlyStopping | None = None,
        accumulate: int = 1,
        bptt: int | None = None,
        callbacks: Sequence[Callback] | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: int | tuple[int, str] = 1,
        resume: bool | str | os.PathLike[str] = False,
    ) -> History:
        """Trains the model by backpropagation through time.

        Batches are made of sequences of similar length; padding and empty sequences contribute nothing. The
        loss follows from the activation (see losses.py) and is the mean over the valid steps of a batch. With
        equal data, seeds and settings the result is the same bit for bit, for any number of fastrnn's threads.

        Interrupted by Ctrl-C, the model keeps what it has learned so far, whole updates only, and a checkpoint is
        written if there is to be one; the KeyboardInterrupt goes on to the caller, with a message that says so.

        Args:
            x: list of N sequences, each token ids (T_n,) or features (T_n, I); or one padded array (N,T) or
                (N,T,I), which may be memory-mapped: batches are read from it as they are needed. Features become the
                model's dtype; values of padding are not read. Or, with y None, what gives batches: an iterable of
                (x, y) or (x, y, lengths), each as here and one update, or a function from the number of the epoch,
                from 1, to such an iterable; batch_size and shuffle then say nothing.
            y: targets in the same form: class ids (T_n,) for softmax, numbers (T_n, K) for linear, and from
                0 to 1 for sigmoid; of a model with one output for each sequence (N,) or (N,K).
            epochs: passes over the data; of a resumed run with those before.
            batch_size: sequences a batch.
            optimizer: None is Adam(1e-3). An optimizer keeps its state: pass the same one to train on.
            clip: limits for the gradient; those of steps act in the recurrent layers, `value` and `norm` on all
                parameters.
            lengths: (N,) true lengths where x is padded; None: all T.
            validation_data: (x, y) or (x, y, lengths), measured after each epoch.
            shuffle: mix sequences of equal length and the order of batches anew in each epoch; False goes
                from short to long in each epoch.
            seed: of the shuffling and of the masks of dropout; None takes another one each time for the former,
                and goes on with the masks of the model's own seed.
            progress: show a bar with loss and tokens a second, where tqdm is installed.
            schedule: learning rates by epoch or update, from that of the optimizer (see schedules.py).
            early_stopping: ends training when it no longer helps.
            accumulate: batches that make one update, by the gradient of the mean loss over all their rows, as if they
                were one batch (see accumulation.py for clipping). What is left at the end of an epoch makes one, too.
            bptt: steps k of truncated back-propagation, for `NToN`: the N sequences are streams, cut into windows of k
                steps. Each window is an update; its state goes on from the window before, its gradients stop at its
                start. The streams of a batch run side by side from zeros, or the learned state; one that ends leaves
                the windows to the others.
            callbacks: objects of subclasses of `Callback`.
            checkpoint: a file that is written as the training goes on, at its end, and on Ctrl-C; it appears whole or
                not at all. `load` reads the model from it as well.
            checkpoint_every: n epochs, or (n, "updates").
            resume: True goes on from the file `checkpoint` if it is there, a path from that file: with the same model,
                data and settings bit for bit as if never interrupted. `epochs` may differ.

        Raises:
            TypeError, ValueError: an argument does not fit; nothing was trained. Batches of an iterable are
                checked when they come.
            FloatingPointError: loss or gradient of a batch is not finite; the parameters are those before
                that batch.
            ImportError: checkpoints need safetensors (pip install fastrnn[io]).
            OSError: a checkpoint cannot be read or written.
        """
        begin, count = _check.seed(seed), _check.size("epochs", epochs)
        size, mix = _check.size("batch_size", batch_size), _check.flag("shuffle", shuffle)
        k = None if bptt is None else _check.size("bptt", bptt)
        data: Any
        source = _check.batch_source(x, y, lengths, count, k)
        if source is not None:
            data = Batches(source, self._given_batch)
        elif k is None:
            data = self._training_data(x, y, lengths)
        else:
            data = self._windows(x, y, lengths, size, mix, begin, k)
        settings: dict[str, Any] = {
            "epochs": count,
            "batch_size": size,
            "optimizer": _optional("optimizer", optimizer, Optimizer, "fastrnn.Adam(1e-3)") or Adam(),
            "clip": _optional("clip", clip, Clip, "fastrnn.Clip(norm=5.0)"),
            "validation": None if validation_data is None else self._validation(validation_data),
            "shuffle": mix,
            "seed": begin,
            "progress": _check.flag("progress", progress),
            "schedule": _optional("schedule", schedule, Schedule, "fastrnn.schedules.Exponential(0.9)"),
            "early_stopping": _optional(
                "early_stopping", early_stopping, EarlyStopping, "fastrnn.EarlyStopping(patience=3)"
            ),
            "accumulate": _check.size("accumulate", accumulate),
            "callbacks": _check.callbacks(callbacks, Callback),
        }
        for watcher in (schedule, early_stopping):
            if watcher is not None:
                _check.monitored(watcher, watcher.monitor, validation_data is not None, self._decides())
        every = _check.checkpoint_every(checkpoint_every)
        if begin is not None:
            self._begin_masks(begin)
        if checkpoint is not None or resume is not False:
            from ..checkpoint import Store, files

            path, origin = files(checkpoint, resume)
            settings["store"] = Store(path, every, origin)
        return training.fit(self, data, **settings)

    def _begin_masks(self, seed: int) -> None:
        """Lets the masks of dropout follow from a seed."""
        for number, part in enumerate(self._parts.values()):
            if isinstance(part, Recurrent):
                part._rng = np.random.default_rng([seed, number])

    def _generators(self) -> dict[str, np.random.Generator]:
        """All that draws while the model trains, by name: checkpoints keep their states."""
        return {name: part._rng for name, part in self._parts.items() if isinstance(part, Recurrent)}

    def _validation(self, given: Any) -> Any:
        return self._named_data(given, "validation_data")

    def _given_batch(self, item: Any, name: str) -> Any:
        data = self._named_data(item, name)
        return data.batch(np.flatnonzero(data.lengths))

    def _named_data(self, given: Any, name: str) -> Any:
        x, y, lengths = _check.batch_item(name, given)
        try:
            return self._training_data(x, y, lengths)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{name}: {error}") from None

    def _windows(
        self, x: Any, y: Any, lengths: Any, batch_size: int, shuffle: bool, seed: int | None, bptt: int
    ) -> Windows:
        """The user's x and y, checked, as windows of streams; only where a topology can go on from a state."""
        raise _check.no_windows(self)

    def evaluate(
        self, x: Any, y: Any, *, lengths: npt.ArrayLike | None = None, batch_size: int = 64
    ) -> dict[str, float]:
        """Mean loss and share of right decisions over all valid steps: {"loss": ..., "accuracy": ...}.

        A decision is the class of a step for softmax, and whether one element is above one half for sigmoid;
        linear outputs have no accuracy. x, y and lengths, and what is raised, as in `fit`.
        """
        size = _check.size("batch_size", batch_size)
        score = training.evaluate(self, self._training_data(x, y, lengths), size)
        measured = {"loss": score.loss}
        if score.accuracy is not None:
            measured["accuracy"] = score.accuracy
        return measured

    def gradients(
        self, x: Any, y: Any, *, lengths: npt.ArrayLike | None = None
    ) -> tuple[float, dict[str, _Array]]:
        """The mean loss over x and y, taken as one batch, and its gradient to each parameter by name.

        For optimizers and diagnostics of one's own; with dropout, of masks drawn for this call. x, y and lengths, and
        what is raised, as in `fit`.
        """
        data = self._training_data(x, y, lengths)
        buffers = self.gradient_buffers()
        score = self.learn(data.batch(np.flatnonzero(data.lengths)), buffers)
        return score.loss, {
            f"{prefix}.{name}": array
            for prefix, part in self._parts.items()
            for name, array in part._views(buffers[prefix].flat).items()
        }

    def buffers(self) -> dict[str, _Array]:
        """The flat parameters of each part. Held, they make recurrent layers slower: see their `flat`."""
        return {name: part.flat for name, part in self._parts.items()}

    def gradient_buffers(self) -> dict[str, Gradient]:
        """New gradients, all zero, one for each of `buffers`."""
        return {
            name: RowGradient(part.weight) if isinstance(part, EmbeddingTable) else Gradient(part.flat)
            for name, part in self._parts.items()
        }

    @abstractmethod
    def _decides(self) -> bool:
        """Whether outputs are decisions, which have an accuracy."""

    @abstractmethod
    def learn(self, batch: Any, gradients: Mapping[str, Gradient], clip: Clip | None = None) -> Score:
        """The same, and the gradients of the batch's mean loss added to `gradients`.

        Clipped by all of `clip` but `norm`, which is the optimizer's to apply.
        """

    @abstractmethod
    def measure(self, batch: Any) -> Score:
        """Loss and decisions of one batch."""

    @abstractmethod
    def _training_data(self, x: Any, y: Any, lengths: Any) -> Any:
        """The user's x with a y to learn, checked, as a `training.Dataset`; at least one step."""


def _optional(name: str, value: _Kind | None, kind: type[Any], example: str) -> _Kind | None:
    if value is not None:
        _check.instance(name, value, kind, f"an object such as {example}, or None")
    return value
