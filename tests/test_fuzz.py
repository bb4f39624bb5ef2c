# SPDX-License-Identifier: MIT
"""Differential fuzz: random nets and calls on every target against the reference, by seed.

FASTRNN_FUZZ sets how many cases are run, FASTRNN_FUZZ_SEED the first seed. A failure names its seed:

    FASTRNN_FUZZ=1 FASTRNN_FUZZ_SEED=<seed> pytest tests/test_fuzz.py
"""

import os

import fastrnn
import numpy as np
from fastrnn import _core
from layouts import LAYOUTS
from runner import backward, build, compare, compare_bits, forward
from shapes import CELLS, make_case

COUNT = int(os.environ.get("FASTRNN_FUZZ", "60"))
FIRST = int(os.environ.get("FASTRNN_FUZZ_SEED", "1"))


def random_case(random, seed):
    """Sizes are small mostly, and now and then large in one place."""
    T, B, I, H = (int(random.integers(1, most)) for most in (9, 9, 40, 70))  # noqa: E741
    if random.random() < 0.3:
        T = int(random.choice([0, 1, 60]))
    if random.random() < 0.2:
        B = int(random.choice([0, 1, 50]))
    if random.random() < 0.2:
        H = int(random.choice([1, 2, 128, 150]))
    flags = ("bidirectional", "bias", "lengths", "reset")
    return make_case(
        str(random.choice(CELLS)),
        T,
        B,
        I,
        H,
        seed=seed,
        num_layers=int(random.integers(1, 4)),
        **{name: bool(random.random() < 0.5) for name in flags},
    )


def one(seed):
    random = np.random.default_rng(seed)
    case = random_case(random, seed)
    want = backward(build(case, "reference", "float64"), case)
    for target in fastrnn.available():
        dtype = str(random.choice(["float32", "float64"]))
        layout = str(random.choice(list(LAYOUTS)))
        threads = int(random.choice([1, 2, 3, 7]))
        split = [None, "batch", "units", "alone"][int(random.integers(4))]
        context = f"on {target} {dtype}, x {layout}, {threads} threads by {split}; FASTRNN_FUZZ_SEED={seed}"
        net = build(case, target, dtype)
        x = LAYOUTS[layout](case.x.astype(dtype))
        _core.force_split(split)
        try:
            with fastrnn.threads(threads):
                got = backward(net, case, x=x)
                inference = forward(net, case, x=x)
        except Exception as error:
            raise AssertionError(f"{error!r} {context} ({case})") from error
        finally:
            _core.force_split(None)
        compare(got, want, case, dtype, context)
        compare_bits(inference, {name: got[name] for name in inference}, "of inference " + context)


def test_differential():
    assert COUNT > 0
    for seed in range(FIRST, FIRST + COUNT):
        one(seed)
