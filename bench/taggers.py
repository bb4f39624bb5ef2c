# SPDX-License-Identifier: MIT
"""The same tagger in this library and in PyTorch, each ready to train an epoch.

Embedding, bidirectional LSTM, readout, softmax, clipping by global norm, Adam. PyTorch, eager, in two ways: `torch`
packs its batches and computes what ours does; padding computed leaves the padding in, which many do for speed, so that
the reverse direction starts in padding. Its Adam is the fused one, its batches are gathered by our code.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import numpy as np
from corpus import TAGS, VOCABULARY, Sequences

EMBEDDING, HIDDEN, BATCH, RATE, NORM = 64, 64, 32, 1e-3, 1.0


class Tagger(Protocol):
    """A network, its optimizer and the corpus."""

    def epoch(self, seed: int) -> tuple[float, float]:
        """Trains an epoch in the order of the seed: mean loss, seconds."""


def new_model() -> Any:
    """The untrained network, always the same."""
    import fastrnn

    words = fastrnn.Embedding(VOCABULARY, EMBEDDING)
    return fastrnn.NToN("lstm", words, HIDDEN, TAGS, bidirectional=True, seed=0)


class Ours:
    """By `fit`, one epoch a call: what it checks and converts is part of the time."""

    def __init__(self, x: Sequences, y: Sequences, clip: bool = True) -> None:
        import fastrnn

        self._model, self._optimizer, self._data = new_model(), fastrnn.Adam(RATE), (x, y)
        self._clip = fastrnn.Clip(norm=NORM) if clip else None

    def epoch(self, seed: int) -> tuple[float, float]:
        """See `Tagger`."""
        start = time.perf_counter()
        history = self._model.fit(
            *self._data, epochs=1, batch_size=BATCH, optimizer=self._optimizer, clip=self._clip, seed=seed,
            progress=False,
        )  # fmt: skip
        return float(history.loss[0]), time.perf_counter() - start


class Torch:
    """The twin in PyTorch."""

    def __init__(self, x: Sequences, y: Sequences, padded: bool = False) -> None:
        import torch
        from fastrnn.batching import SequencePairs, sequences

        self._data = SequencePairs(sequences("x", x, (), np.int64), sequences("y", y, (), np.int64))
        self._padded = padded
        weights = {name: torch.from_numpy(a) for name, a in new_model().state_dict().items()}
        self._net = torch.nn.ModuleDict(
            {
                "embedding": torch.nn.Embedding(VOCABULARY, EMBEDDING),
                "rnn": torch.nn.LSTM(EMBEDDING, HIDDEN, bidirectional=True),
                "readout": torch.nn.Linear(2 * HIDDEN, TAGS),
            }
        )
        self._net.load_state_dict(weights)
        self._optimizer = torch.optim.Adam(self._net.parameters(), RATE, fused=True)

    def epoch(self, seed: int) -> tuple[float, float]:
        """See `Tagger`."""
        from fastrnn.batching import bucket

        start, total, count = time.perf_counter(), 0.0, 0
        for index in bucket(self._data.lengths, BATCH, np.random.default_rng(seed)):
            batch = self._data.batch(index)
            assert batch.targets is not None
            total += self._learn(batch) * len(batch.targets)
            count += len(batch.targets)
        return total / count, time.perf_counter() - start

    def _learn(self, batch: Any) -> float:
        """One update; the batch's mean loss before it."""
        import torch

        logits = self._logits(batch)
        loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(batch.targets))
        self._optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._net.parameters(), NORM)
        self._optimizer.step()
        return float(loss.detach())

    def _logits(self, batch: Any) -> Any:
        """(M,TAGS) of the valid steps, in order of t, then b."""
        import torch
        from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

        steps = self._net["embedding"](torch.from_numpy(batch.x))
        if self._padded or batch.lengths is None:
            h, _ = self._net["rnn"](steps)
        else:
            lengths = torch.from_numpy(batch.lengths)
            packed = pack_padded_sequence(steps, lengths, enforce_sorted=False)
            h, _ = pad_packed_sequence(self._net["rnn"](packed)[0])
        rows = h.reshape(-1, 2 * HIDDEN)
        return self._net["readout"](rows if batch.rows is None else rows[torch.from_numpy(batch.rows)])


TAGGERS: dict[str, Callable[[Sequences, Sequences], Tagger]] = {
    "fastrnn": Ours,
    "fastrnn, no clipping": partial(Ours, clip=False),
    "torch": Torch,
    "torch, padding computed": partial(Torch, padded=True),
}
