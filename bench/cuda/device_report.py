# SPDX-License-Identifier: MIT
"""Tables and a picture of what run.py --device cuda recorded: device_report.py FILE.json [--picture OUT.png]

Results of PyTorch are apart by the algorithm that it asks of cuDNN: persistent (an LSTM in float16, one layer forward
in time, H and I multiples of 128), persistent for small H, standard.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from results import CELLS, PEERS, geometric_mean
from table import markdown

REGIMES = {"fast": "cuDNN persistent", "small": "cuDNN small H", "standard": "cuDNN standard"}
NEEDED = ("case", "cell", "mode", "dtype", "cudnn_regime", "microseconds", "ratio", "best", "best_ratio")


class Unusable(Exception):
    """The file is none that run.py --device cuda wrote, or has no times."""


def read(path: Path) -> dict[str, Any]:
    """A report with its timed results alone.

    Raises:
        Unusable: it has none.
    """
    try:
        report = json.loads(path.read_text())
        device = report["device"]["name"]
        timed = [result for result in report["results"] if "microseconds" in result]
        usable = bool(timed and device) and all(name in result for result in timed for name in NEEDED)
    except (OSError, ValueError) as error:
        raise Unusable(f"{path}: {type(error).__name__}: {error}") from error
    except (KeyError, TypeError):
        timed, usable = [], False
    if not usable:
        raise Unusable(f"{path} has no times of run.py --device cuda")
    return {**report, "results": timed}


def where(report: dict[str, Any]) -> str:
    """The device and the versions, in one line."""
    device = report["device"]
    peers = ", ".join(f"{PEERS[name]} {version}" for name, version in report["peers"].items())
    return f"{device['nvidia_smi'] or device['name']}; {peers}; engine {device['engine']}"


def summary(results: list[dict[str, Any]]) -> str:
    """Geometric means of the ratios to PyTorch, for each regime, mode, cell and arithmetic."""
    groups: dict[tuple[str, ...], list[float]] = {}
    for result in results:
        if "torch" in result["ratio"]:
            key = REGIMES[result["cudnn_regime"]], result["mode"], CELLS[result["cell"]], result["dtype"]
            groups.setdefault(key, []).append(result["ratio"]["torch"])
    rows = [
        [*key, str(len(ratios)), f"{geometric_mean(ratios):.2f}", f"{min(ratios):.2f}"]
        for key, ratios in groups.items()
    ]
    return markdown(["PyTorch's regime", "mode", "cell", "products", "cases", "PyTorch", "worst"], rows)


def planned(result: dict[str, Any]) -> tuple[str, str]:
    """The engines of the loops, and what the model expects of a step of all of them together."""
    loops = result["plan"]
    modelled = [loop["microseconds"] for loop in loops]
    total = "-" if None in modelled else f"{sum(modelled):.3g}"
    return ", ".join(sorted({loop["engine"] for loop in loops})), total


def absolute(results: list[dict[str, Any]]) -> str:
    """Microseconds of every peer; ours by step as well, that of a call alone, and what the model expected."""
    names = [name for name in PEERS if any(name in result["microseconds"] for result in results)]
    rows = []
    for result in results:
        us = result["microseconds"]
        times = [f"{us[name]:.4g}" if name in us else "-" for name in names]
        ratios = "  ".join(f"{PEERS[name]} {ratio:.2f}" for name, ratio in result["ratio"].items())
        step, alone = (
            result[key]["fastrnn"] for key in ("microseconds_per_step", "single_call_microseconds")
        )
        rows.append([result["case"], *times, f"{step:.3g}", f"{alone:.4g}", *planned(result), ratios or "-"])
    of_ours = ["us/step", "one call, us", "engine", "us/step of the loops, modelled"]
    header = [
        "case, us",
        *(PEERS[name] for name in names),
        *(f"fastrnn: {words}" for words in of_ours),
        "ratio",
    ]
    return markdown(header, rows)


def draw(report: dict[str, Any], path: Path) -> None:
    """A panel for each mode, as those of chart.py."""
    import chart

    results = [result for result in report["results"] if result["best"]]
    if not results:
        raise Unusable("no peer was timed: there is nothing to draw")
    modes = [mode for mode in chart.MODES if any(result["mode"] == mode for result in results)]
    grouped = {mode: [result for result in results if result["mode"] == mode] for mode in modes}
    rows = max(len(members) for members in grouped.values()) + chart.GAP * (len(CELLS) - 1)
    size = chart.WIDTH_INCHES * len(modes), 1.5 + chart.ROW_INCHES * rows
    figure, axes = chart.plt.subplots(1, len(modes), figsize=size, squeeze=False)
    for mode, place in zip(modes, axes[0]):
        chart.panel(place, mode, grouped[mode], rows)
    title = f"Time of the best peer / fastrnn's: right of 1 fastrnn is faster\n({report['device']['name']})"
    figure.suptitle(title, fontsize=11)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    chart.plt.close(figure)


def main(argv: list[str] | None = None) -> int:
    """Prints the tables; 2 for a file without times."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--picture", type=Path, metavar="OUT.png")
    options = parser.parse_args(argv)
    try:
        report = read(options.file)
        if options.picture:
            draw(report, options.picture)
    except Unusable as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{where(report)}\n\n{summary(report['results'])}\n\n{absolute(report['results'])}")
    for result in report["results"]:
        for name, what in result["wrong"].items():
            print(f"\nWRONG, {name}: {what}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
