# SPDX-License-Identifier: MIT
"""One to N: a sequence from a seed, which enters at the first step or at every one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .. import _check
from ..batching import Batch, Sequences
from ..clip import Clip
from ..embedding import Embedding
from ..gradients import Gradient
from ..losses import BinaryCrossEntropy, CrossEntropy
from ..options import MODEL_KEYWORDS, stored
from ..readout import Readout
from ..signatures import shows
from .decoder import Beginning, Beginnings, Constant, Decoder
from .feedback import Feedback
from .inputs import Inputs
from .part import Part
from .produced import SeededSequences, produced, seeds_as_sequences
from .producer import Back, Producer, arguments_of, least

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..options import ModelOptions

_Array = npt.NDArray[Any]

FEEDS = ("first", "every")


class OneToN(Producer):
    """Recurrent network that produces a sequence from a seed s.

        h_1 = f(U s + F x_1 + W h_0)      y_t = g(V h_t + b)
        h_t = f(F x_t + W h_{t-1})        feed="first": the seed enters at the first step alone
        h_t = f(U s + F x_t + W h_{t-1})  feed="every": it enters at every step; U s is computed once

    With feedback=True x_t is y_{t-1}: the vector of the token before (softmax), or the numbers before (sigmoid,
    linear); without, nothing but the seed and the state enters. In training y_{t-1} is the true one (teacher forcing).

    Args:
        cell, num_layers, max_workspace, dtype, seed, layer: as in `NToN`; every layer runs forward.
        inputs: number of features of the seed, an `Embedding` for one token, or the pair of both.
        hidden: units H of each layer.
        outputs: K.
        activation, loss: as in `NToN`; "softmax" produces tokens, "sigmoid" and "linear" K numbers a step.
        feed: "first" or "every".
        feedback: whether a step reads the output of the step before.
        embedding: length of the vector of a token that is fed back; None is H.
        end: the token that ends a sequence, or None. `fit` appends it to every y, `generate` stops at it and leaves
            it out.

    In `fit`, `evaluate` and `gradients` x holds the seeds, (N,) tokens or (N,I) features, and y N sequences: class ids
    (T_n,), or numbers (T_n,K).

    Raises:
        TypeError: an argument is of another type.
        ValueError: a size is below 1, a word unknown, options that do not combine.

    Parameters are "seed.weight" (G*H,I), "rnn.weight_ih_l0" (G*H, embedding) and so on as in torch.nn,
    "feedback.weight" (K+1, embedding) with the start in its last row, "embedding.weight" of seeds that are tokens,
    "readout.weight" (K,H) and "readout.bias" (K,).

    >>> model = OneToN("gru", 3, hidden=8, outputs=5, feedback=True, end=0, seed=0)
    >>> model.evaluate(np.eye(3), [[1, 2], [3], []])["accuracy"] >= 0
    True
    """

    @shows(MODEL_KEYWORDS)
    def __init__(
        self,
        cell: str,
        inputs: int | Embedding | tuple[Embedding, int],
        hidden: int,
        outputs: int,
        *,
        activation: str = "softmax",
        loss: CrossEntropy | BinaryCrossEntropy | None = None,
        feed: str = "first",
        feedback: bool = False,
        embedding: int | None = None,
        end: int | None = None,
        num_layers: int = 1,
        max_workspace: int | None = None,
        dtype: npt.DTypeLike = "float32",
        seed: int | None = None,
        **layer: Unpack[ModelOptions],
    ) -> None:
        arguments = arguments_of(
            "OneToN", cell, inputs, hidden, outputs, activation=activation, loss=loss, feedback=feedback,
            embedding=embedding, end=end, num_layers=num_layers, max_workspace=max_workspace, dtype=dtype, layer=layer,
        )  # fmt: skip
        arguments["feed"] = _check.choice("feed", feed, FEEDS)
        numbers = _check.layer_dtype(dtype)[0]
        rng = np.random.default_rng(_check.seed(seed))
        self._choices = np.random.default_rng(rng.integers(2**63))
        self._end = arguments["end"]
        self._inputs = Inputs(arguments["inputs"], numbers, rng)
        fed_back = Feedback(feedback, activation == "softmax", outputs, embedding or hidden, numbers, rng)
        constant = Constant("seed", self._inputs.size, 1 if feed == "first" else None)
        self.decoder = Decoder(
            "rnn", cell, hidden, num_layers, {**layer, "dtype": arguments["dtype"]}, fed_back, None, constant,
            max_workspace, rng,
        )  # fmt: skip
        self.rnn = self.decoder.rnn
        self.readout = Readout(self.rnn.output_size, outputs, numbers, rng)
        parts: dict[str, Part] = {**self._inputs.parts(), **self.decoder.parts(), "readout": self.readout}
        super().__init__({**arguments, **stored(self.rnn)}, parts, activation, outputs, loss)

    def _begin(self, x: Batch, training: bool) -> tuple[Beginning, Back]:
        def back(d: Beginnings, gradients: Mapping[str, Gradient], clip: Clip | None) -> None:
            assert d.dc is not None  # the seed is the decoder's constant input
            self._inputs.backward(x, d.dc[None], gradients)

        return Beginning(None, self._inputs.forward(x.x)[0]), back

    def _training_data(self, x: Any, y: Any, lengths: Any) -> SeededSequences:
        seeds = self._asked(x, None)
        targets = produced(y, lengths, self._output, self._outputs, self._end, self._dtype)
        _check.same_count("x", len(seeds), "y", len(targets))
        return SeededSequences(seeds, targets)

    def _asked(self, x: Any, lengths: Any) -> Sequences:
        _check.needs("lengths", lengths, "sequence to read: x holds seeds")
        return self._inputs.sequences(seeds_as_sequences(x, self._inputs), None)

    @classmethod
    def least_parameters(cls, arguments: Mapping[str, Any]) -> int:
        """See `Model.least_parameters`."""
        return least(arguments, "hidden", "num_layers")
