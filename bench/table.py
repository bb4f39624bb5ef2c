# SPDX-License-Identifier: MIT
"""Prints result files as Markdown: python bench/table.py bench/results/FILE.json ... [--summary]"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from results import CELLS, PEERS, Unusable, geometric_mean, read, shape

Result = dict[str, Any]


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    lines = [header, ["---"] * len(header), *rows]
    return (
        "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
        .replace("| --- ", "|---")
        .replace("--- |", "---|")
    )


def _mean(values: list[float]) -> str:
    return f"{geometric_mean(values):.2f}" if values else "-"


def summary(results: list[Result]) -> str:
    """Geometric means of the ratios, for each mode and cell: peer's time / ours. Training of one step is apart."""
    groups: defaultdict[tuple[str, str], list[Result]] = defaultdict(list)
    for result in results:
        alone = result["mode"] == "train" and result["T"] == 1
        groups[result["mode"] + ", one step" * alone, result["cell"]].append(result)
    rows = []
    for (mode, cell), members in groups.items():
        torch = [r["ratio"]["torch"] for r in members if "torch" in r["ratio"]]
        best = [r["best_ratio"] for r in members if r["best"]]
        least = f"{min(best):.2f}" if best else "-"
        rows.append([mode, CELLS[cell], str(len(members)), _mean(torch), _mean(best), least])
    return markdown(["mode", "cell", "cases", "PyTorch", "best peer", "best peer, worst case"], rows)


def per_shape(results: list[Result]) -> str:
    """One row a shape and mode, one column a cell: ratio to PyTorch, and ratio to the best peer with its name."""
    cells = [cell for cell in CELLS if any(result["cell"] == cell for result in results)]
    rows: defaultdict[tuple[str, str], dict[str, Result]] = defaultdict(dict)
    for result in results:
        rows[shape(result), result["mode"]][result["cell"]] = result
    body = [
        [sizes, mode, *(_ratios(members[cell]) if cell in members else "" for cell in cells)]
        for (sizes, mode), members in rows.items()
    ]
    return markdown(["T, B, I, H", "mode", *(CELLS[cell] for cell in cells)], body)


def _ratios(result: Result) -> str:
    torch = f"{result['ratio']['torch']:.2f}" if "torch" in result["ratio"] else "-"
    best = f"{result['best_ratio']:.2f} {PEERS[result['best']]}" if result["best"] else "-"
    return f"{torch} / {best}"


def absolute(results: list[Result]) -> str:
    """Microseconds of every peer, and ours as a share of the peak."""
    names = [name for name in PEERS if any(name in result["microseconds"] for result in results)]
    rows = []
    for result in results:
        us = result["microseconds"]
        times = [f"{us[name]:.4g}" if name in us else "-" for name in names]
        gflops = f"{result['gflops']['fastrnn']:.0f} ({result['percent_of_peak']['fastrnn']:.0f} %)"
        rows.append([result["case"], *times, gflops])
    return markdown(["case, µs", *(PEERS[name] for name in names), "GFLOP/s (of peak)"], rows)


def single_calls(results: list[Result]) -> str:
    """p50 and p99 of single calls of a stream."""
    streams = [result for result in results if "single" in result]
    names = [name for name in PEERS if any(name in result["single"] for result in streams)]
    rows = [
        [
            result["case"],
            *(
                "{p50:.1f} / {p99:.1f}".format(**result["single"][name]) if name in result["single"] else "-"
                for name in names
            ),
        ]
        for result in streams
    ]
    return markdown(["p50 / p99, µs", *(PEERS[name] for name in names)], rows) if rows else ""


def memory(report: dict[str, Any]) -> str:
    """Peak memory of a training step."""
    rows = [
        [
            case,
            *(f"{peers[name]:.0f}" if name in peers else "-" for name in PEERS if name in _trainers(report)),
        ]
        for case, peers in report.get("memory", {}).items()
    ]
    header = ["peak of a training step, MB", *(PEERS[name] for name in PEERS if name in _trainers(report))]
    return markdown(header, rows) if rows else ""


def _trainers(report: dict[str, Any]) -> set[str]:
    return {name for peers in report.get("memory", {}).values() for name in peers}


def footprint(report: dict[str, Any]) -> str:
    """Time of the import, size of the package."""
    if "footprint" not in report:
        return ""
    return (
        "Import: {import_added_ms:.1f} ms beyond the {import_numpy_ms:.0f} ms of NumPy. "
        "Package: {package_mb:.1f} MB.".format(**report["footprint"])
    )


def main(argv: list[str] | None = None) -> int:
    """Prints the tables of each file; 2 for a file that is no report of run.py."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--summary", action="store_true", help="geometric means alone")
    options = parser.parse_args(argv)
    try:
        reports = [read(path) for path in options.files]
    except Unusable as error:
        print(error, file=sys.stderr)
        return 2
    for report in reports:
        results = report["results"]
        tables = [summary(results)]
        if not options.summary:
            tables += [per_shape(results), absolute(results), single_calls(results)]
            tables += [memory(report), footprint(report)]
        print("\n\n".join(table for table in tables if table) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
