# SPDX-License-Identifier: MIT
"""A constant input: the same as inputs that are repeated at every step and multiplied by weights of their own."""

import fastrnn
import numpy as np
import pytest
from fastrnn.layers import CELLS as CLASSES
from refusal import refused
from shapes import CELLS, IN_BFLOAT16
from tolerance import assert_close, assert_same_bits
from workspace import least_workspace

T, B, I, C, H = 7, 5, 3, 4, 9  # noqa: E741
LENGTHS = [7, 0, 3, 5, 1]


def net(cell, inputs=I, **options):
    return CLASSES[cell](inputs, H, seed=3, **{"dtype": "float64", **options})


def numbers(*shape, seed=0, dtype="float64"):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def constant_of(layer, seed=5):
    return numbers(B, layer._gates * H, seed=seed, dtype=layer.dtype)


def flat_state(state):
    return state if isinstance(state, tuple) else (state,)


@pytest.mark.parametrize("steps", [None, 1, 4, 0])
@pytest.mark.parametrize("inputs", [I, 0])
@pytest.mark.parametrize("cell", CELLS)
def test_it_is_an_input_that_stays(cell, inputs, steps):
    short, wide = net(cell, inputs), net(cell, inputs + C)
    for name, array in short.parameters().items():
        if name != "weight_ih_l0":
            wide.parameters()[name][...] = array
    weight = numbers(short._gates * H, C, seed=1)
    wide.parameters()["weight_ih_l0"][...] = np.concatenate(
        [short.parameters()["weight_ih_l0"], weight], axis=1
    )
    x, c = numbers(T, B, inputs), numbers(B, C)
    repeated = np.concatenate([x, np.broadcast_to(c, (T, B, C))], axis=2)
    repeated[T if steps is None else steps :, :, inputs:] = 0

    y, state, tape = short.forward(x, constant=c @ weight.T, constant_steps=steps, lengths=LENGTHS)
    want_y, want_state, want_tape = wide.forward(repeated, lengths=LENGTHS)
    dy = numbers(*y.shape)
    got, want = short.backward(tape, dy), wide.backward(want_tape, dy)

    sizes = {"steps": T, "inputs": inputs + C, "hidden": H, "magnified": 300 if "norm" in cell else 1}
    assert_close(y, want_y, name="y", **sizes)
    for number, (a, b) in enumerate(zip(flat_state(state), flat_state(want_state))):
        assert_close(a, b, name=f"state {number}", **sizes)
    dweight = want.params["weight_ih_l0"]
    assert_close(got.x, want.x[..., :inputs], backward=True, name="dx", **sizes)
    assert_close(got.params["weight_ih_l0"], dweight[:, :inputs], backward=True, name="dW", **sizes)
    assert_close(got.constant.T @ c, dweight[:, inputs:], backward=True, name="dW of c", **sizes)
    assert_close(got.constant @ weight, want.x[..., inputs:].sum(0), backward=True, name="dc", **sizes) if (
        steps is None
    ) else assert_close(
        got.constant @ weight, want.x[:steps, :, inputs:].sum(0), backward=True, name="dc", **sizes
    )
    for name in set(got.params) - {"weight_ih_l0"}:
        assert_close(got.params[name], want.params[name], backward=True, name=name, **sizes)
    assert not got.constant[LENGTHS.index(0)].any()


@pytest.mark.parametrize("cell", CELLS)
def test_zeros_are_none(cell):
    layer, x = net(cell, num_layers=2), numbers(T, B, I)
    y, _, tape = layer.forward(x)
    zeros, _, with_zeros = layer.forward(x, constant=np.zeros((B, layer._gates * H)))
    assert np.array_equal(zeros, y)
    assert_same_bits(layer.backward(with_zeros, y).flat, layer.backward(tape, y).flat)
    assert layer.backward(layer.forward(x)[2], y).constant is None


