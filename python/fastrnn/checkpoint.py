# SPDX-License-Identifier: MIT
"""Checkpoints of training, from which a run goes on bit for bit.

A checkpoint is a file of `Model.save` with more in it, and `fastrnn.load` reads the model from it as well:

    tensors     the model's state_dict; training.optimizer.<slot>.<part>; training.best.<part>; training.feed.<n>
    metadata    "fastrnn": the model's form        "fastrnn.training": JSON of all else

All else is: what must be the same when a run is resumed (settings), how far it has come (place.py), the random states
of shuffling and of the model's masks, the learning rate, the states of callbacks. Nothing in a file is executed. Files
appear whole or not at all.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from . import _check, io
from .place import Place

if TYPE_CHECKING:
    from .callbacks import Callback
    from .feeds import Feed
    from .optim import Optimizer
    from .topologies import Model

_Array = npt.NDArray[Any]
_KEY = "fastrnn.training"
_FORMAT = 1


@dataclasses.dataclass
class Parts:
    """What a run is made of, besides its place."""

    model: Model
    optimizer: Optimizer
    feed: Feed[Any]
    callbacks: Sequence[Callback]
    settings: Mapping[str, Any]
    epochs: int

    def describe(self) -> dict[str, Any]:
        """What must be the same when the run is resumed, by what messages call it."""
        groups: dict[str, Mapping[str, Any]] = {
            "model": json.loads(io.describe(self.model)["fastrnn"]),
            "optimizer": {"class": type(self.optimizer).__name__, **self.optimizer.settings()},
            "data": self.feed.describe(),
            "fit": {name: _text(value) for name, value in self.settings.items()},
        }
        model = groups["model"]
        groups["model"] = {"class": model["class"], **model["arguments"]}
        callbacks = [type(callback).__name__ for callback in self.callbacks]
        flat = {
            f"{group}: {name}": value for group, values in groups.items() for name, value in values.items()
        }
        plain: dict[str, Any] = json.loads(json.dumps({**flat, "fit: callbacks": callbacks}))
        return plain


class Store:
    """Where a run's checkpoints go, how often, and where it is resumed from.

    Args:
        path: the file; None writes none.
        every: (n, "epochs") or (n, "updates").
        resume: the file to begin from; None begins anew.
    """

    def __init__(self, path: str | None, every: tuple[int, str], resume: str | None) -> None:
        self.path = path
        self._every, self._unit = every
        self._resume = resume
        self._form: dict[str, Any] = {}
        self._parts: Parts | None = None

    def begin(self, parts: Parts) -> Place | None:
        """Takes what the run is made of, and brings it to where the file to resume from left it.

        Raises:
            ValueError: the file is of another model, optimizer, data or settings, or damaged; nothing is changed.
        """
        self._parts, self._form = parts, parts.describe()
        return None if self._resume is None else _restore(self._resume, parts, self._form)

    def masks(self) -> dict[str, Any]:
        """States of the model's generators."""
        assert self._parts is not None  # begun
        return {name: rng.bit_generator.state for name, rng in self._parts.model._generators().items()}

    def due(self, unit: str, done: int) -> bool:
        """Whether a checkpoint is due after `done` epochs or updates."""
        return self.path is not None and unit == self._unit and done % self._every == 0

    def write(self, place: Place) -> None:
        """Writes a checkpoint."""
        assert self._parts is not None  # begun
        if self.path is None:
            return
        model, optimizer = self._parts.model, self._parts.optimizer
        names = list(model.buffers())
        fed, fed_arrays = self._parts.feed.state()
        state = optimizer.state()
        best = place.best or {}
        more = {
            **{f"optimizer.{slot}.{name}": a for slot in state for name, a in zip(names, state[slot])},
            **{f"best.{name}": array for name, array in best.items()},
            **{f"feed.{number}": array for number, array in enumerate(fed_arrays)},
        }
        training = {
            "format": _FORMAT,
            "form": self._form,
            "place": place.plain(),
            "optimizer": {"steps": optimizer.steps, "lr": optimizer.lr, "slots": list(state)},
            "feed": fed,
            "callbacks": [callback.state_dict() for callback in self._parts.callbacks],
        }
        tensors = {io.TRAINING + name: np.ascontiguousarray(a) for name, a in more.items() if a is not None}
        io.write(
            self.path,
            {**model.state_dict(), **tensors},
            {**io.describe(model), _KEY: json.dumps(training)},
        )


