# SPDX-License-Identifier: MIT
"""Where the batches of an epoch come from: a dataset in buckets, windows of long streams, or a user's own batches.

A feed gives the batches of an epoch from any of them on, so that a run can be resumed within an epoch. For that it
remembers how the epoch began, and, of streams, the state that the last update left.
"""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar, cast

import numpy as np
import numpy.typing as npt

from .batching import bucket
from .clip import Clip
from .gradients import Gradient
from .history import Score
from .results import State

_Array = npt.NDArray[Any]
_Index = npt.NDArray[np.int64]
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

    def gradient_buffers(self) -> Mapping[str, Gradient]:
        """New gradients, all zero, under the names and in the order of `buffers`."""

    def measure(self, batch: _BatchIn) -> Score:
        """Loss and hits of a batch."""

    def learn(self, batch: _BatchIn, gradients: Mapping[str, Gradient], clip: Clip | None = None) -> Score:
        """The same, and the gradients of the batch's mean loss added to `gradients`, but for `norm` clipped."""


class Feed(ABC, Generic[_Batch]):
    """Base of all.

    Attributes:
        steps: time steps of an epoch, None where nobody knows.
        batches: how many there are in the epoch under way, None where nobody knows.
    """

    steps: int | None = None
    batches: int | None = None

    @abstractmethod
    def epoch(self, number: int, skip: int) -> Iterator[_Batch]:
        """The batches of an epoch, from 1, without the first ones."""

    def learn(
        self, learner: Learner[_Batch], batch: _Batch, gradients: Mapping[str, Gradient], clip: Clip | None
    ) -> Score:
        """Lets a learner learn from one of the batches."""
        return learner.learn(batch, gradients, clip)

    def after_update(self) -> None:
        """What was learned so far counts."""

    def after_epoch(self) -> None:
        """And the epoch is over."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What must be the same when a run is resumed, as JSON says it."""

    def state(self) -> tuple[Any, list[_Array]]:
        """What `restore` needs after the last update: as JSON, and arrays."""
        return None, []

    def restore(self, state: Any, arrays: Sequence[_Array]) -> None:
        """The inverse of `state`."""


class Buckets(Feed[_Batch]):
    """Sequences of similar length side by side, in another order in each epoch if `seed` says so.

    Args:
        data: the sequences.
        batch_size: sequences a batch.
        shuffle: mix them.
        seed: of the shuffling.
    """

    def __init__(self, data: Dataset[_Batch], batch_size: int, shuffle: bool, seed: int | None) -> None:
        self._data, self._batch_size, self._seed = data, batch_size, seed
        self._rng = np.random.default_rng(seed) if shuffle else None
        self.steps = int(data.lengths.sum())
        self.after_epoch()

    def epoch(self, number: int, skip: int) -> Iterator[_Batch]:
        """See `Feed.epoch`."""
        indices = self._indices()
        self.batches = len(indices)
        for index in indices[skip:]:
            yield self._data.batch(index)

    def _indices(self) -> list[_Index]:
        return bucket(self._data.lengths, self._batch_size, self._rng)

    def after_epoch(self) -> None:
        """See `Feed.after_epoch`."""
        self._began = None if self._rng is None else self._rng.bit_generator.state

    def describe(self) -> dict[str, Any]:
        """See `Feed.describe`."""
        lengths = np.ascontiguousarray(self._data.lengths, np.int64)
        return {
            "sequences": len(lengths),
            "time steps": self.steps,
            "checksum of lengths": zlib.crc32(lengths.tobytes()),
            "batch_size": self._batch_size,
            "shuffle": self._rng is not None,
            "seed": self._seed,
        }

    def state(self) -> tuple[Any, list[_Array]]:
        """See `Feed.state`."""
        return self._began, []

    def restore(self, state: Any, arrays: Sequence[_Array]) -> None:
        """See `Feed.restore`."""
        if self._rng is not None:
            self._rng.bit_generator.state = state
            self._began = state


class Streams(Protocol):
    """Sequences that can be had in windows of time."""

    @property
    def lengths(self) -> _Index:
        """(N,) steps of each sequence."""

    def window(self, index: _Index, begin: int, end: int) -> Any:
        """The batch of steps begin .. end-1 of the sequences in `index`, some of which may have ended."""


class StreamLearner(Protocol):
    """A learner that goes on from a state."""

    def learn_window(
        self, batch: Any, state: State, gradients: Mapping[str, Gradient], clip: Clip | None
    ) -> tuple[Score, State]:
        """`learn` from the state that a window left, None at the start; and the state that this one leaves."""


class Windows(Buckets[Any]):
    """Long sequences side by side in windows of `bptt` steps, each going on from the state that the last one left.

    Args:
        learner: whose `learn_window` learns.
        data, batch_size, shuffle, seed: as of `Buckets`.
        bptt: steps of a window.
    """

    def __init__(
        self,
        learner: StreamLearner,
        data: Streams,
        batch_size: int,
        shuffle: bool,
        seed: int | None,
        bptt: int,
    ) -> None:
        super().__init__(cast("Dataset[Any]", data), batch_size, shuffle, seed)
        self._learner, self._streams, self._bptt = learner, data, bptt
        self._now: State = None
        self._updated: State = None

    def epoch(self, number: int, skip: int) -> Iterator[tuple[int, Any]]:
        """Windows, each with its first step."""
        parts = [
            (index, begin)
            for index in self._indices()
            for begin in range(0, int(self._streams.lengths[index].max()), self._bptt)
        ]
        self.batches = len(parts)
        for index, begin in parts[skip:]:
            yield begin, self._streams.window(index, begin, begin + self._bptt)

    def learn(
        self, learner: Any, batch: tuple[int, Any], gradients: Mapping[str, Gradient], clip: Clip | None
    ) -> Score:
        """See `Feed.learn`."""
        begin, window = batch
        before = None if begin == 0 else self._now
        score, self._now = self._learner.learn_window(window, before, gradients, clip)
        return score

    def after_update(self) -> None:
        """See `Feed.after_update`."""
        self._updated = self._now

    def describe(self) -> dict[str, Any]:
        """See `Feed.describe`."""
        return {**super().describe(), "bptt": self._bptt}

    def state(self) -> tuple[Any, list[_Array]]:
        """See `Feed.state`."""
        arrays = self._updated if isinstance(self._updated, tuple) else (self._updated,)
        return super().state()[0], [] if self._updated is None else list(arrays)

    def restore(self, state: Any, arrays: Sequence[_Array]) -> None:
        """See `Feed.restore`."""
        super().restore(state, ())
        self._now = self._updated = tuple(arrays) if len(arrays) > 1 else arrays[0] if arrays else None


class Batches(Feed[_Batch]):
    """Batches that the user makes.

    Args:
        source: an iterable, or a function from the number of an epoch, from 1, to one.
        make: from one item of it, and what messages call that, to a batch.
    """

    def __init__(
        self,
        source: Iterable[Any] | Callable[[int], Iterable[Any]],
        make: Callable[[Any, str], _Batch],
    ) -> None:
        self._source, self._make = source, make

    def epoch(self, number: int, skip: int) -> Iterator[_Batch]:
        """See `Feed.epoch`."""
        items = self._source(number) if callable(self._source) else self._source
        for at, item in enumerate(islice(items, skip, None), skip + 1):
            yield self._make(item, f"batch {at} of epoch {number}")

    def describe(self) -> dict[str, Any]:
        """See `Feed.describe`."""
        return {"batches": f"of the caller's {type(self._source).__name__}"}
