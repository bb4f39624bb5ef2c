# SPDX-License-Identifier: MIT
"""400 seeded nodes of ONNX (RNN, GRU, LSTM) in float32 within 1e-4 of ONNX Runtime.

A failure names its seed; `one(seed)` runs it again.
"""

import fastrnn
import numpy as np
import pytest
from onnx_adapter import DEFAULTS, GATES, Node, takes_reset_before
from targets import using

onnx = pytest.importorskip("onnx", reason="ONNX is an optional further oracle")
onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is an optional further oracle")

BOUND = 1e-4
COUNT, CHUNK = 400, 20
INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
OUTPUTS = ("Y", "Y_h", "Y_c")


def draw(seed):
    """Operator, attributes and tensors of a node; tensors that it lacks are not in the dict."""
    random = np.random.default_rng([11, seed])

    def flip(chance=0.5):
        return bool(random.random() < chance)

    def uniform(*shape, scale=1.0):
        return random.uniform(-scale, scale, shape).astype(np.float32)

    operator = str(random.choice(list(GATES)))
    T, B, I, H = (int(random.integers(1, most + 1)) for most in (12, 9, 40, 40))  # noqa: E741
    direction = str(random.choice(["forward", "reverse", "bidirectional"]))
    D = 1 + (direction == "bidirectional")
    rows = len(GATES[operator]) * H
    attributes = {"hidden_size": H, "direction": direction}
    if direction == "forward" and flip():
        del attributes["direction"]
    if operator == "RNN" and flip(0.7):
        attributes["activations"] = [str(random.choice(["Tanh", "Relu"]))] * D
    elif flip(0.3):
        attributes["activations"] = DEFAULTS[operator] * D
    if operator == "GRU":
        after = 1 if flip() or not takes_reset_before() else 0
        if after or flip():
            attributes["linear_before_reset"] = after
    tensors = {
        "X": uniform(T, B, I, scale=2),
        "W": uniform(D, rows, I, scale=I**-0.5),
        "R": uniform(D, rows, H, scale=H**-0.5),
    }
    if flip(0.7):
        tensors["B"] = uniform(D, 2 * rows)
    if flip():
        tensors["sequence_lens"] = random.integers(0, T + 1, B).astype(np.int32)
    if flip(0.7):
        tensors["initial_h"] = uniform(D, B, H)
    if operator == "LSTM" and flip(0.7):
        tensors["initial_c"] = uniform(D, B, H, scale=2)
    if operator == "LSTM" and flip():
        tensors["P"] = uniform(D, 3 * H)
    return operator, attributes, tensors, str(random.choice(fastrnn.available())), flip()


def runtime(operator, attributes, tensors):
    """Outputs of ONNX Runtime."""
    outputs = OUTPUTS[: 2 + (operator == "LSTM")]
    names = [name if name in tensors else "" for name in INPUTS[: 8 if operator == "LSTM" else 6]]
    node = onnx.helper.make_node(operator, names, outputs, **attributes)
    types = {np.dtype(np.float32): onnx.TensorProto.FLOAT, np.dtype(np.int32): onnx.TensorProto.INT32}
    value = onnx.helper.make_tensor_value_info
    inputs = [value(name, types[a.dtype], a.shape) for name, a in tensors.items()]
    results = [value(name, onnx.TensorProto.FLOAT, None) for name in outputs]
    graph = onnx.helper.make_graph([node], "node", inputs, results)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, tensors)


def expected(operator, attributes, tensors):
    """What ONNX Runtime gives, but for rows of length 0.

    The text on ONNX does not say what their final state is. ONNX Runtime makes it 0, and older ones refuse a
    length of 0. Here such a row is as if it had not been there: its state is the initial one.
    """
    lengths = tensors.get("sequence_lens")
    if lengths is None:
        return runtime(operator, attributes, tensors)
    Y, *states = runtime(operator, attributes, {**tensors, "sequence_lens": np.maximum(lengths, 1)})
    none = lengths == 0
    Y[:, :, none] = 0
    for after, name in zip(states, ("initial_h", "initial_c")):
        after[:, none] = tensors[name][:, none] if name in tensors else 0
    return [Y, *states]


def one(seed):
    operator, attributes, tensors, target, one_bias = draw(seed)
    context = f"of {operator} {attributes} with {sorted(tensors)} on {target}, one_bias={one_bias}"
    want = expected(operator, attributes, tensors)
    weights = {name: tensors[name] for name in tensors if name in ("W", "R", "B", "P")}
    given = {name: tensors[name] for name in tensors if name not in weights}
    with using(target):
        node = Node(operator, attributes, **weights, one_bias=one_bias)
    got = node(**given)
    for name, ours, theirs in zip(OUTPUTS, got, want, strict=False):
        assert ours.shape == theirs.shape, f"seed {seed}: {name} {ours.shape} {theirs.shape} {context}"
        error = np.abs(ours - theirs).max()
        assert error <= BOUND, f"seed {seed}: {name} is off by {error:.2e} {context}"
    assert len(got) == len(want)


@pytest.mark.parametrize("first", range(0, COUNT, CHUNK))
def test_nodes(first):
    for seed in range(first, first + CHUNK):
        one(seed)


def test_what_no_layer_can_do_is_refused():
    _, attributes, tensors, _, _ = next(draw(seed) for seed in range(COUNT) if draw(seed)[0] == "RNN")
    weights = {name: tensors[name] for name in ("W", "R")}
    for wrong in (
        {"clip": 3.0},
        {"activation_alpha": [0.1]},
        {"layout": 1},
        {"activations": ["Sigmoid"] * len(tensors["W"])},
        {"activations": ["Tanh", "Relu"], "direction": "bidirectional"},
    ):
        with pytest.raises(ValueError):
            Node("RNN", attributes | wrong, **weights)
    with pytest.raises(ValueError):
        Node("LSTM", {"hidden_size": 1, "input_forget": 1}, np.ones((1, 4, 1)), np.ones((1, 4, 1)))
