# SPDX-License-Identifier: MIT
"""return_cells and return_gates: what the cells computed, against the oracle, and nothing else is changed by asking."""

import fastrnn
import numpy as np
import oracle
import pytest
from oracle import affine, normal_affine, sigmoid
from refusal import refused, zeros
from runner import CLASSES, as_state, build, compare_bits, parts
from shapes import make_case
from targets import using
from tolerance import assert_close

LSTMS = [cell for cell, facts in oracle.CELLS.items() if facts.states > 1]
SHAPES = [(1, 1, 1, 1), (6, 5, 3, 9), (4, 3, 7, 33)]


def gates_of(cell, x, state, new, W_ih, W_hh, b_ih, b_hh, *own):
    """The gates of one step after their activations; new: the states after it."""
    if oracle.CELLS[cell].gates == 1:
        return new[0]
    h, count = state[0], oracle.CELLS[cell].gates
    from_x, from_h = affine(W_ih, x, b_ih), affine(W_hh, h, b_hh)
    if cell.endswith("layer_norm"):
        from_x, from_h = normal_affine(W_ih, x, own[0], b_ih), normal_affine(W_hh, h, own[1], b_hh)
    from_x, from_h = (np.split(a, count, -1) for a in (from_x, from_h))
    if count == 3:
        r, z = (sigmoid(from_x[k] + from_h[k]) for k in (0, 1))
        n = r * from_h[2]
        if cell == "gru_reset_before":
            n = affine(np.split(W_hh, 3)[2], r * h, np.split(b_hh, 3)[2])
        return np.concatenate([r, z, np.tanh(from_x[2] + n)], -1)
    i, f, g, o = (a + b for a, b in zip(from_x, from_h))
    if cell == "lstm_peephole":
        p_i, p_f, p_o = np.split(own[0], 3)
        i, f, o = i + p_i * state[1], f + p_f * state[1], o + p_o * new[1]
    return np.concatenate([sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)], -1)


def expected(case, what, monkeypatch):
    """(L*D,T,B,n) cells or gates by the oracle, which here also outputs them: the first state of a cell of its own."""

    def step(x, state, *weights):
        inner = state[1:]
        new = oracle.CELLS[case.cell].step(x, inner, *weights)
        return (new[1] if what == "cells" else gates_of(case.cell, x, inner, new, *weights), *new)

    facts = oracle.CELLS[case.cell]
    monkeypatch.setitem(oracle.CELLS, "telling", oracle.Cell(step, facts.gates, facts.states + 1))
    width = case.H * (1 if what == "cells" else facts.gates)
    x, told, D = case.x, [], 1 + case.bidirectional
    for k in range(case.num_layers):
        outputs = []
        for d in range(D):
            weights = oracle.layer_weights(case.cell, case.parameters, f"_l{k}" + "_reverse" * d)
            state = tuple(s[k * D + d] for s in case.state)
            run = {"lengths": case.lengths, "reset": case.reset, "reverse": d == 1}
            outputs.append(oracle.layer(case.cell, x, state, weights, **run)[0])
            told.append(oracle.layer("telling", x, (np.zeros((case.B, width)), *state), weights, **run)[0])
        x = np.concatenate(outputs, -1)
    return np.stack(told)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_against_the_oracle(target, dtype, cell, shape, training, masked, monkeypatch):
    case = make_case(cell, *shape, seed=1, num_layers=2, bidirectional=True, lengths=masked, reset=masked)
    net = build(case, target, dtype)
    x, state = case.x.astype(dtype), as_state(case.state, dtype)
    cells = cell in LSTMS
    y, after, tape, found = net.forward(
        x, state, training=training, return_cells=cells, return_gates=True, **case.masks
    )
    want, final, _ = net.forward(x, state, training=training, **case.masks)
    compare_bits({"y": y, **parts(after)}, {"y": want, **parts(final)})
    assert (tape is not None) == training
    for name in ["gates", *["cells"] * cells]:
        got, by_oracle = getattr(found, name), expected(case, name, monkeypatch)
        assert_close(got, by_oracle, **case.sizes, dtype=dtype, name=name)
        past = np.arange(case.T)[:, None] >= (case.lengths if masked else np.full(case.B, case.T))
        np.testing.assert_array_equal(got[:, past], 0)
    if not cells:
        assert found.cells is None


@pytest.mark.parametrize("cell", LSTMS)
def test_each_alone(target, cell):
    """c is as wide as the gates, where h is projected too."""
    net = CLASSES[cell](3, 9, seed=1)
    x = np.ones((4, 2, 3), np.float32)
    both = net.forward(x, return_cells=True, return_gates=True)[3]
    one, other = net.forward(x, return_cells=True)[3], net.forward(x, return_gates=True)[3]
    assert one.gates is None
    assert other.cells is None
    compare_bits({"c": one.cells, "g": other.gates}, {"c": both.cells, "g": both.gates})
    assert isinstance(both, fastrnn.Internals)
    assert (both.cells.shape, both.gates.shape) == ((1, 4, 2, 9), (1, 4, 2, 36))


