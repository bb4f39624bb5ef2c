# SPDX-License-Identifier: MIT
"""PyTorch's torch.nn.LSTM and GRU on the GPU, whose kernels are those of cuDNN; the whole layer of the case's type.

No gradients are recorded in inference; those of training are fresh. A stream calls the layer with T = 1. With lengths x
is padded, as ours is: packing it and padding y belong to the call.
"""

from __future__ import annotations

from itertools import cycle
from typing import Any

import numpy as np
import torch
from device_cases import DeviceCase
from peers import Work
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

LAYERS = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}
TYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}


def version() -> str:
    """Of PyTorch, its CUDA and cuDNN."""
    return f"{torch.__version__} (CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()})"


def make(case: DeviceCase, data: dict[str, Any], lengths: Any, device: str = "cuda") -> Work:
    """See `cuda_peers`."""
    allow_tf32(case.dtype == "tf32")
    dtype = TYPES.get(case.dtype, torch.float32)
    layer = LAYERS[case.cell](case.I, case.H, case.layers, bidirectional=case.bidirectional)
    layer = layer.to(device, dtype)
    layer.load_state_dict({name: torch.from_numpy(data[name]) for name in layer.state_dict()})
    x, dy = (torch.from_numpy(data[name]).to(device, dtype) for name in ("x", "dy"))
    steps = None if lengths is None else torch.from_numpy(lengths)
    if case.mode == "step":
        return _stream(layer, x)
    if case.mode == "infer":
        infer = torch.inference_mode()(lambda: _forward(layer, x, steps))
        return Work(infer, lambda y: {"y": to_numpy(y)})
    x.requires_grad_()
    return Work(lambda: _train(layer, x, dy, steps), _gradients)


def allow_tf32(allowed: bool) -> None:
    """Whether products of float32 may be rounded to 11 bits: as ours."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed


def to_numpy(tensor: Any) -> np.ndarray:
    """float32, on the host."""
    array: np.ndarray = tensor.detach().float().cpu().numpy()
    return array


def _forward(layer: Any, x: Any, steps: Any) -> Any:
    if steps is None:
        return layer(x)[0]
    packed = pack_padded_sequence(x, steps, enforce_sorted=False)
    return pad_packed_sequence(layer(packed)[0], total_length=len(x))[0]


def _train(layer: Any, x: Any, dy: Any, steps: Any) -> Any:
    layer.zero_grad()
    x.grad = None
    y = _forward(layer, x, steps)
    y.backward(dy)
    return y, x, layer


def _gradients(result: Any) -> dict[str, np.ndarray]:
    y, x, layer = result
    parameters = {name: to_numpy(parameter.grad) for name, parameter in layer.named_parameters()}
    return {"y": to_numpy(y), "x": to_numpy(x.grad), **parameters}


def _stream(layer: Any, x: Any) -> Work:
    inputs, state = cycle(list(x[:, None])), None

    @torch.inference_mode()
    def run() -> Any:
        nonlocal state
        y, state = layer(next(inputs), state)
        return y

    return Work(run, lambda y: {"y": to_numpy(y[0])})
