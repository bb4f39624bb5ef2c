# SPDX-License-Identifier: MIT
"""A node RNN, GRU or LSTM of ONNX on a layer of fastrnn: attributes and tensors in, Y, Y_h and Y_c out.

https://onnx.ai/onnx/operators/onnx__LSTM.html and its siblings say what a node means. Layout 0: X (T,B,I), W (D,G*H,I),
R (D,G*H,H), B (D,2*G*H) = [Wb, Rb], P (D,3*H), Y (T,D,B,H). Gates are z r h and i o f c, peepholes i o f; here they are
r z n, i f g o, and i f o.
"""

import fastrnn
import numpy as np

GATES = {"RNN": (0,), "GRU": (1, 0, 2), "LSTM": (0, 2, 3, 1)}  # which of a node's blocks each of ours is
PEEPHOLES = (0, 2, 1)
SUFFIXES = {"forward": ("",), "reverse": ("_reverse",), "bidirectional": ("", "_reverse")}
DEFAULTS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}
KNOWN = {"hidden_size", "direction", "linear_before_reset", "activations", "layout", "input_forget"}


def takes_reset_before():
    """Whether a GRU may apply its reset gate before the product, as ONNX does where it is not told otherwise."""
    try:
        fastrnn.GRU(1, 1, reset_after=False)
    except TypeError:
        return False
    return True


def reorder(blocks, order):
    """An array of one direction whose blocks of rows are put in another order."""
    parts = np.split(blocks, len(order))
    return np.concatenate([parts[k] for k in order])


def activations(operator, attributes, count):
    """The activations of one direction: the same in each, or the node is refused."""
    given = attributes.get("activations", DEFAULTS[operator] * count)
    size = len(DEFAULTS[operator])
    each = [given[k : k + size] for k in range(0, len(given), size)]
    if len(each) != count or each != [each[0]] * count:
        raise ValueError(f"activations {given} for {count} directions")
    if each[0] != DEFAULTS[operator] and (operator, each[0]) != ("RNN", ["Relu"]):
        raise ValueError(f"no layer has the activations {each[0]}")
    return each[0]


class Node:
    """A node with its weights; calling it runs it."""

    def __init__(self, operator, attributes, W, R, B=None, P=None, *, dtype="float32", one_bias=False):
        """one_bias: add the two biases up, where the cell allows it."""
        if unknown := sorted(set(attributes) - KNOWN):
            raise ValueError(f"no layer has the attributes {unknown}")
        if attributes.get("layout", 0) or attributes.get("input_forget", 0):
            raise ValueError("layout 1 and input_forget 1 are not mapped")
        word = attributes.get("direction", "forward")
        suffixes = SUFFIXES[word]
        hidden = attributes.get("hidden_size", R.shape[2])
        options = {"direction": "both" if word == "bidirectional" else word, "dtype": dtype, "bias": False}
        first = activations(operator, attributes, len(suffixes))[0]
        if operator == "RNN":
            options["nonlinearity"] = first.lower()
        after = bool(attributes.get("linear_before_reset", 0))
        if operator == "GRU" and not after:
            options["reset_after"] = False
        if P is not None:
            options["peepholes"] = True
        if B is not None:
            options["bias"] = "one" if one_bias and not (operator == "GRU" and after) else "two"
        self.states = 1 + (operator == "LSTM")
        self.layer = getattr(fastrnn, operator)(W.shape[2], hidden, **options)
        parameters, order = {}, GATES[operator]
        for d, suffix in enumerate(suffixes):
            parameters[f"weight_ih_l0{suffix}"] = reorder(W[d], order)
            parameters[f"weight_hh_l0{suffix}"] = reorder(R[d], order)
            if B is not None:
                ih, hh = (reorder(half, order) for half in np.split(B[d], 2))
                parameters[f"bias_ih_l0{suffix}"] = ih + hh if options["bias"] == "one" else ih
                if options["bias"] == "two":
                    parameters[f"bias_hh_l0{suffix}"] = hh
            if P is not None:
                parameters[f"weight_ch_l0{suffix}"] = reorder(P[d], PEEPHOLES)
        self.layer.load_state_dict(parameters)

    def __call__(self, X, sequence_lens=None, initial_h=None, initial_c=None):
        """[Y, Y_h] or [Y, Y_h, Y_c]."""
        state = initial_h
        if self.states == 2 and (initial_h is not None or initial_c is not None):
            given = initial_h if initial_h is not None else initial_c
            state = tuple(np.zeros_like(given) if s is None else s for s in (initial_h, initial_c))
        y, after = self.layer(X, state, lengths=sequence_lens)
        T, B, _ = y.shape
        Y = y.reshape(T, B, self.layer.num_directions, -1).transpose(0, 2, 1, 3)
        return [Y, *(after if isinstance(after, tuple) else (after,))]
