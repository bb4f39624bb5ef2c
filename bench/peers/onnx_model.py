# SPDX-License-Identifier: MIT
"""A case as an ONNX model of fixed shapes, for the runtimes that read one.

Inputs: x (T,B,I), or with strided its memory (B,I,T), which the model permutes; for a stream also the states
(L*D,B,H). Outputs: y (T,B,D*H), and the states after a stream's step. Gates go from torch's order to that of ONNX:
LSTM i f g o to i o f g, GRU r z n to z r n, peepholes i f o to i o f.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from cases import Case
from onnx import ModelProto, TensorProto, helper, numpy_helper

OPERATORS = {"lstm": "LSTM", "gru": "GRU", "rnn_tanh": "RNN"}
GATE_ORDER = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2), "rnn_tanh": (0,)}
PEEPHOLE_ORDER = (0, 2, 1)
STATES = {"lstm": ("h", "c"), "gru": ("h",), "rnn_tanh": ("h",)}
OPSET = 17


def _reorder(array: np.ndarray, order: tuple[int, ...]) -> np.ndarray:
    blocks = np.split(array, len(order))
    return np.concatenate([blocks[k] for k in order])


class _Graph:
    """Nodes and constants as they are added."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, name: str, value: np.ndarray) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, operator: str, inputs: list[str], outputs: list[str], **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, outputs, **attributes))
        return outputs[0]


def _weights(graph: _Graph, case: Case, data: dict[str, Any], layer: int) -> list[str]:
    """Names of W (D,G*H,I), R (D,G*H,H) and B (D,2*G*H), and of the peepholes P (D,3*H)."""
    suffixes = [suffix for suffix, _ in case.parts[layer * case.directions : (layer + 1) * case.directions]]
    order = GATE_ORDER[case.cell]

    def stack(name: str) -> np.ndarray:
        return np.stack([_reorder(data[name + suffix], order) for suffix in suffixes])

    biases = np.concatenate([stack("bias_ih"), stack("bias_hh")], 1)
    names = [
        graph.constant(f"W{layer}", stack("weight_ih")),
        graph.constant(f"R{layer}", stack("weight_hh")),
        graph.constant(f"B{layer}", biases),
    ]
    if case.peepholes:
        peepholes = np.stack([_reorder(data["weight_ch" + suffix], PEEPHOLE_ORDER) for suffix in suffixes])
        names.append(graph.constant(f"P{layer}", peepholes))
    return names


def _layer(graph: _Graph, case: Case, data: dict[str, Any], layer: int, x: str) -> str:
    """Adds a layer that reads x; the name of its y (T,B,D*H)."""
    weights, peepholes = _weights(graph, case, data, layer), ""
    if case.peepholes:
        peepholes = weights.pop()
    letters = STATES[case.cell]
    streaming = case.mode == "step"
    before = [f"{letter}{layer}" if streaming else "" for letter in letters]
    after = [f"{letter}{layer}_after" if streaming else "" for letter in letters]
    inputs = [x, *weights, "", *before, *([peepholes] if peepholes else [])]
    attributes: dict[str, Any] = {
        "hidden_size": case.H,
        "direction": "bidirectional" if case.bidirectional else "forward",
    }
    if case.cell == "gru":
        attributes["linear_before_reset"] = 1
    y = graph.node(OPERATORS[case.cell], inputs, [f"y{layer}_split", *after], **attributes)
    last = layer == case.layers - 1
    name = "y" if last else f"y{layer}"
    if not case.bidirectional:
        return graph.node("Squeeze", [y, "one"], [name])
    sides = graph.node("Transpose", [y], [f"y{layer}_sides"], perm=[0, 2, 1, 3])
    return graph.node("Reshape", [sides, "joined"], [name])


def states(case: Case) -> list[str]:
    """Names of the states of a stream, in the order of its inputs and outputs."""
    if case.mode != "step":
        return []
    return [f"{letter}{layer}" for layer in range(case.layers) for letter in STATES[case.cell]]


def build(case: Case, data: dict[str, Any]) -> ModelProto:
    """The model."""
    graph, x = _Graph(), "x"
    graph.constant("one", np.array([1], np.int64))
    graph.constant("joined", np.array([case.T, case.B, case.directions * case.H], np.int64))
    if case.strided:
        x = graph.node("Transpose", [x], ["x_steps"], perm=[2, 0, 1])
    for layer in range(case.layers):
        x = _layer(graph, case, data, layer, x)

    def value(name: str, shape: tuple[int, ...]) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    T, B, state = case.T, case.B, (1, case.B, case.H)
    inputs = [value("x", (B, case.I, T) if case.strided else (T, B, case.I))]
    outputs = [value("y", (T, B, case.directions * case.H))]
    inputs += [value(name, state) for name in states(case)]
    outputs += [value(f"{name}_after", state) for name in states(case)]
    used = {name for node in graph.nodes for name in node.input}
    constants = [constant for constant in graph.constants if constant.name in used]
    opset = helper.make_opsetid("", OPSET)
    proto = helper.make_graph(graph.nodes, case.name, inputs, outputs, constants)
    return helper.make_model(proto, opset_imports=[opset], ir_version=8)


def source(case: Case, data: dict[str, Any]) -> np.ndarray:
    """x as the model wants it: the memory that it is a view of."""
    x = data["x"].transpose(0, 2, 1) if case.strided else data["x"]
    return np.ascontiguousarray(x)


def result(case: Case, y: np.ndarray) -> dict[str, np.ndarray]:
    """y in the layout of the case."""
    return {"y": y.transpose(1, 0, 2) if case.strided else y}
