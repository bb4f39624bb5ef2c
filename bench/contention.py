# SPDX-License-Identifier: MIT
"""What two threads gain, and what they cost beside other work: python bench/contention.py [--quick] [--output F.json]

For each case, this library on one thread and on several in processes that take turns, the peak beside them. Then the
same with a process that keeps one processor busy: a barrier between threads waits for the one that is held up.

gain: time on one thread / time on several. peak gain: what the FMA peak gains. efficiency: gain / peak gain. busy
cost: median call on several threads / median call on one, beside the busy process; busy longest: longest call on
several threads / their median there.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cases import GATES, SHAPES, TRAIN_SHAPES, Case
from environment import environment
from peak import Peak
from peers.process import Peer

CHUNK_SECONDS = 0.05  # one side's turn
CALLS, SECONDS = 300, 3.0  # of a side: so many calls, or as many as that time allows, but LEAST
LEAST = 10
BUSY = "while True: pass"


def chosen(cells: list[str], quick: bool) -> list[Case]:
    """Shapes with something to divide: B >= 16, and the largest net at B = 1."""
    shapes = {
        "infer": [s for s in SHAPES if s[1] >= 16 or s[3] == 256],
        "train": [s for s in TRAIN_SHAPES if s[1] >= 16 or s[3] == 256],
    }
    if quick:
        shapes = {"infer": [(50, 16, 128, 128)], "train": [(50, 16, 128, 128)]}
    return [Case(cell, mode, *s) for cell in cells for mode, of_mode in shapes.items() for s in of_mode]


@contextmanager
def busy() -> Iterator[None]:
    """A process that computes and never rests."""
    process = subprocess.Popen([sys.executable, "-c", BUSY])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def calls(sides: list[Peer], seconds: float, limit: float) -> list[list[float]]:
    """Microseconds of every call of every side, in turns."""
    total = min(CALLS, max(LEAST, int(limit / seconds)))
    chunk = max(1, int(CHUNK_SECONDS / seconds))
    each: list[list[float]] = [[] for _ in sides]
    while len(each[0]) < total:
        for side, collected in zip(sides, each):
            collected += [ns / 1e3 for ns in side.each(chunk)]
    return each


def peak_gain(peaks: list[Peak], rounds: int = 9) -> float:
    """Of several threads over one, in turns."""
    one, several = peaks
    return statistics.median(several.gflops() / one.gflops() for _ in range(rounds))


def measure(case: Case, sides: list[Peer], peaks: list[Peak], limit: float) -> dict[str, Any]:
    """All about one case."""
    for side in sides:
        side.prepare(case)
    seconds = min(sides[0].seconds(1) for _ in range(3))
    gained = peak_gain(peaks)
    one, several = (statistics.median(side) for side in calls(sides, seconds, limit))
    with busy():
        beside = calls(sides, seconds, limit)
    busy_one, busy_several = (statistics.median(side) for side in beside)
    return {
        "case": case.name,
        "microseconds": {"one": one, "several": several},
        "gain": one / several,
        "peak_gain": gained,
        "efficiency": one / several / gained,
        "busy_microseconds": {"one": busy_one, "several": busy_several},
        "busy_cost": busy_several / busy_one,
        "busy_longest": {"one": max(beside[0]) / busy_one, "several": max(beside[1]) / busy_several},
        "calls": len(beside[0]),
    }


HEADER = f"{'case':32} {'1 thread':>10} {'several':>10} {'gain':>6} {'peak':>6} {'eff.':>6} | beside a busy process: "
HEADER += f"{'cost':>6} {'longest':>8} {'(one)':>8}"


def line(result: dict[str, Any]) -> str:
    """A result as a line of the table."""
    us, longest = result["microseconds"], result["busy_longest"]
    return (
        f"{result['case']:32} {us['one']:8.4g} us {us['several']:7.4g} us {result['gain']:6.2f} "
        f"{result['peak_gain']:6.2f} {result['efficiency']:6.2f} | {'':22} "
        f"{result['busy_cost']:6.2f} {longest['several']:8.1f} {longest['one']:8.1f}"
    )


def main(argv: list[str] | None = None) -> int:
    """Prints the table, writes it as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one shape, less time")
    parser.add_argument("--threads", type=int, default=2, help="against one (default: 2)")
    parser.add_argument("--cells", default=",".join(GATES), help="with commas between")
    parser.add_argument("--output", type=Path, metavar="F.json")
    options = parser.parse_args(argv)
    where = environment()
    counts = (1, options.threads)
    sides = [Peer("fastrnn", n, pinned=False) for n in counts]
    peaks = [Peak(n) for n in counts]
    results = []
    print(HEADER)
    for case in chosen(options.cells.split(","), options.quick):
        results.append(measure(case, sides, peaks, SECONDS / 10 if options.quick else SECONDS))
        print(line(results[-1]), flush=True)
    for side in sides:
        side.close()
    if options.output:
        report = {"environment": where, "threads": options.threads, "results": results}
        options.output.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
