# SPDX-License-Identifier: MIT
"""PyTorch, eager: torch.nn.LSTM, GRU and RNN on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from cases import Case


def version() -> str:
    """Version of torch."""
    return str(torch.__version__)


def set_threads(n: int) -> None:
    """Threads of an operation."""
    torch.set_num_threads(n)


def make(case: Case, data: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """See `peers`."""
    layer = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn_tanh": torch.nn.RNN}[case.cell](case.I, case.H)
    for name, parameter in layer.named_parameters():
        parameter.data = torch.from_numpy(data[name])
    x, dy = torch.from_numpy(data["x"]), torch.from_numpy(data["dy"])
    if case.mode == "train":
        return lambda: _train(layer, x.requires_grad_(), dy)
    state: Any = None

    @torch.inference_mode()
    def run() -> dict[str, Any]:
        nonlocal state
        if case.mode == "infer":
            return {"y": layer(x)[0].numpy()}
        _, state = layer(x, state)
        return {}

    return run


def _train(layer: Any, x: Any, dy: Any) -> dict[str, Any]:
    layer.zero_grad()
    x.grad = None
    y, _ = layer(x)
    y.backward(dy)
    return {
        "y": y.detach().numpy(),
        "x": x.grad.numpy(),
        **{name: parameter.grad.numpy() for name, parameter in layer.named_parameters()},
    }
