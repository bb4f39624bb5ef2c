# SPDX-License-Identifier: MIT
"""Nets that produce tokens in PyTorch, trained the same way: same first weights, batches, optimizer and clipping."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import _command
import fastrnn
import numpy as np
import torch
from _torch import LAYERS, tensors
from fastrnn.batching import bucket
from torch.nn.utils.rnn import pack_sequence, pad_packed_sequence, pad_sequence

State = Any  # h, or the pair of h and c


class Beginning(NamedTuple):
    """What a decoder begins with: its state, c (B,C), and of attention the memory (B,S,M) and where it ends (B,)."""

    state: State
    c: torch.Tensor | None
    memory: torch.Tensor | None = None
    lengths: torch.Tensor | None = None


class Twin(torch.nn.Module):
    """PyTorch's net of the same form as a model, with its weights as they are now; parameters have the same names.

    What enters every step alike, W_c c, is another part of the inputs here, [x_t ; c]: PyTorch has no other way.

    Args:
        model: a fastrnn.OneToN or fastrnn.NToM with feedback and an end, and of the latter with context="last" and no
            attention, or that of Luong, "general" with input feeding.
    """

    def __init__(self, model: fastrnn.OneToN | fastrnn.NToM) -> None:
        super().__init__()
        form, weights = model.arguments, {n: torch.from_numpy(w) for n, w in model.state_dict().items()}
        self.start, self.end = form["outputs"], form["end"]
        self.reads = isinstance(model, fastrnn.NToM)
        self.first_alone = form.get("feed") == "first"
        self._name, of = ("decoder", "decoder_") if self.reads else ("rnn", "")
        first = f"{self._name}.weight_ih_l0"
        constant = weights.pop("context_input.weight" if self.reads else "seed.weight", None)
        self.constant = constant is not None
        if constant is not None:
            weights[first] = torch.cat([weights[first], constant], 1)
        parts = {name.partition(".")[0] for name in weights}
        for table in {"embedding", "feedback"} & parts:
            self.add_module(table, torch.nn.Embedding(*weights[f"{table}.weight"].shape))
        for linear in {"bridge", "readout"} & parts:
            self.add_module(linear, torch.nn.Linear(*weights[f"{linear}.weight"].shape[::-1]))
        self.attention = torch.nn.ParameterDict()
        for name in (name for name in weights if name.startswith("attention.")):
            self.attention[name.partition(".")[2]] = torch.nn.Parameter(weights[name])
        if self.reads:
            self.encoder = LAYERS[form["cell"]](
                weights["encoder.weight_ih_l0"].shape[1], form["hidden"], form["num_layers"],
                bidirectional=form.get("bidirectional", False),
            )  # fmt: skip
        kind, layers = LAYERS[form[f"{of}cell"]], form["decoder_layers" if self.reads else "num_layers"]
        self.add_module(self._name, kind(weights[first].shape[1], form[f"{of}hidden"], layers))
        self.load_state_dict(weights)

    def forward(self, x: list[torch.Tensor], y: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Pre-activations (M,K) of all steps without padding, and their targets (M,), while the true y is fed back."""
        y = [torch.cat([sequence, sequence.new_tensor([self.end])]) for sequence in y]
        targets, lengths = pad_sequence(y), torch.tensor([len(sequence) for sequence in y])
        before = torch.cat([torch.full_like(targets[:1], self.start), targets[:-1]])
        begin = self.begin(x)
        h, _, _ = self.steps(before, begin, begin.state, None)
        inside = torch.arange(len(targets))[:, None] < lengths
        return self.readout(h[inside]), targets[inside]

    def begin(self, x: list[torch.Tensor]) -> Beginning:
        """What the decoder begins with."""
        if not self.reads:
            seeds = torch.stack(x)
            return Beginning(None, self.embedding(seeds) if hasattr(self, "embedding") else seeds)
        packed = pack_sequence(x, enforce_sorted=False)
        memory, last = self.encoder(packed._replace(data=self.embedding(packed.data)))
        h = last[0] if isinstance(last, tuple) else last
        c = torch.cat(list(h[-2:]), -1) if self.encoder.bidirectional else h[-1]
        state = self._bridged(c) if hasattr(self, "bridge") else last
        if not self.attention:
            return Beginning(state, c)
        return Beginning(state, c, *pad_packed_sequence(memory, batch_first=True))

    def _bridged(self, c: torch.Tensor) -> State:
        rnn = self.get_submodule(self._name)
        z = self.bridge(c).reshape(len(c), -1, rnn.num_layers, rnn.hidden_size).permute(1, 2, 0, 3)
        h = torch.tanh(z[0])
        return (h, z[1].contiguous()) if len(z) == 2 else h

    def steps(
        self, before: torch.Tensor, begin: Beginning, state: State, fed: torch.Tensor | None
    ) -> tuple[torch.Tensor, State, torch.Tensor | None]:
        """What the readout reads (T,B,H) after the tokens before (T,B), the state, and what attention feeds.

        Args:
            state: before these steps; that of `begin` at the first ones, where alone `fed` is None.
        """
        rnn, x = self.get_submodule(self._name), self.feedback(before)
        if not self.attention:
            out, state = rnn(self._with_constant(x, begin.c, fed is None), state)
            return out, state, out[-1]
        assert begin.memory is not None  # of a net with attention
        assert begin.lengths is not None
        w, outs = self.attention, []
        keys = begin.memory @ w["weight_a"].T
        padding = torch.arange(keys.shape[1]) >= begin.lengths[:, None]
        if fed is None:
            fed = torch.zeros(len(keys), rnn.hidden_size)
        for row in x:
            read = torch.cat([row, fed], -1)[None]
            out, state = rnn(self._with_constant(read, begin.c, False), state)
            scores = (keys @ out[0, :, :, None])[:, :, 0].masked_fill(padding, -torch.inf)
            context = (torch.softmax(scores, -1)[:, None] @ begin.memory)[:, 0]
            fed = torch.tanh(torch.cat([context, out[0]], -1) @ w["weight_c"].T + w["bias_c"])
            outs.append(fed)
        return torch.stack(outs), state, fed

    def _with_constant(self, x: torch.Tensor, c: torch.Tensor | None, first: bool) -> torch.Tensor:
        """[x_t ; c] of x (T,B,E); c is 0 where it enters no step but the first."""
        if not self.constant:
            return x
        assert c is not None
        constant = c.expand(len(x), *c.shape)
        if self.first_alone:
            enters = torch.zeros(len(x), 1, 1)
            enters[:1] = float(first)
            constant = constant * enters
        return torch.cat([x, constant], -1)