def test_backward_follows_as_ever(target, dtype, cell):
    case = make_case(cell, 6, 5, 3, 9, seed=2, num_layers=2, lengths=True)
    net = build(case, target, dtype)
    x, dy = case.x.astype(dtype), case.dy.astype(dtype)
    _, _, tape, found = net.forward(x, lengths=case.lengths, return_gates=True)
    kept = found.gates.copy()
    got = net.backward(tape, dy)
    want = net.backward(net.forward(x, lengths=case.lengths)[2], dy)
    compare_bits({"flat": got.flat, "x": got.x}, {"flat": want.flat, "x": want.x})
    np.testing.assert_array_equal(found.gates, kept)


def test_layouts(target, dtype, cell):
    """T and B stand as in x."""
    net = CLASSES[cell](3, 9, 2, bidirectional=True, dtype=dtype, seed=1)
    with using(target):
        turned = CLASSES[cell](3, 9, 2, bidirectional=True, dtype=dtype, seed=1, batch_first=True)
    x = np.random.default_rng(1).standard_normal((4, 2, 3)).astype(dtype)
    asked = {"return_gates": True, "return_cells": cell in LSTMS}
    want = net.forward(x, **asked)[3]
    first = turned.forward(np.ascontiguousarray(x.transpose(1, 0, 2)), **asked)[3]
    np.testing.assert_array_equal(first.gates.swapaxes(1, 2), want.gates)
    single = net.forward(x[:, 1], **asked)[3]
    np.testing.assert_array_equal(single.gates, net.forward(x[:, 1:], **asked)[3].gates[:, :, 0])
    if cell in LSTMS:
        np.testing.assert_array_equal(first.cells.swapaxes(1, 2), want.cells)
        assert single.cells.shape == (4, 4, 9)


def test_the_last_cell_is_the_final_state(target, dtype):
    net = fastrnn.LSTM(3, 9, 2, dtype=dtype, seed=1)
    x = np.random.default_rng(1).standard_normal((4, 3, 3)).astype(dtype)
    _, (_, c), _, found = net.forward(x, lengths=[4, 1, 2], return_cells=True)
    for b, length in enumerate([4, 1, 2]):
        np.testing.assert_array_equal(found.cells[:, length - 1, b], c[:, b])


def test_bfloat16(target):
    with using(target):
        net = fastrnn.LSTM(5, 19, dtype="bfloat16", seed=1)
    x = np.random.default_rng(1).standard_normal((4, 3, 5)).astype("f")
    y, _, _, found = net.forward(x, return_cells=True, return_gates=True)
    i, f, g, o = np.split(found.gates[0], 4, -1)
    np.testing.assert_allclose(o * np.tanh(found.cells[0]), y, rtol=1e-5, atol=1e-6)
    before = np.concatenate([np.zeros((1, 3, 19), "f"), found.cells[0, :-1]])
    np.testing.assert_allclose(f * before + i * g, found.cells[0], rtol=1e-5, atol=1e-6)


def test_with_dropout_they_are_those_of_the_masked_pass(target, dtype):
    net = fastrnn.GRU(3, 9, 2, dropout=0.5, dtype=dtype, seed=1)
    x = np.ones((4, 2, 3), dtype)
    one = net.forward(x, dropout_seed=1, return_gates=True)[3].gates
    other = net.forward(x, dropout_seed=2, return_gates=True)[3].gates
    plain = net.forward(x, training=False, return_gates=True)[3].gates
    np.testing.assert_array_equal(one[0], plain[0])
    assert not np.array_equal(one[1], other[1])


@pytest.mark.parametrize("shape", [(0, 2, 3), (4, 0, 3)])
def test_empty(target, cell, shape):
    net = CLASSES[cell](3, 5)
    found = net.forward(zeros(*shape), return_gates=True)[3]
    assert found.gates.shape == (1, *shape[:2], 5 * oracle.CELLS[cell].gates)


def test_what_does_not_combine():
    x = zeros(4, 2, 3)
    for net in (fastrnn.GRU(3, 5), fastrnn.RNN(3, 5)):
        refused(ValueError, ["return_cells", net.cell], net.forward, x, return_cells=True)
    net = fastrnn.LSTM(3, 5)
    for name in ("return_cells", "return_gates"):
        refused(ValueError, [name, "max_workspace"], net.forward, x, max_workspace=10**6, **{name: True})
        refused(TypeError, [name, "1", "bool"], net.forward, x, **{name: 1})
