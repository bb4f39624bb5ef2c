# SPDX-License-Identifier: MIT
"""N to N: one output at each step, y_t = g(V h_t + b)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _check
from ..batching import Batch, SequencePairs
from ..clip import Clip
from ..embedding import Embedding
from ..feeds import Windows
from ..gradients import Gradient
from ..losses import OUTPUTS
from ..readout import Readout
from ..results import State
from ..training import Score
from .inputs import Inputs
from .part import Part, recurrent
from .predictor import Predictor

_Array = npt.NDArray[Any]


class NToN(Predictor):
    """Recurrent network with one output at each step: tagging, frame labels, next-step models.

        h_t = f(U x_t + W h_{t-1})        y_t = g(V h_t + b)

    With bidirectional=True h_t is [forward ; reverse], so that y_t depends on the whole sequence.

    Args:
        cell: f, one of "rnn_tanh", "rnn_relu", "gru", "lstm", "lstm_peephole", "indrnn_tanh", "indrnn_relu",
            "gru_reset_before", "gru_layer_norm", "lstm_projected", "lstm_layer_norm" (docs/cells.md).
        inputs: number of features I of x_t, or an `Embedding` for token ids.
        hidden: units H of each layer and direction.
        outputs: K, the length of y_t.
        activation: g and with it the loss: "softmax" (one class of K a step, cross entropy), "sigmoid" (K
            independent labels, binary cross entropy) or "linear" (K numbers, mean squared error).
        num_layers: recurrent layers, each reading the one below.
        bidirectional: a second recurrence from the end of each sequence.
        dropout: between the recurrent layers while the model trains, as in `RNN`.
        learn_state: the state before the first step is made of parameters, as in `RNN`.
        dtype: "float32" or "float64"; "bfloat16": float32, with products of the recurrent layer as in `RNN`.
        seed: of the initial weights and the masks of dropout; None takes others each time.

    Raises:
        TypeError: an argument is of another type.
        ValueError: a size is below 1, a word unknown, or the sizes together cannot be addressed.

    `rnn` is the recurrent layer by itself, one of `RNN`, `LSTM`, `GRU`, `IndRNN`: its `step` streams a trained model.

    Parameters are "embedding.weight" (V,E), "rnn.weight_ih_l0" and so on as in torch.nn, "readout.weight"
    (K, D*H) and "readout.bias" (K,).

    >>> model = NToN("gru", Embedding(10, 4), hidden=8, outputs=3, seed=0)
    >>> [tags.shape for tags in model.predict([[1, 2, 3], [4]])]
    [(3,), (1,)]
    """

    def __init__(
        self,
        cell: str,
        inputs: int | Embedding,
        hidden: int,
        outputs: int,
        *,
        activation: str = "softmax",
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        learn_state: bool = False,
        dtype: npt.DTypeLike = "float32",
        seed: int | None = None,
    ) -> None:
        numbers, bfloat16 = _check.layer_dtype(dtype)
        kind = "bfloat16" if bfloat16 else numbers.name
        arguments = {
            "cell": cell,
            "inputs": inputs if isinstance(inputs, Embedding) else _check.size("inputs", inputs),
            "hidden": _check.size("hidden", hidden),
            "outputs": _check.size("outputs", outputs),
            "activation": _check.choice("activation", activation, tuple(OUTPUTS)),
            "num_layers": _check.size("num_layers", num_layers),
            "bidirectional": _check.flag("bidirectional", bidirectional),
            "dropout": _check.probability("dropout", dropout),
            "learn_state": _check.flag("learn_state", learn_state),
            "dtype": kind,
        }
        rng = np.random.default_rng(_check.seed(seed))
        self._inputs = Inputs(inputs, numbers, rng)
        layers = {
            "bidirectional": bidirectional,
            "dropout": dropout,
            "learn_state": learn_state,
            "dtype": kind,
        }
        self.rnn = recurrent(cell, self._inputs.size, hidden, num_layers, layers, rng)
        self.readout = Readout(self.rnn.output_size, outputs, numbers, rng)
        parts: dict[str, Part] = {**self._inputs.parts(), "rnn": self.rnn, "readout": self.readout}
        super().__init__(arguments, parts, activation, outputs)

    def learn(self, batch: Batch, gradients: Mapping[str, Gradient], clip: Clip | None = None) -> Score:
        """See `Model.learn`."""
        return self.learn_window(batch, None, gradients, clip)[0]

    def learn_window(
        self, batch: Batch, state: State, gradients: Mapping[str, Gradient], clip: Clip | None
    ) -> tuple[Score, State]:
        """See `feeds.StreamLearner`."""
        x = self._inputs.forward(batch.x)
        h, after, tape = self.rnn.forward(x, state, lengths=batch.lengths)
        assert tape is not None  # forward leaves one by default
        read = batch.pick(h)
        score, dz = self._loss(self.readout.forward(read), batch)
        dh = batch.put(self.readout.backward(read, dz, gradients["readout"].flat), h.shape)
        to = gradients["rnn"]
        wanted = self._inputs.table is not None
        below = self.rnn.backward(tape, dh, flat=to.flat, x_gradient=wanted, clip=clip)
        to.gathered = below.stats.stored_norm**2
        self._inputs.backward(batch, below.x, gradients)
        if clip is not None and clip.value is not None:
            for gradient in gradients.values():
                gradient.clamp(clip.value)
        return score, after

    def _pre_activations(self, batch: Batch) -> _Array:
        h, _ = self.rnn(self._inputs.forward(batch.x), lengths=batch.lengths)
        return self.readout.forward(batch.pick(h))

    def _data(self, x: Any, lengths: Any) -> SequencePairs:
        return SequencePairs(self._inputs.sequences(x, lengths))

    def _training_data(self, x: Any, y: Any, lengths: Any) -> SequencePairs:
        steps = self._inputs.sequences(x, lengths)
        return SequencePairs(steps, self._targets(y, lengths, steps))

    def _windows(
        self, x: Any, y: Any, lengths: Any, batch_size: int, shuffle: bool, seed: int | None, bptt: int
    ) -> Windows:
        _check.forward_only(f"bptt={bptt}", self.rnn.directions)
        return Windows(self, self._training_data(x, y, lengths), batch_size, shuffle, seed, bptt)

    @classmethod
    def least_parameters(cls, arguments: Mapping[str, Any]) -> int:
        """See `Model.least_parameters`."""
        inputs, hidden = arguments["inputs"], arguments["hidden"]
        table = inputs.vocabulary * inputs.size if isinstance(inputs, Embedding) else 0
        width = inputs.size if isinstance(inputs, Embedding) else inputs
        cell = arguments["cell"]
        seen = hidden // 2 if cell == "lstm_projected" else hidden  # width of h, which W_hh and V multiply
        own = 1 if cell in ("indrnn_tanh", "indrnn_relu") else seen  # numbers of W_hh for each unit
        return int(table + hidden * (width + arguments["num_layers"] * own) + arguments["outputs"] * seen)
