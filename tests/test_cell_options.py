# SPDX-License-Identifier: MIT
"""Options that make a layer another cell: projection, layer normalisation, reset before the product."""

import copy
import pickle

import fastrnn
import numpy as np
import pytest
from runner import backward, build
from shapes import make_case

MADE = {
    "lstm": lambda **o: fastrnn.LSTM(3, 6, **o),
    "lstm_projected": lambda **o: fastrnn.LSTM(3, 6, proj_size=4, **o),
    "lstm_layer_norm": lambda **o: fastrnn.LSTM(3, 6, layer_norm=True, **o),
    "gru": lambda **o: fastrnn.GRU(3, 6, **o),
    "gru_reset_before": lambda **o: fastrnn.GRU(3, 6, reset_after=False, **o),
    "gru_layer_norm": lambda **o: fastrnn.GRU(3, 6, layer_norm=True, **o),
}
STAGED = [name for name in MADE if "_" in name]


@pytest.mark.parametrize("cell", MADE)
def test_the_option_names_the_cell_and_stands_in_repr(cell):
    net = MADE[cell](seed=1)
    assert net.cell == cell
    assert net.kernel.startswith(f"{cell}_f32__")
    again = eval(repr(net), {type(net).__name__: type(net)})
    assert (again.cell, repr(again)) == (cell, repr(net))
    x = np.ones((4, 2, 3), np.float32)
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        np.testing.assert_array_equal(twin(x)[0], net(x)[0])


@pytest.mark.parametrize(
    ("make", "first", "second"),
    [
        (lambda: fastrnn.LSTM(3, 6, peepholes=True, proj_size=2), "peepholes", "proj_size"),
        (lambda: fastrnn.LSTM(3, 6, peepholes=True, layer_norm=True), "peepholes", "layer_norm"),
        (lambda: fastrnn.LSTM(3, 6, proj_size=2, layer_norm=True), "proj_size", "layer_norm"),
        (lambda: fastrnn.GRU(3, 6, reset_after=False, layer_norm=True), "reset_after=False", "layer_norm"),
        (lambda: fastrnn.LSTM(3, 6, proj_size=2, dtype="bfloat16"), "dtype='bfloat16'", "proj_size"),
        (lambda: fastrnn.LSTM(3, 6, layer_norm=True, dtype="bfloat16"), "dtype='bfloat16'", "layer_norm"),
        (lambda: fastrnn.GRU(3, 6, layer_norm=True, dtype="bfloat16"), "dtype='bfloat16'", "layer_norm"),
        (
            lambda: fastrnn.GRU(3, 6, reset_after=False, dtype="bfloat16"),
            "dtype='bfloat16'",
            "reset_after=False",
        ),
    ],
)
def test_what_does_not_combine_names_both(make, first, second):
    with pytest.raises(ValueError, match=rf"^{first} and {second} do not combine$"):
        make()


@pytest.mark.parametrize(
    ("proj_size", "error", "words"),
    [
        (6, ValueError, "proj_size is 6, but must be less than hidden_size, which is 6"),
        (-1, ValueError, "proj_size is -1, but must be at least 0"),
        (2.0, TypeError, "proj_size is 2.0"),
        (True, TypeError, "proj_size is True"),
    ],
)
def test_a_bad_projection(proj_size, error, words):
    with pytest.raises(error, match=words):
        fastrnn.LSTM(3, 6, proj_size=proj_size)


@pytest.mark.parametrize("name", ["layer_norm", "reset_after"])
def test_flags_are_bools(name):
    with pytest.raises(TypeError, match=f"{name} is 1"):
        fastrnn.GRU(3, 6, **{name: 1})


