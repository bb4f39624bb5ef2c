# SPDX-License-Identifier: MIT
"""From sequences of differing length to padded time-major batches, and back.

Sequences stand end to end in one array (`Sequences`), so that a batch is one gather without a Python loop
over its sequences. A memory-mapped array stays where it is: batches are gathered from the file, and converted. Batches
hold sequences of similar length (`bucket`), so that little is padded. Padding
repeats the last row of a sequence, which is always a valid token, and nothing reads it. Empty sequences are
in no batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import _check

_Array = npt.NDArray[Any]
_Index = npt.NDArray[np.int64]
Rows = Any  # what a network reads: an array of ids or of features, or a pair of them


@dataclass(frozen=True)
class Sequences:
    """N sequences in one array.

    Attributes:
        values: (R, ...) rows of all sequences; sequence n is values[starts[n] : starts[n] + lengths[n]].
        starts: (N,)
        lengths: (N,), zeros allowed.
        padded: T if they came as one padded array (N,T,...), of which `values` has all rows; None for a list.
        dtype: of what is taken, where `values` are memory-mapped in another one; None where they have it.
        beside: what stands beside each row, such as features beside ids; None if nothing does.
    """

    values: _Array
    starts: _Index
    lengths: _Index
    padded: int | None = None
    dtype: np.dtype[Any] | None = None
    beside: Sequences | None = None

    def __len__(self) -> int:
        return len(self.lengths)

    def take(self, rows: _Index) -> Rows:
        """These rows, in an array of any shape, and what is beside them where there is such: a pair."""
        values = self._converted(self.values.take(rows, axis=0))
        return values if self.beside is None else (values, self.beside.take(rows))

    def piece(self, begin: int, end: int) -> _Array:
        """The rows begin .. end-1 of `values` as `take` gives them."""
        return self._converted(self.values[begin:end])

    def _converted(self, values: _Array) -> _Array:
        if self.dtype is None:
            return values
        with _narrowing(self.dtype):
            return values.astype(self.dtype)

    def locate(self, row: int) -> tuple[int, int]:
        """(n, t) of a row of `values`."""
        n = int(np.searchsorted(self.starts, row, side="right")) - 1
        return n, row - int(self.starts[n])

    def inside(self) -> npt.NDArray[np.bool_] | None:
        """(R,) bool: rows of `values` that belong to a sequence and are not padding; None where all do."""
        if self.padded is None or bool((self.lengths == self.padded).all()):
            return None
        return (np.arange(self.padded) < self.lengths[:, None]).reshape(-1)

    def restore(self, rows: _Array) -> _Array | list[_Array]:
        """Results, one row for each row of `values`, in the form in which the sequences came."""
        if self.padded is not None:
            return rows.reshape(len(self), self.padded, *rows.shape[1:])
        return np.split(rows, self.starts[1:]) if len(self) else []


def sequences(
    name: str, data: Any, item: tuple[int, ...], dtype: npt.DTypeLike, lengths: object = None
) -> Sequences:
    """Takes a user's sequences.

    Args:
        name: what messages call `data`.
        data: list of N arrays (T_n, *item), or one padded array (N, T, *item).
        item: shape of one row: () for ids, (I,) for features.
        dtype: int64 takes integers of any width; float32 and float64 take bool, integers and floats.
        lengths: (N,) ints in 0 .. T for a padded array; None takes every sequence to be T long.

    Raises:
        TypeError: `data` is no such thing, or of another dtype.
        ValueError: a shape or a length does not fit.
    """
    kind = np.dtype(dtype)
    if _check.is_sequence_list(name, data):
        return _from_list(_check.sequence_list(name, data, item, kind, lengths), item, kind)
    array, counts = _check.padded_array(name, data, item, kind, lengths)
    n, steps = array.shape[:2]
    starts = np.arange(n, dtype=np.int64) * steps
    if _mapped(array):
        kept = array.reshape(n * steps, *item)  # copied only where it is a view with gaps
        return Sequences(kept, starts, counts, steps, None if kept.dtype == kind else kind)
    with _narrowing(kind):
        values = np.ascontiguousarray(array, kind).reshape(n * steps, *item)
    return Sequences(values, starts, counts, steps)


def _narrowing(wanted: np.dtype[Any]) -> AbstractContextManager[object]:
    """A double beyond float32 becomes inf without a warning: the check of values reports it."""
    return np.errstate(over="ignore") if wanted.kind == "f" else nullcontext()


def _mapped(array: _Array) -> bool:
    """Whether the memory of an array is a file."""
    owner: Any = array
    while isinstance(owner, np.ndarray):
        if isinstance(owner, np.memmap):
            return True
        owner = owner.base
    return False


def pair(ids: Sequences, features: Sequences) -> Sequences:
    """Ids with features beside them, step for step; checked to be of the same lengths and form."""
    _check.same_form(ids, features)
    return replace(ids, beside=features)


def _from_list(arrays: Sequence[_Array], item: tuple[int, ...], dtype: np.dtype[Any]) -> Sequences:
    lengths = np.fromiter((len(array) for array in arrays), np.int64, len(arrays))
    starts = np.zeros(len(arrays), np.int64)
    np.cumsum(lengths[:-1], out=starts[1:])
    if not arrays:
        return Sequences(np.empty((0, *item), dtype), starts, lengths)
    with _narrowing(dtype):
        values = np.concatenate(arrays, dtype=dtype, casting="same_kind")
    return Sequences(values, starts, lengths)


def bucket(lengths: _Index, batch_size: int, rng: np.random.Generator | None = None) -> list[_Index]:
    """Indices of the sequences of each batch: at most `batch_size`, of similar length, none of length 0.

    Without `rng` batches go from short to long and equal lengths keep their order. With it, sequences of
    equal length are mixed and the order of the batches is random; equal seeds give equal batches.
    """
    index = np.flatnonzero(lengths)
    if rng is not None:
        index = rng.permutation(index)
    index = index[np.argsort(lengths[index], kind="stable")]
    batches = [index[start : start + batch_size] for start in range(0, len(index), batch_size)]
    if rng is not None:
        batches = [batches[i] for i in rng.permutation(len(batches))]
    return batches


class Batch(NamedTuple):
    """B sequences side by side, time-major, with the targets of their valid steps.

    Attributes:
        x: (T,B) ids or (T,B,I) features, or the pair of both.
        lengths: (B,), None where all are T.
        rows: (M,) which of the T*B steps are no padding, in order of t, then b; None where all are.
        targets: (M,) or (M,K), one for each valid step, or (B,) or (B,K), one for each sequence; None for prediction.
        where: (M,) which rows of the results the valid steps are, or (B,) which the sequences are.
    """

    x: Rows
    lengths: _Index | None
    rows: _Index | None
    targets: _Array | None
    where: _Index

    @property
    def steps(self) -> int:
        """M, how many steps are no padding."""
        return self.shape[0] * self.shape[1] if self.rows is None else len(self.rows)

    @property
    def shape(self) -> tuple[int, int]:
        """(T,B)."""
        first = self.x[0] if isinstance(self.x, tuple) else self.x
        return first.shape[0], first.shape[1]

    def pick(self, values: _Array) -> _Array:
        """(T,B,...) -> (M,...): the valid steps; a view where all are."""
        flat = values.reshape(-1, *values.shape[2:])
        return flat if self.rows is None else flat.take(self.rows, axis=0)

    def put(self, values: _Array, shape: tuple[int, ...]) -> _Array:
        """The inverse of `pick`: (M,...) -> `shape` (T,B,...), 0 elsewhere; a view where all are valid."""
        if self.rows is None:
            return values.reshape(shape)
        flat = np.zeros((shape[0] * shape[1], *shape[2:]), values.dtype)
        flat[self.rows] = values
        return flat.reshape(shape)


@dataclass(frozen=True)
class SequencePairs:
    """Sequences with a target at every step (y None: sequences alone). y.lengths equals x.lengths."""

    x: Sequences
    y: Sequences | None = None

    @property
    def lengths(self) -> _Index:
        """(N,) steps of each sequence."""
        return self.x.lengths

    @property
    def rows(self) -> int:
        """How many rows the results have, padding and all: `Batch.where` counts among them."""
        return len(self.x.values)

    def restore(self, rows: _Array) -> _Array | list[_Array]:
        """Results in the form in which x came."""
        return self.x.restore(rows)

    def batch(self, index: _Index) -> Batch:
        """The batch of the sequences in `index`, none of which is empty."""
        return self.window(index)

    def window(self, index: _Index, begin: int = 0, end: int | None = None) -> Batch:
        """The batch of their steps begin .. end-1, fewer where all have ended before; some may have."""
        clamped, rows, lengths = _padding(self.x.lengths[index], begin, end)
        take = self.x.starts[index] + clamped
        targets = None
        if self.y is not None:
            targets = self.y.take(_select(self.y.starts[index] + clamped, rows))
        return Batch(self.x.take(take), lengths, rows, targets, _select(take, rows))


@dataclass(frozen=True)
class LabelledSequences:
    """Sequences, none of them empty, with one target each: y (N,) or (N,K); None: sequences alone."""

    x: Sequences
    y: _Array | None = None

    @property
    def lengths(self) -> _Index:
        """(N,) steps of each sequence."""
        return self.x.lengths

    @property
    def rows(self) -> int:
        """How many rows the results have: `Batch.where` counts among them."""
        return len(self.x)

    def restore(self, rows: _Array) -> _Array:
        """Results, one row a sequence, as they are."""
        return rows

    def batch(self, index: _Index) -> Batch:
        """The batch of the sequences in `index`."""
        clamped, rows, lengths = _padding(self.x.lengths[index])
        targets = None if self.y is None else self.y[index]
        return Batch(self.x.take(self.x.starts[index] + clamped), lengths, rows, targets, index)


def _padding(
    lengths: _Index, begin: int = 0, end: int | None = None
) -> tuple[_Index, _Index | None, _Index | None]:
    """Of steps begin .. end-1, or all: (T,B) which step of its sequence stands where, or (T,1) where none is padding;
    which of them are none of padding, and lengths, if any is."""
    longest = int(lengths.max())
    stop = longest if end is None else min(end, longest)
    steps = np.arange(begin, stop)[:, None]
    if int(lengths.min()) >= stop:
        return steps, None, None
    inside = steps < lengths
    clamped = np.minimum(steps, lengths - 1)
    return clamped, np.flatnonzero(inside), np.clip(lengths - begin, 0, len(steps))


def _select(take: _Index, rows: _Index | None) -> _Index:
    return take.reshape(-1) if rows is None else take.reshape(-1)[rows]