def _restore(path: str, parts: Parts, form: Mapping[str, Any]) -> Place:
    """Brings a run to where a checkpoint left it."""
    metadata, tensors = io.read(path)
    if _KEY not in metadata:
        raise ValueError(f"{path} holds no checkpoint of training: its metadata have {sorted(metadata)}")
    try:
        training = json.loads(metadata[_KEY])
        version = training["format"]
        saved = dict(training["form"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(
            f"{path} is damaged: what describes the training is no JSON of ours ({error})"
        ) from None
    if version != _FORMAT:
        raise ValueError(f"{path} has format {version!r}, but this version of fastrnn reads format {_FORMAT}")
    _check.same_run(path, saved, form)
    _check.epochs_left(path, parts.epochs, _begun(path, training))
    parts.optimizer.check_owner(list(parts.model.buffers().values()))
    before = parts.model.state_dict()
    try:
        return _apply(training, tensors, parts)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        parts.model.load_state_dict(before)
        raise ValueError(f"{path} is damaged: {error}") from None


def _begun(path: str, training: Mapping[str, Any]) -> int:
    """How many epochs."""
    try:
        place = training["place"]
        return len(place["records"]) + int(place["batch"] > 0)
    except (TypeError, KeyError) as error:
        raise ValueError(
            f"{path} is damaged: it does not say how far the training has come ({error})"
        ) from None


def _apply(training: Mapping[str, Any], tensors: Mapping[str, _Array], parts: Parts) -> Place:
    """All that a checkpoint holds, into what it is of."""
    own = {name: array for name, array in tensors.items() if not name.startswith(io.TRAINING)}
    more = {
        name[len(io.TRAINING) :]: array for name, array in tensors.items() if name.startswith(io.TRAINING)
    }
    place = Place.of_plain(training["place"])
    buffers = parts.model.buffers()
    if any(name.startswith("best.") for name in more):
        place.best = {name: more[f"best.{name}"] for name in buffers}
    optimizer = training["optimizer"]
    state = {slot: [more.get(f"optimizer.{slot}.{name}") for name in buffers] for slot in optimizer["slots"]}
    fed = [more[f"feed.{number}"] for number in range(sum(name.startswith("feed.") for name in more))]
    parts.model.load_state_dict(own)
    steps = _check.size("steps", optimizer["steps"], 0, 2**53)
    parts.optimizer.restore(list(buffers.values()), steps, state)
    parts.optimizer.lr = optimizer["lr"]
    for name, rng in parts.model._generators().items():
        rng.bit_generator.state = place.masks[name]
    parts.feed.restore(training["feed"], fed)
    for callback, kept in zip(parts.callbacks, training["callbacks"]):
        callback.load_state_dict(kept)
    return place


def files(checkpoint: Any, resume: Any) -> tuple[str | None, str | None]:
    """Where to write to and what to resume from, by the arguments of `fit`."""
    path = None if checkpoint is None else _check.new_file("checkpoint", checkpoint)
    if isinstance(resume, bool):
        _check.resumable(resume, path)
        return path, path if resume and path is not None and os.path.exists(path) else None
    return path, _check.path(resume)


def _text(value: Any) -> Any:
    """A setting as JSON says it: dataclasses such as `Clip` by what they show, others by their class."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return repr(value) if dataclasses.is_dataclass(value) else type(value).__name__
