# SPDX-License-Identifier: MIT
"""The targets of this run, and nets on each of them."""

import contextlib
import os

import fastrnn
import pytest
from fastrnn import options

CUDA = "cuda"  # of nets on a GPU, or on what stands in for it


def some(target, cases, count):
    """The cases; under CUDA, which an emulator runs a thousand times slower, `count` of them evenly apart."""
    cases = list(cases)
    if target != CUDA or len(cases) <= count:
        return cases
    return [cases[k * (len(cases) - 1) // (count - 1)] for k in range(count)]


def needs_one_engine(target):
    """Skips a test that compares bits of calls with and without limits or traces of steps: on a GPU these take another
    engine, whose sums have another order, unless FASTRNN_CUDA_ENGINE=streaming makes all calls take that one."""
    if target == CUDA and os.environ.get("FASTRNN_CUDA_ENGINE") != "streaming":
        pytest.skip("limits of steps take another engine; FASTRNN_CUDA_ENGINE=streaming runs this test")


@contextlib.contextmanager
def using(target):
    """Nets created inside run on the target, one of fastrnn.available() or CUDA."""
    before = options.DEFAULTS["device"]
    with contextlib.nullcontext() if target == CUDA else fastrnn.using(target):
        options.DEFAULTS["device"] = CUDA if target == CUDA else "cpu"
        try:
            yield
        finally:
            options.DEFAULTS["device"] = before
