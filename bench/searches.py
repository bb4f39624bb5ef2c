# SPDX-License-Identifier: MIT
"""Decoding in PyTorch, eager: greedy and beam search over a batch, for the twins of twins.py."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from twins import Now, Producer


@torch.inference_mode()
def greedy(net: Producer, x: Any, end: int, max_length: int) -> list[list[int]]:
    """The most probable token at each step until all have ended; tokens before the end."""
    now = net.begin(x)
    tokens = torch.full((len(now.c),), net.start)
    ended, taken = torch.zeros(len(tokens), dtype=torch.bool), []
    for _ in range(max_length):
        z, now = net.step(tokens, now)
        tokens = z.argmax(-1)
        taken.append(tokens)
        ended |= tokens == end
        if ended.all():
            break
    return [before(row, end) for row in torch.stack(taken, 1).tolist()]


def before(tokens: list[int], end: int) -> list[int]:
    """The tokens before the end, all where it never came."""
    return tokens[: tokens.index(end)] if end in tokens else tokens


def rows_of(now: Now, index: Tensor) -> Now:
    """The decoder at these rows; what does not change stays where it is."""
    state = now.state
    if state is not None:
        state = tuple(s[:, index] for s in state) if isinstance(state, tuple) else state[:, index]
    return now._replace(state=state, fed=None if now.fed is None else now.fed[index])


def repeated(now: Now, times: int) -> Now:
    """Every row so many times."""
    index = torch.arange(len(now.c)).repeat_interleave(times)
    others = {name: getattr(now, name) for name in ("c", "keys", "memory", "padding")}
    return rows_of(now, index)._replace(**{n: None if a is None else a[index] for n, a in others.items()})


@torch.inference_mode()
def beam(net: Producer, x: Any, end: int, max_length: int, width: int) -> list[list[int]]:
    """The best of `width` hypotheses by log probability, as `model.decode`; tokens before the end.

    Hypotheses that have ended keep their places; the search goes on while one of the others may still become the best.
    """
    now = net.begin(x)
    B = len(now.c)
    now = repeated(now, width)
    tokens = torch.full((B * width,), net.start)
    running = torch.full((B, width), -torch.inf)
    running[:, 0] = 0  # one hypothesis begins
    places = torch.full((B, 1), width)
    best, first = torch.full((B,), -torch.inf), torch.arange(B)[:, None] * width
    taken = torch.full((B, width, max_length), end)
    found = torch.full((B, max_length), end)
    for t in range(max_length):
        z, now = net.step(tokens, now)
        scores = running[:, :, None] + torch.log_softmax(z, -1).reshape(B, width, -1)
        running, at = scores.flatten(1).topk(width)
        running = running.masked_fill(torch.arange(width) >= places, -torch.inf)
        parent, token = at // scores.shape[2], at % scores.shape[2]
        taken = taken.gather(1, parent[:, :, None].expand_as(taken))
        taken[:, :, t] = token
        ending = (token == end) & running.isfinite()
        score, which = running.masked_fill(~ending, -torch.inf).max(1)
        better = score > best
        best = torch.where(better, score, best)
        found = torch.where(better[:, None], taken[torch.arange(B), which], found)
        running = running.masked_fill(ending, -torch.inf)
        places = places - ending.sum(1, keepdim=True)
        if (running.max(1).values <= best).all():
            break
        now, tokens = rows_of(now, (first + parent).reshape(-1)), token.reshape(-1)
    score, which = running.max(1)
    found = torch.where(best.isfinite()[:, None], found, taken[torch.arange(B), which])
    return [before(row, end) for row in found.tolist()]
