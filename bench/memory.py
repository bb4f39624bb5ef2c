# SPDX-License-Identifier: MIT
"""Peak memory of a training step: python bench/memory.py [PEER ...]

Each peer in a fresh process, which runs a tiny case, so that its library is loaded and warm, then makes x, dy and the
parameters. What the second step adds to that at its peak counts, buffers kept from the first one included.
"""

from __future__ import annotations

import sys
from pathlib import Path

from cases import Case
from peers import NAMES, CannotRun, Missing
from peers.process import Peer

SHAPE = (500, 64, 256, 256)
TINY = (2, 2, 8, 8)


def memory(
    names: list[str], threads: int, cells: tuple[str, ...] = ("lstm", "gru")
) -> dict[str, dict[str, float]]:
    """MB above the start, of each cell and peer; printed as it comes."""
    result: dict[str, dict[str, float]] = {}
    if not Path("/proc/self/clear_refs").exists():
        print("peak memory is measured on Linux alone")
        return result
    for cell in cells:
        case = Case(cell, "train", *SHAPE)
        result[case.name] = {name: mb for name in names if (mb := _peak(name, case, threads)) is not None}
        print(f"{case.name}: " + ", ".join(f"{name} {mb:.0f} MB" for name, mb in result[case.name].items()))
    return result


def _peak(name: str, case: Case, threads: int) -> float | None:
    try:
        peer = Peer(name, threads)
    except Missing:
        return None
    try:
        return peer.peak_memory(case, Case(case.cell, "train", *TINY))
    except CannotRun:
        return None
    finally:
        peer.close()


if __name__ == "__main__":
    memory(sys.argv[1:] or list(NAMES), threads=1)
