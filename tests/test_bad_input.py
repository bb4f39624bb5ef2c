# SPDX-License-Identifier: MIT
"""Bad input to constructors and forward calls: one error that names both sides, and nothing was changed."""

import fastrnn
import numpy as np
import pytest
from refusal import EITHER, B, H, I, T, refused, zeros
from runner import CLASSES, parts
from shapes import make_case


@pytest.fixture
def net():
    return fastrnn.LSTM(I, H, seed=1)


def with_nan_in(lengths):
    return np.array([*lengths, np.nan])


@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((-3, 5), ValueError, ["input_size", -3]),
        ((3, -5), ValueError, ["hidden_size", -5]),
        ((3, 0), ValueError, ["hidden_size", 0]),
        ((3, 5, 0), ValueError, ["num_layers", 0]),
        ((3, 5, -1), ValueError, ["num_layers", -1]),
        ((3.0, 5), TypeError, ["input_size", "float"]),
        ((3, "5"), TypeError, ["hidden_size", "str"]),
        ((None, 5), TypeError, ["input_size", "NoneType"]),
        ((3, 5, 1.5), TypeError, ["num_layers", "float"]),
        ((3, 5, None), TypeError, ["num_layers", "NoneType"]),
    ],
)
def test_sizes(name, arguments, error, words):
    refused(error, words, getattr(fastrnn, name), *arguments)


def test_options():
    refused(EITHER, ["float16", "float32", "float64"], fastrnn.LSTM, 3, 5, dtype="float16")
    refused(TypeError, ["int32", "float32", "float64"], fastrnn.LSTM, 3, 5, dtype="int32")
    refused(TypeError, ["nonsense", "float32", "float64"], fastrnn.LSTM, 3, 5, dtype="nonsense")
    refused(ValueError, ["sine", "tanh", "relu"], fastrnn.RNN, 3, 5, nonlinearity="sine")
    with pytest.raises(TypeError):
        fastrnn.LSTM(3, 5, nonlinearity="tanh")
    with pytest.raises(TypeError):
        fastrnn.LSTM(3, 5, 1, True)  # options go by name


CALLS = {
    "inference": lambda net, x, *a, **k: net(x, *a, **k),
    "training": lambda net, x, *a, **k: net.forward(x, *a, **k),
}


@pytest.fixture(params=list(CALLS))
def call(request):
    return CALLS[request.param]


@pytest.mark.parametrize(
    "x",
    [
        None,
        "text",
        {},
        3.5,
        object(),
        zeros(T, B, I).astype(complex),
        zeros(T, B, I).astype(object),
        np.full((T, B, I), "1.0"),
        zeros(T, B, I, dtype="datetime64[s]"),
    ],
    ids=lambda x: getattr(x, "dtype", type(x)),
)
def test_x_that_is_no_array_of_numbers(net, call, x):
    refused(TypeError, ["x"], call, net, x)


@pytest.mark.parametrize("shape", [(), (I,), (T, B, I, 1)])
def test_x_of_another_rank(net, call, shape):
    refused(ValueError, ["x", shape], call, net, zeros(*shape))


def test_x_of_another_size(net, call):
    refused(
        ValueError,
        ["x", f"I={I + 4}", (T, B, I + 4), "weight_ih_l0", (4 * H, I), f"I={I}"],
        call,
        net,
        zeros(T, B, I + 4),
    )
    refused(ValueError, ["x", (T, I + 4), (4 * H, I)], call, net, zeros(T, I + 4))
    refused(ValueError, ["x", (T, B, 0), (4 * H, I)], call, net, zeros(T, B, 0))


LSTM_STATE = (1, B, H)


@pytest.mark.parametrize(
    ("state", "error", "words"),
    [
        (zeros(*LSTM_STATE), EITHER, ["state"]),  # of a GRU
        ((zeros(*LSTM_STATE),), EITHER, ["state"]),
        ((zeros(*LSTM_STATE),) * 3, EITHER, ["state"]),
        ((zeros(*LSTM_STATE), None), TypeError, ["state c"]),
        ((zeros(*LSTM_STATE), object()), TypeError, ["state c", "object"]),
        ((zeros(*LSTM_STATE), "c"), TypeError, []),
        ((zeros(*LSTM_STATE), zeros(1, B, H + 1)), ValueError, [(1, B, H + 1), LSTM_STATE]),
        ((zeros(1, B + 1, H), zeros(*LSTM_STATE)), ValueError, [(1, B + 1, H), LSTM_STATE]),
        ((zeros(2, B, H), zeros(2, B, H)), ValueError, [(2, B, H), LSTM_STATE]),
        ((zeros(B, H), zeros(B, H)), ValueError, [(B, H), LSTM_STATE]),
        ((zeros(*LSTM_STATE).astype(complex),) * 2, TypeError, ["complex128"]),
        ("state", EITHER, ["state", "str"]),
        (7, EITHER, ["state"]),
    ],
)
def test_state(net, call, state, error, words):
    refused(error, words, call, net, zeros(T, B, I), state)
    refused(error, words, net.step, zeros(B, I), state)


