# SPDX-License-Identifier: MIT
"""Our bfloat16 against our float32: python bench/bfloat16.py [--quick] [--threads N] [--output F.json]

Both nets have the same weights and take turns within a round; the ratio is the median of same-round pairs, above 1
bfloat16 is faster. The error is the largest of y, and in training of the gradient of x, against our float64, relative
to the largest element.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastrnn
import numpy as np
from cases import GATES, Case, data, grid
from environment import environment
from limits import pin
from peers.fastrnn_peer import make

ROUNDS, QUICK_ROUNDS, ROUND_SECONDS = 9, 3, 0.05


def seconds(run: Callable[[], Any]) -> float:
    """Mean time of a call, over ROUND_SECONDS or one call."""
    calls, start = 0, time.perf_counter()
    while calls == 0 or time.perf_counter() - start < ROUND_SECONDS:
        run()
        calls += 1
    return (time.perf_counter() - start) / calls


def results(case: Case, dtype: str) -> tuple[Callable[[], Any], dict[str, np.ndarray]]:
    """The work of a case, and what it computes."""
    arrays = data(case)
    if dtype == "float64":
        arrays = {name: a if name == "reset" or a is None else a.astype(dtype) for name, a in arrays.items()}
    work = make(case, arrays, dtype=dtype)
    return work.run, {name: np.array(a) for name, a in work.read(work.run()).items() if name in ("y", "x")}


def measure(case: Case, rounds: int) -> dict[str, Any]:
    """Times, ratio and errors of one case."""
    single, _ = results(case, "float32")
    half, rounded = results(case, "bfloat16")
    _, exact = results(case, "float64")
    pairs = [(seconds(single), seconds(half)) for _ in range(rounds)]
    return case.record() | {
        "microseconds": {
            "float32": statistics.median(a for a, _ in pairs) * 1e6,
            "bfloat16": statistics.median(b for _, b in pairs) * 1e6,
        },
        "ratio": statistics.median(a / b for a, b in pairs),
        "error": {
            name: float(np.abs(rounded[name] - a).max() / np.abs(a).max()) for name, a in exact.items()
        },
    }


def main() -> None:
    """Prints the table and writes it as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    pin(options.threads)
    fastrnn.set_num_threads(options.threads)
    kernel = fastrnn.LSTM(1, 1, dtype="bfloat16").kernel
    print(f"{kernel}, {options.threads} threads")
    rows = []
    for case in grid(list(GATES), ["infer", "train", "step"], quick=options.quick):
        rows.append(measure(case, QUICK_ROUNDS if options.quick else ROUNDS))
        us, error = rows[-1]["microseconds"], rows[-1]["error"]
        errors = "  ".join(f"{name} {value:.1e}" for name, value in error.items())
        print(
            f"{case.name:30} {us['float32']:10.4g} {us['bfloat16']:10.4g} us  {rows[-1]['ratio']:.2f}  {errors}",
            flush=True,
        )
    if options.output:
        report = {"environment": environment(), "threads": options.threads, "kernel": kernel, "results": rows}
        options.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
