# SPDX-License-Identifier: MIT
"""Start values: what each word promises of the parameters, for every cell, bias and direction."""

import itertools

import fastrnn
import numpy as np
import oracle
import pytest
from refusal import refused
from runner import CLASSES

I, H = 30, 64  # noqa: E741
GATES = {cell: facts.gates for cell, facts in oracle.CELLS.items()}
GATED = [cell for cell in GATES if GATES[cell] > 1]
LSTMS = [cell for cell in GATES if GATES[cell] == 4]
INDRNNS = ["indrnn_tanh", "indrnn_relu"]
MATRICES = [cell for cell in GATES if cell not in INDRNNS]  # whose W_hh is one


@pytest.fixture(params=[True, "one", False])
def bias(request):
    return request.param


def make(cell, **options):
    return CLASSES[cell](I, H, 2, **{"bidirectional": True, "dtype": "float64", "seed": 1, **options})


def blocks(net, role):
    """(G,H,K) or (G,H): the parameters of that role, one for each layer and direction."""
    views = [v for name, v in net.parameters().items() if name.startswith(role)]
    return [v.reshape(GATES[net.cell], H, *v.shape[1:]) for v in views]


def assert_uniform(values, bound):
    """Within the bound, up to it, centred, and with the spread of a uniform number."""
    assert np.abs(values).max() <= bound
    assert np.abs(values).max() > 0.95 * bound
    assert abs(values.mean()) < 5 * bound / (3 * values.size) ** 0.5
    assert values.std() == pytest.approx(bound / 3**0.5, rel=0.05)


def assert_no_biases(net):
    """Nor peepholes. Norms change nothing as yet."""
    for name, view in net.parameters().items():
        if name.startswith("norm"):
            np.testing.assert_array_equal(view, 0 if "bias" in name else 1, err_msg=name)
        elif not name.startswith(("weight_ih", "weight_hh", "weight_hr")):
            assert not view.any(), name


def width(cell):
    """Of h."""
    return oracle.CELLS[cell].width(0, H)


def test_uniform_is_the_default_and_torch_s(cell, bias):
    net, plain = make(cell, bias=bias, init="uniform"), make(cell, bias=bias)
    np.testing.assert_array_equal(net.flat, plain.flat)
    drawn = net._views(np.random.default_rng(1).uniform(-(H**-0.5), H**-0.5, net.flat.size))
    for name, view in net.parameters().items():
        want = drawn[name] if not name.startswith("norm") else 0 if "bias" in name else 1
        np.testing.assert_array_equal(view, want, err_msg=name)


@pytest.mark.parametrize("init", ["xavier", "orthogonal"])
@pytest.mark.parametrize("cell", MATRICES)
def test_glorot(cell, bias, init):
    net, P = make(cell, bias=bias, init=init), width(cell)
    for of_layer, blocks_of in enumerate(blocks(net, "weight_ih")):
        K = I if of_layer < 2 else 2 * P
        for block in blocks_of:
            assert_uniform(block, (6 / (K + H)) ** 0.5)
    for blocks_of in blocks(net, "weight_hh") if init == "xavier" else []:
        for block in blocks_of:
            assert_uniform(block, (6 / (P + H)) ** 0.5)
    for name, view in net.parameters().items():
        if name.startswith("weight_hr"):
            assert_uniform(view, (6 / (P + H)) ** 0.5)
    assert_no_biases(net)


@pytest.mark.parametrize("cell", INDRNNS)
def test_numbers_of_single_units_stay(cell, bias):
    net, plain = make(cell, bias=bias, init="xavier"), make(cell, bias=bias)
    for name, view in net.parameters().items():
        if name.startswith("weight_hh"):
            np.testing.assert_array_equal(view, plain.parameters()[name])
        elif name.startswith("weight_ih"):
            assert_uniform(view, (6 / sum(view.shape)) ** 0.5)
    assert_no_biases(net)


@pytest.mark.parametrize("cell", MATRICES)
def test_orthogonal(cell, bias):
    """A W_hh that is not square, of a projected state, has orthogonal columns."""
    net = make(cell, bias=bias, init="orthogonal")
    gates = [block for blocks_of in blocks(net, "weight_hh") for block in blocks_of]
    assert len(gates) == 4 * GATES[cell]
    for block in gates:
        np.testing.assert_allclose(block.T @ block, np.eye(width(cell)), atol=1e-12)
        if width(cell) == H:
            np.testing.assert_allclose(block @ block.T, np.eye(H), atol=1e-12)
    for a, b in itertools.pairwise(gates):
        assert np.abs(a - b).max() > 0.1


