# SPDX-License-Identifier: MIT
"""Streams: the bits of the whole sequence, arrays of their own, nothing allocated, one clear error."""

import copy
import pickle

import fastrnn
import numpy as np
import pytest
from refusal import B, H, I, refused, zeros
from runner import CLASSES, as_state, build, compare_bits, parts
from shapes import make_case

T = 7


def test_a_stream_is_the_sequence(target, dtype, cell):
    case = make_case(cell, T, 3, 5, 9, seed=1, num_layers=2)
    net, x = build(case, target, dtype), case.x.astype(dtype)
    want, final = net(x, as_state(case.state, dtype))
    stream = net.stream(3, as_state(case.state, dtype))
    got = np.stack([stream.step(x[t]).copy() for t in range(T)])
    compare_bits({"y": got, **parts(stream.state)}, {"y": want, **parts(final)})


def test_a_stream_without_batch(target, dtype, cell):
    case = make_case(cell, T, 1, 5, 9, seed=2, num_layers=2)
    net, x = build(case, target, dtype), case.x[:, 0].astype(dtype)
    want, final = net(x)
    stream = net.stream()
    got = np.stack([stream.step(x[t]).copy() for t in range(T)])
    compare_bits({"y": got, **parts(stream.state)}, {"y": want, **parts(final)})


def test_y_is_one_array_and_out_another(cell):
    net = CLASSES[cell](I, H, seed=3)
    stream, other = net.stream(B), net.stream(B)
    x = np.random.default_rng(4).standard_normal((3, B, I)).astype(np.float32)
    y = stream.step(x[0])
    first = y.copy()
    assert stream.step(x[1]) is y
    assert not np.array_equal(y, first)
    kept, out = y.copy(), np.zeros_like(y)
    assert stream.step(x[2], out=out) is out
    np.testing.assert_array_equal(y, kept)
    for t in range(3):
        want = other.step(x[t])
    np.testing.assert_array_equal(out, want)


def test_the_state_is_a_copy(cell):
    net = CLASSES[cell](I, H, 2, seed=3)
    start = as_state([np.ones(shape) for shape in net._state_shapes(B, False)], "float32")
    want, _ = net.step(zeros(B, I), start)
    stream = net.stream(B, start)
    for a in parts(start).values():
        a[...] = 99
    state = stream.state
    for a in parts(state).values():
        assert (a == 1).all()
        a[...] = 99
    np.testing.assert_array_equal(stream.step(zeros(B, I)), want)


@pytest.mark.parametrize(
    "rows", [None, 1, [1], np.array([False, True, False]), np.array([2, 0]), [], range(1, 3)]
)
def test_rows_begin_anew(cell, rows):
    net = CLASSES[cell](I, H, 2, seed=3)
    stream = net.stream(3)
    stream.step(zeros(3, I) + 1)
    before = stream.state
    stream.reset(rows)
    index = slice(None) if rows is None else np.asarray(rows, bool if np.asarray(rows).dtype == bool else int)
    for got, old in zip(parts(stream.state).values(), parts(before).values()):
        assert old.any(axis=(0, 2)).all()
        old[:, index] = 0
        np.testing.assert_array_equal(got, old)


def test_reset_without_batch(cell):
    net = CLASSES[cell](I, H, seed=3)
    stream, x = net.stream(), zeros(I) + 1
    first = stream.step(x).copy()
    assert not np.array_equal(stream.step(x), first)
    stream.reset()
    np.testing.assert_array_equal(stream.step(x), first)


@pytest.mark.parametrize("batch", [None, B])
def test_a_batch_first_net_streams_the_same(cell, batch):
    x = np.random.default_rng(5).standard_normal((I,) if batch is None else (batch, I)).astype(np.float32)
    want = CLASSES[cell](I, H, seed=3).stream(batch).step(x)
    stream = CLASSES[cell](I, H, batch_first=True, seed=3).stream(batch)
    np.testing.assert_array_equal(stream.step(x), want)
    stream.reset()
    np.testing.assert_array_equal(stream.step(x), want)


@pytest.mark.parametrize("batch", [None, B])
def test_a_stream_starts_from_what_was_learned(cell, batch):
    net = CLASSES[cell](I, H, 2, learn_state=True, seed=3)
    net.flat[:] = np.random.default_rng(4).uniform(-0.5, 0.5, net.flat.size)
    x = np.random.default_rng(5).standard_normal((I,) if batch is None else (batch, I)).astype(np.float32)
    want, _ = net(x[None])
    stream = net.stream(batch)
    np.testing.assert_array_equal(stream.step(x), want[0])
    stream.reset()
    np.testing.assert_array_equal(stream.step(x), want[0])


def test_what_has_to_be_converted_is(cell):
    net = CLASSES[cell](I, H, seed=3)
    x = np.random.default_rng(5).standard_normal((B, 2 * I))
    want = net.stream(B).step(x[:, ::2].astype(np.float32))
    np.testing.assert_array_equal(net.stream(B).step(x[:, ::2]), want)


