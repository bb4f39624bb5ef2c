# SPDX-License-Identifier: MIT
"""What networks that produce a sequence share: a decoder that begins from what was read, and a readout."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy.typing as npt

from .. import _check, options
from ..batching import Batch
from ..clip import Clip
from ..embedding import Embedding
from ..gradients import Gradient
from ..layers import CELLS
from ..losses import output
from ..readout import Readout
from ..recurrent import Recurrent
from ..results import State
from ..training import Score
from .decoder import Decoder
from .model import Model
from .produced import Production

_Array = npt.NDArray[Any]
_Back = Callable[[State, "_Array | None", Mapping[str, Gradient], "Clip | None"], None]


class Beginning(NamedTuple):
    """What a decoder begins with.

    Attributes:
        state: its initial state, None for the layers' own.
        c: (B,C) its constant input, None without.
        back: takes the gradients of both and goes on with them.
    """

    state: State
    c: _Array | None
    back: _Back


class Producer(Model):
    """Base of OneToN and NToM."""

    decoder: Decoder
    readout: Readout

    def learn(self, batch: Production, gradients: Mapping[str, Gradient], clip: Clip | None = None) -> Score:
        """See `Trainable.learn`."""
        y = batch.y
        begin = self._begin(batch.x, True)
        h, tape = self.decoder.forward(y, begin.state, begin.c, True)
        assert tape is not None  # it trains
        read = y.pick(h)
        score, dz = self._score(self.readout.forward(read), y.pick(y.x), y.steps)
        dh = y.put(self.readout.backward(read, dz, gradients["readout"].flat), h.shape)
        dstate, dc = self.decoder.backward(tape, y, begin.c, dh, gradients, clip)
        begin.back(dstate, dc, gradients, clip)
        if clip is not None and clip.value is not None:
            for gradient in gradients.values():
                gradient.clamp(clip.value)
        return score

    def measure(self, batch: Production) -> Score:
        """See `Trainable.measure`."""
        y = batch.y
        begin = self._begin(batch.x, False)
        h, _ = self.decoder.forward(y, begin.state, begin.c, False)
        return self._score(self.readout.forward(y.pick(h)), y.pick(y.x), y.steps)[0]

    @abstractmethod
    def _begin(self, x: Batch, training: bool) -> Beginning:
        """From what is read to what the decoder begins with."""


def arguments_of(
    owner: str,
    cell: str,
    inputs: Any,
    hidden: int,
    outputs: int,
    *,
    activation: str,
    loss: Any,
    feedback: bool,
    embedding: int | None,
    end: int | None,
    num_layers: int,
    max_workspace: int | None,
    dtype: npt.DTypeLike,
    layer: Mapping[str, Any],
) -> dict[str, Any]:
    """What both constructors take, checked, as it stands in a file. The options of layers are those of `shown`."""
    options.of_model(owner, layer)
    numbers, bfloat16 = _check.layer_dtype(dtype)
    count = _check.size("outputs", outputs)
    kinds = output(activation, loss, count)
    wanted = _check.flag("feedback", feedback)
    arguments = {
        "cell": _check.choice("cell", cell, tuple(CELLS)),
        "inputs": _check.inputs(inputs, Embedding),
        "hidden": _check.size("hidden", hidden),
        "outputs": count,
        "activation": activation,
        "feedback": wanted,
        "embedding": _check.fed_back(embedding, wanted, activation),
        "end": _check.end(end, activation, count),
        "num_layers": _check.size("num_layers", num_layers),
        "dtype": "bfloat16" if bfloat16 else numbers.name,
    }
    if kinds.chosen is not None:
        arguments["loss"] = loss
    if max_workspace is not None:
        arguments["max_workspace"] = _check.size("max_workspace", max_workspace)
    return arguments


def shown(net: Recurrent) -> dict[str, Any]:
    """The options of layers that are not the default, as they stand in a file."""
    chosen = options.shown(net).items()
    return {name: value for name, value in chosen if name in options.ModelOptions.__annotations__}


def least_table(inputs: Any, embedding: int | None, hidden: int, outputs: int, feedback: bool) -> int:
    """A lower bound of the parameters of the tables and of the readout's weights, of the arguments in a file."""
    source = (
        inputs if isinstance(inputs, Embedding) else inputs[0] if isinstance(inputs, (tuple, list)) else None
    )
    table = 0 if source is None else source.vocabulary * source.size
    return int(table + (outputs * (embedding or 0) if feedback else 0) + outputs * (hidden // 2))
