# SPDX-License-Identifier: MIT
"""N to M: an encoder reads a sequence, a decoder produces another one from the context that is left of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .. import _check
from ..batching import Batch, Sequences, bucket
from ..clip import Clip
from ..embedding import Embedding
from ..gradients import Gradient
from ..layers import CELLS
from ..losses import BinaryCrossEntropy, CrossEntropy
from ..options import MODEL_KEYWORDS, stored
from ..readout import Readout
from ..results import State
from ..signatures import shows
from .attention import Attention
from .bridge import Bridge, copies
from .context import CONTEXTS, Context
from .decoder import Beginning, Beginnings, Constant, Decoder
from .feedback import Feedback
from .inputs import Inputs
from .part import Part, recurrent
from .produced import Production, Translations, produced
from .producer import Back, Producer, arguments_of, least

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..options import ModelOptions

_Array = npt.NDArray[Any]

CONTEXT_TO = ("state", "input", "both")
INITIAL = ("both", "h")


class NToM(Producer):
    """Encoder and decoder: sequences from sequences of another length.

        h_1 .. h_N = encoder(x_1 .. x_N)          c = context of h_1 .. h_N
        s_t = f(F E[y_{t-1}] + W_c c + W s_{t-1})          y_t = g(V s_t + b)

    Args:
        cell, inputs, hidden, num_layers, layer: of the encoder, as in `NToN`. The options of layers are those of the
            decoder, too, which always runs forward.
        outputs, activation, loss, dtype, max_workspace, seed: as in `NToN`.
        context: c, one of
            "last": h_N; with bidirectional=True [h_N forward ; h_1 reverse];
            "transform": tanh(W h_N + b);
            "first_last": tanh(W [h_1 ; h_N] + b);
            "sequence": sum_t a_t h_t, a = softmax_t(v . tanh(W h_t + b)).
        context_to: "state": s_0 is made of c; "input": W_c c is added at every step, computed once for each sequence;
            "both". What s_0 is made of: with context="last" the final states of the encoder where those of the decoder
            are as many and as wide; else h = tanh(W c + b) and c of an LSTM = W c + b, learned for each layer.
        initial: "both", or "h": s_0 has the c of an LSTM at zero.
        feedback: whether a step reads the output of the step before; in training the true one (teacher forcing).
        embedding: length of the vector of a token that is fed back; None is the decoder's H.
        end: the token that ends a sequence, or None. `fit` appends it to every y; `decode` stops at it and leaves it
            out.
        decoder_cell, decoder_hidden, decoder_layers: of the decoder; None is as in the encoder.
        attention: None, or at every step another mean of h_1 .. h_N, context_t = sum_s a_ts h_s, and the readout reads
            h~_t = tanh(W_c [context_t ; s_t] + b_c):
            "luong": a_t = softmax_s score(s_t, h_s);
            "bahdanau": a_t = softmax_s v . tanh(W_q s_{t-1} + W_m h_s), and step t reads context_t as well.
        score: of "luong", "general" s^T W_a h, or "dot" s . h, for widths that are equal.
        input_feeding: of "luong": step t reads h~_{t-1} as well.

    In `fit`, `evaluate` and `gradients` x is as in `NToN`, none of them empty, and y holds as many sequences of any
    lengths: class ids (T_n,), or numbers (T_n,K). Where either is padded, `lengths` is the pair of those of x and y.

    Raises:
        TypeError: an argument is of another type.
        ValueError: a size is below 1, a word unknown, options that do not combine.

    Parameters are "embedding.weight", "encoder.weight_ih_l0" and so on as in torch.nn, "context.weight" and
    "context.bias", or "pool.weight", "pool.bias" and "pool.vector", "bridge.weight" (rows of h of each layer, then
    of c) and "bridge.bias", "context_input.weight" (G*H,C), "feedback.weight" (K+1, embedding) with the start in its
    last row, "decoder.weight_ih_l0" and so on, with attention "attention.weight_c", "attention.bias_c", and
    "attention.weight_a" or "attention.weight_q", "attention.weight_m" and "attention.v", "readout.weight" and
    "readout.bias".

    >>> model = NToM("gru", Embedding(10, 4), hidden=8, outputs=5, end=0, seed=0)
    >>> model.evaluate([[1, 2, 3], [4]], [[1, 2], [3, 4, 1]])["accuracy"] >= 0
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
        context: str = "last",
        context_to: str = "state",
        initial: str = "both",
        feedback: bool = True,
        embedding: int | None = None,
        end: int | None = None,
        num_layers: int = 1,
        decoder_cell: str | None = None,
        decoder_hidden: int | None = None,
        decoder_layers: int | None = None,
        attention: str | None = None,
        score: str = "general",
        input_feeding: bool = True,
        max_workspace: int | None = None,
        dtype: npt.DTypeLike = "float32",
        seed: int | None = None,
        **layer: Unpack[ModelOptions],
    ) -> None:
        arguments = arguments_of(
            "NToM", cell, inputs, hidden, outputs, activation=activation, loss=loss, feedback=feedback,
            embedding=embedding, end=end, num_layers=num_layers, max_workspace=max_workspace, dtype=dtype, layer=layer,
        )  # fmt: skip
        arguments |= _check.attention(attention, score, input_feeding, max_workspace) | {
            "context": _check.choice("context", context, CONTEXTS),
            "context_to": _check.choice("context_to", context_to, CONTEXT_TO),
            "initial": _check.choice("initial", initial, INITIAL),
            "decoder_cell": _check.choice("decoder_cell", decoder_cell or cell, tuple(CELLS)),
            "decoder_hidden": hidden
            if decoder_hidden is None
            else _check.size("decoder_hidden", decoder_hidden),
            "decoder_layers": num_layers
            if decoder_layers is None
            else _check.size("decoder_layers", decoder_layers),
        }
        numbers = _check.layer_dtype(dtype)[0]
        rng = np.random.default_rng(_check.seed(seed))
        self._choices = np.random.default_rng(rng.integers(2**63))
        self._end, self._max_workspace = arguments["end"], max_workspace
        self._inputs = Inputs(arguments["inputs"], numbers, rng)
        options = {**layer, "dtype": arguments["dtype"]}
        self.encoder = recurrent(cell, self._inputs.size, hidden, num_layers, options, rng)
        self._context = Context(context, self.encoder, rng)
        self._make_decoder(arguments, options, numbers, rng)
        self.readout = Readout(self.decoder.rnn.output_size, outputs, numbers, rng)
        parts: dict[str, Part] = {
            **self._inputs.parts(), "encoder": self.encoder, **self._context.parts(),
            **({} if self._bridge is None else self._bridge.parts()), **self.decoder.parts(), "readout": self.readout,
        }  # fmt: skip
        super().__init__({**arguments, **stored(self.encoder)}, parts, activation, outputs, loss)

    def _make_decoder(
        self,
        arguments: Mapping[str, Any],
        options: Mapping[str, Any],
        dtype: np.dtype[Any],
        rng: np.random.Generator,
    ) -> None:
        """The decoder, and the way to its initial state."""
        hidden, layers, to = (arguments[name] for name in ("decoder_hidden", "decoder_layers", "context_to"))
        feedback = Feedback(
            arguments["feedback"], arguments["activation"] == "softmax", arguments["outputs"],
            arguments["embedding"] or hidden, dtype, rng,
        )  # fmt: skip
        one_way = {name: v for name, v in options.items() if name not in ("bidirectional", "direction")}
        if layers == 1:  # between which nothing is dropped
            one_way = {name: v for name, v in one_way.items() if name not in ("dropout", "variational")}
        constant = None if to == "state" else Constant("context_input", self._context.size, None)
        attention = None if arguments["attention"] is None else Attention(
            arguments["attention"], hidden // 2 if arguments["decoder_cell"] == "lstm_projected" else hidden,
            self.encoder.output_size, score=arguments["score"], input_feeding=arguments["input_feeding"], dtype=dtype,
            rng=rng,
        )  # fmt: skip
        self.decoder = Decoder(
            "decoder",
            arguments["decoder_cell"],
            hidden,
            layers,
            one_way,
            feedback,
            attention,
            constant,
            self._max_workspace,
            rng,
        )
        rnn, self._only_h = self.decoder.rnn, arguments["initial"] == "h"
        if self._only_h:
            _check.single("initial", arguments["decoder_cell"], "h", rnn._STATES)
        if to == "input":
            _check.without(
                "initial", arguments["initial"], "both", "context_to='input' makes no initial state"
            )
        self._copies = to != "input" and arguments["context"] == "last" and copies(self.encoder, rnn)
        mapped = to != "input" and not self._copies
        self._bridge = Bridge(self._context.size, rnn, self._only_h, rng) if mapped else None

    # ---- from what is read to what the decoder begins with ----

    def _begin(self, x: Batch, training: bool) -> tuple[Beginning, Back]:
        tape = None
        if training:
            h, final, tape = self.encoder.forward(
                self._inputs.forward(x.x), lengths=x.lengths, max_workspace=self._max_workspace
            )
        else:
            h, final = self._inputs.read(self.encoder, x)
        ends = _h(final)[-self.encoder.num_directions :]
        c, context_back = self._context.forward(h, ends, x)
        state = self._initial(c, final)

        def back(d: Beginnings, gradients: Mapping[str, Gradient], clip: Clip | None) -> None:
            dfinal, dc, dh = self._initial_back(d.dstate, final), d.dc, d.dmemory
            if self._bridge is not None:
                of_state = self._bridge.backward(c, state, d.dstate, gradients)
                dc = of_state if dc is None else dc + of_state
            if dc is not None:
                of_context, dends = context_back(dc, gradients)
                dh = of_context if dh is None else dh if of_context is None else dh + of_context
                if dends is not None:
                    _h(dfinal)[-len(ends) :] += dends
            to = gradients["encoder"]
            wanted = self._inputs.table is not None
            assert tape is not None  # it trains
            below = self.encoder.backward(tape, dh, dstate=dfinal, flat=to.flat, x_gradient=wanted, clip=clip)
            to.gathered = below.stats.stored_norm**2
            self._inputs.backward(x, below.x, gradients)

        memory = None if self.decoder.attention is None else h
        return Beginning(state, c if self.decoder.weights is not None else None, memory, x.lengths), back

    def _initial(self, c: _Array, final: State) -> State:
        """The decoder's initial state, None for its own."""
        if self._bridge is not None:
            return self._bridge.forward(c)
        if not self._copies:
            return None
        return (final[0], np.zeros_like(final[1])) if self._only_h else final

    def _initial_back(self, dstate: State, final: State) -> State:
        """What of the gradient of the initial state belongs to the encoder's final one; zeros where nothing does."""
        if not self._copies:
            return _zeros_like(final)
        return (dstate[0], np.zeros_like(dstate[1])) if self._only_h else dstate

    # ---- where it looks ----

    def attention_weights(self, x: Any, y: Any, *, lengths: Any = None, batch_size: int = 64) -> list[_Array]:
        """Where the decoder looks while it produces y from x: the weights a_ts of `attention` (see the class).

            context_t = sum_s a_ts h_s          a_ts >= 0          sum_s a_ts = 1

        Each step reads the y before it, as in `evaluate`, so that of a sequence that was decoded the weights are those
        it was decoded with, to rounding: ``model.attention_weights(x, model.decode(x, max_length=9).sequences)``.

        Args:
            x, y, lengths: as in `fit`.
            batch_size: pairs at once.

        Returns:
            A list of N arrays (T_n,S_n) of the model's dtype in the order of x: row t is of the step that produces
            y_n[t], column s of x_n[s]. The step that produces the end is left out.

        Raises:
            ValueError: the model has no attention.
            TypeError, ValueError: an argument does not fit, as in `fit`.

        >>> model = NToM("gru", Embedding(10, 4), hidden=8, outputs=5, end=0, attention="luong", seed=0)
        >>> [weights.shape for weights in model.attention_weights([[1, 2, 3], [4]], [[1, 2], [3, 4, 1]])]
        [(2, 3), (3, 1)]
        """
        _check.with_weights(self._arguments["attention"])
        size = _check.size("batch_size", batch_size)
        data = self._training_data(x, y, lengths)
        own = data.y.lengths - (self._end is not None)
        found = [np.empty(shape, self._dtype) for shape in zip(own, data.x.lengths)]
        for index in bucket(data.lengths, size):
            batch = data.batch(index)
            steps = self.decoder.forward(batch.y, self._beginning(batch.x), False).steps
            assert steps is not None  # of a model with attention
            weights = steps.weights()
            for row, n in enumerate(index):
                found[n][...] = weights[: own[n], row, : data.x.lengths[n]]
        return found

    # ---- data ----

    def _steps(self, batch: Production) -> int:
        return batch.x.steps + batch.y.steps

    def _training_data(self, x: Any, y: Any, lengths: Any) -> Translations:
        of_x, of_y = _check.pair_of_lengths(lengths)
        source = self._asked(x, of_x)
        targets = produced(y, of_y, self._output, self._outputs, self._end, self._dtype)
        _check.same_count("x", len(source), "y", len(targets))
        return Translations(source, targets)

    def _asked(self, x: Any, lengths: Any) -> Sequences:
        source = self._inputs.sequences(x, lengths)
        _check.none_empty("x", source, "NToM")
        return source

    @classmethod
    def least_parameters(cls, arguments: Mapping[str, Any]) -> int:
        """See `Model.least_parameters`."""
        of_decoder = least(arguments, "decoder_hidden", "decoder_layers")
        hidden, layers = (_check.size(name, arguments[name]) for name in ("hidden", "num_layers"))
        units, to, mapped = (
            arguments["decoder_hidden"],
            arguments["context_to"],
            arguments["context"] != "last",
        )
        wide, seen = hidden // 2, units // 2  # at least, of what the encoder and a layer of the decoder give
        maps = wide * wide if mapped else 0
        if to != "state":
            maps += wide * units
        if to != "input" and (mapped or (hidden, layers) != (units, arguments["decoder_layers"])):
            maps += wide * seen * arguments["decoder_layers"]
        if arguments["attention"] is not None:
            maps += seen * (wide + seen)
        return of_decoder + hidden * layers + maps


def _h(state: State) -> _Array:
    """The h of a state."""
    h: _Array = state[0] if isinstance(state, tuple) else state
    return h


def _zeros_like(state: State) -> State:
    return tuple(np.zeros_like(s) for s in state) if isinstance(state, tuple) else np.zeros_like(state)
