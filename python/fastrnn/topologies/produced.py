# SPDX-License-Identifier: MIT
"""Sequences that a model produces: their end, and batches of them with what they are produced from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .. import _check
from ..batching import Batch, SequencePairs, Sequences, sequences
from ..losses import Output
from .inputs import Inputs

_Array = npt.NDArray[Any]
_Index = npt.NDArray[np.int64]


def produced(
    y: Any, lengths: Any, output: Output, outputs: int, end: int | None, dtype: np.dtype[Any]
) -> Sequences:
    """The user's y, checked: class ids (T_n,), to which the end is appended, or numbers (T_n, K)."""
    item, kind = ((), np.int64) if output.by_class else ((outputs,), dtype)
    given = sequences("y", y, item, kind, lengths)
    if end is None:
        _check.some_steps("y", given)
    else:
        _check.no_end("y", given, end)
        _check.no_padding("y", given, output.ignored)
        given = with_end(given, end)
    if len(given):
        _check.targets("y", given, output, outputs)  # of the ends, too, which count
    return given


def with_end(y: Sequences, end: int) -> Sequences:
    """Each sequence and the end behind it."""
    lengths = y.lengths + 1
    starts = np.cumsum(lengths) - lengths
    values = np.full(int(lengths.sum()), end, np.int64)
    own = np.ones(len(values), np.bool_)
    own[starts + y.lengths] = False
    inside = y.inside()
    values[own] = y.values if inside is None else y.values[inside]
    return Sequences(values, starts, lengths)


def seeds_as_sequences(seed: Any, inputs: Inputs) -> Any:
    """Seeds, (N,) ids, (N,F) features, or the pair of both, as N sequences of one step."""
    if inputs.embedding is None:
        return _check.seeds("x", seed, (inputs.features,))[:, None]
    if not inputs.features:
        return _check.seeds("x", seed, ())[:, None]
    ids, features = _check.ids_and_features("x", seed)
    items = (("ids of x", ids, ()), ("features of x", features, (inputs.features,)))
    return tuple(_check.seeds(*item)[:, None] for item in items)


class Production(NamedTuple):
    """What some sequences are produced from, and they themselves.

    Attributes:
        x: the batch of seeds, as sequences of one step, or of sequences to read.
        y: the batch to produce, in `y.x`.
    """

    x: Batch
    y: Batch


@dataclass(frozen=True)
class SeededSequences:
    """Sequences y, each produced from a seed."""

    seeds: Sequences
    y: Sequences

    @property
    def lengths(self) -> _Index:
        """(N,) steps of each y."""
        return self.y.lengths

    def batch(self, index: _Index) -> Production:
        """The batch of the sequences in `index`."""
        return Production(SequencePairs(self.seeds).batch(index), SequencePairs(self.y).batch(index))


@dataclass(frozen=True)
class Translations:
    """Sequences y, each produced from a sequence x; no x is empty."""

    x: Sequences
    y: Sequences

    @property
    def lengths(self) -> _Index:
        """(N,) steps of each pair, 0 where there is none to produce."""
        return np.where(self.y.lengths > 0, self.x.lengths + self.y.lengths, 0)

    def batch(self, index: _Index) -> Production:
        """The batch of the pairs in `index`."""
        return Production(SequencePairs(self.x).batch(index), SequencePairs(self.y).batch(index))
