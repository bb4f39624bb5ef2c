# SPDX-License-Identifier: MIT
"""Prints the ratios of a result file as the table of the README: python bench/table.py bench/results/FILE.json"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path


def main() -> None:
    """One row a shape and mode, one column a cell."""
    rows: defaultdict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for result in json.loads(Path(sys.argv[1]).read_text())["results"]:
        cell, mode, shape = result["case"].rsplit("-", 2)
        rows[mode, shape.replace("x", ", ")][cell] = result["ratio"]["torch"]
    cells = list(next(iter(rows.values())))
    print(f"| T, B, I, H | mode | {' | '.join(cells)} |")
    print("|---" * (2 + len(cells)) + "|")
    for (mode, shape), ratios in rows.items():
        print(f"| {shape} | {mode} | {' | '.join(f'{ratios[cell]:.2f}' for cell in cells)} |")


if __name__ == "__main__":
    main()
