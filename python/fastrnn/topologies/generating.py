# SPDX-License-Identifier: MIT
"""How models that produce sequences are asked for them: the best ones, drawn ones, or numbers."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _check, decoding
from ..batching import Batch, SequencePairs, Sequences, bucket
from ..decoding import Decoded, Hypothesis, Pieces
from ..readout import Readout
from ..results import State
from .decoder import Beginning, Decoder
from .model import Model

_Array = npt.NDArray[Any]


class Generating(Model):
    """Base of models with a decoder: what they produce from x.

    A sequence's result has the same bits whatever else is asked for with it, and for any number of threads.
    """

    decoder: Decoder
    readout: Readout
    _end: int | None

    def decode(
        self,
        x: Any,
        *,
        max_length: int,
        beam: int = 1,
        n_best: int = 1,
        alpha: float = 0.0,
        lengths: npt.ArrayLike | None = None,
        batch_size: int = 64,
    ) -> Decoded:
        """Sequences of tokens of high probability: the most probable token at each step, or a beam search.

        Args:
            x, lengths: what is produced from, as in `fit`.
            max_length: most tokens, the end among them. A sequence whose end never comes is cut there, not `finished`.
            beam: hypotheses that are kept at each step; 1 is greedy.
            n_best: how many of them are returned, at most `beam`.
            alpha: hypotheses are compared by log probability / length^alpha; 0 favours short ones.
            batch_size: sequences at once.

        Returns:
            `Decoded`: .sequences, .scores, .finished in the order of x, and .n_best.

        Raises:
            TypeError, ValueError: an argument does not fit, or the outputs are no tokens.
        """
        _check.tokens_of("decode", self._arguments["activation"])
        limit, size = _check.size("max_length", max_length), _check.size("batch_size", batch_size)
        places, best = _check.beam(beam, n_best)
        power = _check.number("alpha", alpha, 0.0)
        data = self._asked(x, lengths)
        found: list[list[Hypothesis]] = [[] for _ in range(len(data))]
        for index in bucket(data.lengths, size):
            pieces = self._pieces(data, index)
            some = pieces.decode(
                self._start(), max_length=limit, end=self._end, beam=places, n_best=best, alpha=power
            )
            for number, hypotheses in zip(index.tolist(), some.n_best):
                found[number] = hypotheses
        return Decoded(found)

    def generate(
        self,
        x: Any,
        *,
        max_length: int,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        lengths: npt.ArrayLike | None = None,
    ) -> Decoded:
        """Sequences drawn from what the model holds probable.

        Of tokens, each is drawn from softmax(z / temperature), of the `top_k` most probable ones, and of the fewest of
        these that have the probability `top_p` together. Of "sigmoid" outputs each is 1 with the probability
        sigmoid(z / temperature), else 0; with temperature 0 each choice is the most probable one. "linear" outputs are
        what they are. What is drawn is a function of seed, the number of the entry in x, and the step.

        Args:
            x, lengths: what is produced from, as in `fit`; all of it makes one batch.
            max_length: most tokens, the end among them; of numbers the number of steps.
            temperature: at least 0.
            top_k, top_p: of tokens; None is all.
            seed: of what is drawn; None takes another one each time.

        Raises:
            TypeError, ValueError: an argument does not fit.
        """
        limit, drawn = _check.size("max_length", max_length), _check.seed(seed)
        if drawn is None:
            drawn = int(np.random.default_rng().integers(2**63))
        data = self._asked(x, lengths)
        if not len(data):
            return Decoded([])
        activation = self._arguments["activation"]
        if activation != "softmax":
            _check.alone(f"activation={activation!r}", top_k=top_k, top_p=top_p)
        pieces = self._pieces(data, np.arange(len(data)))
        if activation == "softmax":
            found = pieces.sample(
                self._start(), max_length=limit, end=self._end, temperature=temperature, top_k=top_k, top_p=top_p,
                seed=drawn,
            )  # fmt: skip
        else:
            found = pieces.generate(
                length=limit, sigmoid=activation == "sigmoid", temperature=temperature, seed=drawn
            )
        return found

    def predict(
        self, x: Any, *, max_length: int, lengths: npt.ArrayLike | None = None, batch_size: int = 64
    ) -> list[_Array]:
        """The most probable output at each step, a list of N arrays: tokens (T_n,), or numbers (max_length,K).

        x, max_length, lengths, batch_size, and what is raised, as in `decode`.
        """
        if self._arguments["activation"] == "softmax":
            return self.decode(x, max_length=max_length, lengths=lengths, batch_size=batch_size).sequences
        return self.generate(x, max_length=max_length, temperature=0.0, lengths=lengths).sequences

    def _pieces(self, data: Sequences, index: npt.NDArray[np.int64]) -> Pieces:
        """The decoder, its attention and readout as one call needs them.

        A lone sequence is read twice, and what the second one begins with is left: kernels sum a batch of one in
        another order.
        """
        lone = len(index) == 1
        begin = self._beginning(SequencePairs(data).batch(index.repeat(2) if lone else index))
        if lone:
            begin = begin.of_first()
        decoder, table = self.decoder, self.decoder.feedback.table
        readout = self.readout.parameters()
        return Pieces(
            decoder.rnn, readout["weight"], readout["bias"], self._state_of(begin.state, len(index)),
            embedding=None if table is None else table.weight,
            numbers=decoder.feedback.wanted and table is None, **decoder.constant(begin.c),
            attention=self._attention_of(begin),
        )  # fmt: skip

    def _state_of(self, state: State, rows: int) -> State:
        """The state that the decoder begins with: where none is given, zeros or what was learned."""
        if state is not None:
            return state
        rnn = self.decoder.rnn
        if rnn.learn_state:
            return rnn(np.empty((0, rows, rnn.input_size), rnn.dtype))[1]
        zeros = tuple(np.zeros(shape, rnn.dtype) for shape in rnn._state_shapes(rows, False))
        return zeros if len(zeros) > 1 else zeros[0]

    def _attention_of(self, begin: Beginning) -> decoding.Attention | None:
        own = self.decoder.attention
        if own is None:
            return None
        assert begin.memory is not None  # of a model with attention
        memory = np.ascontiguousarray(begin.memory.swapaxes(0, 1))
        w = own.parameters()
        return decoding.Attention(
            own.keys(memory, begin.source_lengths), memory, w["weight_c"], w["bias_c"], begin.source_lengths,
            query=w.get("weight_q"), v=w.get("v"), early=own.early, feeds=own.feeds,
        )  # fmt: skip

    def _start(self) -> int:
        """The token before the first one, where tokens are fed back."""
        return self.decoder.feedback.start if self.decoder.feedback.table is not None else 0

    @abstractmethod
    def _asked(self, x: Any, lengths: Any) -> Sequences:
        """What the user wants sequences from, checked: seeds as sequences of one step, or sequences, none empty."""

    @abstractmethod
    def _beginning(self, x: Batch) -> Beginning:
        """What the decoder begins with for a batch of them."""
