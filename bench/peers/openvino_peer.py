# SPDX-License-Identifier: MIT
"""OpenVINO on the CPU: the ONNX model, float32, one stream for least latency, inference alone.

Tensors are bound to memory once. The model of a stream keeps its state (MakeStateful), so that only x and y pass.
"""

from __future__ import annotations

from itertools import cycle
from typing import Any

import numpy as np
import openvino
from cases import Case
from openvino.passes import MakeStateful, Manager

from . import CannotRun, Work
from .onnx_model import build, result, source, states

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
    model = core.read_model(build(case, data).SerializeToString())
    if case.mode == "step":
        return _stream(core.compile_model(_stateful(model, case), "CPU", options), case, data["x"])
    compiled = core.compile_model(model, "CPU", options)
    x, y = source(case, data), np.empty((case.T, case.B, case.directions * case.H), np.float32)
    request = _bind(compiled, {"x": x}, {"y": y})
    return Work(lambda: request.infer(), lambda _: result(case, y))


def _bind(compiled: Any, inputs: dict[str, np.ndarray], outputs: dict[str, np.ndarray]) -> Any:
    request = compiled.create_infer_request()
    request.memory = (inputs, outputs)  # it holds bare addresses: the arrays live as long as it does
    for name, a in (inputs | outputs).items():
        request.set_tensor(name, openvino.Tensor(a, shared_memory=True))
    return request


def _stateful(model: Any, case: Case) -> Any:
    manager = Manager()
    manager.register_pass(MakeStateful({name: f"{name}_after" for name in states(case)}))
    manager.run_passes(model)
    return model


def _stream(compiled: Any, case: Case, inputs: np.ndarray) -> Work:
    x, y = np.empty((1, case.B, case.I), np.float32), np.empty((1, case.B, case.H), np.float32)
    steps, request = cycle(list(inputs[:, None])), _bind(compiled, {"x": x}, {"y": y})

    def run() -> None:
        x[...] = next(steps)
        request.infer()

    return Work(run, lambda _: {"y": y[0]})
