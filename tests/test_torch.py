# SPDX-License-Identifier: MIT
"""torch.nn.RNN, GRU and LSTM as a further oracle: float64 within 1e-10, outputs, states and all gradients."""

import itertools

import numpy as np
import pytest
from runner import backward, build, forward, parts
from shapes import make_case

torch = pytest.importorskip("torch", reason="PyTorch is an optional further oracle")
torch.set_num_threads(1)  # its pool is slow where other processes want the cores

BOUND = 1e-10


@pytest.fixture(params=["rnn_tanh", "rnn_relu", "lstm", "gru", "lstm_projected"])
def cell(request):
    """The cells that torch has."""
    return request.param


def torch_net(case, **options):
    """The same network in torch, with the parameters of the case loaded under the names they have here."""
    options = {"bidirectional": case.bidirectional, "bias": case.bias, "dtype": torch.float64, **options}
    sizes = (case.I, case.H, case.num_layers)
    if case.cell.startswith("rnn_"):
        net = torch.nn.RNN(*sizes, nonlinearity=case.cell.removeprefix("rnn_"), **options)
    elif case.cell == "lstm_projected":
        net = torch.nn.LSTM(*sizes, proj_size=case.P, **options)
    else:
        net = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[case.cell](*sizes, **options)
    net.load_state_dict({name: torch.tensor(value) for name, value in case.parameters.items()})
    return net


def from_torch(case):
    """y, final states and gradients; lengths through a packed sequence."""
    net = torch_net(case)
    x = torch.tensor(case.x, requires_grad=True)
    state = tuple(torch.tensor(s, requires_grad=True) for s in case.state)
    given = x
    if case.lengths is not None:
        lengths = torch.tensor(case.lengths)
        given = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
    y, final = net(given, state if len(state) > 1 else state[0])
    if case.lengths is not None:
        y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, total_length=case.T)
    finals = final if isinstance(final, tuple) else (final,)
    torch.autograd.backward([y, *finals], [torch.tensor(case.dy), *map(torch.tensor, case.dstate)])
    values = {
        "y": y,
        **parts(finals),
        "dx": x.grad,
        **parts(tuple(s.grad for s in state), "dstate"),
        **{"d" + name: p.grad for name, p in net.named_parameters()},
    }
    return {name: value.detach().numpy() for name, value in values.items()}


def check(target, case):
    want = from_torch(case)
    got = backward(build(case, target, "float64"), case)
    assert got.keys() == want.keys()
    for name in want:
        np.testing.assert_allclose(got[name], want[name], rtol=0, atol=BOUND, err_msg=f"{name} of {case}")


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_layers_and_directions(target, cell, num_layers, bidirectional):
    stacking = {"num_layers": num_layers, "bidirectional": bidirectional}
    for seed, (bias, shape) in enumerate(itertools.product([True, False], [(7, 3, 5, 9), (12, 4, 2, 33)])):
        check(target, make_case(cell, *shape, seed=seed, bias=bias, **stacking))


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_lengths(target, cell, num_layers, bidirectional):
    case = make_case(cell, 9, 6, 4, 10, seed=10, num_layers=num_layers, bidirectional=bidirectional)
    case.lengths = np.array([4, 9, 1, 7, 9, 2])  # packed sequences know no length 0
    check(target, case)


def test_state_dict_travels_both_ways(target, cell):
    case = make_case(cell, 4, 3, 5, 9, seed=20, num_layers=2, bidirectional=True)
    net = build(case, target, "float64")
    theirs = torch_net(case)
    assert list(net.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict({name: torch.from_numpy(value) for name, value in net.state_dict().items()})
    y, _ = theirs(torch.tensor(case.x))
    np.testing.assert_allclose(net(case.x)[0], y.detach().numpy(), rtol=0, atol=BOUND)
    net.flat[:] = 0
    net.load_state_dict({name: value.numpy() for name, value in theirs.state_dict().items()})
    np.testing.assert_allclose(net(case.x)[0], y.detach().numpy(), rtol=0, atol=BOUND)


def test_batch_first(target, cell):
    case = make_case(cell, 6, 3, 5, 9, seed=30, num_layers=2, bidirectional=True)
    net = build(case, target, "float64", batch_first=True)
    x = np.ascontiguousarray(case.x.swapaxes(0, 1))
    want, final = torch_net(case, batch_first=True)(torch.tensor(x))
    got, state = net(x)
    np.testing.assert_allclose(got, want.detach().numpy(), rtol=0, atol=BOUND)
    for a, b in zip(parts(state).values(), final if isinstance(final, tuple) else (final,)):
        np.testing.assert_allclose(a, b.detach().numpy(), rtol=0, atol=BOUND)


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")
def test_a_real_case_in_float32(target, cell):
    """torch itself in float32 is as far from float64 as we are: neither is worse than ten times the other."""
    case = make_case(cell, 30, 8, 20, 40, seed=40)
    exact = from_torch(case)["y"]
    theirs, _ = torch_net(case).float()(
        torch.tensor(case.x).float(),
        tuple(torch.tensor(s).float() for s in case.state)
        if len(case.state) > 1
        else torch.tensor(case.state[0]).float(),
    )
    ours = forward(build(case, target, "float32"), case)["y"]
    assert np.abs(ours - exact).max() <= 10 * np.abs(theirs.detach().numpy() - exact).max()
