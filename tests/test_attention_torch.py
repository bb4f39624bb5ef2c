# SPDX-License-Identifier: MIT
"""Decoders with attention against the same equations in PyTorch: values, final states and all gradients."""

import numpy as np
import pytest
from fastrnn.layers import CELLS
from fastrnn.topologies.attention import Attention
from fastrnn.topologies.stepwise import backward, forward

torch = pytest.importorskip("torch")
T, B, S, E, P = 5, 4, 6, 3, 7
MODULES = {"lstm": torch.nn.LSTMCell, "gru": torch.nn.GRUCell, "rnn_tanh": torch.nn.RNNCell}
LENGTHS = {False: (None, None), True: (np.array([3, 5, 1, 4]), np.array([6, 3, 1, 4]))}


def leaf(a):
    return torch.tensor(a, dtype=torch.float64, requires_grad=True)


class Model:
    """The decoder step by step, each row until its end."""

    def __init__(self, rnn, attention, kind, score, feeds):
        self.kind, self.score, self.feeds, self.lstm = kind, score, feeds, rnn.cell == "lstm"
        self.own = {name: leaf(value) for name, value in attention.parameters().items()}
        self.cells, values = [], rnn.state_dict()
        for layer in range(rnn.num_layers):
            cell = MODULES[rnn.cell](rnn.input_size if layer == 0 else P, P).double()
            names = dict(cell.named_parameters())
            cell.load_state_dict({name: torch.tensor(values[f"{name}_l{layer}"]) for name in names})
            self.cells.append(cell)

    def context(self, scores, memory, hidden):
        weights = torch.softmax(scores.masked_fill(hidden, -np.inf), 1)
        return (weights[:, :, None] * memory).sum(1)

    def step(self, x, fed, state, memory, hidden):
        own, context = self.own, None
        if self.kind == "bahdanau":
            u = torch.tanh((state[-1][0] @ own["weight_q"].T)[:, None] + memory @ own["weight_m"].T)
            context = self.context(u @ own["v"], memory, hidden)
        read = context if context is not None else fed if self.feeds else None
        below = x if read is None else torch.cat([x, read], 1)
        after = []
        for cell, before in zip(self.cells, state):
            found = cell(below, tuple(before) if self.lstm else before[0])
            after.append(list(found) if self.lstm else [found])
            below = after[-1][0]
        if context is None:
            keys = memory if self.score == "dot" else memory @ own["weight_a"].T
            context = self.context((below[:, None] * keys).sum(2), memory, hidden)
        return torch.tanh(torch.cat([context, below], 1) @ own["weight_c"].T + own["bias_c"]), after

    def run(self, x, memory, state, lengths, source):
        hidden = torch.arange(S)[None] >= torch.tensor([S] * B if source is None else source)[:, None]
        ends, fed, outs = (
            torch.tensor([T] * B if lengths is None else lengths),
            torch.zeros(B, P).double(),
            [],
        )
        for t in range(T):
            running = (ends > t)[:, None]
            fed, after = self.step(x[t], fed, state, memory.transpose(0, 1), hidden)
            state = [[torch.where(running, a, b) for a, b in zip(*pair)] for pair in zip(after, state)]
            outs.append(torch.where(running, fed, torch.zeros_like(fed)))
        return torch.stack(outs), state


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", MODULES)
@pytest.mark.parametrize(
    ("kind", "score", "feeds"),
    [
        ("luong", "dot", True),
        ("luong", "dot", False),
        ("luong", "general", True),
        ("luong", "general", False),
        ("bahdanau", "general", False),
    ],
)
def test_values_and_gradients(kind, score, feeds, cell, layers, ragged):
    rng = np.random.default_rng(0)
    M = P if score == "dot" else 5
    attention = Attention(kind, P, M, score=score, input_feeding=feeds, dtype="float64", rng=rng)
    rnn = CELLS[cell](E + attention.fed, P, layers, dtype="float64", seed=1)
    lengths, source = LENGTHS[ragged]
    x, memory, dout = (rng.standard_normal(shape) for shape in ((T, B, E), (S, B, M), (T, B, P)))
    states, dstates = rng.standard_normal((2, len(rnn._STATES), layers, B, P)) / 2
    of = tuple if len(states) > 1 else (lambda all_states: all_states[0])
    out, after, tape = forward(rnn, attention, x, memory, of(states), lengths=lengths, source_lengths=source)
    flat = np.zeros_like(attention.flat)
    found = backward(tape, dout, of(dstates), attention_flat=flat)

    model = Model(rnn, attention, kind, score, feeds)
    inputs, of_memory, before = leaf(x), leaf(memory), [leaf(state) for state in states]
    start = [[state[layer] for state in before] for layer in range(layers)]
    outputs, end = model.run(inputs, of_memory, start, lengths, source)
    ends = [torch.stack([layer[q] for layer in end]) for q in range(len(states))]
    loss = (outputs * torch.tensor(dout)).sum()
    for state, dstate in zip(ends, dstates):
        loss = loss + (state * torch.tensor(dstate)).sum()
    loss.backward()

    listed = (lambda state: state) if len(states) > 1 else (lambda state: (state,))
    pairs = [(outputs.detach(), out), (inputs.grad, found.x), (of_memory.grad, found.memory)]
    pairs += list(zip((state.detach() for state in ends), listed(after)))
    pairs += list(zip((state.grad for state in before), listed(found.state)))
    pairs += [(model.own[name].grad, value) for name, value in attention._views(flat).items()]
    gradients = rnn._views(found.flat)
    for layer, module in enumerate(model.cells):
        pairs += [(p.grad, gradients[f"{name}_l{layer}"]) for name, p in module.named_parameters()]
    for want, got in pairs:
        assert np.abs(want.numpy() - got).max() <= 1e-9
