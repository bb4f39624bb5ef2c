# SPDX-License-Identifier: MIT
"""From the context of an encoder to the initial state of a decoder.

copied    the final states of the encoder, layer by layer, where those of the decoder are as many and as wide
mapped    h_0 = tanh(W_h c + b_h), and of an LSTM c_0 = W_c c + b_c, for each layer of the decoder
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..gradients import Gradient
from ..readout import Readout
from ..recurrent import Recurrent
from ..results import State
from .part import Part

_Array = npt.NDArray[Any]


class Bridge:
    """The map from c to the states of all layers of a decoder.

    Args:
        size: C.
        decoder: the layers whose states begin so.
        only_h: leave c of an LSTM at zero.
        rng: source of initial weights.
    """

    def __init__(self, size: int, decoder: Recurrent, only_h: bool, rng: np.random.Generator) -> None:
        self._states = decoder._STATES
        self._layers = decoder.num_layers
        self._widths = decoder._state_widths[: 1 if only_h else None]
        self._zeros = decoder._state_widths[len(self._widths) :]
        self._map = Readout(size, self._layers * sum(self._widths), decoder.dtype, rng)

    def parts(self) -> dict[str, Part]:
        """The part with its parameters: rows of h of each layer, then those of c."""
        return {"bridge": self._map}

    def forward(self, c: _Array) -> State:
        """(B,C) -> the state, of arrays (L,B,H)."""
        z = self._map.forward(c)
        z[:, : self._layers * self._widths[0]] = np.tanh(z[:, : self._layers * self._widths[0]])
        arrays, at = [], 0
        for n in self._widths:
            part = z[:, at : at + self._layers * n]
            arrays.append(np.ascontiguousarray(part.reshape(len(c), self._layers, n).transpose(1, 0, 2)))
            at += self._layers * n
        arrays += [np.zeros((self._layers, len(c), n), z.dtype) for n in self._zeros]
        return tuple(arrays) if len(self._states) > 1 else arrays[0]

    def backward(self, c: _Array, state: State, dstate: State, gradients: Mapping[str, Gradient]) -> _Array:
        """dc, from the state that forward gave and its gradient."""
        states, dstates = (s if isinstance(s, tuple) else (s,) for s in (state, dstate))
        dh = dstates[0] * (1 - states[0] * states[0])
        columns = [d.transpose(1, 0, 2).reshape(len(c), -1) for d in (dh, *dstates[1 : len(self._widths)])]
        return self._map.backward(c, np.concatenate(columns, axis=1), gradients["bridge"].flat)


def copies(encoder: Recurrent, decoder: Recurrent) -> bool:
    """Whether the final states of the encoder can be the initial ones of the decoder."""
    return (
        set(encoder.directions) == {"forward"}
        and encoder.num_layers == decoder.num_layers
        and encoder._STATES == decoder._STATES
        and encoder._state_widths == decoder._state_widths
    )
