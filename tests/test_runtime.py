# SPDX-License-Identifier: MIT
"""Which target runs, and the command line."""

import os
import subprocess
import sys

import fastrnn
import numpy as np
import pytest


def python(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        env={**os.environ, **environment},
        text=True,
        capture_output=True,
        timeout=120,
    )


def test_available_targets():
    names = fastrnn.available()
    assert names[-2:] == ["portable", "reference"]
    assert len(set(names)) == len(names)
    assert fastrnn.active() in names
    if "FASTRNN_ISA" not in os.environ:
        assert fastrnn.active() == names[0]


def test_using_is_undone(target):
    before = fastrnn.active()
    other = next(name for name in fastrnn.available() if name != before)
    with fastrnn.using(other):
        assert fastrnn.active() == other
        net = fastrnn.GRU(3, 5)
        with fastrnn.using(before):
            assert fastrnn.active() == before
        assert fastrnn.active() == other
    assert fastrnn.active() == before
    assert net.isa == other
    assert fastrnn.GRU(3, 5).isa == before
    assert np.isfinite(net(np.ones((2, 1, 3)))[0]).all()
    with pytest.raises(KeyError), fastrnn.using(other):
        raise KeyError
    assert fastrnn.active() == before


def test_an_unknown_target_lists_the_available():
    before = fastrnn.active()
    with pytest.raises(ValueError, match="mmx") as caught, fastrnn.using("mmx"):
        pass
    for name in fastrnn.available():
        assert name in str(caught.value)
    assert fastrnn.active() == before
    with pytest.raises(TypeError), fastrnn.using(3):
        pass


def test_the_environment_forces_a_target(target):
    run = python("-c", "import fastrnn; print(fastrnn.active(), fastrnn.LSTM(2, 3).isa)", FASTRNN_ISA=target)
    assert (run.returncode, run.stdout.split()) == (0, [target, target]), run.stderr


def test_the_environment_forces_an_unknown_target():
    run = python("-c", "import fastrnn", FASTRNN_ISA="mmx")
    assert run.returncode != 0
    last = run.stderr.strip().splitlines()[-1]
    for name in ("mmx", "FASTRNN_ISA", *fastrnn.available()):
        assert name in last


@pytest.mark.parametrize("wrong", ["0", "-2", "many", "1.5"])
def test_the_environment_asks_for_an_impossible_number_of_threads(wrong):
    run = python("-c", "import fastrnn; fastrnn.get_num_threads()", FASTRNN_NUM_THREADS=wrong)
    assert run.returncode != 0
    last = run.stderr.strip().splitlines()[-1]
    assert "FASTRNN_NUM_THREADS" in last
    assert wrong in last


STATE = """
import numpy as np
import fastrnn

def state():
    with np.errstate(all="ignore"):
        x87 = np.longdouble(2) ** 0.5 * np.longdouble(3)
        denormal = [np.array([1e-40], "float32") * np.float32(0.5), np.array([1e-310]) * 0.5]
        third = [np.array([1], t) / np.array([3], t) for t in ("float32", "float64")]
    return [x87.tobytes(), repr(np.float64(0.3)), *(a.tobytes() for a in denormal + third)]

want = state()
for dtype in ("float32", "float64"):
    for H in (*range(1, 20), 24, 31, 32, 33, 48, 64, 70):
        for layer in (fastrnn.RNN, fastrnn.GRU, fastrnn.LSTM):
            net = layer(7, H, dtype=dtype)
            for shape in ((1, 1, 7), (5, 3, 7), (2, 9, 7)):
                x = np.full(shape, 1e-30, dtype)
                y, _, tape = net.forward(x)
                assert state() == want, f"changed by forward of {net!r}"
                net.backward(tape, y * 1e-12)
                assert state() == want, f"changed by backward of {net!r}"
                net(x)
                net.step(x[0])
                assert state() == want, f"changed by inference of {net!r}"
"""


def test_the_floating_point_state_is_left_as_it_was(target):
    """Denormals work as before, and so does long double.

    g++ may put values into MMX registers, which are those of the x87 unit: long double then gives NaN in all
    that this thread does later, until somebody says emms.
    """
    run = python("-c", STATE, FASTRNN_ISA=target, FASTRNN_NUM_THREADS="1")
    assert run.returncode == 0, run.stderr


def test_info():
    run = python("-m", "fastrnn", "info")
    assert run.returncode == 0, run.stderr
    for name in (fastrnn.__version__, *fastrnn.available()):
        assert name in run.stdout


def test_selftest():
    run = python("-m", "fastrnn", "selftest")
    assert run.returncode == 0, run.stdout + run.stderr
    for name in fastrnn.available():
        assert name in run.stdout


def test_an_unknown_command():
    run = python("-m", "fastrnn", "fly")
    assert run.returncode == 2
    assert "fly" in run.stderr
    assert "selftest" in run.stderr


def test_the_core_needs_numpy_alone():
    """Nothing optional is imported by importing the package and running a net."""
    script = """
import sys
import numpy as np
import fastrnn
net = fastrnn.LSTM(2, 3)
y, _, tape = net.forward(np.ones((2, 1, 2)))
net.backward(tape, y)
for name in ("torch", "tqdm", "safetensors", "scipy", "pandas"):
    assert name not in sys.modules, name
"""
    run = python("-c", script)
    assert run.returncode == 0, run.stderr
