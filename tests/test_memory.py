# SPDX-License-Identifier: MIT
"""Sizes that no computer holds: ValueError where a product overflows, MemoryError where it does not."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    not os.path.exists("/proc/self/statm"), reason="reads its size where Linux shows it"
)
resource = pytest.importorskip("resource", reason="limits of memory are set through it")

# Each line runs in a process of its own that may take 4 GB: there the system cannot promise what it does not
# have.
SCRIPT = """
import os, resource, sys
limit = 4 << 30
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
import numpy as np
import fastrnn
huge = lambda *shape: np.broadcast_to(np.float32(0), shape)
def training(net, x):
    return net.forward(x, training=True)
try:
    exec(sys.argv[1])
except (ValueError, MemoryError) as error:
    print(type(error).__name__, "|", error)
    net = fastrnn.GRU(3, 5)
    y, _, tape = net.forward(np.ones((4, 2, 3), np.float32))  # and everything still works
    net.backward(tape, np.ones_like(y))
else:
    print("nothing was raised")
"""


def run(line, target):
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT, line],
        text=True,
        capture_output=True,
        timeout=60,
        env={**os.environ, "FASTRNN_ISA": target, "FASTRNN_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, f"{line}: rc {result.returncode} {result.stderr}"
    name, _, message = result.stdout.strip().partition(" | ")
    return name, message


@pytest.mark.parametrize("make", ["LSTM", "GRU", "RNN"])
def test_parameters_overflow(make):
    name, message = run(f"fastrnn.{make}({2**40}, {2**40})", "reference")
    assert name == "ValueError", message
    assert str(2**40) in message


def test_a_size_alone_overflows():
    name, message = run(f"fastrnn.LSTM(4, {2**70})", "reference")
    assert name == "ValueError", message
    assert str(2**70) in message


@pytest.mark.parametrize("make", ["LSTM", "GRU", "RNN"])
def test_parameters_out_of_memory(make):
    name, message = run(f"fastrnn.{make}({2**20}, {2**20})", "reference")
    assert name == "MemoryError", message


@pytest.mark.parametrize("call", ["net(x)", "training(net, x)"])
def test_output_overflows(target, call):
    name, message = run(f"x = huge({2**40}, {2**20}, 1); net = fastrnn.LSTM(1, 64); {call}", target)
    assert name == "ValueError", message
    for size in (2**40, 2**20, 64):
        assert str(size) in message


@pytest.mark.parametrize("call", ["net(x)", "training(net, x)"])
def test_output_out_of_memory(target, call):
    name, message = run(f"x = huge({2**30}, 4, 1); net = fastrnn.LSTM(1, 64); {call}", target)
    assert name == "MemoryError", message


def test_workspace_out_of_memory(target):
    """Here x and y would fit, and what the backward pass needs beside them would not."""
    name, message = run(f"x = huge({2**22}, 4, 1); net = fastrnn.LSTM(1, 32); training(net, x)", target)
    assert name == "MemoryError", message


def test_gradients_out_of_memory(target):
    """The forward pass had room and backward has none: the limit is drawn in between."""
    line = "\n".join(
        [
            "net = fastrnn.RNN(64, 4)",
            f"tape = training(net, huge({2**14}, 16, 64))[2]",
            "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()",
            "resource.setrlimit(resource.RLIMIT_AS, (used + (8 << 20), limit))",
            "try:",
            "    net.backward(tape)",
            "finally:",
            "    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))",
        ]
    )
    name, message = run(line, target)
    assert name == "MemoryError", message
