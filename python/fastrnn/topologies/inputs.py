# SPDX-License-Identifier: MIT
"""What a network reads at each step: features as they are, or token ids through an embedding table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _check
from ..batching import Batch, Sequences, sequences
from ..embedding import Embedding, EmbeddingTable
from ..gradients import Gradient, RowGradient

_Array = npt.NDArray[Any]


class Inputs:
    """The first layer of a network.

    Attributes:
        size: I, numbers a step that the recurrent layer reads.
        table: the embedding's weights, None for features.

    Args:
        inputs: feature size I, or an `Embedding`.
        dtype: float32 or float64.
        rng: source of the embedding's initial weights.
    """

    def __init__(self, inputs: int | Embedding, dtype: np.dtype[Any], rng: np.random.Generator) -> None:
        self._dtype = dtype
        self._embedding = inputs if isinstance(inputs, Embedding) else None
        self.size = inputs.size if isinstance(inputs, Embedding) else inputs
        self.table = None if self._embedding is None else EmbeddingTable(self._embedding, dtype, rng)

    def sequences(self, data: object, lengths: object) -> Sequences:
        """The user's x, checked: ids (T_n,) within the vocabulary, or finite features (T_n, I)."""
        if self._embedding is None:
            x = sequences("x", data, (self.size,), self._dtype, lengths)
            _check.features("x", x)
        else:
            x = sequences("x", data, (), np.int64, lengths)
            _check.token_ids("x", x, self._embedding.vocabulary)
        return x

    def parts(self) -> dict[str, EmbeddingTable]:
        """The part with this layer's parameters, by name; none for features."""
        return {} if self.table is None else {"embedding": self.table}

    def forward(self, x: _Array) -> _Array:
        """(T,B) ids or (T,B,I) features -> (T,B,I)."""
        return x if self.table is None else self.table.forward(x)

    def backward(self, batch: Batch, dx: _Array | None, gradients: Mapping[str, Gradient]) -> None:
        """Adds the gradient of the table, if there is one; dx (T,B,I) may be None if there is none."""
        if self.table is not None and dx is not None:
            gradient = gradients["embedding"]
            assert isinstance(gradient, RowGradient)
            gradient.add(batch.pick(batch.x), batch.pick(dx))
