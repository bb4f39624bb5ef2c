# SPDX-License-Identifier: MIT
"""What networks that read a sequence share: inputs, recurrent layers, and a readout of what these have seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _check, options
from ..batching import Batch
from ..clip import Clip
from ..embedding import Embedding
from ..gradients import Gradient, TableGradient
from ..layers import CELLS
from ..losses import BinaryCrossEntropy, CrossEntropy, output
from ..readout import Readout, TiedReadout
from ..results import State, Tape
from .inputs import Inputs, split
from .part import Part, recurrent
from .predictor import Predictor

_Array = npt.NDArray[Any]


class Reader(Predictor):
    """Base of NToN and NToOne, which explain the arguments.

    Args:
        own: the topology's own arguments, checked, as they stand in a file.
        tie: whether the readout multiplies by the table of the embedding.
        layer: `options.ModelOptions`.
    """

    def __init__(
        self,
        cell: str,
        inputs: int | Embedding | tuple[Embedding, int],
        hidden: int,
        outputs: int,
        *,
        activation: str,
        loss: CrossEntropy | BinaryCrossEntropy | None,
        num_layers: int,
        max_workspace: int | None,
        dtype: npt.DTypeLike,
        seed: int | None,
        layer: Mapping[str, Any],
        own: Mapping[str, Any],
        tie: bool = False,
    ) -> None:
        options.of_model(type(self).__name__, layer)
        numbers, kind = _check.layer_dtype(dtype)
        arguments = {
            "cell": _check.choice("cell", cell, tuple(CELLS)),
            "inputs": _check.inputs(inputs, Embedding),
            "hidden": _check.size("hidden", hidden),
            "outputs": _check.size("outputs", outputs),
            "activation": activation,
            "num_layers": _check.size("num_layers", num_layers),
            "bidirectional": _check.flag("bidirectional", layer.get("bidirectional", False)),
            "dropout": _check.probability("dropout", layer.get("dropout", 0.0)),
            "learn_state": _check.flag("learn_state", layer.get("learn_state", False)),
            "dtype": kind,
            **own,
        }
        if output(activation, loss, arguments["outputs"]).chosen is not None:
            arguments["loss"] = loss
        if max_workspace is not None:
            arguments["max_workspace"] = _check.size("max_workspace", max_workspace)
        self._max_workspace = max_workspace
        rng = np.random.default_rng(_check.seed(seed))
        self._inputs = Inputs(arguments["inputs"], numbers, rng)
        self.rnn = recurrent(cell, self._inputs.size, hidden, num_layers, {**layer, "dtype": kind}, rng)
        arguments |= options.stored(self.rnn)
        seen = self.rnn.output_size
        self.readout: Readout | TiedReadout
        if tie:
            _check.tied(self._inputs.embedding, seen, outputs)
            assert self._inputs.table is not None
            self.readout = TiedReadout(self._inputs.table, rng)
        else:
            self.readout = Readout(seen, outputs, numbers, rng)
        parts: dict[str, Part] = {**self._inputs.parts(), "rnn": self.rnn, **self._between(rng)}
        parts |= {"readout": self.readout, **self._above(outputs, numbers, rng)}
        super().__init__(arguments, parts, activation, outputs, loss)

    def _between(self, rng: np.random.Generator) -> dict[str, Part]:
        """Parts between the recurrent layers and the readout, by name."""
        return {}

    def _above(self, outputs: int, dtype: np.dtype[Any], rng: np.random.Generator) -> dict[str, Part]:
        """Parts that read what the readout gives, by name."""
        return {}

    def gradient_buffers(self) -> dict[str, Gradient]:
        """See `Trainable.gradient_buffers`; that of a table that is also the readout's weight is written as a whole."""
        buffers = super().gradient_buffers()
        if isinstance(self.readout, TiedReadout):
            buffers["embedding"] = TableGradient(self.readout.weight)
        return buffers

    def _read(self, batch: Batch, state: State = None) -> tuple[_Array, State, Tape]:
        """h (T,B,D*H) of a batch to learn from, the state at its end, and the tape."""
        x = self._inputs.forward(batch.x)
        h, after, tape = self.rnn.forward(x, state, lengths=batch.lengths, max_workspace=self._max_workspace)
        assert tape is not None  # forward leaves one by default
        return h, after, tape

    def _readout_backward(self, read: _Array, dz: _Array, gradients: Mapping[str, Gradient]) -> _Array:
        """The gradient of what was read."""
        flat = gradients["readout"].flat
        if isinstance(self.readout, TiedReadout):
            return self.readout.backward(read, dz, flat, gradients["embedding"].flat)
        return self.readout.backward(read, dz, flat)

    def _backward(
        self,
        tape: Tape,
        dh: _Array | None,
        dstate: State,
        batch: Batch,
        gradients: Mapping[str, Gradient],
        clip: Clip | None,
    ) -> None:
        """From the gradients of h and of the final state down to the inputs."""
        to = gradients["rnn"]
        wanted = self._inputs.table is not None
        below = self.rnn.backward(tape, dh, dstate=dstate, flat=to.flat, x_gradient=wanted, clip=clip)
        to.gathered = below.stats.stored_norm**2
        self._inputs.backward(batch, below.x, gradients)
        if clip is not None and clip.value is not None:
            for gradient in gradients.values():
                gradient.clamp(clip.value)

    @classmethod
    def least_parameters(cls, arguments: Mapping[str, Any]) -> int:
        """See `Model.least_parameters`."""
        embedding, features = split(_check.inputs(arguments["inputs"], Embedding))
        table = 0 if embedding is None else embedding.vocabulary * embedding.size
        width = features + (0 if embedding is None else embedding.size)
        cell, hidden = arguments["cell"], _check.size("hidden", arguments["hidden"])
        num_layers = _check.size("num_layers", arguments["num_layers"])
        seen = hidden // 2 if cell == "lstm_projected" else hidden  # width of h, which W_hh and V multiply
        own = 1 if cell in ("indrnn_tanh", "indrnn_relu") else seen  # numbers of W_hh for each unit
        readout = 0 if arguments.get("tie") else _check.size("outputs", arguments["outputs"]) * seen
        return table + hidden * (width + num_layers * own) + readout
