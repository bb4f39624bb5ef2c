# SPDX-License-Identifier: MIT
"""N to N: one output at each step, y_t = g(V h_t + b)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .. import _check
from ..batching import Batch, SequencePairs
from ..clip import Clip
from ..crf import Crf
from ..embedding import Embedding
from ..feeds import Windows
from ..gradients import Gradient
from ..losses import BinaryCrossEntropy, CrossEntropy
from ..options import MODEL_KEYWORDS
from ..results import State
from ..signatures import shows
from ..training import Score
from .crf_output import CrfOutput
from .part import Part
from .reader import Reader

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..options import ModelOptions

_Array = npt.NDArray[Any]


class NToN(Reader):
    """Recurrent network with one output at each step: tagging, frame labels, next-step models.

        h_t = f(U x_t + W h_{t-1})        y_t = g(V h_t + b)

    With bidirectional=True h_t is [forward ; reverse], so that y_t depends on the whole sequence.

    Args:
        cell: f, one of "rnn_tanh", "rnn_relu", "gru", "lstm", "lstm_peephole", "indrnn_tanh", "indrnn_relu",
            "gru_reset_before", "gru_layer_norm", "lstm_projected", "lstm_layer_norm" (docs/cells.md).
        inputs: number of features F of x_t, an `Embedding` for token ids, or the pair of both, (Embedding, F): x is
            then the pair (ids, features), step for step, and x_t [W[id_t] ; features_t] of width E + F.
        hidden: units H of each layer and direction.
        outputs: K, the length of y_t.
        activation: g and with it the loss: "softmax" (one class of K a step, cross entropy), "sigmoid" (K
            independent labels, binary cross entropy) or "linear" (K numbers, mean squared error).
        loss: `CrossEntropy` with softmax, `BinaryCrossEntropy` with sigmoid: weights of classes, label smoothing,
            labels that count nowhere. None: every step counts alike.
        crf: the pre-activations are scores of a linear-chain CRF (see fastrnn.crf) instead of softmax at each step: the
            loss is the negative log likelihood of whole sequences of classes, divided by their steps, `predict` gives
            the most probable sequences, and `predict_proba` the probability of each class at each step.
        forbidden: of a CRF, classes that never follow each other: pairs (from, to), or a matrix (K,K) of bools,
            [from, to]. (None, k) forbids k as the first class of a sequence, (k, None) as the last one. Sequences with
            such a pair have the probability 0, and `predict` gives none; the parameters that stand there say nothing.
        tie: the readout multiplies by the table of the embedding, "embedding.weight", instead of a "readout.weight" of
            its own: outputs must be V, and D*H be E. The table then starts from N(0, 1/E).
        num_layers: recurrent layers, each reading the one below.
        max_workspace: most bytes that a batch leaves in memory for its way back, as in `RNN.forward`.
        layer: options of the recurrent layers, explained in `RNN`: bidirectional, direction, bias, dropout (between
            layers), variational, input_dropout, recurrent_dropout, zoneout, learn_state, init, t_max, forget_bias.
            Whatever drops acts while the model trains.
        dtype: "float32" or "float64"; "bfloat16": float32, with products of the recurrent layer as in `RNN`.
        seed: of the initial weights and the masks of dropout; None takes others each time.

    Raises:
        TypeError: an argument is of another type.
        ValueError: a size is below 1, a word unknown, or the sizes together cannot be addressed.

    `rnn` is the recurrent layer by itself, one of `RNN`, `LSTM`, `GRU`, `IndRNN`: its `step` streams a trained model.

    Parameters are "embedding.weight" (V,E), "rnn.weight_ih_l0" and so on as in torch.nn, "readout.weight"
    (K, D*H) and "readout.bias" (K,); of a CRF "crf.start" (K,), "crf.transition" (K,K)
    [from, to] and "crf.end" (K,).

    >>> model = NToN("gru", Embedding(10, 4), hidden=8, outputs=3, seed=0)
    >>> [tags.shape for tags in model.predict([[1, 2, 3], [4]])]
    [(3,), (1,)]
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
        crf: bool = False,
        forbidden: Sequence[Sequence[int | None]] | npt.NDArray[Any] | None = None,
        tie: bool = False,
        num_layers: int = 1,
        max_workspace: int | None = None,
        dtype: npt.DTypeLike = "float32",
        seed: int | None = None,
        **layer: Unpack[ModelOptions],
    ) -> None:
        own: dict[str, Any] = {"tie": True} if _check.flag("tie", tie) else {}
        if _check.crf_output(crf, activation, loss):
            own["crf"] = True
        self._forbidden = _check.forbidden_pairs(forbidden, outputs, "crf" in own)
        if self._forbidden:
            own["forbidden"] = self._forbidden
        self._crf: CrfOutput | None = None
        self._scores_paths = "crf" in own
        super().__init__(
            cell, inputs, hidden, outputs, activation=activation, loss=loss, num_layers=num_layers,
            max_workspace=max_workspace, dtype=dtype, seed=seed, layer=layer, own=own, tie=tie,
        )  # fmt: skip

    def _above(self, outputs: int, dtype: np.dtype[Any], rng: np.random.Generator) -> dict[str, Part]:
        if not self._scores_paths:
            return {}
        part = Crf(outputs, dtype, rng, self._forbidden)
        self._crf = CrfOutput(part)
        return {"crf": part}

    @classmethod
    def least_parameters(cls, arguments: Mapping[str, Any]) -> int:
        """See `Model.least_parameters`."""
        outputs = _check.size("outputs", arguments["outputs"])
        return super().least_parameters(arguments) + (outputs * (outputs + 2) if arguments.get("crf") else 0)

    def learn(self, batch: Batch, gradients: Mapping[str, Gradient], clip: Clip | None = None) -> Score:
        """See `Trainable.learn`."""
        return self.learn_window(batch, None, gradients, clip)[0]

    def learn_window(
        self, batch: Batch, state: State, gradients: Mapping[str, Gradient], clip: Clip | None
    ) -> tuple[Score, State]:
        """See `feeds.StreamLearner`."""
        h, after, tape = self._read(batch, state)
        read = batch.pick(h)
        z = self.readout.forward(read)
        score, dz = self._crf.learn(z, batch, gradients["crf"]) if self._crf else self._loss(z, batch)
        dh = batch.put(self._readout_backward(read, dz, gradients), h.shape)
        self._backward(tape, dh, None, batch, gradients, clip)
        return score, after

    def measure(self, batch: Batch) -> Score:
        """See `Trainable.measure`."""
        return self._crf.measure(self._pre_activations(batch), batch) if self._crf else super().measure(batch)

    def _decide(self, z: _Array, batch: Batch) -> _Array:
        return self._crf.decide(z, batch) if self._crf else super()._decide(z, batch)

    def _activate(self, z: _Array, batch: Batch) -> _Array:
        return self._crf.activate(z, batch) if self._crf else super()._activate(z, batch)

    def _pre_activations(self, batch: Batch) -> _Array:
        h, _ = self._inputs.read(self.rnn, batch)
        return self.readout.forward(batch.pick(h))

    def _data(self, x: Any, lengths: Any) -> SequencePairs:
        steps = self._inputs.sequences(x, lengths)
        if self._crf:
            self._crf.check_steps(steps)
        return SequencePairs(steps)

    def _training_data(self, x: Any, y: Any, lengths: Any) -> SequencePairs:
        steps = self._inputs.sequences(x, lengths)
        targets = self._targets(y, lengths, steps)
        if self._crf:
            self._crf.check_tags(targets)
        return SequencePairs(steps, targets)

    def _windows(
        self, x: Any, y: Any, lengths: Any, batch_size: int, shuffle: bool, seed: int | None, bptt: int
    ) -> Windows:
        _check.forward_only(f"bptt={bptt}", self.rnn.directions)
        _check.alone(f"bptt={bptt}", crf=self._arguments.get("crf"))
        return Windows(self, self._training_data(x, y, lengths), batch_size, shuffle, seed, bptt)
