# SPDX-License-Identifier: MIT
"""The recurrent layers that produce a sequence, and what enters them: outputs that are fed back, a constant input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .. import _check
from ..batching import Batch
from ..clip import Clip
from ..gradients import Gradient
from ..recurrent import Recurrent
from ..results import State, Tape
from .feedback import Feedback
from .input_weights import InputWeights
from .part import Part, recurrent

_Array = npt.NDArray[Any]


class Constant(NamedTuple):
    """A constant input: its part is called `name`, and c of `size` numbers enters at `steps` steps (None: at all)."""

    name: str
    size: int
    steps: int | None


class Decoder:
    """x_t = what is fed back (and more, with attention), h_t = layers(x_t + W_c c).

    Attributes:
        rnn: the layers.
        feedback: see feedback.py.
        weights: W_c, None where no constant enters.

    Args:
        name: of the part of the layers.
        cell, hidden, num_layers, options: of the layers, which all run forward.
        feedback: made by the caller.
        fed: numbers that x_t has besides.
        constant: what enters all steps alike, or None.
        max_workspace: see `Recurrent.forward`.
        rng: source of all initial weights.
    """

    def __init__(
        self,
        name: str,
        cell: str,
        hidden: int,
        num_layers: int,
        options: Mapping[str, Any],
        feedback: Feedback,
        fed: int,
        constant: Constant | None,
        max_workspace: int | None,
        rng: np.random.Generator,
    ) -> None:
        self._name, self._max_workspace = name, max_workspace
        self.feedback = feedback
        self.rnn: Recurrent = recurrent(cell, feedback.size + fed, hidden, num_layers, options, rng)
        _check.forward_only("what produces a sequence", self.rnn.directions)
        self._constant = constant
        self.weights = None if constant is None else InputWeights(self.rnn, constant.size, rng)

    def parts(self) -> dict[str, Part]:
        """The parts, by name."""
        parts: dict[str, Part] = {**self.feedback.parts(), self._name: self.rnn}
        return parts if self._constant is None else {**parts, self._constant.name: self._weights()}

    def constant(self, c: _Array | None) -> dict[str, Any]:
        """Keyword arguments of `Recurrent.forward` for the constant input c (B,C)."""
        if self._constant is None:
            return {}
        assert c is not None
        return {"constant": self._weights().forward(c), "constant_steps": self._constant.steps}

    def forward(self, y: Batch, state: State, c: _Array | None, training: bool) -> tuple[_Array, Tape | None]:
        """h (T,B,H) while the batch `y.x` is produced, and the tape."""
        h, _, tape = self.rnn.forward(
            self.feedback.forward(y.x), state, lengths=y.lengths, training=training,
            max_workspace=self._max_workspace if training else None, **self.constant(c),
        )  # fmt: skip
        return h, tape

    def backward(
        self,
        tape: Tape,
        y: Batch,
        c: _Array | None,
        dh: _Array,
        gradients: Mapping[str, Gradient],
        clip: Clip | None,
    ) -> tuple[State, _Array | None]:
        """The gradients of the initial state and of c."""
        to = gradients[self._name]
        wanted = self.feedback.table is not None
        below = self.rnn.backward(tape, dh, flat=to.flat, x_gradient=wanted, clip=clip)
        to.gathered = below.stats.stored_norm**2
        self.feedback.backward(y, below.x, gradients)
        return below.state, self.constant_backward(c, below.constant, gradients)

    def constant_backward(
        self, c: _Array | None, dconstant: _Array | None, gradients: Mapping[str, Gradient]
    ) -> _Array | None:
        """dc, where there is a constant input."""
        if self._constant is None:
            return None
        assert c is not None
        assert dconstant is not None
        return self._weights().backward(c, dconstant, gradients[self._constant.name].flat)

    def _weights(self) -> InputWeights:
        assert self.weights is not None  # made where `constant` is
        return self.weights