@pytest.mark.parametrize("name", ["GRU", "RNN"])
def test_state_of_an_lstm(name, call):
    net = getattr(fastrnn, name)(I, H)
    refused(EITHER, ["state"], call, net, zeros(T, B, I), (zeros(1, B, H), zeros(1, B, H)))
    refused(EITHER, ["state"], net.step, zeros(B, I), (zeros(1, B, H), zeros(1, B, H)))


@pytest.mark.parametrize(
    ("lengths", "error", "words"),
    [
        ([T, T + 1], ValueError, ["lengths", T + 1, f"T={T}"]),
        ([-1, T], ValueError, ["lengths", -1]),
        ([T], ValueError, ["lengths", (1,), f"B={B}"]),
        ([T] * 3, ValueError, ["lengths", (3,), f"B={B}"]),
        ([[T, T]], ValueError, ["lengths", (1, 2)]),
        (T, EITHER, ["lengths"]),
        (np.array([1.0, 2.0]), TypeError, ["lengths", "float64"]),
        (with_nan_in([1]), EITHER, ["lengths"]),
        (np.array(["1", "2"]), TypeError, ["lengths"]),
        (np.array([True, False]), TypeError, ["lengths", "bool"]),
        (object(), TypeError, ["lengths"]),
        (np.array([2**63, 1], np.uint64), EITHER, ["lengths"]),
        ([2**70, 1], EITHER, ["lengths"]),
    ],
    ids=repr,
)
def test_lengths(net, call, lengths, error, words):
    refused(error, words, call, net, zeros(T, B, I), lengths=lengths)


def test_lengths_of_an_unbatched_sequence(net, call):
    refused(ValueError, ["lengths"], call, net, zeros(T, I), lengths=[T, T])


@pytest.mark.parametrize(
    ("reset", "error", "words"),
    [
        (zeros(T, B, dtype=float), TypeError, ["reset", "float64", "bool"]),
        (zeros(T, B, dtype=int), TypeError, ["reset", "int64", "bool"]),
        (zeros(B, T, dtype=bool), ValueError, ["reset", (B, T), (T, B)]),
        (zeros(T, dtype=bool), ValueError, ["reset", (T,), (T, B)]),
        (zeros(T, B, 1, dtype=bool), ValueError, ["reset", (T, B, 1), (T, B)]),
        ("reset", TypeError, ["reset"]),
        (True, EITHER, ["reset"]),
    ],
    ids=repr,
)
def test_reset(net, call, reset, error, words):
    refused(error, words, call, net, zeros(T, B, I), reset=reset)


def test_batch_first_is_named_in_its_own_order(call):
    net = fastrnn.LSTM(I, H, batch_first=True)
    refused(ValueError, ["reset", (T, B), (B, T)], call, net, zeros(B, T, I), reset=zeros(T, B, dtype=bool))
    refused(ValueError, ["lengths", T + 1, f"T={T}"], call, net, zeros(B, T, I), lengths=[T, T + 1])


@pytest.mark.parametrize("cell", list(CLASSES))
def test_a_refused_call_changes_nothing(cell):
    case = make_case(cell, T, B, I, H, seed=4)
    net = CLASSES[cell](I, H, seed=5)
    x, kept = case.x.astype(np.float32), net.flat.copy()
    want = net(x)
    state = tuple(s.astype(np.float32) for s in case.state)
    before = [s.copy() for s in state]
    given = state if len(state) > 1 else state[0]
    for wrong in ({"lengths": [T, T + 1]}, {"reset": zeros(B, T, dtype=bool)}):
        refused(ValueError, list(wrong), net, x, given, **wrong)
        refused(ValueError, list(wrong), net.forward, x, given, **wrong)
    for a, b in zip(state, before):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(net.flat, kept)
    got = net(x)
    for a, b in zip([got[0], *parts(got[1]).values()], [want[0], *parts(want[1]).values()]):
        np.testing.assert_array_equal(a, b)
