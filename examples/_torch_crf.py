# SPDX-License-Identifier: MIT
"""A linear-chain CRF in PyTorch, on packed sequences: the equations are those of fastrnn.crf, gradients by autograd."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import torch
from torch.nn.utils.rnn import PackedSequence


class Crf(torch.nn.Module):
    """Scores of paths of K tags besides those of the steps; parameters have the names that fastrnn.NToN gives them.

    Args:
        tags: K.
    """

    def __init__(self, tags: int) -> None:
        super().__init__()
        for name, shape in (("start", (tags,)), ("transition", (tags, tags)), ("end", (tags,))):
            self.register_parameter(name, torch.nn.Parameter(torch.zeros(shape)))

    def forward(self, z: PackedSequence, tags: torch.Tensor) -> torch.Tensor:
        """Negative log likelihood of tags (M,), in the order of the rows of z, divided by their number."""
        counts = z.batch_sizes.tolist()
        first, *others = z.data.split(counts)
        alpha, ended = self.start + first, []
        for step in others:  # rows end from the last on: the first ones are the longest
            ended.append(alpha[len(step) :])
            alpha = step + (alpha[: len(step), :, None] + self.transition).logsumexp(1)
        log_z = (torch.cat([alpha, *reversed(ended)]) + self.end).logsumexp(1)
        return (log_z.sum() - self._score(z.data, tags, tags.split(counts))) / len(tags)

    def _score(self, z: torch.Tensor, tags: torch.Tensor, steps: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """The sum of the scores of the paths `tags`, whose parts at each step are `steps`."""
        score = z.gather(1, tags[:, None]).sum() + self.start[steps[0]].sum()
        for before, now in pairwise(steps):
            score = score + self.transition[before[: len(now)], now].sum()
        return score + self.end[last_of(steps)].sum()

    def decode(self, z: PackedSequence) -> torch.Tensor:
        """(M,) the tags of the best paths, in the order of the rows of z."""
        first, *others = z.data.split(z.batch_sizes.tolist())
        best, ended, origins = self.start + first, [], []
        for step in others:
            ended.append(best[len(step) :])
            best, origin = (best[: len(step), :, None] + self.transition).max(1)
            best = best + step
            origins.append(origin)
        now = (torch.cat([best, *reversed(ended)]) + self.end).argmax(1)
        tags = [now[: len(best)].clone()]
        for origin, step in zip(reversed(origins), [*reversed(others[:-1]), first]):
            now[: len(origin)] = origin.gather(1, now[: len(origin), None])[:, 0]
            tags.append(now[: len(step)].clone())
        return torch.cat(tags[::-1])


def last_of(steps: Iterable[torch.Tensor]) -> torch.Tensor:
    """The last entry of each row, from the entries of all rows that are still there at each step."""
    now: torch.Tensor | None = None
    for step in steps:
        now = step if now is None else torch.cat([step, now[len(step) :]])
    assert now is not None  # a packed sequence has a step
    return now
