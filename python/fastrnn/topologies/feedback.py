# SPDX-License-Identifier: MIT
"""What a network that produces a sequence reads of it: y_{t-1} at step t.

    tokens    x_t = E[y_{t-1}], y_0 the start, which has the last row of the table E (K+1, size)
    numbers   x_t = y_{t-1}, y_0 = 0
    none      x_t has no numbers

While the network learns, y_{t-1} is the true one (teacher forcing). Of a label that is no token, because its step is
ignored in the loss (see losses.py), the next step reads the start.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..batching import Batch
from ..embedding import Embedding, EmbeddingTable
from ..gradients import Gradient, TableGradient

_Array = npt.NDArray[Any]


class Feedback:
    """The way from one output to the next step.

    Attributes:
        size: numbers of x_t.
        table: E, None for numbers or nothing.

    Args:
        wanted: whether there is one.
        by_class: whether outputs are tokens.
        outputs: K.
        size: of the vector of a token.
        dtype: float32 or float64.
        rng: source of the table's initial weights.
    """

    def __init__(
        self,
        wanted: bool,
        by_class: bool,
        outputs: int,
        size: int,
        dtype: np.dtype[Any],
        rng: np.random.Generator,
    ) -> None:
        self.wanted = wanted
        self.start = outputs
        self.table = EmbeddingTable(Embedding(outputs + 1, size), dtype, rng) if wanted and by_class else None
        self.size = size if self.table is not None else outputs if wanted else 0
        self._dtype = dtype

    def parts(self) -> dict[str, EmbeddingTable]:
        """The part with its parameters, by name; none without a table."""
        return {} if self.table is None else {"feedback": self.table}

    def previous(self, y: _Array) -> _Array:
        """y (T,B,...) one step later, behind the start."""
        before = np.empty_like(y)
        before[:1] = 0 if self.table is None else self.start
        before[1:] = y[:-1]
        if self.table is not None:
            before[(before < 0) | (before > self.start)] = self.start
        return before

    def forward(self, y: _Array) -> _Array:
        """(T,B) tokens or (T,B,K) numbers -> x (T,B,size)."""
        if not self.wanted:
            return np.empty((*y.shape[:2], 0), self._dtype)
        before = self.previous(y)
        return before if self.table is None else self.table.forward(before)

    def backward(
        self,
        batch: Batch,
        dx: _Array | None,
        gradients: Mapping[str, Gradient],
        read: npt.NDArray[np.int64] | None = None,
    ) -> None:
        """Adds the gradient of the table, if there is one.

        read: (T,B) the tokens that were read, where they are not the true ones.
        """
        if self.table is None or dx is None:
            return
        gradient = gradients["feedback"]
        assert isinstance(gradient, TableGradient)
        ids = self.previous(batch.x) if read is None else read
        gradient.add(batch.pick(ids), np.ascontiguousarray(batch.pick(dx)))
