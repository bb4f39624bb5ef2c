# SPDX-License-Identifier: MIT
"""The oracle itself: known values, torch where it is installed, and the complex step against differences."""

import math

import numpy as np
import oracle
import pytest
from shapes import CELLS, make_case


def ask(case, **changed):
    """y and the final states of the oracle for a case."""
    arguments = {"x": case.x, "state": case.state, "parameters": case.parameters, **case.masks, **changed}
    return oracle.stack(
        case.cell,
        arguments.pop("x"),
        arguments.pop("state"),
        arguments.pop("parameters"),
        **case.stacking,
        **arguments,
    )


def scalar(cell, x, state, W_ih, W_hh, b_ih, b_hh):
    """One step of one unit."""
    state = tuple(np.full((1, 1), s) for s in state)
    columns = (np.array(W_ih, float)[:, None], np.array(W_hh, float)[:, None])
    _, final = oracle.layer(
        cell, np.full((1, 1, 1), x), state, (*columns, np.array(b_ih, float), np.array(b_hh, float))
    )
    return [float(s[0, 0]) for s in final]


def test_elman_of_one_unit_by_hand():
    weights = [0.5], [-2.0], [0.25], [0.125]
    a = 0.5 * 3 + 0.25 - 2 * 0.75 + 0.125
    assert scalar("rnn_tanh", 3, [0.75], *weights) == [pytest.approx(math.tanh(a), rel=1e-15)]
    assert scalar("rnn_relu", 3, [0.75], *weights) == [a]
    assert scalar("rnn_relu", -3, [0.75], *weights) == [0]


def test_lstm_of_one_unit_by_hand():
    i, f, o = (
        1 / (1 + math.exp(-a)) for a in (0.1 * 2 + 0.5 * 0.3, 0.2 * 2 + 0.6 * 0.3, 0.4 * 2 + 0.8 * 0.3 + 1)
    )
    g = math.tanh(0.3 * 2 + 0.7 * 0.3 - 1)
    c = f * 0.9 + i * g
    got = scalar(
        "lstm", 2, [0.3, 0.9], [0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8], [0, 0, -2, 0], [0, 0, 1, 1]
    )
    assert got == pytest.approx([o * math.tanh(c), c], rel=1e-15)


def test_gru_of_one_unit_by_hand():
    r, z = (1 / (1 + math.exp(-a)) for a in (0.1 * 2 + 0.5 * 0.3, 0.2 * 2 + 0.6 * 0.3 + 0.5))
    n = math.tanh(0.3 * 2 + 0.25 + r * (0.7 * 0.3 - 2))
    got = scalar("gru", 2, [0.3], [0.1, 0.2, 0.3], [0.5, 0.6, 0.7], [0, 0, 0.25], [0, 0.5, -2])
    assert got == pytest.approx([(1 - z) * n + z * 0.3], rel=1e-15)


def test_an_lstm_that_forgets_nothing_counts():
    huge = [100.0, 100.0, 0.0, 100.0]  # gates wide open: c' = c + tanh(x)
    _, (_, c) = oracle.layer(
        "lstm",
        np.ones((9, 1, 1)),
        (np.zeros((1, 1)), np.full((1, 1), 2.0)),
        (np.array([[0.0], [0], [1], [0]]), np.zeros((4, 1)), np.array(huge), np.zeros(4)),
    )
    assert c[0, 0] == pytest.approx(2 + 9 * math.tanh(1), rel=1e-14)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_lengths_equal_each_sequence_alone(cell, reverse):
    case = make_case(cell, 6, 4, 3, 5, seed=1, lengths=True)
    weights = oracle.layer_weights(cell, case.parameters, "_l0")
    state = tuple(s[0] for s in case.state)
    y, final = oracle.layer(cell, case.x, state, weights, case.lengths, reverse=reverse)
    for b, n in enumerate(case.lengths):
        alone = oracle.layer(
            cell, case.x[:n, b : b + 1], tuple(s[b : b + 1] for s in state), weights, reverse=reverse
        )
        np.testing.assert_allclose(y[:n, b : b + 1], alone[0], rtol=1e-14, atol=1e-15)
        assert (y[n:, b] == 0).all()
        for got, want in zip(final, alone[1]):
            np.testing.assert_allclose(got[b : b + 1], want, rtol=1e-14)


