# SPDX-License-Identifier: MIT
"""Says whether we became slower: python bench/compare.py A.json B.json [--tolerance 0.05]

Cases are matched by name. Our times are compared in units of the FMA peak that was measured beside them, so that
another clock is no regression. Exits 1 where a case of B is slower by more than the tolerance or a case of A is
missing in B, 2 for files that cannot be compared.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from results import Unusable, geometric_mean, read


def change(before: dict[str, Any], after: dict[str, Any]) -> float:
    """Our time after, by our time before, each times its peak: above 1 is slower."""
    cost = [result["microseconds"]["fastrnn"] * result["peak_gflops"] for result in (before, after)]
    return float(cost[1] / cost[0])


def _best(result: dict[str, Any]) -> str:
    return f"{result['best_ratio']:.2f} {result['best']}" if result["best"] else "-"


def _line(name: str, before: dict[str, Any], after: dict[str, Any], tolerance: float) -> str:
    us = [result["microseconds"]["fastrnn"] for result in (before, after)]
    ratio = change(before, after)
    verdict = "SLOWER" if ratio > 1 + tolerance else "faster" if ratio < 1 - tolerance else ""
    best = f"{_best(before):>18} -> {_best(after):<18}"
    return f"{name:36} {us[0]:10.4g} {us[1]:10.4g} us {100 * (ratio - 1):+7.1f} %  {best} {verdict}"


def compare(a: dict[str, Any], b: dict[str, Any], tolerance: float) -> int:
    """Prints the table; 1 if B is worse, else 0.

    Raises:
        Unusable: the runs differ in threads or target.
    """
    for key in ("threads", "target"):
        if a.get(key) != b.get(key):
            raise Unusable(f"{key} of the runs differ: {a.get(key)!r} and {b.get(key)!r}")
    before, after = ({result["case"]: result for result in report["results"]} for report in (a, b))
    common = [name for name in before if name in after]
    for name in common:
        print(_line(name, before[name], after[name], tolerance))
    ratios = {name: change(before[name], after[name]) for name in common}
    missing = [name for name in before if name not in after]
    slower = [name for name, ratio in ratios.items() if ratio > 1 + tolerance]
    print(
        f"{len(common)} cases, {100 * (geometric_mean(ratios.values()) - 1):+.1f} % on the geometric mean, ",
        end="",
    )
    print(f"{len(slower)} slower by more than {100 * tolerance:g} %")
    for name in missing:
        print(f"{name} is missing")
    return 1 if slower or missing else 0


def main(argv: list[str] | None = None) -> int:
    """See the head of this file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("a", type=Path, metavar="A.json")
    parser.add_argument("b", type=Path, metavar="B.json")
    parser.add_argument("--tolerance", type=float, default=0.05, help="as a share (default: 0.05)")
    options = parser.parse_args(argv)
    try:
        return compare(read(options.a), read(options.b), options.tolerance)
    except Unusable as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
