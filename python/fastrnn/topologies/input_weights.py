# SPDX-License-Identifier: MIT
"""Weights W_c of an input c that is the same at all steps: W_c c is computed once for each sequence, and enters the
first layer as its constant input.

    W (G*H,C)   c (B,C)   constant (B,G*H) = c W^T        dW += dconstant^T c        dc = dconstant W

[W_ih | W] would be the weights of a layer that reads [x_t ; c] at every step. Its biases are those of the layer.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _check
from ..products import add_product, product
from ..recurrent import Recurrent

_Array = npt.NDArray[Any]


class InputWeights:
    """The weights of one constant input.

    Args:
        rnn: the layer that it enters.
        size: C.
        rng: source of the initial U(-1/sqrt(H), 1/sqrt(H)), as those of the layer; drawn in double and rounded.
    """

    def __init__(self, rnn: Recurrent, size: int, rng: np.random.Generator) -> None:
        rows = rnn._gates * rnn.hidden_size
        count = _check.product(rows=rows, columns=size)
        bound = rnn.hidden_size**-0.5
        self.flat: _Array = rng.uniform(-bound, bound, count).astype(rnn.dtype, copy=False)
        self._shape = (rows, size)

    def parameters(self) -> dict[str, _Array]:
        """{"weight": (G*H,C)}, a writable view."""
        return self._views(self.flat)

    def _views(self, flat: _Array) -> dict[str, _Array]:
        return {"weight": flat.reshape(self._shape)}

    def forward(self, c: _Array) -> _Array:
        """(B,C) -> the constant input (B,G*H)."""
        return product(c, self.flat.reshape(self._shape).T)

    def backward(self, c: _Array, dconstant: _Array, flat: _Array) -> _Array:
        """dc (B,C); dW is added to `flat`, laid out like ours."""
        add_product(flat.reshape(self._shape), dconstant, c)
        return product(dconstant, self.flat.reshape(self._shape))
