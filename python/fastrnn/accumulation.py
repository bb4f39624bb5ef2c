# SPDX-License-Identifier: MIT
"""The gradient of one update, from one batch or the mean of several.

The loss of batch i is a mean over its count c_i (rows or elements, or their weights: see losses.py). The gradient of
several is

    sum_i c_i g_i / sum_i c_i

which is that of one batch of all their rows: `Clip.value` and `Clip.norm` act on it as on that. `Clip.step_value` and
`Clip.step_norm` act inside of each batch, on the gradients of its own mean loss. The numbers of the sum are weighted by
c_i / c_1, and the division is left to the update of the optimizer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from . import gradients as grads
from .clip import Clip
from .history import Score
from .optim import Optimizer

if TYPE_CHECKING:
    from .feeds import Learner


class Update:
    """Gradients that are gathered and applied, again and again.

    Attributes:
        gradients: of a batch, to be added to: see `Learner.learn`.
        clip: what a batch is to apply.

    Args:
        learner: whose gradients they are.
        batches: most of them that make one update.
        clip: as given to `fit`.
    """

    def __init__(self, learner: Learner[Any], batches: int, clip: Clip | None) -> None:
        self.gradients = learner.gradient_buffers()
        self.clip = clip if clip is None or batches == 1 else replace(clip, value=None)
        self._sum = None if batches == 1 else learner.gradient_buffers()
        self._given = clip
        self._first = 0.0  # c_1, of the first batch in which anything counts
        self._weight = 0.0  # sum of c_i / c_1

    def add(self, score: Score) -> None:
        """The batch that is in `gradients` is one of the update."""
        if self._sum is not None:
            self._first = self._first or score.of
            weight = score.of / self._first if score.of else 0.0
            self._weight += weight
            for total, gradient in zip(self._sum.values(), self.gradients.values()):
                total.accumulate(gradient, weight)
                gradient.clear()

    def norm(self) -> float:
        """L2 norm of the mean gradient, clamped by `Clip.value`."""
        if self._sum is None:
            return grads.norm(self.gradients.values())
        if self._given is not None and self._given.value is not None:
            for total in self._sum.values():
                total.clamp(self._given.value * self._total)
        return grads.norm(self._sum.values()) / self._total

    def apply(self, optimizer: Optimizer, parameters: Mapping[str, npt.NDArray[Any]], norm: float) -> None:
        """One step of the optimizer; the gradients are zero again."""
        scale = 1.0 if self._given is None else self._given.scale(norm)
        applied = self.gradients if self._sum is None else self._sum
        if self._sum is not None:
            scale /= self._total
        optimizer.update(list(parameters.values()), [gradient.flat for gradient in applied.values()], scale)
        for gradient in applied.values():
            gradient.clear()
        self._first = self._weight = 0.0

    @property
    def _total(self) -> float:
        """The divisor; where nothing counts, the gradient is zero and any will do."""
        return self._weight or 1.0
