# SPDX-License-Identifier: MIT
"""Draws result files: python bench/chart.py FILE.json ... OUT.png

One panel a mode: for each case the time of the best peer divided by ours, on a log scale, with the peer's name.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import matplotlib
from results import CELLS, PEERS, Unusable, read, shape

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COLOURS = {"lstm": "#30638e", "gru": "#d17a22", "rnn_tanh": "#5b8c5a"}
TICKS = [0.3, 0.5, 0.7, 1, 1.2, 1.5, 2, 3, 5, 10, 20, 50]
ROW_INCHES, WIDTH_INCHES = 0.2, 6.0
GAP = 1.2  # rows between two cells
NAMES_SHARE = 0.4  # of a panel's width, for the names beside the bars
MODES = {"infer": "inference", "train": "training", "step": "one step of a stream"}


def panel(axes: Any, mode: str, results: list[dict[str, Any]], rows: float) -> None:
    """Bars from top to bottom, cell after cell, in so many rows."""
    y, ticks, labels = 0.0, [], []
    for cell in CELLS:
        members = [result for result in results if result["cell"] == cell]
        for result in members:
            ratio = result["best_ratio"]
            axes.barh(y, ratio - 1, left=1, height=0.75, color=COLOURS[cell], alpha=1 if ratio >= 1 else 0.55)
            text = f" {ratio:.2f} {PEERS[result['best']]}"
            axes.text(max(ratio, 1), y, text, va="center", ha="left", fontsize=7)
            ticks.append(y)
            labels.append(f"{CELLS[cell]}  {shape(result)}")
            y += 1
        y += GAP if members else 0
    axes.set_yticks(ticks, labels, fontsize=7)
    axes.set_ylim(rows, -1)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_title(f"{MODES[mode]}: T, B, I, H", fontsize=10)
    _scale(axes, [result["best_ratio"] for result in results])


def _scale(axes: Any, ratios: list[float]) -> None:
    low, high = min(0.9, *ratios) * 0.95, max(1.5, *ratios)
    axes.set_xscale("log")
    axes.set_xlim(low, low * (high / low) ** (1 / (1 - NAMES_SHARE)))
    axes.set_xticks([t for t in TICKS if low <= t <= high], minor=False)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
    axes.grid(axis="x", alpha=0.3)
    axes.tick_params(axis="x", labelsize=8)
    axes.set_axisbelow(True)


def draw(reports: list[dict[str, Any]], path: Path) -> None:
    """All cases of the reports as one picture."""
    results = [result for report in reports for result in report["results"] if result["best"]]
    modes = [mode for mode in MODES if any(result["mode"] == mode for result in results)]
    grouped = {mode: [result for result in results if result["mode"] == mode] for mode in modes}
    rows = max(len(members) for members in grouped.values()) + GAP * (len(CELLS) - 1)
    figure, axes = plt.subplots(
        1, len(modes), figsize=(WIDTH_INCHES * len(modes), 1.5 + ROW_INCHES * rows), squeeze=False
    )
    for mode, place in zip(modes, axes[0]):
        panel(place, mode, grouped[mode], rows)
    first = reports[0]
    threads = f"{first['threads']} thread" + "s" * (first["threads"] > 1)
    where = f"{first['environment']['cpu']}, {threads}, float32" + (
        f", {first['target']}" if first["target"] else ""
    )
    figure.suptitle(
        f"Time of the best peer / fastrnn's: right of 1 fastrnn is faster\n({where})", fontsize=11
    )
    figure.tight_layout()
    figure.savefig(path, dpi=130)


def main(argv: list[str] | None = None) -> int:
    """Writes the picture; 2 for a file that is no report of run.py."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.json")
    parser.add_argument("picture", type=Path, metavar="OUT.png")
    options = parser.parse_args(argv)
    try:
        draw([read(path) for path in options.files], options.picture)
    except Unusable as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
