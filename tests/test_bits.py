# SPDX-License-Identifier: MIT
"""The same bits for any number of threads, any split of the work, step by step as at once, run to run."""

import hashlib
import os
import subprocess
import sys

import fastrnn
import numpy as np
import pytest
from fastrnn import _core
from fastrnn.layers import CELLS
from runner import as_state, backward, build, compare_bits, forward, parts
from shapes import lanes, make_case

# Large enough that the work is shared among threads without being forced to (T, B, I, H)
LARGE = [(40, 64, 40, 96), (24, 3, 64, 600)]
SMALL = [(1, 1, 1, 1), (5, 1, 3, 33), (6, 2, 9, 16), (4, 7, 5, 47), (3, 17, 2, 5)]


@pytest.fixture(params=["batch", "units", "alone"])
def split(request):
    """Forces a way of splitting the work, whatever its size."""
    _core.force_split(request.param)
    yield request.param
    _core.force_split(None)


def with_threads(n, net, case):
    with fastrnn.threads(n):
        assert fastrnn.get_num_threads() == n
        return backward(net, case), forward(net, case)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("shape", LARGE)
def test_any_number_of_threads(fast_target, cell, shape, masked):
    case = make_case(cell, *shape, seed=1, lengths=masked, reset=masked)
    dtype = "float64" if masked else "float32"
    net = build(case, fast_target, dtype)
    want, inference = with_threads(1, net, case)
    for n in (2, 7):
        got = with_threads(n, net, case)
        compare_bits(got[0], want, f"with {n} threads ({case})")
        compare_bits(got[1], inference, f"of inference with {n} threads ({case})")


@pytest.mark.parametrize("masked", [False, True])
def test_any_split(target, cell, split, masked):
    for seed, shape in enumerate(SMALL):
        case = make_case(cell, *shape, seed=seed, bidirectional=True, lengths=masked, reset=masked)
        net = build(case, target, "float64" if masked else "float32")
        _core.force_split(None)
        want, inference = with_threads(1, net, case)
        _core.force_split(split)
        for n in (2, 7):
            got = with_threads(n, net, case)
            compare_bits(got[0], want, f"with {n} threads by {split} ({case})")
            compare_bits(got[1], inference, f"of inference with {n} threads by {split} ({case})")


def test_nothing_to_split(target, cell, split):
    """More threads than rows, no row that has a step, no row at all."""
    case = make_case(cell, 4, 3, 5, 9, seed=2, bidirectional=True, lengths=True)
    empty = make_case(cell, 4, 0, 5, 9, seed=2, bidirectional=True)
    net = build(case, target, "float32")
    for lengths in ([0, 0, 0], [0, 4, 0], [1, 1, 1]):
        case.lengths = np.array(lengths)
        want, inference = with_threads(1, net, case)
        got = with_threads(7, net, case)
        compare_bits(got[0], want, f"with lengths {lengths}")
        compare_bits(got[1], inference, f"of inference with lengths {lengths}")
    compare_bits(with_threads(7, net, empty)[0], with_threads(1, net, empty)[0])


def test_force_split_knows_its_words():
    with pytest.raises(ValueError, match="split"):
        _core.force_split("rows")


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("B", [1, 2, 7])
def test_streaming_equals_the_whole_sequence(target, dtype, cell, B, num_layers):
    L = lanes(target, dtype)
    for seed, H in enumerate([1, L + 1, 3 * L + 5]):
        case = make_case(cell, 9, B, 6, H, seed=seed, num_layers=num_layers)
        net = build(case, target, dtype)
        x = case.x.astype(dtype)
        want = forward(net, case)
        state = as_state(case.state, dtype)
        ys = []
        for t in range(case.T):
            y, state = net.step(x[t], state)
            ys.append(y)
        compare_bits({"y": np.stack(ys), **parts(state)}, want, f"by steps ({case})")


def test_streaming_in_place(target, dtype, cell):
    case = make_case(cell, 9, 3, 6, 11, seed=5, num_layers=2)
    net = build(case, target, dtype)
    x = case.x.astype(dtype)
    want = forward(net, case)
    state = as_state(case.state, dtype)
    y = np.full((3, case.P), np.nan, dtype)
    for t in range(case.T):
        got, new = net.step(x[t], state, out=y)
        assert got is y
        compare_bits({"y": y}, {"y": want["y"][t]}, f"of step {t}")
        for a, b in zip(parts(new).values(), parts(state).values()):
            assert a is b
    compare_bits(parts(state), {name: want[name] for name in parts(state)})