@pytest.mark.parametrize("cell", CELLS)
def test_reset_equals_the_pieces_alone(cell):
    case = make_case(cell, 7, 1, 3, 5, seed=2, bidirectional=True)
    case.reset = np.zeros((7, 1), bool)
    case.reset[[0, 3, 4]] = True
    y, final = ask(case)
    zero = tuple(np.zeros_like(s) for s in case.state)
    last = tuple(
        np.stack([z[0], s[1]]) for z, s in zip(zero, case.state)
    )  # the reverse direction enters at the end
    pieces = [
        ask(case, x=case.x[a:b], reset=None, state=last if b == 7 else zero)
        for a, b in ((0, 3), (3, 4), (4, 7))
    ]
    np.testing.assert_allclose(y, np.concatenate([p[0] for p in pieces]), rtol=1e-14)
    for k, got in enumerate(final):
        np.testing.assert_allclose(got[0], pieces[-1][1][k][0], rtol=1e-14)
        np.testing.assert_allclose(got[1], pieces[0][1][k][1], rtol=1e-14)


def test_no_steps_leave_the_state():
    case = make_case("lstm", 0, 3, 4, 5, seed=3, bidirectional=True, num_layers=2)
    y, final = ask(case)
    assert y.shape == (0, 3, 10)
    for got, want in zip(final, case.state):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("cell", CELLS)
def test_complex_step_against_central_differences(cell):
    case = make_case(cell, 4, 3, 2, 3, seed=4, num_layers=2, bidirectional=True, lengths=True, reset=True)
    got = oracle.gradients(
        cell, case.x, case.state, case.parameters, case.dy, case.dstate, **case.stacking, **case.masks
    )
    random = np.random.default_rng(5)

    def loss(arguments):
        states = tuple(arguments[f"state{k}"] for k in range(len(case.state)))
        y, final = ask(
            case, x=arguments["x"], state=states, parameters={n: arguments[n] for n in case.parameters}
        )
        return (case.dy * y).sum() + sum((d * s).sum() for d, s in zip(case.dstate, final))

    base = {"x": case.x, **{f"state{k}": s for k, s in enumerate(case.state)}, **case.parameters}
    for name in base:
        direction = random.standard_normal(base[name].shape)
        ahead, behind = (loss({**base, name: base[name] + h * direction}) for h in (1e-6, -1e-6))
        assert (got[name] * direction).sum() == pytest.approx((ahead - behind) / 2e-6, rel=1e-6, abs=1e-8), (
            name
        )


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("cell", ["rnn_tanh", "rnn_relu", "lstm", "gru", "lstm_projected"])
def test_against_torch(cell, bias):
    torch = pytest.importorskip("torch", reason="PyTorch is an optional further oracle")
    torch.set_num_threads(1)  # its pool is slow where other processes want the cores
    case = make_case(cell, 5, 3, 4, 6, seed=6, num_layers=2, bidirectional=True, bias=bias)
    options = {"num_layers": 2, "bidirectional": True, "bias": bias, "dtype": torch.float64}
    if cell.startswith("rnn"):
        net = torch.nn.RNN(4, 6, nonlinearity=cell.removeprefix("rnn_"), **options)
    elif cell == "lstm_projected":
        net = torch.nn.LSTM(4, 6, proj_size=case.P, **options)
    else:
        net = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[cell](4, 6, **options)
    net.load_state_dict({name: torch.tensor(value) for name, value in case.parameters.items()})
    x = torch.tensor(case.x, requires_grad=True)
    state = tuple(torch.tensor(s, requires_grad=True) for s in case.state)
    y, final = net(x, state if len(state) > 1 else state[0])
    finals = final if isinstance(final, tuple) else (final,)
    torch.autograd.backward([y, *finals], [torch.tensor(case.dy), *map(torch.tensor, case.dstate)])
    got_y, got_finals = ask(case)
    np.testing.assert_allclose(got_y, y.detach().numpy(), rtol=0, atol=1e-14)
    for got, want in zip(got_finals, finals):
        np.testing.assert_allclose(got, want.detach().numpy(), rtol=0, atol=1e-14)
    got = oracle.gradients(cell, case.x, case.state, case.parameters, case.dy, case.dstate, **case.stacking)
    want = {
        "x": x.grad,
        **{f"state{k}": s.grad for k, s in enumerate(state)},
        **{name: p.grad for name, p in net.named_parameters()},
    }
    assert got.keys() == want.keys()
    for name in want:
        np.testing.assert_allclose(got[name], want[name].numpy(), rtol=0, atol=1e-13, err_msg=name)