def test_orthogonal_favours_no_direction():
    """Without the signs the diagonal would lean to one side."""
    diagonal = np.concatenate([
        np.diagonal(fastrnn.RNN(2, 4, init="orthogonal", seed=seed, dtype="float64").parameters()["weight_hh_l0"])
        for seed in range(500)
    ])  # fmt: skip
    assert abs(diagonal.mean()) < 5 * 4**-0.5 / diagonal.size**0.5


def test_identity(bias):
    net = make("rnn_relu", bias=bias, init="identity")
    for view in blocks(net, "weight_hh"):
        np.testing.assert_array_equal(view[0], np.eye(H))
    for view in blocks(net, "weight_ih"):
        assert view.std() == pytest.approx(0.001, rel=0.1)
        assert abs(view.mean()) < 5 * 0.001 / view.size**0.5
        assert np.abs(view).max() > 0.003
    assert_no_biases(net)


def sums(net):
    """b_ih + b_hh (G,H) of each layer and direction."""
    first, second = blocks(net, "bias_ih"), blocks(net, "bias_hh")
    return [a + b for a, b in zip(first, second)] if second else first


@pytest.mark.parametrize("cell", GATED)
@pytest.mark.parametrize("bias", [True, "one"])
def test_chrono(cell, bias):
    t_max = 50
    net, plain = make(cell, bias=bias, init="chrono", t_max=t_max), make(cell, bias=bias)
    for b, other in zip(sums(net), sums(plain)):
        steps = np.exp(b[1])
        assert steps.min() >= 1
        assert steps.max() <= t_max - 1
        assert steps.min() < 6
        assert steps.max() > 43
        assert abs(steps.mean() - t_max / 2) < 5 * (t_max - 2) / (12 * H) ** 0.5
        if cell in LSTMS:
            np.testing.assert_array_equal(b[0], -b[1])
        for gate in set(range(GATES[cell])) - {1, *([0] if cell in LSTMS else [])}:
            np.testing.assert_array_equal(b[gate], other[gate])
    for name, view in net.parameters().items():
        if name.startswith("weight"):
            np.testing.assert_array_equal(view, plain.parameters()[name])


@pytest.mark.parametrize("cell", GATED)
def test_chrono_keeps_the_memory(cell):
    """What the bias is for: with weights of zero, a state fades over t_max steps and not at once."""
    left = {}
    for init in ({}, {"init": "chrono", "t_max": 100}):
        net = CLASSES[cell](1, 32, dtype="float64", seed=1, **init)
        for name, view in net.parameters().items():
            if name.startswith("weight"):
                view[...] = 0
        lstm = cell in LSTMS
        h = np.zeros((1, 1, net.output_size))
        state = (h, np.ones((1, 1, 32))) if lstm else h + 10
        _, after = net(np.zeros((20, 1, 1)), state)
        left[len(init)] = (after[1] if lstm else after / 10).mean()
    assert left[0] < 0.2
    assert left[2] > 0.4


@pytest.mark.parametrize("cell", LSTMS)
@pytest.mark.parametrize("bias", [True, "one"])
@pytest.mark.parametrize("init", ["uniform", "xavier", "orthogonal"])
def test_forget_bias(cell, bias, init):
    net, plain = make(cell, bias=bias, init=init, forget_bias=1.5), make(cell, bias=bias, init=init)
    for view in blocks(net, "bias_ih"):
        np.testing.assert_array_equal(view[1], 1.5)
    for view in blocks(net, "bias_hh"):
        np.testing.assert_array_equal(view[1], 0)
    for got, want in zip(sums(net), sums(plain)):
        np.testing.assert_array_equal(got[[0, 2, 3]], want[[0, 2, 3]])
    for name, view in net.parameters().items():
        if name.startswith("weight"):
            np.testing.assert_array_equal(view, plain.parameters()[name])


@pytest.mark.parametrize("init", ["xavier", "orthogonal", "identity", "chrono"])
def test_seeds_types_and_learned_states(init):
    def net(seed, dtype="float32"):
        options = {"t_max": 9} if init == "chrono" else {}
        cell = {"identity": "rnn_relu"}.get(init, "gru")
        return CLASSES[cell](3, 5, 2, init=init, seed=seed, dtype=dtype, learn_state=True, **options)

    np.testing.assert_array_equal(net(1).flat, net(1).flat)
    assert not np.array_equal(net(1).flat, net(2).flat)
    np.testing.assert_array_equal(net(1).flat, net(1, "float64").flat.astype(np.float32))
    assert not net(1).parameters()["h0"].any()


