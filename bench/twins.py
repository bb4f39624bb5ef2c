# SPDX-License-Identifier: MIT
"""Models of every topology in PyTorch, eager, as its users write them.

Layers of torch.nn over padded batches. Where padding would change the result, because a direction would start in it or
the state at the end is asked for, sequences are packed. A constant input of a decoder stands beside its other inputs
at every step. The true outputs of all steps are fed back in one call, with input feeding step by step.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import Embedding, Linear, Module
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

LAYERS = {"gru": torch.nn.GRU, "lstm": torch.nn.LSTM, "rnn_tanh": torch.nn.RNN}
IGNORED = -100  # the label of padding

Weights = dict[str, Tensor]


def twin(model: Any, padded: bool = False) -> Reader | OneToN | NToM:
    """The same model with its weights as they are now.

    Args:
        model: a NToN, a NToOne that reads the last state, or a OneToN or NToM with tokens that are fed back, one layer
            in the decoder, and the last state as context, with the attention of Luong or without; all of one layer.
        padded: let reverse directions start in padding, which is faster, and another model.
    """
    kinds = {"NToN": Reader, "NToOne": Reader, "OneToN": OneToN, "NToM": NToM}
    net: Reader | OneToN | NToM = kinds[type(model).__name__](model)
    net.padded = padded
    return net


def tensors(model: Any) -> Weights:
    """Its weights by name."""
    return {name: torch.from_numpy(array) for name, array in model.state_dict().items()}


def layer(cell: str, weights: Weights, part: str) -> Any:
    """A recurrent layer, both ways if there are such weights."""
    inputs, hidden = weights[f"{part}.weight_ih_l0"].shape[1], weights[f"{part}.weight_hh_l0"].shape[1]
    return LAYERS[cell](inputs, hidden, bidirectional=f"{part}.weight_ih_l0_reverse" in weights)


def linear(weights: Weights, part: str) -> Linear:
    """A map with a bias."""
    outputs, inputs = weights[f"{part}.weight"].shape
    return Linear(inputs, outputs)


def beside(weights: Weights, part: str, constant: str) -> None:
    """Puts the weights of a constant input beside those of the other inputs."""
    name = f"{part}.weight_ih_l0"
    weights[name] = torch.cat([weights[name], weights.pop(constant)], 1)


def labels(batch: Any, targets: np.ndarray) -> Tensor:
    """(T*B,) of all steps, from those of the valid ones."""
    if batch.rows is None:
        return torch.from_numpy(targets)
    padded = np.full(batch.x.shape[0] * batch.x.shape[1], IGNORED)
    padded[batch.rows] = targets
    return torch.from_numpy(padded)


class Net(Module):
    """Base of all."""

    padded = False

    def inputs(self, weights: Weights) -> None:
        """Makes the table of the inputs, where they are tokens."""
        if "embedding.weight" in weights:
            self.embedding = Embedding(*weights["embedding.weight"].shape)

    def rows(self, batch: Any) -> Tensor:
        """(T,B,I)"""
        x = torch.from_numpy(batch.x)
        return self.embedding(x) if hasattr(self, "embedding") else x

    def read(self, rnn: Any, batch: Any) -> tuple[Tensor | PackedSequence, Any]:
        """h of all steps, (T,B,D*H) or packed, and the state at the end as torch gives it."""
        x = self.rows(batch)
        if batch.lengths is None or self.padded:
            return rnn(x)
        lengths = torch.from_numpy(batch.lengths)
        if rnn.bidirectional or isinstance(rnn, torch.nn.LSTM):
            return rnn(pack_padded_sequence(x, lengths, enforce_sorted=False))
        h, _ = rnn(x)
        return h, h[lengths - 1, torch.arange(len(lengths))][None]


def ends(state: Any) -> Tensor:
    """(B,D*H), the h of a state."""
    h = state[0] if isinstance(state, tuple) else state
    return torch.cat(list(h), -1)


class Reader(Net):
    """NToN and NToOne."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        weights = tensors(model)
        self.each_step = type(model).__name__ == "NToN"
        self.by_class = model.arguments["activation"] == "softmax"
        self.inputs(weights)
        self.rnn = layer(model.arguments["cell"], weights, "rnn")
        self.readout = linear(weights, "readout")
        self.load_state_dict(weights)

    def loss(self, batch: Any) -> Tensor:
        """The mean over all that counts."""
        if not self.each_step:
            _, state = self.read(self.rnn, batch)
            return cross_entropy(self.readout(ends(state)), torch.from_numpy(batch.targets))
        if self.rnn.bidirectional:
            return self._both_ways(batch)
        h, _ = self.rnn(self.rows(batch))
        return self._of_steps(h, batch)

    def _of_steps(self, h: Tensor, batch: Any) -> Tensor:
        rows = h.flatten(0, 1)
        if self.by_class:
            return cross_entropy(self.readout(rows), labels(batch, batch.targets), ignore_index=IGNORED)
        if batch.rows is not None:
            rows = rows[torch.from_numpy(batch.rows)]
        return binary_cross_entropy_with_logits(self.readout(rows), torch.from_numpy(batch.targets))

    def _both_ways(self, batch: Any) -> Tensor:
        h, _ = self.read(self.rnn, batch)
        if not isinstance(h, PackedSequence):
            return self._of_steps(h, batch)
        padded = labels(batch, batch.targets).reshape(batch.x.shape[:2])
        targets = pack_padded_sequence(padded, torch.from_numpy(batch.lengths), enforce_sorted=False)
        return cross_entropy(self.readout(h.data), targets.data)


