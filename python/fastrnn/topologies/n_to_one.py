# SPDX-License-Identifier: MIT
"""N to one: one output for each sequence, Y = g(V p(h_1 .. h_N) + b)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .. import _check
from ..batching import Batch, LabelledSequences, Sequences
from ..clip import Clip
from ..embedding import Embedding
from ..gradients import Gradient
from ..losses import BinaryCrossEntropy, CrossEntropy
from ..options import MODEL_KEYWORDS
from ..results import State
from ..signatures import shows
from ..training import Score
from .part import Part
from .pooling import POOLS, LearnedPool, Pool
from .reader import Reader

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..options import ModelOptions

_Array = npt.NDArray[Any]


class NToOne(Reader):
    """Recurrent network with one output for each sequence: classification, regression.

        h_t = f(U x_t + W h_{t-1})        Y = g(V p(h_1 .. h_N) + b)

    Args:
        cell, inputs, hidden, outputs, activation, loss, num_layers, max_workspace, dtype, seed, layer: as in `NToN`.
        pool: p, one of
            "last": h_N, the state at the true end of each sequence; with bidirectional=True [h_N forward ; h_1
            reverse], the final states of both directions; of a layer with direction="reverse" h_1;
            "mean": sum_t h_t / N;
            "max": the largest h_t of each unit;
            "learned": sum_t a_t h_t, a = softmax_t(v . tanh(W h_t + b)), with parameters W "pool.weight"
            (D*H, D*H), b "pool.bias" (D*H,), v "pool.vector" (D*H,).
            Padding takes no part in any of them.

    In `fit`, `evaluate` and `gradients` y has one target for each sequence: class ids (N,) for softmax, numbers (N,K)
    for linear, from 0 to 1 for sigmoid. `predict` returns class ids (N,) or numbers (N,K), `predict_proba` (N,K). An
    empty sequence has no h_N and is refused by all of them.

    Raises:
        TypeError: an argument is of another type.
        ValueError: a size is below 1, a word unknown, or the sizes together cannot be addressed.

    >>> model = NToOne("lstm", Embedding(10, 4), hidden=8, outputs=3, pool="mean", seed=0)
    >>> model.predict([[1, 2, 3], [4]]).shape
    (2,)
    """

    @shows(MODEL_KEYWORDS)
    def __init__(
        self,
        cell: str,
        inputs: int | Embedding | tuple[Embedding, int],
        hidden: int,
        outputs: int,
        *,
        pool: str = "last",
        activation: str = "softmax",
        loss: CrossEntropy | BinaryCrossEntropy | None = None,
        num_layers: int = 1,
        max_workspace: int | None = None,
        dtype: npt.DTypeLike = "float32",
        seed: int | None = None,
        **layer: Unpack[ModelOptions],
    ) -> None:
        own = {"pool": _check.choice("pool", pool, POOLS)}
        self._pooling = pool
        super().__init__(
            cell, inputs, hidden, outputs, activation=activation, loss=loss, num_layers=num_layers,
            max_workspace=max_workspace, dtype=dtype, seed=seed, layer=layer, own=own,
        )  # fmt: skip
        self._ends = self.rnn.num_directions

    def _between(self, rng: np.random.Generator) -> dict[str, Part]:
        self.pool: Pool | LearnedPool
        if self._pooling != "learned":
            self.pool = Pool(self._pooling)
            return {}
        self.pool = LearnedPool(self.rnn.output_size, self.rnn.dtype, rng)
        return {"pool": self.pool}

    @classmethod
    def least_parameters(cls, arguments: Mapping[str, Any]) -> int:
        """See `Model.least_parameters`."""
        seen = _check.size("hidden", arguments["hidden"]) // 2  # at least
        return super().least_parameters(arguments) + (
            seen * seen if arguments.get("pool") == "learned" else 0
        )

    def learn(self, batch: Batch, gradients: Mapping[str, Gradient], clip: Clip | None = None) -> Score:
        """See `Trainable.learn`."""
        h, state, tape = self._read(batch)
        final = _h(state)
        pooled, back = self.pool.forward(h, final[-self._ends :], batch)
        score, dz = self._loss(self.readout.forward(pooled), batch)
        dh, dfinal = back(self._readout_backward(pooled, dz, gradients), gradients)
        dstate: State = None
        if dfinal is not None:
            ends = np.zeros_like(final)
            ends[-self._ends :] = dfinal
            dstate = (ends, None) if isinstance(state, tuple) else ends
        self._backward(tape, dh, dstate, batch, gradients, clip)
        return score

    def _pre_activations(self, batch: Batch) -> _Array:
        h, state = self._inputs.read(self.rnn, batch)
        pooled, _ = self.pool.forward(h, _h(state)[-self._ends :], batch)
        return self.readout.forward(pooled)

    def _data(self, x: Any, lengths: Any) -> LabelledSequences:
        return LabelledSequences(self._sequences(x, lengths))

    def _training_data(self, x: Any, y: Any, lengths: Any) -> LabelledSequences:
        steps = self._sequences(x, lengths)
        _check.some_steps("x", steps)
        targets = _check.labels("y", y, len(steps), self._output, self._outputs, self._dtype)
        return LabelledSequences(steps, targets)

    def _sequences(self, x: Any, lengths: Any) -> Sequences:
        steps = self._inputs.sequences(x, lengths)
        _check.none_empty("x", steps, type(self).__name__)
        return steps


def _h(state: State) -> _Array:
    """The h of a final state."""
    h: _Array = state[0] if isinstance(state, tuple) else state
    return h
