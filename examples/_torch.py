# SPDX-License-Identifier: MIT
"""The net of an example in PyTorch, trained the same way: same first weights, batches, optimizer and clipping."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import _command
import fastrnn
import numpy as np
import torch
from _torch_crf import Crf
from fastrnn.batching import bucket
from torch.nn.utils.rnn import PackedSequence, pack_sequence, pad_packed_sequence, unpack_sequence

LAYERS = {"gru": torch.nn.GRU, "lstm": torch.nn.LSTM, "rnn_tanh": torch.nn.RNN}
LOSSES = {
    "softmax": torch.nn.functional.cross_entropy,
    "sigmoid": torch.nn.functional.binary_cross_entropy_with_logits,
}


class Twin(torch.nn.Module):
    """PyTorch's net of the same form as a model, with its weights as they are now; parameters have the same names.

    Args:
        model: a fastrnn.NToN, or a fastrnn.NToOne that reads the last state.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        form, weights = model.arguments, {n: torch.from_numpy(w) for n, w in model.state_dict().items()}
        self.each_step = isinstance(model, fastrnn.NToN)
        self._loss = LOSSES[form["activation"]]
        self.crf = Crf(form["outputs"]) if "crf.transition" in weights else None
        if "embedding.weight" in weights:
            self.embedding = torch.nn.Embedding(*weights["embedding.weight"].shape)
        self.rnn = LAYERS[form["cell"]](
            weights["rnn.weight_ih_l0"].shape[1], form["hidden"], form["num_layers"],
            dropout=form["dropout"], bidirectional=form["bidirectional"],
        )  # fmt: skip
        outputs, read = weights["readout.weight"].shape
        self.readout = torch.nn.Linear(read, outputs)
        self.load_state_dict(weights)

    def forward(self, x: list[Any]) -> Any:
        """Pre-activations: a PackedSequence with a row for each step, or (N,K); no padding is read."""
        packed = self._inputs(x)
        h, last = (self._packed if self.rnn.bidirectional else self._padded)(packed)
        return h._replace(data=self.readout(h.data)) if self.each_step else self.readout(last)

    def _inputs(self, x: list[Any]) -> PackedSequence:
        """What the recurrent layer reads: features, vectors of ids, or of pairs of both the one beside the other."""
        if isinstance(x[0], tuple):
            ids, features = (pack_sequence(part, enforce_sorted=False) for part in zip(*x))
            return ids._replace(data=torch.cat([self.embedding(ids.data), features.data], 1))
        packed = pack_sequence(x, enforce_sorted=False)
        return packed._replace(data=self.embedding(packed.data)) if hasattr(self, "embedding") else packed

    def _packed(self, packed: PackedSequence) -> tuple[PackedSequence, torch.Tensor]:
        """h of all steps, and the last ones of both directions (N,2H)."""
        h, last = self.rnn(packed)
        last = last[0] if isinstance(last, tuple) else last
        return h, torch.cat(list(last[-2:]), -1)

    def _padded(self, packed: PackedSequence) -> tuple[PackedSequence, torch.Tensor]:
        """h of all steps, and the last ones (N,H): by padded arrays, which PyTorch computes much faster."""
        x, lengths = pad_packed_sequence(packed._replace(sorted_indices=None, unsorted_indices=None))
        h, _ = self.rnn(x)
        last = h[lengths - 1, torch.arange(len(lengths))][packed.unsorted_indices]
        return packed._replace(data=h[torch.arange(len(x))[:, None] < lengths]), last

    def targets(self, y: list[torch.Tensor]) -> torch.Tensor:
        """The targets of sequences in the order of the rows of the pre-activations."""
        return pack_sequence(y, enforce_sorted=False).data if self.each_step else torch.stack(y)

    def loss(self, z: Any, target: torch.Tensor) -> torch.Tensor:
        """The mean loss of what `forward` gives."""
        return self.crf(z, target) if self.crf else self._loss(z.data if self.each_step else z, target)

    def classes(self, z: Any) -> torch.Tensor:
        """(M,) the most probable class of each row of what `forward` gives; of a CRF the best path."""
        return self.crf.decode(z) if self.crf else (z.data if self.each_step else z).argmax(-1)


class Trained(NamedTuple):
    """What training measured, an entry an epoch, and how long it took without validation."""

    loss: np.ndarray
    validation_loss: np.ndarray
    validation_accuracy: np.ndarray
    seconds: float


def train(
    net: Twin,
    x: Any,
    y: Any,
    *,
    epochs: int,
    batch_size: int,
    optimizer: Any,
    clip: fastrnn.Clip,
    validation_data: tuple[Any, Any],
    seed: int,
    progress: bool,
    schedule: fastrnn.schedules.Schedule | None = None,
) -> Trained:
    """Trains as `model.fit` of these arguments does, with as many threads; the schedule is one of epochs.

    Args:
        optimizer: the Adam or AdamW of fastrnn: PyTorch's of the same name and settings is used.
    """
    torch.set_num_threads(fastrnn.get_num_threads())
    settings = {"lr": optimizer.lr, "weight_decay": optimizer.weight_decay, "betas": optimizer.betas}
    update = getattr(torch.optim, type(optimizer).__name__)(net.parameters(), **settings)
    data, targets = tensors(x), tensors(y)
    lengths, rng = np.array([len(steps_of(sequence)) for sequence in data]), np.random.default_rng(seed)
    losses, validation, seconds = [], [], 0.0
    for epoch in _command.bar(range(epochs), "PyTorch, epochs", progress):
        net.train()
        if schedule is not None:
            update.param_groups[0]["lr"] = schedule.rate(optimizer.lr, epoch, ())
        start, total, count = time.perf_counter(), 0.0, 0
        for index in bucket(lengths, batch_size, rng):
            target = net.targets([targets[i] for i in index])
            loss = net.loss(net([data[i] for i in index]), target)
            update.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), clip.norm)
            update.step()
            total, count = total + loss.item() * len(target), count + len(target)
        seconds += time.perf_counter() - start
        losses.append(total / count)
        validation.append(list(evaluate(net, *validation_data).values()))
    return Trained(np.array(losses), *np.array(validation).T, seconds)


def tensors(arrays: Any) -> list[Any]:
    """Arrays, or the numbers of one array, as tensors of the same kind; of the pair (ids, features) pairs."""
    if isinstance(arrays, tuple):
        return list(zip(*map(tensors, arrays)))
    return [torch.as_tensor(array) for array in arrays]


def steps_of(sequence: Any) -> torch.Tensor:
    """A sequence, or the ids of a pair."""
    return sequence[0] if isinstance(sequence, tuple) else sequence


def evaluate(net: Twin, x: Any, y: Any) -> dict[str, float]:
    """The mean loss, and the share of right decisions, as `model.evaluate`."""
    net.eval()
    with torch.no_grad():
        z, target = net(tensors(x)), net.targets(tensors(y))
        if target.ndim == 1:
            right = net.classes(z) == target
        else:
            right = ((z.data if net.each_step else z) > 0) == (target > 0.5)
        return {"loss": float(net.loss(z, target)), "accuracy": float(right.float().mean())}


def decide(net: Twin, x: Any) -> Any:
    """The most probable class of each step, a list of arrays (T_n,), or of each sequence (N,)."""
    net.eval()
    with torch.no_grad():
        z = net(tensors(x))
        classes = net.classes(z)
    if net.each_step:
        return [rows.numpy() for rows in unpack_sequence(z._replace(data=classes))]
    return classes.numpy()