class Now(NamedTuple):
    """Where a decoder is: its state, None for zeros, c (B,C), and with attention h~ (B,P), keys (B,S,P), what they are
    keys of (B,S,M), and where that is padding (B,S)."""

    state: Any
    c: Tensor
    fed: Tensor | None = None
    keys: Tensor | None = None
    memory: Tensor | None = None
    padding: Tensor | None = None


class Producer(Net):
    """What produces tokens: `rnn` reads [E[y_{t-1}] ; h~_{t-1} ; c]."""

    rnn: Any

    def produces(self, weights: Weights) -> None:
        """Makes what both have."""
        self.feedback = Embedding(*weights["feedback.weight"].shape)
        self.readout = linear(weights, "readout")
        self.start = len(weights["feedback.weight"]) - 1

    def begin(self, x: Any) -> Now:
        """Before the first step."""
        raise NotImplementedError

    def constant(self, c: Tensor, steps: int) -> Tensor:
        """(steps,B,C)"""
        return c.expand(steps, *c.shape)

    def loss(self, batch: Any) -> Tensor:
        """The mean over all steps."""
        y, now = torch.from_numpy(batch.y.x), self.begin(batch.x)
        before = torch.cat([torch.full_like(y[:1], self.start), y[:-1]])
        z = self.readout(self.over(torch.cat([self.feedback(before), self.constant(now.c, len(y))], -1), now))
        return cross_entropy(z.flatten(0, 1), labels(batch.y, batch.y.pick(batch.y.x)), ignore_index=IGNORED)

    def over(self, x: Tensor, now: Now) -> Tensor:
        """What the readout reads (T,B,P)."""
        h: Tensor = self.rnn(x, now.state)[0]
        return h

    def step(self, tokens: Tensor, now: Now) -> tuple[Tensor, Now]:
        """z (B,K) after the tokens (B,)."""
        read, now = self.advance(torch.cat([self.feedback(tokens), now.c], -1), now)
        return self.readout(read), now

    def advance(self, x: Tensor, now: Now) -> tuple[Tensor, Now]:
        """What the readout reads (B,P), after x (B,I)."""
        h, state = self.rnn(x[None], now.state)
        return h[0], now._replace(state=state)


