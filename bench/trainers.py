# SPDX-License-Identifier: MIT
"""A lesson in this library and in PyTorch, each ready to train an epoch.

Clipping by global norm, Adam. PyTorch in two ways: `torch` computes what ours does; `torch, padding computed` leaves
padding in where a direction starts in it, which many do for speed. Its Adam is the fused one, its batches are gathered
by our code.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import numpy as np
from lessons import Lesson

RATE, NORM = 1e-3, 1.0


class Trainer(Protocol):
    """A model, its optimizer and the data."""

    def epoch(self, seed: int) -> tuple[float, float]:
        """Trains an epoch in the order of the seed: mean loss, seconds."""


class Ours:
    """By `fit`, one epoch a call: what it checks and converts is part of the time."""

    def __init__(self, lesson: Lesson, sequences: int) -> None:
        import fastrnn

        self._model, self._optimizer, self._data = lesson.model(), fastrnn.Adam(RATE), lesson.data(sequences)
        self._batch, self._clip = lesson.batch, fastrnn.Clip(norm=NORM)

    def epoch(self, seed: int) -> tuple[float, float]:
        """See `Trainer`."""
        start = time.perf_counter()
        history = self._model.fit(
            *self._data, epochs=1, batch_size=self._batch, optimizer=self._optimizer, clip=self._clip, seed=seed,
            progress=False,
        )  # fmt: skip
        return float(history.loss[0]), time.perf_counter() - start


class Torch:
    """The twin in PyTorch."""

    def __init__(self, lesson: Lesson, sequences: int, padded: bool = False) -> None:
        import torch
        from twins import twin

        model = lesson.model()
        self._net = twin(model, padded)
        self._data, self._batch = model._training_data(*lesson.data(sequences), None), lesson.batch
        self._optimizer = torch.optim.Adam(self._net.parameters(), RATE, fused=True)

    def epoch(self, seed: int) -> tuple[float, float]:
        """See `Trainer`."""
        from fastrnn.batching import bucket

        start, total, count = time.perf_counter(), 0.0, 0
        for index in bucket(self._data.lengths, self._batch, np.random.default_rng(seed)):
            batch = self._data.batch(index)
            weight = outputs(batch)
            total += self._learn(batch) * weight
            count += weight
        return total / count, time.perf_counter() - start

    def _learn(self, batch: Any) -> float:
        """One update; the batch's mean loss before it."""
        import torch

        loss = self._net.loss(batch)
        self._optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._net.parameters(), NORM)
        self._optimizer.step()
        return float(loss.detach())


def outputs(batch: Any) -> int:
    """What the mean loss of a batch is over: outputs of steps or of sequences."""
    return int(batch.y.steps) if hasattr(batch, "y") else len(batch.targets)


TRAINERS: dict[str, Callable[[Lesson, int], Trainer]] = {
    "fastrnn": Ours,
    "torch": Torch,
    "torch, padding computed": partial(Torch, padded=True),
}
