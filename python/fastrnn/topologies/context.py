# SPDX-License-Identifier: MIT
"""The context c of a sequence h_1 .. h_N that an encoder has read: what a decoder is told of it.

last         c = h_N; of both directions [h_N forward ; h_1 reverse]
transform    c = tanh(W h_N + b)
first_last   c = tanh(W [h_1 ; h_N] + b), h_t of both directions where there are two
sequence     c = sum_t a_t h_t, a = softmax_t(v . tanh(W h_t + b))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..batching import Batch
from ..gradients import Gradient
from ..readout import Readout
from ..recurrent import Recurrent
from .part import Part
from .pooling import LearnedPool, Pool

_Array = npt.NDArray[Any]
_Back = Callable[[_Array, Mapping[str, Gradient]], tuple["_Array | None", "_Array | None"]]

CONTEXTS = ("last", "transform", "first_last", "sequence")


class Context:
    """One of `CONTEXTS`.

    Attributes:
        size: C, as wide as the outputs of the encoder.

    Args:
        form: which.
        encoder: the layers that read.
        rng: source of initial weights.
    """

    def __init__(self, form: str, encoder: Recurrent, rng: np.random.Generator) -> None:
        self._form = form
        self.size = encoder.output_size
        self._pool = LearnedPool(self.size, encoder.dtype, rng) if form == "sequence" else Pool("last")
        seen = {"transform": 1, "first_last": 2}.get(form, 0) * self.size
        self._map = Readout(seen, self.size, encoder.dtype, rng) if seen else None

    def parts(self) -> dict[str, Part]:
        """The part with its parameters: "pool" of a sequence, "context" of maps, none of "last"."""
        if isinstance(self._pool, LearnedPool):
            return {"pool": self._pool}
        return {} if self._map is None else {"context": self._map}

    def forward(self, h: _Array, final: _Array, batch: Batch) -> tuple[_Array, _Back]:
        """c (B,C), and its backward pass: of dc the gradients of h and of final, None for zeros; see `Pool.forward`."""
        if self._form == "first_last":
            return self._of_ends(h, batch)
        c, back = self._pool.forward(h, final, batch)
        return (c, back) if self._map is None else self._mapped(c, back)

    def _mapped(self, seen: _Array, back: _Back) -> tuple[_Array, _Back]:
        assert self._map is not None  # of this form
        readout = self._map
        c = np.tanh(readout.forward(seen))

        def through(dc: _Array, gradients: Mapping[str, Gradient]) -> tuple[_Array | None, _Array | None]:
            dz = dc * (1 - c * c)
            return back(readout.backward(seen, dz, gradients["context"].flat), gradients)

        return c, through

    def _of_ends(self, h: _Array, batch: Batch) -> tuple[_Array, _Back]:
        T, B, n = h.shape
        ends = np.full(B, T - 1) if batch.lengths is None else batch.lengths - 1
        columns = np.arange(B)

        def back(dseen: _Array, gradients: Mapping[str, Gradient]) -> tuple[_Array | None, _Array | None]:
            dh = np.zeros_like(h)
            dh[0] = dseen[:, :n]
            dh[ends, columns] += dseen[:, n:]
            return dh, None

        return self._mapped(np.concatenate((h[0], h[ends, columns]), axis=1), back)
