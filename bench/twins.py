# SPDX-License-Identifier: MIT
"""Models of every topology in PyTorch, eager, as its users write them.

Layers of torch.nn over padded batches. Where padding would change the result, because a direction would start in it or
the state at the end is asked for, sequences are packed. A constant input of a decoder stands beside its other inputs
at every step. The true outputs of all steps are fed back in one call.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Embedding, Linear, Module
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

LAYERS = {"gru": torch.nn.GRU, "lstm": torch.nn.LSTM, "rnn_tanh": torch.nn.RNN}
IGNORED = -100  # the label of padding

Weights = dict[str, Tensor]


def twin(model: Any, padded: bool = False) -> Reader | OneToN | NToM:
    """The same model with its weights as they are now.

    Args:
        model: a NToN, a NToOne that reads the last state, or a OneToN or NToM with tokens that are fed back, one layer
            in the decoder, and the last state as context; all of one layer.
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


class Producer(Net):
    """What produces tokens: `rnn` reads [E[y_{t-1}] ; c]."""

    rnn: Any

    def produces(self, weights: Weights) -> None:
        """Makes what both have."""
        self.feedback = Embedding(*weights["feedback.weight"].shape)
        self.readout = linear(weights, "readout")
        self.start = len(weights["feedback.weight"]) - 1

    def begin(self, x: Any) -> tuple[Any, Tensor]:
        """The initial state, None for zeros, and c (B,C)."""
        raise NotImplementedError

    def constant(self, c: Tensor, steps: int) -> Tensor:
        """(steps,B,C)"""
        return c.expand(steps, *c.shape)

    def loss(self, batch: Any) -> Tensor:
        """The mean over all steps."""
        y = torch.from_numpy(batch.y.x)
        state, c = self.begin(batch.x)
        before = torch.cat([torch.full_like(y[:1], self.start), y[:-1]])
        h, _ = self.rnn(torch.cat([self.feedback(before), self.constant(c, len(y))], -1), state)
        targets = labels(batch.y, batch.y.pick(batch.y.x))
        return cross_entropy(self.readout(h).flatten(0, 1), targets, ignore_index=IGNORED)


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

    def begin(self, x: Any) -> tuple[Any, Tensor]:
        """See `Producer.begin`."""
        return None, self.rows(x)[0]

    def constant(self, c: Tensor, steps: int) -> Tensor:
        """See `Producer.constant`: after the first step zeros, if the seed enters there alone."""
        return (
            torch.cat([c[None], c.new_zeros(steps - 1, *c.shape)])
            if self.first
            else super().constant(c, steps)
        )


class NToM(Producer):
    """From a sequence, by the last state of an encoder."""

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
        self.load_state_dict(weights)

    @property
    def rnn(self) -> Any:
        """The decoder."""
        return self.decoder

    def begin(self, x: Any) -> tuple[Any, Tensor]:
        """See `Producer.begin`."""
        _, state = self.read(self.encoder, x)
        c = ends(state)
        z = self.bridge(c)[None]
        if isinstance(self.decoder, torch.nn.LSTM):
            h, cell = z.chunk(2, -1)
            return (torch.tanh(h), cell.contiguous()), c
        return torch.tanh(z), c
