# SPDX-License-Identifier: MIT
"""haste_pytorch.LSTM and GRU, float32: one layer forward in time; a matrix product and a kernel a step."""

from __future__ import annotations

from importlib.metadata import version as version_of
from typing import Any

import haste_pytorch
import numpy as np
import torch
from device_cases import DeviceCase
from peers import CannotRun, Work

from .torch_peer import allow_tf32, to_numpy

LAYERS = {"lstm": haste_pytorch.LSTM, "gru": haste_pytorch.GRU}
ORDER = {
    "lstm": (0, 2, 1, 3),
    "gru": (1, 0, 2),
}  # of its gates i g f o and z r n, among ours; its own inverse


def version() -> str:
    """Of haste."""
    return version_of("haste_pytorch")


def reordered(array: np.ndarray, cell: str) -> np.ndarray:
    """(G*H,..) from our order of the gates to its, and back."""
    order = list(ORDER[cell])
    return array.reshape(len(order), -1, *array.shape[1:])[order].reshape(array.shape)


def make(case: DeviceCase, data: dict[str, Any], lengths: Any, device: str = "cuda") -> Work:
    """See `cuda_peers`."""
    if case.mode == "step" or case.layers > 1 or case.bidirectional or case.lengths:
        raise CannotRun("here it is one layer forward in time over whole sequences")
    if case.dtype not in ("float32", "tf32"):
        raise CannotRun("it has float32 and float64")
    allow_tf32(case.dtype == "tf32")
    layer = LAYERS[case.cell](case.I, case.H)
    given = _parameters(case.cell, data)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            parameter.copy_(torch.from_numpy(given[name]))
    x, dy = (torch.from_numpy(data[name]).to(device) for name in ("x", "dy"))
    if case.mode == "infer":
        layer.eval()
        infer = torch.no_grad()(lambda: layer(x)[0][-case.T :])
        return Work(infer, lambda y: {"y": to_numpy(y)})
    x.requires_grad_()

    def train() -> Any:
        layer.zero_grad()
        x.grad = None
        y = layer(x)[0][-case.T :]
        y.backward(dy)
        return y

    def read(y: Any) -> dict[str, np.ndarray]:
        return {"y": to_numpy(y), "x": to_numpy(x.grad), **_gradients(case.cell, layer)}

    return Work(train, read)


def _parameters(cell: str, data: dict[str, Any]) -> dict[str, np.ndarray]:
    b_ih, b_hh = data["bias_ih_l0"], data["bias_hh_l0"]
    biases = {"bias": b_ih + b_hh} if cell == "lstm" else {"bias": b_ih, "recurrent_bias": b_hh}
    weights = {"kernel": data["weight_ih_l0"], "recurrent_kernel": data["weight_hh_l0"]}
    return {name: reordered(array, cell).T.copy() for name, array in (weights | biases).items()}


def _gradients(cell: str, layer: Any) -> dict[str, np.ndarray]:
    found = {
        name: reordered(to_numpy(parameter.grad).T, cell) for name, parameter in layer.named_parameters()
    }
    return {
        "weight_ih_l0": found["kernel"],
        "weight_hh_l0": found["recurrent_kernel"],
        "bias_ih_l0": found["bias"],
        "bias_hh_l0": found.get("recurrent_bias", found["bias"]),
    }
