# SPDX-License-Identifier: MIT
"""Linear readout z = h W^T + b: from hidden units to the pre-activations of a model's outputs.

    h (N,H)   W (K,H)   b (K,)   z (N,K)
    dh = dz W       dW += dz^T h       db += sum_n dz_n

The theory calls W here V. N is every valid step of a batch: the products are outside the time loop.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _check
from .embedding import EmbeddingTable
from .products import add_product, product


class Readout:
    """The weights (K,H) and bias (K,) of a readout.

    Args:
        hidden: H, the number of hidden units that are read (directions together).
        outputs: K.
        dtype: float32 or float64.
        rng: source of the initial U(-1/sqrt(H), 1/sqrt(H)), as torch.nn.Linear; drawn in double and rounded.

    Raises:
        ValueError: the sizes together cannot be addressed.
    """

    def __init__(self, hidden: int, outputs: int, dtype: np.dtype[Any], rng: np.random.Generator) -> None:
        _check.product(outputs=outputs, columns=hidden + 1)
        bound = 1.0 / math.sqrt(hidden)
        drawn = rng.uniform(-bound, bound, outputs * hidden + outputs)
        self.flat: npt.NDArray[Any] = drawn.astype(dtype, copy=False)
        self._shape = (outputs, hidden)

    @property
    def weight(self) -> npt.NDArray[Any]:
        """(K,H), a view of `flat`; never kept, so that it is one in copies of the readout, too."""
        return self.parameters()["weight"]

    @property
    def bias(self) -> npt.NDArray[Any]:
        """(K,), a view of `flat`."""
        return self.parameters()["bias"]

    def _views(self, flat: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
        outputs, hidden = self._shape
        return {"weight": flat[: outputs * hidden].reshape(self._shape), "bias": flat[outputs * hidden :]}

    def parameters(self) -> dict[str, npt.NDArray[Any]]:
        """{"weight": (K,H), "bias": (K,)}, writable views."""
        return self._views(self.flat)

    def forward(self, h: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """z (N,K) of h (N,H)."""
        z = product(h, self.weight.T)
        z += self.bias
        return z

    def backward(self, h: npt.NDArray[Any], dz: npt.NDArray[Any], flat: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """dh (N,H) from dz (N,K) and the h of forward; dW and db are added to `flat`, laid out like ours."""
        dweight, dbias = self._views(flat).values()
        add_product(dweight, dz, h)
        dbias += dz.sum(axis=0)
        return product(dz, self.weight)


class TiedReadout:
    """A readout that multiplies by the table (V,E) of an embedding: K = V, H = E. Only its bias (V,) is its own.

    Press and Wolf, Using the output embedding to improve language models (2017), arXiv:1608.05859.

    Args:
        table: of the embedding; its start values are made as large as those of a readout, N(0, 1/E).
        rng: source of the initial bias, U(-1/sqrt(E), 1/sqrt(E)); drawn in double and rounded.
    """

    def __init__(self, table: EmbeddingTable, rng: np.random.Generator) -> None:
        self._table = table
        outputs, hidden = table.weight.shape
        bound = 1.0 / math.sqrt(hidden)
        table.flat *= bound
        drawn = rng.uniform(-bound, bound, (outputs,))
        self.flat: npt.NDArray[Any] = drawn.astype(table.flat.dtype, copy=False)

    @property
    def weight(self) -> npt.NDArray[Any]:
        """(V,E), the table's."""
        return self._table.weight

    def parameters(self) -> dict[str, npt.NDArray[Any]]:
        """{"bias": (V,)}, a writable view."""
        return self._views(self.flat)

    def _views(self, flat: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
        return {"bias": flat}

    def forward(self, h: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """z (N,V) of h (N,E)."""
        z = product(h, self.weight.T)
        z += self.flat
        return z

    def backward(
        self,
        h: npt.NDArray[Any],
        dz: npt.NDArray[Any],
        flat: npt.NDArray[Any],
        table: npt.NDArray[Any],
    ) -> npt.NDArray[Any]:
        """dh (N,E) from dz (N,V) and the h of forward; db is added to `flat`, dW to `table`, laid out like its own."""
        add_product(table.reshape(self.weight.shape), dz, h)
        flat += dz.sum(axis=0)
        return product(dz, self.weight)