def test_pieces_equal_the_whole_sequence(target, dtype, cell):
    """The state handed on between calls of any length, and a stream of one unbatched sequence."""
    case = make_case(cell, 40, 1, 6, 19, seed=6)
    net = build(case, target, dtype)
    x = case.x.astype(dtype)
    want = forward(net, case)
    state, ys = as_state(case.state, dtype), []
    for begin, end in [(0, 1), (1, 14), (14, 14), (14, 39), (39, 40)]:
        y, state = net(x[begin:end], state)
        ys.append(y)
    compare_bits({"y": np.concatenate(ys), **parts(state)}, want)
    state = as_state([s[:, 0] for s in case.state], dtype)
    for t in range(case.T):
        y, state = net.step(x[t, 0], state)
        assert y.shape == (case.P,)
        compare_bits({"y": y}, {"y": want["y"][t, 0]}, f"of step {t}")


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (6, 5, 7, 21), LARGE[0]])
def test_inference_equals_training(target, dtype, cell, shape):
    case = make_case(cell, *shape, seed=7, bidirectional=True, lengths=True, reset=True)
    net = build(case, target, dtype)
    want = forward(net, case)
    compare_bits(forward(net, case, call=lambda *a, **k: net.forward(*a, training=True, **k)), want)
    compare_bits(forward(net, case, call=lambda *a, **k: net.forward(*a, training=False, **k)), want)


def test_run_to_run_and_net_to_net(target, dtype, cell):
    case = make_case(cell, 6, 5, 7, 21, seed=8, num_layers=2, bidirectional=True, lengths=True, reset=True)
    nets = [build(case, target, dtype) for _ in range(3)]
    want = backward(nets[0], case)
    noise = [np.random.default_rng(n).standard_normal(10_000 * n) for n in range(1, 4)]  # other addresses
    for net in nets:
        compare_bits(backward(net, case), want, "of another run")
    assert len(noise) == 3


DIGEST = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
import fastrnn
from runner import backward, build
from shapes import CELLS, make_case
digest = hashlib.sha256()
for cell in CELLS:
    for dtype in ("float32", "float64"):
        case = make_case(cell, 40, 64, 40, 96, seed=9)
        for value in backward(build(case, fastrnn.active(), dtype), case).values():
            digest.update(value.tobytes())
print(fastrnn.active(), fastrnn.get_num_threads(), digest.hexdigest())
"""


def test_process_to_process(fast_target):
    """FASTRNN_ISA and FASTRNN_NUM_THREADS choose how a fresh process computes, not what."""
    here = os.path.dirname(os.path.abspath(__file__))
    digests = set()
    for n in ("1", "2", "3"):
        environment = {**os.environ, "FASTRNN_ISA": fast_target, "FASTRNN_NUM_THREADS": n}
        run = subprocess.run(
            [sys.executable, "-W", "error", "-c", DIGEST, here],
            env=environment,
            text=True,
            capture_output=True,
            timeout=120,
        )
        assert run.returncode == 0, run.stderr
        isa, threads, digest = run.stdout.split()
        assert (isa, threads) == (fast_target, n)
        assert len(digest) == hashlib.sha256().digest_size * 2
        digests.add(digest)
    assert len(digests) == 1


def test_ids_as_the_rows_of_a_table(fast_target, cell, split, dtype):
    """Layers that read ids multiply each row of the table once, and find what they find of the rows themselves."""
    rng = np.random.default_rng(5)
    net = CELLS[cell](9, 37, 2, bidirectional=True, learn_state=True, dtype=dtype, seed=1)
    net.flat[:] = rng.normal(0, 0.4, net.flat.size)
    if not net._net.begins:
        return  # a cell of several phases
    table, ids = rng.normal(size=(7, 9)).astype(dtype), rng.integers(0, 7, (12, 5))
    lengths = [12, 3, 0, 12, 7]

    def results(y, state):
        return {"y": y} | {
            f"state {q}": s for q, s in enumerate(state if isinstance(state, tuple) else (state,))
        }

    want = results(*net(table[ids], lengths=lengths))
    for n in (1, 3):
        with fastrnn.threads(n):
            compare_bits(results(*net._of_ids(ids, table, lengths)), want, f"with {n} threads")
