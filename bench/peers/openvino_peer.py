# SPDX-License-Identifier: MIT
"""OpenVINO on the CPU: the ONNX model, float32, one stream for least latency, inference alone.

Tensors are bound to memory once. A stream has two requests that hand the state to each other.
"""

from __future__ import annotations

from itertools import cycle
from typing import Any

import numpy as np
import openvino
from cases import Case

from . import CannotRun, Work
from .onnx_model import Stream, build, result, source

_threads = 1


def version() -> str:
    """Version of OpenVINO."""
    return str(openvino.__version__).split("-")[0]


def set_threads(n: int) -> None:
    """Threads of an inference."""
    global _threads
    _threads = n


def make(case: Case, data: dict[str, Any]) -> Work:
    """See `peers`."""
    if case.mode == "train":
        raise CannotRun("inference alone")
    if case.resets:
        raise CannotRun("no resets inside a sequence")
    if case.peepholes:
        raise CannotRun("its LSTM has no peepholes")
    core = openvino.Core()
    options = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": _threads,
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
    }
    compiled = core.compile_model(core.read_model(build(case, data).SerializeToString()), "CPU", options)
    if case.mode == "step":
        return _stream(compiled, case, data["x"])
    x, y = source(case, data), np.empty((case.T, case.B, case.directions * case.H), np.float32)
    request = _bind(compiled, {"x": x}, {"y": y})
    return Work(lambda: (request.infer(), x)[0], lambda _: result(case, y))


def _bind(compiled: Any, inputs: dict[str, np.ndarray], outputs: dict[str, np.ndarray]) -> Any:
    request = compiled.create_infer_request()
    for name, a in (inputs | outputs).items():
        request.set_tensor(name, openvino.Tensor(a, shared_memory=True))
    return request


def _stream(compiled: Any, case: Case, x: np.ndarray) -> Work:
    memory, inputs = Stream(case), cycle(list(x[:, None]))
    requests = cycle(
        [
            _bind(
                compiled,
                {"x": memory.x, **before},
                {"y": memory.y, **{f"{name}_after": a for name, a in after.items()}},
            )
            for before, after in zip(memory.states, reversed(memory.states))
        ]
    )
    target = memory.x

    def run() -> None:
        target[...] = next(inputs)
        next(requests).infer()

    return Work(run, lambda _: {"y": memory.y[0]})