@pytest.mark.parametrize("cell", CELLS)
def test_segments_and_threads_have_the_same_bits(cell):
    layer = net(cell, num_layers=2, dtype="float32")
    x, constant = numbers(40, B, I, dtype="float32"), constant_of(layer)
    dy = numbers(40, B, layer.output_size, dtype="float32")

    def run(**options):
        y, _, tape = layer.forward(x, constant=constant, constant_steps=30, **options)
        gradients = layer.backward(tape, dy, clip=fastrnn.Clip(step_norm=0.5))
        return y, gradients.flat, gradients.constant, tape.segments

    want = run()
    least = least_workspace(layer, x, constant=constant)
    segmented = run(max_workspace=least + least // 10)
    assert segmented[3] > 1
    with fastrnn.threads(2):
        threaded = run()
    for got in (segmented, threaded):
        for a, b in zip(got[:3], want[:3]):
            assert_same_bits(a, b)


@pytest.mark.parametrize("cell", IN_BFLOAT16)
def test_in_bfloat16_it_is_not_rounded(cell):
    layer = net(cell, 0, dtype="bfloat16")
    other = net(cell, 0, dtype="float32")
    other.flat[:] = layer.flat
    constant = constant_of(layer)
    empty = np.empty((1, B, 0), "float32")
    assert_same_bits(layer(empty)[0], other(empty)[0])
    got = layer.forward(empty, constant=constant)[0]
    assert_same_bits(got, other.forward(empty, constant=constant)[0])
    assert not np.array_equal(got, layer(empty)[0])


def test_one_sequence_and_batch_first():
    layer, first = net("lstm"), net("lstm", batch_first=True)
    x, constant = numbers(T, B, I), constant_of(layer)
    y = layer.forward(x, constant=constant)[0]
    assert_same_bits(first.forward(x.transpose(1, 0, 2), constant=constant)[0], y.transpose(1, 0, 2))
    alone, _, tape = layer.forward(x[:, 2], constant=constant[2:3])
    np.testing.assert_allclose(alone, y[:, 2], rtol=1e-13)
    assert layer.backward(tape, alone).constant.shape == (1, layer._gates * H)


def test_the_tape_keeps_its_own_copy():
    layer, x = net("gru"), numbers(30, B, I)
    constant = constant_of(layer)
    kept = constant.copy()
    budget = 3 * layer.flat.nbytes + 40_000
    _, _, tape = layer.forward(x, constant=constant, max_workspace=budget)
    assert tape.segments > 1
    constant[:] = np.nan
    _, _, want = layer.forward(x, constant=kept, max_workspace=budget)
    dy = numbers(30, B, H)
    assert_same_bits(layer.backward(tape, dy).flat, layer.backward(want, dy).flat)


def test_refused():
    layer, x = net("gru"), numbers(T, B, I)
    good = constant_of(layer)
    for bad, error, words in (
        (good[:, 1:], ValueError, ["constant", (B, 3 * H - 1), (B, 3 * H)]),
        (good[:2], ValueError, ["constant", (2, 3 * H), (B, 3 * H)]),
        (good.astype(int), TypeError, ["constant", "int64"]),
        ([1.0], TypeError, ["constant", "list"]),
    ):
        refused(error, words, layer.forward, x, constant=bad)
    refused(ValueError, ["constant_steps", -1], layer.forward, x, constant=good, constant_steps=-1)
    refused(TypeError, ["constant_steps", 1.5], layer.forward, x, constant=good, constant_steps=1.5)
    refused(ValueError, ["constant_steps", "constant"], layer.forward, x, constant_steps=2)
    refused(ValueError, ["bptt", "constant"], layer.forward, x, bptt=(2, 2), constant=good)
    for direction in ("reverse", "both"):
        other = fastrnn.GRU(I, H, direction=direction, dtype="float64", seed=0)
        refused(ValueError, ["constant", direction], other.forward, x, constant=good)
