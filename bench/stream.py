# SPDX-License-Identifier: MIT
"""How long single steps of a stream take: python bench/stream.py [--quick] [--output F.json]

p50, p99 and the longest of calls timed one by one, float32, I = H, one thread: of `Stream.step`, and in turns with it
of `net.step(x, state, out=)` on arrays of the caller. The longest includes what the system does in between.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastrnn
import numpy as np
from environment import environment

NETS = {"lstm": fastrnn.LSTM, "gru": fastrnn.GRU}
HIDDEN, LAYERS, BATCHES = (64, 128, 256), (1, 2), (1, 8)
CALLS, TURNS = 20_000, 20
QUICK_CALLS = 1_000
WARM = 200
INPUTS = 8  # a step takes the next one, the first after the last


def each(step: Callable[[np.ndarray], Any], inputs: list[np.ndarray], calls: int) -> list[int]:
    """Nanoseconds of every call."""
    clock, taken = time.perf_counter_ns, []
    for n in range(calls):
        x = inputs[n % len(inputs)]
        start = clock()
        step(x)
        taken.append(clock() - start)
    return taken


def summary(nanoseconds: list[int]) -> dict[str, float]:
    """Microseconds."""
    p50, p99, longest = (np.percentile(nanoseconds, (50, 99, 100)) / 1e3).tolist()
    return {"p50": p50, "p99": p99, "max": longest}


def measure(cell: str, H: int, L: int, B: int, calls: int) -> dict[str, Any]:
    """Both ways to step, in turns: equally many, so that the states must agree at the end."""
    net = NETS[cell](H, H, L, seed=0)
    stream, y = net.stream(B), np.zeros((B, H), np.float32)
    state = net.stream(B).state
    inputs = list(np.random.default_rng(0).standard_normal((INPUTS, B, H), np.float32))
    sides = {"stream": stream.step, "step": lambda x: net.step(x, state, y)}
    taken: dict[str, list[int]] = {name: [] for name in sides}
    for step in sides.values():
        each(step, inputs, WARM)
    gc.disable()
    for _ in range(TURNS):
        for name, step in sides.items():
            taken[name] += each(step, inputs, calls // TURNS)
    gc.enable()
    assert all(np.array_equal(a, b) for a, b in zip(stream.state, state)), (
        "equally many steps, but other states"
    )
    return {
        "case": f"{cell}-{L}x{H}-B{B}",
        "cell": cell,
        "H": H,
        "layers": L,
        "B": B,
        "calls": len(taken["stream"]),
        "microseconds": {name: summary(times) for name, times in taken.items()},
    }


HEADER = f"{'case':16} {'Stream.step, us: p50':>20} {'p99':>8} {'max':>8} | {'net.step: p50':>13} {'p99':>8} {'max':>8}"


def line(result: dict[str, Any]) -> str:
    """A result as a line of the table."""
    ours, plain = result["microseconds"]["stream"], result["microseconds"]["step"]
    return (
        f"{result['case']:16} {ours['p50']:20.2f} {ours['p99']:8.2f} {ours['max']:8.1f} | "
        f"{plain['p50']:13.2f} {plain['p99']:8.2f} {plain['max']:8.1f}"
    )


def main(argv: list[str] | None = None) -> int:
    """Prints the table, writes it as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer calls, H = 128 alone")
    parser.add_argument("--output", type=Path, metavar="F.json")
    options = parser.parse_args(argv)
    hidden = (128,) if options.quick else HIDDEN
    where, results = environment(), []
    print(HEADER)
    with fastrnn.threads(1):
        for cell, H, L, B in itertools.product(NETS, hidden, LAYERS, BATCHES):
            results.append(measure(cell, H, L, B, QUICK_CALLS if options.quick else CALLS))
            print(line(results[-1]), flush=True)
    if options.output:
        report = {"environment": where, "threads": 1, "target": fastrnn.active(), "results": results}
        options.output.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