def test_attributes_and_repr():
    net = fastrnn.GRU(3, 4, init="chrono", t_max=20)
    assert (net.init, net.t_max, net.forget_bias) == ("chrono", 20, None)
    assert repr(net) == "GRU(3, 4, init='chrono', t_max=20)"
    assert repr(fastrnn.LSTM(3, 4, forget_bias=1.0)) == "LSTM(3, 4, forget_bias=1.0)"
    assert "init" not in repr(fastrnn.LSTM(3, 4))


@pytest.mark.parametrize(
    ("name", "options", "error", "words"),
    [
        ("LSTM", {"init": "zeros"}, ValueError, ["init", "zeros", "xavier", "chrono"]),
        ("LSTM", {"init": None}, ValueError, ["init", None]),
        ("LSTM", {"init": "identity"}, ValueError, ["init", "identity", "relu", "lstm"]),
        ("RNN", {"init": "identity"}, ValueError, ["init", "identity", "relu", "rnn_tanh"]),
        ("RNN", {"init": "chrono", "t_max": 9}, ValueError, ["init", "chrono", "rnn_tanh"]),
        ("IndRNN", {"init": "chrono", "t_max": 9}, ValueError, ["init", "chrono", "indrnn_relu"]),
        ("IndRNN", {"init": "identity"}, ValueError, ["init", "identity", "indrnn_relu"]),
        ("IndRNN", {"init": "orthogonal"}, ValueError, ["init", "orthogonal", "W_hh", "indrnn_relu"]),
        ("IndRNN", {"forget_bias": 1.0}, ValueError, ["forget_bias", "LSTM", "indrnn_relu"]),
        ("GRU", {"reset_after": False, "forget_bias": 1.0}, ValueError, ["forget_bias", "LSTM", "gru_reset_before"]),
        ("GRU", {"layer_norm": True, "init": "identity"}, ValueError, ["init", "identity", "gru_layer_norm"]),
        ("LSTM", {"proj_size": 2, "init": "identity"}, ValueError, ["init", "identity", "lstm_projected"]),
        (
            "LSTM",
            {"layer_norm": True, "init": "chrono", "t_max": 9, "bias": "none"},
            ValueError,
            ["init", "chrono", "bias", "none"],
        ),
        ("LSTM", {"init": "chrono"}, ValueError, ["init", "chrono", "t_max"]),
        ("LSTM", {"init": "chrono", "t_max": 1}, ValueError, ["t_max", 1, 2]),
        ("LSTM", {"init": "chrono", "t_max": 2.5}, TypeError, ["t_max", 2.5]),
        ("LSTM", {"init": "chrono", "t_max": 9, "bias": False}, ValueError, ["init", "chrono", "bias", False]),
        ("LSTM", {"init": "chrono", "t_max": 9, "forget_bias": 1.0}, ValueError, ["forget_bias", "init", "chrono"]),
        ("LSTM", {"init": "xavier", "t_max": 9}, ValueError, ["t_max", "chrono", "init", "xavier"]),
        ("GRU", {"t_max": 9}, ValueError, ["t_max", "chrono", "init", "uniform"]),
        ("GRU", {"forget_bias": 1.0}, ValueError, ["forget_bias", "LSTM", "gru"]),
        ("RNN", {"forget_bias": 1.0}, ValueError, ["forget_bias", "LSTM", "rnn_tanh"]),
        ("LSTM", {"forget_bias": 1.0, "bias": "none"}, ValueError, ["forget_bias", "bias", "none"]),
        ("LSTM", {"forget_bias": np.nan}, ValueError, ["forget_bias", "nan", "finite"]),
        ("LSTM", {"forget_bias": "1"}, TypeError, ["forget_bias", "str"]),
        ("LSTM", {"forget_bias": True}, TypeError, ["forget_bias", True]),
        ("LSTM", {"bias": "three", "forget_bias": 1.0}, ValueError, ["bias", "three"]),
    ],
    ids=str,
)  # fmt: skip
def test_options_that_do_not_fit(name, options, error, words):
    refused(error, words, getattr(fastrnn, name), 3, 4, **options)
