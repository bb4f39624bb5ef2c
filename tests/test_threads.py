# SPDX-License-Identifier: MIT
"""Python threads that share a net, a forked child, and a lock that is let go while a kernel runs."""

import concurrent.futures
import itertools
import os
import subprocess
import sys
import threading
import time

import fastrnn
import numpy as np
import pytest
from runner import backward, build, compare_bits, forward
from shapes import make_case

HERE = os.path.dirname(os.path.abspath(__file__))


@pytest.mark.parametrize("kernel_threads", [1, 2])
def test_two_threads_run_one_net_at_once(target, cell, kernel_threads):
    shape = (6, 16, 24, 48)
    cases = [make_case(cell, *shape, seed=seed, lengths=True, reset=True) for seed in range(6)]
    for case in cases:
        case.parameters = cases[0].parameters
    net = build(cases[0], target, "float32")
    start = threading.Barrier(2)

    def work(mine):
        start.wait(30)
        return [(backward(net, case), forward(net, case)) for case in mine * 3]

    with fastrnn.threads(kernel_threads):
        want = [(backward(net, case), forward(net, case)) for case in cases]
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            halves = [pool.submit(work, cases[:3]), pool.submit(work, cases[3:])]
            for half, expected in zip(halves, (want[:3] * 3, want[3:] * 3)):
                for got, (training, inference) in zip(half.result(60), expected):
                    compare_bits(got[0], training)
                    compare_bits(got[1], inference)


def test_threads_with_nets_of_their_own(fast_target):
    """Large enough for the pool to be wanted by all of them at once."""
    case = make_case("lstm", 40, 64, 40, 96, seed=1)
    nets = [build(case, fast_target, "float32") for _ in range(4)]
    with fastrnn.threads(2):
        want = backward(nets[0], case)
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for got in pool.map(lambda net: backward(net, case), nets * 3, timeout=60):
                compare_bits(got, want)


def longest_silence(run):
    """Runs while another thread notes the time over and over.

    Returns how long that thread was kept from doing so at most, and how long the run took.
    """
    stop, times = threading.Event(), []

    def note():
        while not stop.is_set():
            times.append(time.perf_counter())

    other = threading.Thread(target=note)
    other.start()
    try:
        while not times:
            time.sleep(0.001)
        begin = time.perf_counter()
        run()
        end = time.perf_counter()
    finally:
        stop.set()
        other.join()
    inside = [begin, *(t for t in times if begin < t < end), end]
    return max(b - a for a, b in itertools.pairwise(inside)), end - begin


def test_the_lock_is_let_go_while_a_kernel_runs(target):
    B = 12 if target == "reference" else 512
    case = make_case("lstm", 60, B, 128, 128, seed=2)
    net = build(case, target, "float64")
    x = case.x
    tape, grads = [], []

    def step_forward():
        tape.append(net.forward(x)[2])

    def step_backward():
        grads.append(net.backward(tape.pop(), case.dy))

    with fastrnn.threads(1):
        for run in (step_forward, step_backward):
            for _attempt in range(
                5
            ):  # a busy machine may keep the other thread waiting, the lock would always
                if run is step_backward and not tape:
                    step_forward()
                silent, took = longest_silence(run)
                assert took > 0.02, "too short to tell"
                if silent < took / 2:
                    break
            else:
                pytest.fail(f"{run.__name__}: another thread stood still for {silent:.3f} of {took:.3f} s")


CHILD = """
import os, sys, warnings
sys.path.insert(0, sys.argv[1])
warnings.simplefilter("error")
# Python 3.12 and newer warn at every fork of a process with threads; the child is tested all the same
warnings.filterwarnings("ignore", message=".*multi-threaded.*fork", category=DeprecationWarning)
import fastrnn
from runner import backward, build, compare_bits
from shapes import make_case

shape = (4, 8, 40, 96) if fastrnn.active() == "reference" else (40, 64, 40, 96)  # the others start their pool
case = make_case("lstm", *shape, seed=3)
fastrnn.set_num_threads(2)
net = build(case, fastrnn.active(), "float32")
want = backward(net, case)

def child(depth):
    compare_bits(backward(net, case), want, f"in the child at depth {depth}")
    compare_bits(backward(build(case, fastrnn.active(), "float32"), case), want, "of a net of its own")
    assert fastrnn.get_num_threads() == 2
    if depth < 2:
        fork(depth + 1)

def fork(depth):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            child(depth)
            code = 0
        finally:
            sys.stderr.flush()
            os._exit(code)
    compare_bits(backward(net, case), want, "in the parent")
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, f"the child at depth {depth} failed"

for _ in range(3):
    fork(1)
print("all right")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system knows no fork")
def test_a_forked_child_works(target):
    run = subprocess.run(
        [sys.executable, "-c", CHILD, HERE],
        env={**os.environ, "FASTRNN_ISA": target},
        text=True,
        capture_output=True,
        timeout=60,
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "all right\n", "")


def test_numbers_of_threads():
    before = fastrnn.get_num_threads()
    assert before >= 1
    with fastrnn.threads(3):
        assert fastrnn.get_num_threads() == 3
        with fastrnn.threads(1):
            assert fastrnn.get_num_threads() == 1
        assert fastrnn.get_num_threads() == 3
    assert fastrnn.get_num_threads() == before
    with pytest.raises(KeyError), fastrnn.threads(5):
        raise KeyError
    assert fastrnn.get_num_threads() == before
    try:
        fastrnn.set_num_threads(4)
        assert fastrnn.get_num_threads() == 4
    finally:
        fastrnn.set_num_threads(before)


@pytest.mark.parametrize("wrong", [0, -1])
def test_impossible_numbers_of_threads(wrong):
    before = fastrnn.get_num_threads()
    with pytest.raises(ValueError, match=str(wrong)):
        fastrnn.set_num_threads(wrong)
    with pytest.raises(ValueError, match=str(wrong)), fastrnn.threads(wrong):
        pass
    for thing in ("2", 1.5, None):
        with pytest.raises(TypeError):
            fastrnn.set_num_threads(thing)
    assert fastrnn.get_num_threads() == before


def test_waiting_threads_cost_nothing():
    """A pool that was used and is idle now does not spin on."""
    case = make_case("lstm", 40, 64, 40, 96, seed=4)
    net = build(case, fastrnn.active(), "float32")
    with fastrnn.threads(2):
        forward(net, case)
        time.sleep(0.05)
        busy = time.process_time()
        time.sleep(0.3)
        assert time.process_time() - busy < 0.1
    assert np.isfinite(net.flat).all()
