# SPDX-License-Identifier: MIT
"""What options of a training step cost: python bench/control.py [--quick] [--threads N] [--output F.json]

All sides of a case are forward and backward of nets with the same weights on the same data, and take turns within a
round; a ratio is the median of same-round pairs, below 1 faster than the plain step.

clip      every mode of Clip, and trace=True, against none
lengths   uniform in 1..T, against a batch without padding
memory    max_workspace at half and at a quarter of the whole tape, and at the least that works, against a whole tape;
          gradients are compared bit by bit first
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import fastrnn
import numpy as np
from environment import environment
from fastrnn.layers import CELLS
from limits import pin

ROUNDS, QUICK_ROUNDS, ROUND_SECONDS = 15, 3, 0.1
SHAPES = ((100, 1, 256, 256), (50, 32, 256, 256), (100, 16, 128, 128), (200, 64, 64, 64))
CLIPS = {
    "step_value": {"clip": fastrnn.Clip(step_value=1e-3)},
    "step_norm": {"clip": fastrnn.Clip(step_norm=1e-2)},
    "value": {"clip": fastrnn.Clip(value=1e-2)},
    "norm": {"clip": fastrnn.Clip(norm=1.0)},
    "all four": {"clip": fastrnn.Clip(step_value=1e-3, step_norm=1e-2, value=1e-2, norm=1.0)},
    "trace": {"trace": True},
}

Work = Callable[[], Any]


class Step:
    """A net, its data, and a training step with options."""

    def __init__(self, cell: str, T: int, B: int, I: int, H: int) -> None:  # noqa: E741
        rng = np.random.default_rng(0)
        self.net = CELLS[cell](I, H, seed=0)
        self.x = rng.standard_normal((T, B, I)).astype("float32")
        self.dy = (rng.standard_normal((T, B, H)) / (T * B)).astype("float32")

    def run(self, forward: Mapping[str, Any] | None = None, backward: Mapping[str, Any] | None = None) -> Any:
        """Gradients, and in how many segments they were computed."""
        _, _, tape = self.net.forward(self.x, **(forward or {}))
        segments = tape.segments
        return self.net.backward(tape, self.dy, **(backward or {})), segments


def seconds(run: Work) -> float:
    """Mean time of a call, over ROUND_SECONDS or one call."""
    calls, start = 0, time.perf_counter()
    while calls == 0 or time.perf_counter() - start < ROUND_SECONDS:
        run()
        calls += 1
    return (time.perf_counter() - start) / calls


def ratios(plain: Work, others: Mapping[str, Work], rounds: int) -> dict[str, float]:
    """The time of each other side in units of the plain one, which runs before and after them."""
    pairs: dict[str, list[float]] = {name: [] for name in others}
    for _ in range(rounds):
        before = seconds(plain)
        times = {name: seconds(run) for name, run in others.items()}
        reference = (before + seconds(plain)) / 2
        for name, t in times.items():
            pairs[name].append(t / reference)
    return {name: statistics.median(values) for name, values in pairs.items()}


def clipping(step: Step, rounds: int) -> dict[str, float]:
    """Every mode of clipping."""
    sides = {name: lambda options=options: step.run(backward=options) for name, options in CLIPS.items()}
    return ratios(step.run, sides, rounds)


def lengths(step: Step, rounds: int) -> dict[str, float]:
    """A batch of unequal rows."""
    T, B, _ = step.x.shape
    if B == 1:
        return {}
    given = np.random.default_rng(1).integers(1, T + 1, B)
    share = float(given.sum() / (T * B))
    return {"share of steps": share} | ratios(
        step.run, {"lengths": lambda: step.run({"lengths": given})}, rounds
    )


def least_workspace(step: Step) -> int:
    """The least bytes that a tape can be kept within, as the refusal of one byte says."""
    try:
        step.net.forward(step.x, max_workspace=1)
    except ValueError as refusal:
        return int(re.findall(r"\d+", str(refusal))[-1])
    raise AssertionError("one byte was enough")


def whole_tape(step: Step) -> int:
    """The least bytes at which nothing is computed twice."""
    low, high = least_workspace(step), 1 << 40
    while high - low > 1:
        middle = (low + high) // 2
        if step.net.forward(step.x, max_workspace=middle)[2].segments > 1:
            low = middle
        else:
            high = middle
    return high


def memory(step: Step, rounds: int) -> dict[str, float]:
    """Tapes within a budget.

    Raises:
        AssertionError: gradients differ from those of a whole tape.
    """
    whole, least = whole_tape(step), least_workspace(step)
    budgets = {"half": whole // 2, "quarter": whole // 4, "least": least}
    budgets = {name: budget for name, budget in budgets.items() if budget >= least}
    want, _ = step.run()
    facts: dict[str, float] = {"whole MB": whole / 1e6, "least MB": least / 1e6}
    for name, budget in budgets.items():
        got, segments = step.run({"max_workspace": budget})
        assert np.array_equal(got.flat, want.flat)
        assert np.array_equal(got.x, want.x)
        facts[f"{name} segments"] = segments
    sides = {
        name: lambda budget=budget: step.run({"max_workspace": budget}) for name, budget in budgets.items()
    }
    return facts | ratios(step.run, sides, rounds)


def main() -> None:
    """Prints the tables and writes them as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cells", default="lstm,gru,rnn_tanh", help="with commas between")
    parser.add_argument("--only", default="clipping,lengths,memory", help="with commas between")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    pin(options.threads)
    fastrnn.set_num_threads(options.threads)
    parts = {part.__name__: part for part in (clipping, lengths, memory)}
    where, rows = environment(), []
    for cell in options.cells.split(","):
        for shape in SHAPES[2:3] if options.quick else SHAPES:
            step = Step(cell, *shape)
            for name in options.only.split(","):
                found = parts[name](step, QUICK_ROUNDS if options.quick else ROUNDS)
                if found:
                    rows.append({"cell": cell, "shape": shape, "part": name} | found)
                    facts = "  ".join(f"{key} {value:.4g}" for key, value in found.items())
                    print(f"{cell:9} {shape!s:20} {name:9} {facts}", flush=True)
    if options.output:
        report = {"environment": where, "threads": options.threads, "results": rows}
        options.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
