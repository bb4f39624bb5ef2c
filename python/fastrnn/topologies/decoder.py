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
from . import stepwise
from .attention import Attention
from .feedback import Feedback
from .input_weights import InputWeights
from .part import Part, recurrent
from .stepwise import Sampling, StepsTape

_Array = npt.NDArray[Any]


class Beginning(NamedTuple):
    """What a decoder begins with.

    Attributes:
        state: its initial state, None for the layers' own.
        c: (B,C) its constant input, None without.
        memory: (S,B,M) what its attention looks at, None without.
        source_lengths: (B,) of the memory, None where all are S.
    """

    state: State
    c: _Array | None
    memory: _Array | None = None
    source_lengths: _Array | None = None

    def of_first(self) -> Beginning:
        """That of the first sequence alone."""
        state: State = None
        if self.state is not None:
            state = (
                tuple(s[:, :1] for s in self.state) if isinstance(self.state, tuple) else self.state[:, :1]
            )
        return Beginning(
            state,
            None if self.c is None else self.c[:1],
            None if self.memory is None else self.memory[:, :1],
            None if self.source_lengths is None else self.source_lengths[:1],
        )


class Beginnings(NamedTuple):
    """The gradients of a `Beginning`, None where there is none."""

    dstate: State
    dc: _Array | None
    dmemory: _Array | None


class Run(NamedTuple):
    """One pass over a batch.

    Attributes:
        seen: (T,B,n) what the readout reads.
        tape: of the layers where they ran over all steps at once.
        steps: the tape of a run with attention, or with tokens of its own choice.
    """

    seen: _Array
    tape: Tape | None
    steps: StepsTape | None


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
        attention: see attention.py; None without.
        weights: W_c, None where no constant enters.

    Args:
        name: of the part of the layers.
        cell, hidden, num_layers, options: of the layers, which all run forward.
        feedback: made by the caller.
        attention: over what an encoder has read, or None.
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
        attention: Attention | None,
        constant: Constant | None,
        max_workspace: int | None,
        rng: np.random.Generator,
    ) -> None:
        self._name, self._max_workspace = name, max_workspace
        self.feedback, self.attention = feedback, attention
        fed = 0 if attention is None else attention.fed
        self.rnn: Recurrent = recurrent(cell, feedback.size + fed, hidden, num_layers, options, rng)
        _check.forward_only("what produces a sequence", self.rnn.directions)
        self._constant = constant
        self.weights = None if constant is None else InputWeights(self.rnn, constant.size, rng)

    def parts(self) -> dict[str, Part]:
        """The parts, by name."""
        parts: dict[str, Part] = {**self.feedback.parts(), self._name: self.rnn}
        if self.attention is not None:
            parts["attention"] = self.attention
        return parts if self._constant is None else {**parts, self._constant.name: self._weights()}

    def constant(self, c: _Array | None) -> dict[str, Any]:
        """Keyword arguments of `Recurrent.forward` for the constant input c (B,C)."""
        if self._constant is None:
            return {}
        assert c is not None
        return {"constant": self._weights().forward(c), "constant_steps": self._constant.steps}

    def forward(self, y: Batch, begin: Beginning, training: bool, sampling: Sampling | None = None) -> Run:
        """Produces the batch `y.x`: what the readout reads of every step, and what backward needs.

        sampling: which tokens are read that are the decoder's own choice; None reads the true ones.
        """
        x, extra = self.feedback.forward(y.x), self.constant(begin.c)
        if self.attention is None and sampling is None:
            seen, _, tape = self.rnn.forward(
                x, begin.state, lengths=y.lengths, training=training,
                max_workspace=self._max_workspace if training else None, **extra,
            )  # fmt: skip
            return Run(seen, tape, None)
        read = self.feedback.previous(y.x) if sampling is not None else None
        seen, _, steps = stepwise.forward(
            self.rnn, self.attention, x, begin.memory, begin.state, source_lengths=begin.source_lengths,
            lengths=y.lengths, sampling=sampling, ids=read, training=training, **extra,
        )  # fmt: skip
        return Run(seen, None, steps)

    def backward(
        self,
        run: Run,
        y: Batch,
        c: _Array | None,
        dseen: _Array,
        gradients: Mapping[str, Gradient],
        clip: Clip | None,
    ) -> Beginnings:
        """The gradients of what it began with."""
        to, wanted = gradients[self._name], self.feedback.table is not None
        below: Any
        if run.steps is None:
            assert run.tape is not None  # it trained
            below = self.rnn.backward(run.tape, dseen, flat=to.flat, x_gradient=wanted, clip=clip)
        else:
            own = None if self.attention is None else gradients["attention"].flat
            below = stepwise.backward(
                run.steps, dseen, rnn_flat=to.flat, attention_flat=own, x_gradient=wanted, clip=clip
            )
        to.gathered = below.stats.stored_norm**2
        read = None if run.steps is None else run.steps.ids
        self.feedback.backward(y, below.x, gradients, read)
        dc = self.constant_backward(c, below.constant, gradients)
        return Beginnings(below.state, dc, None if run.steps is None else below.memory)

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
