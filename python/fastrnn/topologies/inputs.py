# SPDX-License-Identifier: MIT
"""What a network reads at each step: features as they are, token ids through an embedding table, or both together.

features   x_t (F,)                 I = F
ids        W[id_t] (E,)             I = E
both       [W[id_t] ; x_t]          I = E + F
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _check
from ..batching import Batch, Rows, Sequences, pair, sequences
from ..embedding import Embedding, EmbeddingTable
from ..gradients import Gradient, TableGradient
from ..recurrent import Recurrent
from ..results import State

_Array = npt.NDArray[Any]


class Inputs:
    """The first layer of a network.

    Attributes:
        embedding: V and E of the table, None for features alone.
        features: F, how many features a step has; 0 for ids alone.
        size: I, numbers a step that the recurrent layer reads.
        table: the embedding's weights, None for features alone.

    Args:
        inputs: number of features F, an `Embedding`, or the pair of both: (Embedding, F).
        dtype: float32 or float64.
        rng: source of the embedding's initial weights.
    """

    def __init__(
        self, inputs: int | Embedding | tuple[Embedding, int], dtype: np.dtype[Any], rng: np.random.Generator
    ) -> None:
        self._dtype = dtype
        self.embedding, self.features = split(inputs)
        self.size = self.features + (0 if self.embedding is None else self.embedding.size)
        self.table = None if self.embedding is None else EmbeddingTable(self.embedding, dtype, rng)

    def sequences(self, data: object, lengths: object) -> Sequences:
        """The user's x, checked: ids (T_n,) within the vocabulary, finite features (T_n, F), or the pair of both."""
        if self.embedding is None:
            return self._features("x", data, lengths)
        if not self.features:
            return self._ids("x", data, lengths)
        ids, features = _check.ids_and_features("x", data)
        return pair(self._ids("ids of x", ids, lengths), self._features("features of x", features, lengths))

    def _ids(self, name: str, data: object, lengths: object) -> Sequences:
        assert self.embedding is not None
        x = sequences(name, data, (), np.int64, lengths)
        _check.token_ids(name, x, self.embedding.vocabulary)
        return x

    def _features(self, name: str, data: object, lengths: object) -> Sequences:
        x = sequences(name, data, (self.features,), self._dtype, lengths)
        _check.features(name, x)
        return x

    def parts(self) -> dict[str, EmbeddingTable]:
        """The part with this layer's parameters, by name; none for features."""
        return {} if self.table is None else {"embedding": self.table}

    def forward(self, x: Rows) -> _Array:
        """(T,B) ids, (T,B,F) features, or the pair of both -> (T,B,I)."""
        if self.table is None:
            return np.asarray(x)
        if not self.features:
            return self.table.forward(x)
        ids, features = x
        return np.concatenate((self.table.forward(ids), features), axis=-1)

    def read(self, rnn: Recurrent, batch: Batch) -> tuple[_Array, State]:
        """h (T,B,P) and the final state of layers that read a batch, in inference.

        Where there are more ids than rows of the table, the layers multiply each row once; bits are the same.
        """
        if (
            self.table is None
            or self.features
            or batch.x.size <= len(self.table.weight)
            or not rnn._net.begins
        ):
            return rnn(self.forward(batch.x), lengths=batch.lengths)
        return rnn._of_ids(batch.x, self.table.weight, batch.lengths)

    def backward(self, batch: Batch, dx: _Array | None, gradients: Mapping[str, Gradient]) -> None:
        """Adds the gradient of the table, if there is one; dx (T,B,I) may be None if there is none."""
        if self.embedding is None or dx is None:
            return
        gradient = gradients["embedding"]
        assert isinstance(gradient, TableGradient)
        ids = batch.x[0] if self.features else batch.x
        dout = batch.pick(dx)
        gradient.add(batch.pick(ids), np.ascontiguousarray(dout[:, : self.embedding.size]))


def split(inputs: int | Embedding | tuple[Embedding, int]) -> tuple[Embedding | None, int]:
    """The embedding, if any, and the number of features, 0 if there are none."""
    if isinstance(inputs, Embedding):
        return inputs, 0
    return (inputs[0], inputs[1]) if isinstance(inputs, (tuple, list)) else (None, inputs)
