# SPDX-License-Identifier: MIT
"""FlashRNN, its fused CUDA kernels with one head, which is a plain LSTM; the input product is PyTorch's."""

from __future__ import annotations

from importlib.metadata import version as version_of
from typing import Any

import numpy as np
import torch
from device_cases import DeviceCase
from flashrnn import flashrnn
from peers import CannotRun, Work

from .torch_peer import TYPES, allow_tf32, to_numpy

NAMES = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0")


def version() -> str:
    """Of FlashRNN."""
    return version_of("flashrnn")


def make(case: DeviceCase, data: dict[str, Any], lengths: Any, device: str = "cuda") -> Work:
    """See `cuda_peers`."""
    if case.cell != "lstm" or case.mode == "step" or case.layers > 1 or case.bidirectional or case.lengths:
        raise CannotRun("here it is one LSTM forward in time over whole sequences")
    if case.dtype == "tf32":
        raise CannotRun("it has no tf32")
    allow_tf32(False)
    dtype = TYPES.get(case.dtype, torch.float32)

    def on_gpu(array: np.ndarray) -> Any:
        return torch.from_numpy(array).to(device, dtype)

    x, dy = (on_gpu(data[name].swapaxes(0, 1).copy()) for name in ("x", "dy"))  # (B,T,..)
    arrays = [data["weight_ih_l0"], data["weight_hh_l0"], data["bias_ih_l0"] + data["bias_hh_l0"]]
    parameters = [on_gpu(array) for array in arrays]
    B, T, H = case.B, case.T, case.H

    def forward() -> Any:
        W_ih, W_hh, bias = parameters
        from_x = torch.nn.functional.linear(x, W_ih).view(B, T, 4, 1, H)
        recurrent = W_hh.view(4, 1, H, H), bias.view(4, 1, H)
        states, _ = flashrnn(from_x, *recurrent, function="lstm", backend="cuda_fused", dtype=case.dtype)
        return states[0].reshape(B, T, H)

    if case.mode == "infer":
        return Work(torch.no_grad()(forward), lambda y: {"y": _time_major(y)})
    for tensor in (x, *parameters):
        tensor.requires_grad_()

    def train() -> Any:
        for tensor in (x, *parameters):
            tensor.grad = None
        y = forward()
        y.backward(dy)
        return y

    def read(y: Any) -> dict[str, np.ndarray]:
        found = {name: to_numpy(parameter.grad) for name, parameter in zip(NAMES, parameters)}
        found["bias_hh_l0"] = found["bias_ih_l0"]  # one sum of both
        return {"y": _time_major(y), "x": _time_major(x.grad), **found}

    return Work(train, read)


def _time_major(tensor: Any) -> np.ndarray:
    return to_numpy(tensor).swapaxes(0, 1)