class Trained(NamedTuple):
    """What training measured, an entry an epoch, and how long it took without validation."""

    loss: np.ndarray
    validation_loss: np.ndarray
    seconds: float


def train(
    net: Twin,
    x: Iterable[Any],
    y: Iterable[np.ndarray],
    *,
    epochs: int,
    batch_size: int,
    optimizer: fastrnn.Adam,
    schedule: fastrnn.schedules.Schedule,
    clip: fastrnn.Clip,
    validation_data: tuple[Any, Any],
    seed: int,
    progress: bool,
) -> Trained:
    """Trains as `model.fit` of these arguments does, with as many threads; the schedule is one of epochs."""
    torch.set_num_threads(fastrnn.get_num_threads())
    settings = {"lr": optimizer.lr, "weight_decay": optimizer.weight_decay, "betas": optimizer.betas}
    update = getattr(torch.optim, type(optimizer).__name__)(net.parameters(), **settings)
    data, targets = tensors(x), tensors(y)
    steps = np.array([len(b) + 1 + (len(a) if net.reads else 0) for a, b in zip(data, targets)])
    losses, validation, seconds, rng = [], [], 0.0, np.random.default_rng(seed)
    for epoch in _command.bar(range(epochs), "PyTorch, epochs", progress):
        update.param_groups[0]["lr"] = schedule.rate(optimizer.lr, epoch, ())
        start, total, count = time.perf_counter(), 0.0, 0
        for index in bucket(steps, batch_size, rng):
            z, target = net([data[i] for i in index], [targets[i] for i in index])
            loss = torch.nn.functional.cross_entropy(z, target)
            update.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), clip.norm)
            update.step()
            total, count = total + loss.item() * len(target), count + len(target)
        seconds += time.perf_counter() - start
        losses.append(total / count)
        validation.append(evaluate(net, *validation_data))
    return Trained(np.array(losses), np.array(validation), seconds)


def evaluate(net: Twin, x: Iterable[Any], y: Iterable[np.ndarray], batch_size: int = 256) -> float:
    """The mean loss of a step, as `model.evaluate`."""
    data, targets, total, count = tensors(x), tensors(y), 0.0, 0
    with torch.no_grad():
        for start in range(0, len(data), batch_size):
            part = slice(start, start + batch_size)
            z, target = net(data[part], targets[part])
            total += torch.nn.functional.cross_entropy(z, target, reduction="sum").item()
            count += len(target)
    return total / count


def greedy(net: Twin, x: Iterable[Any], max_length: int) -> list[np.ndarray]:
    """The most probable token at each step until the end, which is left out."""
    return _produce(net, x, max_length, lambda z: z.argmax(-1))


def sample(
    net: Twin, x: Iterable[Any], max_length: int, temperature: float, top_p: float, seed: int
) -> list[np.ndarray]:
    """Tokens drawn from softmax(z / temperature), of the fewest, the most probable first, that sum to top_p."""
    generator = torch.Generator().manual_seed(seed)

    def choose(z: torch.Tensor) -> torch.Tensor:
        p, order = torch.softmax(z / temperature, -1).sort(-1, descending=True)
        p[p.cumsum(-1) - p >= top_p] = 0
        return order.gather(-1, torch.multinomial(p, 1, generator=generator))[:, 0]

    return _produce(net, x, max_length, choose)


def _produce(
    net: Twin,
    x: Iterable[Any],
    max_length: int,
    choose: Callable[[torch.Tensor], torch.Tensor],
    size: int = 256,
) -> list[np.ndarray]:
    """Tokens that are chosen from z (B,K) at each step, in batches of some size."""
    data, found = tensors(x), []
    with torch.no_grad():
        for start in range(0, len(data), size):
            steps = list(_steps(net, data[start : start + size], max_length, choose))
            for row in np.array(steps).T:
                ends = np.flatnonzero(row == net.end)
                found.append(row[: ends[0]] if len(ends) else row)
    return found


def _steps(
    net: Twin, x: list[torch.Tensor], max_length: int, choose: Callable[[torch.Tensor], torch.Tensor]
) -> Iterator[np.ndarray]:
    """The tokens (B,) of one step after the other, until all sequences have ended."""
    begin, fed = net.begin(x), None
    state = begin.state
    tokens, running = torch.full((len(x),), net.start), torch.ones(len(x), dtype=torch.bool)
    for _ in range(max_length):
        out, state, fed = net.steps(tokens[None], begin, state, fed)
        tokens = choose(net.readout(out[0]))
        yield tokens.numpy()
        running &= tokens != net.end
        if not running.any():
            return