def test_parameters_of_norms_have_names_and_begin_neutral():
    net = fastrnn.LSTM(3, 6, 2, layer_norm=True, bidirectional=True, bias="one", seed=1)
    parameters = net.parameters()
    names = ["weight_ih", "weight_hh", "bias_ih", "norm_ih", "norm_hh", "norm_cell", "norm_cell_bias"]
    want = [f"{name}_l{k}{d}" for k in range(2) for d in ("", "_reverse") for name in names]
    assert list(parameters) == want
    for name, value in parameters.items():
        if name.startswith("norm"):
            assert value.shape == ((24,) if name[5:7] in ("ih", "hh") else (6,))
            assert (value == (0 if "bias" in name else 1)).all(), name
    assert sum(p.size for p in parameters.values()) == net.flat.size
    plain = fastrnn.GRU(3, 6, seed=1).state_dict()
    normed = fastrnn.GRU(3, 6, layer_norm=True, seed=1).parameters()
    np.testing.assert_array_equal(normed["weight_hh_l0"], plain["weight_hh_l0"])


@pytest.mark.parametrize("cell", STAGED)
def test_one_bias_is_the_sum_of_two(target, cell):
    """Where both are added at the same place; in a GRU that resets after the product b_hn is not."""
    two, one = MADE[cell](bias=True, dtype="float64", seed=2), MADE[cell](bias="one", dtype="float64")
    if cell == "gru_layer_norm":
        two.parameters()["bias_hh_l0"][12:] = 0
    state = two.state_dict()
    state["bias_ih_l0"] += state.pop("bias_hh_l0")
    one.load_state_dict(state)
    x = np.random.default_rng(3).standard_normal((5, 2, 3))
    np.testing.assert_allclose(one(x)[0], two(x)[0], rtol=0, atol=1e-14)
    assert "bias_hh_l0" not in one.backward(one.forward(x)[2], np.ones_like(one(x)[0])).params


def test_a_norm_does_not_see_the_scale_of_what_it_normalises(target):
    """Up to epsilon, and so the gradient of a weight is orthogonal to it."""
    case = make_case("lstm_layer_norm", 4, 3, 5, 7, seed=4)
    for name in ("weight_ih_l0", "weight_hh_l0"):
        case.parameters[name] = case.parameters[name] * 1e4
    case.state = tuple(s + 0.5 for s in case.state)
    got = backward(build(case, target, "float64"), case)
    for name in ("weight_ih_l0", "weight_hh_l0"):
        weight, gradient = case.parameters[name], got["d" + name]
        assert abs((weight * gradient).sum()) < 1e-6 * np.linalg.norm(weight) * np.linalg.norm(gradient)
        case.parameters[name] = 3 * weight
    scaled = backward(build(case, target, "float64"), case)
    np.testing.assert_allclose(scaled["y"], got["y"], rtol=0, atol=1e-9)


def test_measurements_of_a_projected_lstm(target):
    """dL/dh is as wide as the projection: clamped to almost nothing it is 2 of 8 numbers, and dL/dc is less than it."""
    net = fastrnn.LSTM(3, 6, proj_size=2, seed=5)
    y, _, tape = net.forward(np.ones((4, 2, 3), np.float32))
    clip = fastrnn.Clip(step_value=1e-30)
    stats = net.backward(tape, np.ones_like(y), clip=clip, trace=True).stats
    np.testing.assert_allclose(stats.step_clamped, 0.25)
    assert stats.dh.shape == stats.dc.shape == (1, 1, 4)


def test_bias_may_be_a_bool_of_numpy():
    for bias in (True, False):
        net = fastrnn.GRU(3, 4, bias=np.bool_(bias), seed=1)
        assert net.bias is bias
        assert repr(net) == repr(fastrnn.GRU(3, 4, bias=bias))


def test_a_copy_draws_masks_of_its_own():
    net, twin = (fastrnn.GRU(3, 4, zoneout=0.5, seed=1) for _ in range(2))
    x = np.ones((5, 2, 3), np.float32)
    copy.copy(net).forward(x)
    np.testing.assert_array_equal(net.forward(x)[0], twin.forward(x)[0])


def test_sizes_too_small_or_too_large_are_told_as_they_are():
    with pytest.raises(ValueError, match="proj_size is 1, but must be less than hidden_size, which is 1"):
        fastrnn.NToN("lstm_projected", 3, 1, 2)
    with pytest.raises(ValueError, match="directions=1 "):
        fastrnn.GRU(3, 2**30)
    with pytest.raises(ValueError, match="directions=2 "):
        fastrnn.GRU(3, 2**30, bidirectional=True)
