# SPDX-License-Identifier: MIT
"""Decoding: a sequence is produced step by step, and each output is fed back. The loop runs in C++ without the GIL.

    x_t = [E[y_{t-1}] ; fed]     h_t = layers(x_t + constant)
    z_t = V (h~_t or h_t) + b    y_t is chosen from softmax(z_t)

    attention    a = softmax over s of score(query, k_s)      context_t = sum_s a_s m_s
                 h~_t = tanh(W_c [context_t ; h_t] + b_c)
    score        query . k_s, or v . tanh(query + k_s) with v
    early        the query is made of h_{t-1} and context_t is fed to step t (Bahdanau); else it is made of h_t (Luong),
                 and with `feeds` h~_{t-1} is fed to step t

The result of a sequence has the same bits whatever else is in the batch, and for any number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import _check, _core
from .recurrent import Recurrent
from .results import State

_Array = npt.NDArray[Any]


class Hypothesis(NamedTuple):
    """One produced sequence.

    Attributes:
        sequence: (n,) tokens without the end token, or (n,K) numbers.
        score: log probability of all of its choices, the end token among them; 0 of linear outputs.
        finished: whether it ended with the end token. One that is not was cut at max_length.
    """

    sequence: _Array
    score: float
    finished: bool


@dataclass(frozen=True, eq=False)
class Decoded:
    """What a decoder returns, in the order of the batch.

    Attributes:
        n_best: of each sequence its hypotheses, the best first; one where no beam was asked for more.
    """

    n_best: list[list[Hypothesis]]

    @property
    def sequences(self) -> list[_Array]:
        """The best of each."""
        return [best[0].sequence for best in self.n_best]

    @property
    def scores(self) -> npt.NDArray[np.float64]:
        """(B,) log probabilities of the best."""
        return np.array([best[0].score for best in self.n_best], np.float64)

    @property
    def finished(self) -> npt.NDArray[np.bool_]:
        """(B,) whether the best ended with the end token; False: it was cut at max_length."""
        return np.array([best[0].finished for best in self.n_best], np.bool_)


@dataclass(frozen=True, eq=False)
class Attention:
    """The pieces of attention.

    Attributes:
        keys: (B,S,A) what queries are compared with, such as W_a m_s.
        memory: (B,S,M) what is summed.
        combine, combine_bias: W_c (C,M+H), b_c (C,).
        lengths: (B,) steps of each memory; None is S.
        query, query_bias: (A,H), (A,) the map from h to the query; None: h itself.
        v: (A,) of additive scores; None: dot products.
        early, feeds: see above.
    """

    keys: _Array
    memory: _Array
    combine: _Array
    combine_bias: _Array | None = None
    lengths: npt.ArrayLike | None = None
    query: _Array | None = None
    query_bias: _Array | None = None
    v: _Array | None = None
    early: bool = False
    feeds: bool = False


class Pieces:
    """A decoder for one call.

    Args:
        rnn: the layers, all forward.
        readout, readout_bias: V (K,N), b (K,); N is H, or C with attention.
        state: the state they begin with, (L,B,H) or for LSTM the tuple (h, c).
        embedding: (vocabulary,E) rows of the tokens that are fed back, K at least; None where none are.
        numbers: whether the K outputs are fed back as they are.
        constant: (B,G*H) added to W_ih x of the first layer, or None.
        constant_steps: at how many steps: 1, or None for all.
        attention: its pieces, or None.

    Raises:
        ValueError: a shape does not fit another one, or a layer does not run forward.
        TypeError: an argument is no array, or of a wrong dtype.
    """

    def __init__(
        self,
        rnn: Recurrent,
        readout: _Array,
        readout_bias: _Array | None,
        state: State,
        *,
        embedding: _Array | None = None,
        numbers: bool = False,
        constant: _Array | None = None,
        constant_steps: int | None = None,
        attention: Attention | None = None,
    ) -> None:
        _check.forward_only("a decoder", rnn.directions)
        first = state[0] if isinstance(state, (tuple, list)) else state
        self.rows = int(_check.piece("state", first, (None, None, None), rnn.dtype).shape[1])
        states = _check.states(
            "state", state, rnn.cell, rnn._STATES, rnn._state_shapes(self.rows, False), rnn.dtype
        )
        assert states is not None  # it was given
        self.dtype = rnn.dtype
        given = None if attention is None else self._attention(attention, rnn.output_size)
        read = rnn.output_size if given is None else given["combine"].shape[0]
        weight = _check.piece("readout", readout, (None, read), rnn.dtype)
        self.outputs = weight.shape[0]
        table = None if embedding is None else _check.piece("embedding", embedding, (None, None), rnn.dtype)
        self.vocabulary = None if table is None else table.shape[0]
        self.numbers = numbers
        fed = 0
        if given is not None:
            fed = (
                given["memory"].shape[2]
                if given["early"]
                else given["combine"].shape[0]
                if given["feeds"]
                else 0
            )
        back = table.shape[1] if table is not None else self.outputs if numbers else 0
        _check.decoder_width(rnn.input_size, back, fed)
        self._parts = {
            "network": rnn._net,
            "states": states,
            "readout": weight,
            "readout_bias": self._optional("readout_bias", readout_bias, (self.outputs,)),
            "embedding": table,
            "numbers": numbers,
            "constant": self._optional("constant", constant, (self.rows, rnn._gates * rnn.hidden_size)),
            "constant_always": constant_steps is None,
            "attention": given,
        }

    def decode(
        self,
        start: npt.ArrayLike,
        *,
        max_length: int,
        end: int | None = None,
        beam: int = 1,
        n_best: int = 1,
        alpha: float = 0.0,
    ) -> Decoded:
        """Tokens of high probability: the most probable one at each step (beam=1), or a beam search.

        A sequence has `beam` places. At each step its hypotheses that still run are extended by every token; the best
        of these take the places that are not those of finished ones. Hypotheses are compared by score / length^alpha,
        length with the end token. The search ends at max_length, when all places are finished, or when no running
        hypothesis can become better than the n_best finished ones.

        Args:
            start: the token before the first one, or one for each sequence (B,).
            max_length: most tokens, the end token among them.
            end: the end token; None: every sequence has max_length tokens. One that never comes: cut, not finished.
            beam: places.
            n_best: hypotheses that are returned, at most `beam`.
            alpha: 0: no normalisation of lengths; 1: the mean log probability of a token.

        Raises:
            ValueError: a value is out of its range, or outputs are NaN.
        """
        tokens = _check.start_tokens(start, self.rows, self.vocabulary)
        limit, last = _check.size("max_length", max_length), _check.end_token(end, self.outputs)
        places, best = _check.beam(beam, n_best)
        power = _check.number("alpha", alpha, 0.0)
        if places == 1:
            return self._one(_core.decode_tokens(self._parts, tokens, last, limit, 0.0, 0, 1.0, 0))
        found = _core.decode_beam(self._parts, tokens, last, limit, places, best, power)
        return Decoded([[Hypothesis(*entry) for entry in entries] for entries in found])

    def sample(
        self,
        start: npt.ArrayLike,
        *,
        max_length: int,
        end: int | None = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
    ) -> Decoded:
        """Tokens drawn from softmax(z / temperature), of the top_k most probable ones, and of the fewest of these, the
        most probable first, whose probabilities sum to top_p. What is drawn is a function of the seed, the number of
        the sequence in the batch and the step. Temperature 0 is greedy. Scores are log probabilities of the model
        without all this.

        Args:
            start, max_length, end: as in `decode`.
            temperature: below 1 it favours probable tokens, above 1 improbable ones.
            top_k, top_p: None: all tokens.
            seed: of 64 bits.

        Raises:
            ValueError: a value is out of its range, or outputs are NaN.
        """
        tokens = _check.start_tokens(start, self.rows, self.vocabulary)
        limit, last = _check.size("max_length", max_length), _check.end_token(end, self.outputs)
        how = _check.sampling(temperature, top_k, top_p)
        number = _check.size("seed", seed, 0, 2**64 - 1)
        return self._one(_core.decode_tokens(self._parts, tokens, last, limit, *how, number))

    def generate(
        self,
        *,
        length: int,
        sigmoid: bool,
        start: npt.ArrayLike | None = None,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> Decoded:
        """Numbers: y = z, or of sigmoid outputs 1 where z > 0 (temperature 0), else drawn, 1 with the probability
        sigmoid(z / temperature).

        Args:
            length: steps.
            sigmoid: else linear.
            start: (B,K) the numbers before the first ones; None is zeros.
            temperature, seed: as in `sample`.
        """
        steps = _check.size("length", length)
        warmth, number = (
            _check.number("temperature", temperature, 0.0),
            _check.size("seed", seed, 0, 2**64 - 1),
        )
        first = _check.start_numbers(start, self.rows, self.outputs, self.dtype) if self.numbers else None
        y = np.empty((self.rows, steps, self.outputs), self.dtype)
        scores = _core.decode_numbers(self._parts, first, _check.flag("sigmoid", sigmoid), warmth, number, y)
        return Decoded([[Hypothesis(y[k], float(scores[k]), False)] for k in range(self.rows)])

    def _optional(self, name: str, value: _Array | None, shape: tuple[int | None, ...]) -> _Array | None:
        return None if value is None else _check.piece(name, value, shape, self.dtype)

    def _attention(self, given: Attention, hidden: int) -> dict[str, Any]:
        memory = _check.piece("memory", given.memory, (self.rows, None, None), self.dtype)
        steps, width = memory.shape[1:]
        query = self._optional("query", given.query, (None, hidden))
        size = hidden if query is None else query.shape[0]
        combine = _check.piece("combine", given.combine, (None, width + hidden), self.dtype)
        return {
            "early": given.early,
            "feeds": given.feeds,
            "query": query,
            "query_bias": self._optional("query_bias", given.query_bias, (size,)),
            "v": self._optional("v", given.v, (size,)),
            "combine": combine,
            "combine_bias": self._optional("combine_bias", given.combine_bias, (combine.shape[0],)),
            "keys": _check.piece("keys", given.keys, (self.rows, steps, size), self.dtype),
            "memory": memory,
            "lengths": _check.lengths(given.lengths, steps, self.rows),
        }

    @staticmethod
    def _one(found: list[tuple[npt.NDArray[np.int64], float, bool]]) -> Decoded:
        return Decoded([[Hypothesis(*entry)] for entry in found])
