# SPDX-License-Identifier: MIT
"""Gradient buffers of a model's parts: added to by backward passes, read by the optimizer, then cleared.

One flat buffer a part, laid out like the part's parameters. The norm over all of them, for clipping, takes no
pass over the recurrent weights (the BPTT kernels gather it) nor over a table (only rows that occur are
summed).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _core


class Gradient:
    """The gradient of one part.

    Attributes:
        flat: (P,) like the part's parameters; zero when fresh or cleared.
        gathered: sum of squares of `flat`, set by whoever summed it while storing; None lets `square_sum` do
            it.
    """

    def __init__(self, parameters: npt.NDArray[Any]) -> None:
        self.flat: npt.NDArray[Any] = np.zeros(parameters.shape, parameters.dtype)
        self.gathered: float | None = None

    def square_sum(self) -> float:
        """Sum of squares of all entries, in double."""
        return _core.square_sum(self.flat) if self.gathered is None else self.gathered

    def accumulate(self, other: Gradient, weight: float) -> None:
        """Adds `weight` times another gradient of the same part."""
        self.flat += weight * other.flat

    def clamp(self, limit: float) -> None:
        """Every entry into [-limit, limit], where the kernels have not done it already."""
        if self.gathered is None:
            np.clip(self.flat, -limit, limit, out=self.flat)

    def clear(self) -> None:
        """Back to zero."""
        self.flat.fill(0)
        self.gathered = None


class TableGradient(Gradient):
    """The gradient of a table (V,E) that is also written to as a whole, being the weight of a readout, too.

    Args:
        weight: the table, C-contiguous.
    """

    def __init__(self, weight: npt.NDArray[Any]) -> None:
        super().__init__(weight.reshape(-1))
        self._table = self.flat.reshape(weight.shape)

    def add(self, ids: npt.NDArray[np.int64], dout: npt.NDArray[Any]) -> None:
        """table[ids[n]] += dout[n] in the order of n; ids (N,) and dout (N,E), both C-contiguous."""
        _core.embedding_scatter_add(self._table, ids, dout)


class RowGradient(TableGradient):
    """The gradient of a table (V,E) of which a batch touches few rows; the rest is known to be zero."""

    def __init__(self, weight: npt.NDArray[Any]) -> None:
        super().__init__(weight)
        self._touched = np.zeros(weight.shape[0], np.bool_)

    def add(self, ids: npt.NDArray[np.int64], dout: npt.NDArray[Any]) -> None:
        """As `TableGradient.add`; remembers the rows."""
        self._touched[ids] = True
        super().add(ids, dout)

    def square_sum(self) -> float:
        """Sum of squares of the rows that were touched, in double."""
        return _core.square_sum(self._table[self._rows()].reshape(-1))

    def accumulate(self, other: Gradient, weight: float) -> None:
        """See `Gradient.accumulate`; the rows that the other touched are touched here, too."""
        assert isinstance(other, RowGradient)
        rows = other._rows()
        self._table[rows] += weight * other._table[rows]
        self._touched[rows] = True

    def clamp(self, limit: float) -> None:
        """Every entry of the rows that were touched into [-limit, limit]."""
        rows = self._rows()
        self._table[rows] = np.clip(self._table[rows], -limit, limit)

    def clear(self) -> None:
        """Back to zero, by the rows that were touched."""
        rows = self._rows()
        self._table[rows] = 0
        self._touched[rows] = False

    def _rows(self) -> npt.NDArray[np.intp]:
        return np.flatnonzero(self._touched)


def norm(gradients: Iterable[Gradient]) -> float:
    """L2 norm over all entries of all gradients."""
    return math.sqrt(sum(gradient.square_sum() for gradient in gradients))