class OneToN(Producer):
    """From a seed."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        weights = tensors(model)
        beside(weights, "rnn", "seed.weight")
        self.first = model.arguments["feed"] == "first"
        self.inputs(weights)
        self.produces(weights)
        self.rnn = layer(model.arguments["cell"], weights, "rnn")
        self.load_state_dict(weights)

    def begin(self, x: Any) -> Now:
        """See `Producer.begin`."""
        return Now(None, self.rows(x)[0])

    def constant(self, c: Tensor, steps: int) -> Tensor:
        """See `Producer.constant`: after the first step zeros, if the seed enters there alone."""
        return (
            torch.cat([c[None], c.new_zeros(steps - 1, *c.shape)])
            if self.first
            else super().constant(c, steps)
        )

    def advance(self, x: Tensor, now: Now) -> tuple[Tensor, Now]:
        """See `Producer.advance`."""
        read, now = super().advance(x, now)
        return read, now._replace(c=torch.zeros_like(now.c)) if self.first else now


class Luong(Module):
    """h~ = tanh(W_c [context ; h] + b_c), scores h^T W_a m."""

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        width, memory = weights["attention.weight_a"].shape
        self.general = Linear(memory, width, bias=False)
        self.combine = Linear(memory + width, width)
        for ours, name in (
            ("weight_a", "general.weight"),
            ("weight_c", "combine.weight"),
            ("bias_c", "combine.bias"),
        ):
            weights[f"attention.{name}"] = weights.pop(f"attention.{ours}")

    def forward(self, h: Tensor, now: Now) -> Tensor:
        """h (B,P) -> h~ (B,P)."""
        scores = torch.bmm(now.keys, h[:, :, None])[:, :, 0]
        if now.padding is not None:
            scores = scores.masked_fill(now.padding, -torch.inf)
        context = torch.bmm(torch.softmax(scores, -1)[:, None], now.memory)[:, 0]
        return torch.tanh(self.combine(torch.cat([context, h], -1)))


class NToM(Producer):
    """From a sequence, by the last state of an encoder, and with attention by all of its outputs."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        weights = tensors(model)
        beside(weights, "decoder", "context_input.weight")
        form = model.arguments
        self.inputs(weights)
        self.produces(weights)
        self.encoder = layer(form["cell"], weights, "encoder")
        self.decoder = layer(form["decoder_cell"], weights, "decoder")
        self.bridge = linear(weights, "bridge")
        self.attention = Luong(weights) if form.get("attention") else None
        self.load_state_dict(weights)

    @property
    def rnn(self) -> Any:
        """The decoder."""
        return self.decoder

    def begin(self, x: Any) -> Now:
        """See `Producer.begin`."""
        h, state = self.read(self.encoder, x)
        c = ends(state)
        z = self.bridge(c)[None]
        if isinstance(self.decoder, torch.nn.LSTM):
            first, cell = z.chunk(2, -1)
            now = Now((torch.tanh(first), cell.contiguous()), c)
        else:
            now = Now(torch.tanh(z), c)
        return now if self.attention is None else self._attending(h, x, now)

    def _attending(self, h: Tensor | PackedSequence, x: Any, now: Now) -> Now:
        if isinstance(h, PackedSequence):
            h = pad_packed_sequence(h)[0]
        memory, padding = h.transpose(0, 1).contiguous(), None
        if x.lengths is not None:
            padding = torch.arange(memory.shape[1]) >= torch.from_numpy(x.lengths)[:, None]
        keys = self.attention.general(memory)
        return now._replace(
            fed=keys.new_zeros(keys.shape[0], keys.shape[2]), keys=keys, memory=memory, padding=padding
        )

    def over(self, x: Tensor, now: Now) -> Tensor:
        """See `Producer.over`."""
        if self.attention is None:
            return super().over(x, now)
        read = []
        for row in x:
            fed, now = self.advance(row, now)
            read.append(fed)
        return torch.stack(read)

    def advance(self, x: Tensor, now: Now) -> tuple[Tensor, Now]:
        """See `Producer.advance`."""
        if self.attention is None:
            return super().advance(x, now)
        size = self.feedback.embedding_dim
        h, now = super().advance(torch.cat([x[:, :size], now.fed, x[:, size:]], -1), now)
        fed = self.attention(h, now)
        return fed, now._replace(fed=fed)