@pytest.mark.parametrize("batch", [None, 40])
def test_a_step_allocates_nothing(target, cell, batch):
    tracemalloc = pytest.importorskip("tracemalloc", reason="counts what Python and NumPy allocate")
    net = CLASSES[cell](30, 64, 2, seed=8)
    stream, x = net.stream(batch), np.ones((30,) if batch is None else (batch, 30), np.float32)
    net_state = as_state([np.zeros_like(a) for a in parts(stream.state).values()], "float32")
    out = np.zeros_like(stream.step(x))

    def traced(call):
        """Bytes kept after many calls, and the most during one."""
        for _ in range(3):
            call()
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for _ in range(50):
            call()
        after, peak = tracemalloc.get_traced_memory()
        return after - before, peak - before

    tracemalloc.start()
    try:
        plain = traced(lambda: net.step(x, net_state, out=out))
        ours = traced(lambda: stream.step(x))
    finally:
        tracemalloc.stop()
    assert ours[0] < 50 * 16, "memory grows"  # an int a step would be more
    assert ours[1] <= plain[1] + 64, "more is allocated than by net.step"
    assert ours[1] < out.nbytes or batch is None, "an array was allocated"


@pytest.mark.parametrize(
    "how", [copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))], ids=["copy", "pickle"]
)
def test_copies_go_their_own_way(cell, how):
    net = CLASSES[cell](I, H, seed=3)
    stream, x = net.stream(B), zeros(B, I) + 1
    stream.step(x)
    twin = how(stream)
    want = stream.step(x).copy()
    stream.step(x)
    np.testing.assert_array_equal(twin.step(x), want)


def test_written_parameters_are_used(cell):
    net = CLASSES[cell](I, H, seed=3)
    stream, x = net.stream(), zeros(I) + 1
    stream.step(x)
    net.flat[:] = 0
    stream.reset()
    assert not stream.step(x).any()


@pytest.mark.parametrize(
    ("batch", "x", "error", "words"),
    [
        (None, zeros(B, I), ValueError, ["x_t", (B, I), "batch=None", (I,)]),
        (B, zeros(I), ValueError, ["x_t", (I,), f"batch={B}", (B, I)]),
        (B, zeros(B + 1, I), ValueError, [(B + 1, I), f"batch={B}", (B, I)]),
        (B, zeros(B, I + 1), ValueError, [(B, I + 1), (B, I)]),
        (B, [[0.0] * I] * B, TypeError, ["x_t", "list"]),
        (B, zeros(B, I).astype(int), TypeError, ["x_t", "int64", "float32"]),
    ],
)
def test_a_wrong_x(batch, x, error, words):
    stream = fastrnn.LSTM(I, H, seed=1).stream(batch)
    stream.step(zeros(*((I,) if batch is None else (batch, I))) + 1)
    before = stream.state
    refused(error, words, stream.step, x)
    for got, want in zip(stream.state, before):
        np.testing.assert_array_equal(got, want)


def test_a_wrong_out():
    stream = fastrnn.LSTM(H, H, seed=1).stream(B)
    refused(ValueError, ["out", (B, H + 1), (B, H)], stream.step, zeros(B, H), out=zeros(B, H + 1))
    refused(TypeError, ["out", "float64", "float32"], stream.step, zeros(B, H), out=np.zeros((B, H)))
    y = stream.step(zeros(B, H) + 1)
    before = stream.state
    refused(ValueError, ["x_t", "out"], stream.step, y)  # its own y, which the step would overwrite
    np.testing.assert_array_equal(stream.state[0], before[0])
    stream.step(y, out=zeros(B, H))


@pytest.mark.parametrize(
    ("batch", "rows", "error", "words"),
    [
        (None, [0], ValueError, ["rows", "batch=None"]),
        (B, [B], ValueError, ["rows", B, f"batch={B}"]),
        (B, -1, ValueError, ["rows", -1, f"batch={B}"]),
        (B, np.ones(B + 1, bool), ValueError, ["rows", (B + 1,), f"batch={B}"]),
        (B, [0.0], TypeError, ["rows", "float64"]),
    ],
)
def test_wrong_rows(batch, rows, error, words):
    stream = fastrnn.GRU(I, H, seed=1).stream(batch)
    stream.step(zeros(*((I,) if batch is None else (batch, I))) + 1)
    refused(error, words, stream.reset, rows)
    assert stream.state.all()


@pytest.mark.parametrize(
    ("options", "word"),
    [({"bidirectional": True}, "bidirectional"), ({"direction": ["forward", "reverse"]}, "reverse")],
)
def test_a_stream_runs_forward(options, word):
    refused(ValueError, ["stream", "forward", word], fastrnn.LSTM(I, H, 2, **options).stream)


def test_a_wrong_batch_or_state():
    net = fastrnn.LSTM(I, H, seed=1)
    refused(ValueError, ["batch", 0], net.stream, 0)
    refused(TypeError, ["batch", "2.0"], net.stream, 2.0)
    refused(ValueError, ["state", (1, B, H)], net.stream, B, (zeros(1, H), zeros(1, H)))
    refused(ValueError, ["state", "(h, c)"], net.stream, B, zeros(1, B, H))


def test_repr():
    assert repr(fastrnn.LSTM(3, 5).stream()) == "LSTM(3, 5).stream()"
    assert repr(fastrnn.LSTM(3, 5).stream(2)) == "LSTM(3, 5).stream(batch=2)"
