# SPDX-License-Identifier: MIT
"""ONNX Runtime on the CPU: an ONNX model of fixed shapes, sequential execution, inference alone.

Inputs and outputs are bound to memory once (io binding), which saves the copies and checks of `session.run`. A stream
has two bindings that hand the state to each other, so that nothing is copied but x.
"""

from __future__ import annotations

from itertools import cycle
from typing import Any

import numpy as np
import onnxruntime
from cases import Case

from . import CannotRun, Work
from .onnx_model import build, result, source, states

_threads = 1


def version() -> str:
    """Version of ONNX Runtime."""
    return str(onnxruntime.__version__)


def set_threads(n: int) -> None:
    """Threads inside an operator."""
    global _threads
    _threads = n


def make(case: Case, data: dict[str, Any]) -> Work:
    """See `peers`."""
    if case.mode == "train":
        raise CannotRun("inference alone")
    if case.resets:
        raise CannotRun("no resets inside a sequence")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = _threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    model = build(case, data).SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    if case.mode == "step":
        return _stream(session, case, data["x"])
    x, y = source(case, data), np.empty((case.T, case.B, case.directions * case.H), np.float32)
    binding = _bind(session, {"x": x}, {"y": y})
    return Work(lambda: session.run_with_iobinding(binding), lambda _: result(case, y))


def _bind(session: Any, inputs: dict[str, np.ndarray], outputs: dict[str, np.ndarray]) -> Any:
    binding = session.io_binding()
    binding.memory = (inputs, outputs)  # it holds bare addresses: the arrays live as long as it does
    for bind, arrays in ((binding.bind_input, inputs), (binding.bind_output, outputs)):
        for name, a in arrays.items():
            bind(name, "cpu", 0, np.float32, a.shape, a.ctypes.data)
    return binding


def _stream(session: Any, case: Case, inputs: np.ndarray) -> Work:
    shape = (1, case.B, case.H)
    x, y = np.empty((1, case.B, case.I), np.float32), np.empty(shape, np.float32)
    memory = [{name: np.zeros(shape, np.float32) for name in states(case)} for _ in range(2)]

    def bind(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> Any:
        outputs = {f"{name}_after": a for name, a in after.items()}
        return _bind(session, {"x": x, **before}, {"y": y, **outputs})

    bindings = cycle([bind(memory[0], memory[1]), bind(memory[1], memory[0])])
    steps, run_bound = cycle(list(inputs[:, None])), session.run_with_iobinding

    def run() -> None:
        x[...] = next(steps)
        run_bound(next(bindings))

    return Work(run, lambda _: {"y": y[0]})
