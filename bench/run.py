# SPDX-License-Identifier: MIT
"""Compares this library with its peers: python bench/run.py [--peers torch] [--cells lstm gru] [--modes train]

Every peer runs in its own process. Results must agree before anything is timed. Each round times every peer in turn;
a ratio is the median over rounds of (peer's time / ours in the same round), so above 1 ours is faster.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from cases import GATES, MODES, Case, cases
from peers import NAMES, Missing, Peer

ROUND_SECONDS = 0.05  # each peer works that long in a round, or for one run
TOLERANCE = 1e-4  # of the largest element of each result, float32


def environment() -> dict[str, Any]:
    """Machine, compiler, commit."""
    from fastrnn import _core

    model = platform.processor()
    if Path("/proc/cpuinfo").exists():
        names = [
            line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0].split(":")[1].strip() if names else model
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    return {
        "cpu": model,
        "processors": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "compiler": _core.compiler,
        "commit": subprocess.run(git, capture_output=True, text=True).stdout.strip(),
    }


def agree(case: Case, ours: dict[str, Any], theirs: dict[str, Any], peer: str) -> None:
    """Raises SystemExit where a result of a peer differs from ours."""
    for name in ours.keys() & theirs.keys():
        error = np.abs(ours[name] - theirs[name]).max() / np.abs(ours[name]).max()
        if not error <= TOLERANCE:
            raise SystemExit(f"{case.name}: {peer} and fastrnn differ by {error:.1e} in {name}")


def measure(case: Case, peers: list[Peer], rounds: int) -> dict[str, list[float]]:
    """Seconds of every peer in every round."""
    results = {peer.name: peer.prepare(case) for peer in peers}
    for name, result in results.items():
        agree(case, results["fastrnn"], result, name)
    repeats = {peer.name: max(1, int(ROUND_SECONDS / max(peer.seconds(1), 1e-7))) for peer in peers}
    times: dict[str, list[float]] = {peer.name: [] for peer in peers}
    for _ in range(rounds):
        for peer in peers:
            times[peer.name].append(peer.seconds(repeats[peer.name]))
    return times


def row(case: Case, times: dict[str, list[float]]) -> dict[str, Any]:
    """Medians and ratios of one case."""
    ours = times["fastrnn"]
    return {
        "case": case.name,
        "microseconds": {name: statistics.median(t) * 1e6 for name, t in times.items()},
        "gflops": {name: case.operations / statistics.median(t) / 1e9 for name, t in times.items()},
        "ratio": {
            name: statistics.median(theirs / mine for theirs, mine in zip(t, ours))
            for name, t in times.items()
            if name != "fastrnn"
        },
    }


def line(result: dict[str, Any]) -> str:
    """A row as a line of the table."""
    cells = [f"{name} {us:.4g} us" for name, us in result["microseconds"].items()]
    ratios = [f"{name} / ours {ratio:.2f}" for name, ratio in result["ratio"].items()]
    return f"{result['case']:34s} " + "   ".join(
        [*cells, f"{result['gflops']['fastrnn']:.1f} GFLOP/s", *ratios]
    )


def start(names: list[str], threads: int) -> list[Peer]:
    """Ours and the peers that are installed; says which are not."""
    peers = []
    for name in ["fastrnn", *names]:
        try:
            peers.append(Peer(name, threads))
            print(f"{name} {peers[-1].version}")
        except Missing as error:
            print(f"{name} is skipped: {error}")
    return peers


def main() -> None:
    """Runs the cases, prints the table, writes it as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", nargs="*", default=[name for name in NAMES if name != "fastrnn"])
    parser.add_argument("--cells", nargs="*", default=list(GATES), choices=list(GATES))
    parser.add_argument("--modes", nargs="*", default=list(MODES), choices=list(MODES))
    parser.add_argument("--shapes", nargs="*", help="T,B,I,H instead of the grid")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--output", type=Path, help="JSON file")
    options = parser.parse_args()
    shapes = [tuple(map(int, shape.split(","))) for shape in options.shapes] if options.shapes else None
    peers = start(options.peers, options.threads)
    results = []
    for case in cases(options.cells, options.modes, shapes):
        results.append(row(case, measure(case, peers, options.rounds)))
        print(line(results[-1]), flush=True)
    for peer in peers:
        peer.close()
    if options.output:
        versions = {peer.name: peer.version for peer in peers}
        report = {
            "environment": environment(),
            "threads": options.threads,
            "peers": versions,
            "results": results,
        }
        options.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
