# SPDX-License-Identifier: MIT
"""What networks that produce a sequence share: a decoder that begins from what was read, and a readout."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _check, options, signatures
from ..batching import Batch
from ..clip import Clip
from ..embedding import Embedding
from ..gradients import Gradient
from ..layers import CELLS
from ..losses import output
from ..training import History, Score
from .decoder import Beginning, Beginnings
from .forcing import FORCINGS, Forced, Forcing
from .generating import Generating
from .inputs import split
from .produced import Production
from .stepwise import Sampling

Back = Callable[[Beginnings, Mapping[str, Gradient], "Clip | None"], None]


class Producer(Generating):
    """Base of OneToN and NToM."""

    _forcing = Forcing()
    _choices: np.random.Generator

    @signatures.shows(signatures.of_keywords(Generating.fit))
    def fit(
        self,
        x: Any,
        y: Any = None,
        *,
        teacher_forcing: float | Callable[[int], float] = 1.0,
        forcing: str = "token",
        **options: Any,
    ) -> History:
        """Trains the model, as `NToN.fit`, which explains the other arguments; of x, y and lengths see the class.

        Args:
            teacher_forcing: the probability with which a step reads the true output of the step before; else it reads
                the model's own choice, the most probable token, through which no gradient flows (scheduled sampling,
                Bengio et al. 2015). A number, or a function of the epoch, from 1.
            forcing: "token" decides for each token, "batch" for all of a batch at once.

        Raises:
            TypeError, ValueError: as `NToN.fit`, or there is no token that is fed back.
        """
        by = _check.choice("forcing", forcing, FORCINGS)
        if teacher_forcing == 1.0:
            return super().fit(x, y, **options)
        _check.some_choice("teacher_forcing", teacher_forcing, self.decoder.feedback.table is not None)
        if callable(teacher_forcing):
            options["callbacks"] = [Forced(teacher_forcing, by), *(options.get("callbacks") or ())]
        else:
            self._forcing = Forcing(_check.number("teacher_forcing", teacher_forcing, 0.0, 1.0), by)
        try:
            return super().fit(x, y, **options)
        finally:
            self._forcing = Forcing()

    def learn(self, batch: Production, gradients: Mapping[str, Gradient], clip: Clip | None = None) -> Score:
        """See `Trainable.learn`."""
        y = batch.y
        begin, back = self._begin(batch.x, True)
        run = self.decoder.forward(y, begin, True, self._sampling())
        read = y.pick(run.seen)
        score, dz = self._score(self.readout.forward(read), y.pick(y.x), self._steps(batch))
        dseen = y.put(self.readout.backward(read, dz, gradients["readout"].flat), run.seen.shape)
        back(self.decoder.backward(run, y, begin.c, dseen, gradients, clip), gradients, clip)
        if clip is not None and clip.value is not None:
            for gradient in gradients.values():
                gradient.clamp(clip.value)
        return score

    def measure(self, batch: Production) -> Score:
        """See `Trainable.measure`."""
        y = batch.y
        run = self.decoder.forward(y, self._beginning(batch.x), False)
        return self._score(self.readout.forward(y.pick(run.seen)), y.pick(y.x), self._steps(batch))[0]

    def _sampling(self) -> Sampling | None:
        """Which tokens of a batch are the model's own choice."""
        own = 1 - self._forcing.ratio
        if self._forcing.by == "batch" and own > 0:
            own = float(self._choices.random() < own)
        if own == 0:
            return None
        table = self.decoder.feedback.table
        assert table is not None  # checked by fit
        seed = int(self._choices.integers(2**63))
        return Sampling(own, self.readout.weight, self.readout.bias, table.weight, seed)

    def _begin_masks(self, seed: int) -> None:
        super()._begin_masks(seed)
        self._choices = np.random.default_rng([seed, len(self._parts)])

    def _generators(self) -> dict[str, np.random.Generator]:
        return {**super()._generators(), "choices": self._choices}

    def _steps(self, batch: Production) -> int:
        """Time steps of a batch: as many as the lengths of its data say."""
        return batch.y.steps

    def _beginning(self, x: Batch) -> Beginning:
        return self._begin(x, False)[0]

    @abstractmethod
    def _begin(self, x: Batch, training: bool) -> tuple[Beginning, Back]:
        """From what is read to what the decoder begins with, and the way back."""


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
    _, kind = _check.layer_dtype(dtype)
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
        "dtype": kind,
    }
    if kinds.chosen is not None:
        arguments["loss"] = loss
    if max_workspace is not None:
        arguments["max_workspace"] = _check.size("max_workspace", max_workspace)
    return arguments


def least(arguments: Mapping[str, Any], hidden: str, layers: str) -> int:
    """A lower bound of the parameters, of the arguments in a file; hidden and layers name those of the decoder.

    Of what reads features and tokens, the tables, one number a unit of each layer, and the readout.
    """

    def size(name: str) -> int:
        return _check.size(name, arguments[name])

    embedding, features = split(_check.inputs(arguments["inputs"], Embedding))
    table, width = (0, 0) if embedding is None else (embedding.vocabulary * embedding.size, embedding.size)
    if arguments["feedback"] and arguments["embedding"] is not None:
        table += size("outputs") * size("embedding")
    units = size(hidden)  # of which half are seen where cells are projected
    return table + size("hidden") * (width + features) + units * size(layers) + size("outputs") * (units // 2)
