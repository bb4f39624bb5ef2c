# SPDX-License-Identifier: MIT
"""Token embedding x_n = W[id_n], with W (V,E): row v is the vector of token v.

`Embedding` says that a model reads token ids, and how large its table is; the model owns the table
(`EmbeddingTable`), in its own dtype and from its own seed. The gradient of a table is zero but for the rows
of
tokens that occur: those alone are written, summed and cleared (`RowGradient` in gradients.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _check, _core


@dataclass(frozen=True)
class Embedding:
    """Input of a model by token ids from 0 to vocabulary-1, each looked up as `size` learned numbers.

    The table starts from N(0, 1), as torch.nn.Embedding. It is the model's parameter "embedding.weight"
    (vocabulary, size), where pretrained vectors can be written:
    ``model.parameters()["embedding.weight"][:] = vectors``.

    Args:
        vocabulary: number of distinct tokens V.
        size: length E of the vector of a token.

    Raises:
        TypeError: a size is no int.
        ValueError: a size is below 1, or the table would exceed the address space.

    >>> Embedding(1000, 64)
    Embedding(vocabulary=1000, size=64)
    """

    vocabulary: int
    size: int

    def __post_init__(self) -> None:
        vocabulary, size = _check.size("vocabulary", self.vocabulary), _check.size("size", self.size)
        _check.product(vocabulary=vocabulary, size=size)


class EmbeddingTable:
    """The weights (V,E) of one embedding.

    Args:
        embedding: V and E.
        dtype: float32 or float64.
        rng: source of the initial N(0, 1); drawn in double and rounded, so that both dtypes start alike.
    """

    def __init__(self, embedding: Embedding, dtype: np.dtype[Any], rng: np.random.Generator) -> None:
        self._shape = (embedding.vocabulary, embedding.size)
        drawn = rng.standard_normal(embedding.vocabulary * embedding.size)
        self.flat: npt.NDArray[Any] = drawn.astype(dtype, copy=False)

    @property
    def weight(self) -> npt.NDArray[Any]:
        """(V,E), a view of `flat`; never kept, so that it is one in copies of the table, too."""
        return self.flat.reshape(self._shape)

    def parameters(self) -> dict[str, npt.NDArray[Any]]:
        """{"weight": (V,E)}, a writable view."""
        return self._views(self.flat)

    def _views(self, flat: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
        return {"weight": flat.reshape(self._shape)}

    def forward(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Rows of the table: ids of any shape, contiguous, from 0 to V-1 (not checked) -> (*ids.shape, E)."""
        out = np.empty((ids.size, self._shape[1]), self.flat.dtype)
        _core.embedding_gather(self.weight, ids.reshape(-1), out)
        return out.reshape(*ids.shape, self._shape[1])
