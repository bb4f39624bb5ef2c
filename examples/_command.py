# SPDX-License-Identifier: MIT
"""What the command lines of the examples share: options, figures, progress, packages that are missing."""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastrnn
import numpy as np

NO_FIGURE = Path("none")
# Colour and width of the curves of fastrnn and of PyTorch: where they are the same both are seen.
CURVES = (("#9cc3e0", 4.0), ("#b23a48", 1.2))


def parser(description: str, *, epochs: int, hidden: int, figure: str) -> argparse.ArgumentParser:
    """The options that all have, with their defaults."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--epochs", type=int, default=epochs, help=f"passes over the data (default: {epochs})")
    made.add_argument("--hidden", type=int, default=hidden, help=f"units (default: {hidden})")
    made.add_argument("--seed", type=int, default=0, help="of the weights and the shuffling (default: 0)")
    made.add_argument(
        "--compare-torch", action=argparse.BooleanOptionalAction,
        help="train the same net in PyTorch as well (default: where it is installed)",
    )  # fmt: skip
    made.add_argument(
        "--plot",
        type=Path,
        metavar="FILE",
        default=Path(figure),
        help=f"the figure (default: {figure}), or none",
    )
    made.add_argument("--no-progress", dest="progress", action="store_false", help="show no progress bars")
    return made


def parse(made: argparse.ArgumentParser, argv: list[str] | None) -> argparse.Namespace:
    """The options of a command line; those that cannot work are refused before anything is trained."""
    args = made.parse_args(argv)
    for name in ("epochs", "hidden", "runs", "seeds"):
        if getattr(args, name, 1) < 1:
            made.error(f"--{name} {getattr(args, name)}: at least 1 is needed")
    torch = importlib.util.find_spec("torch") is not None
    if args.compare_torch and not torch:
        made.error("--compare-torch needs the package torch, which is not installed")
    if args.compare_torch is None and not torch:
        print("without the same net in PyTorch beside it: torch is not installed", flush=True)
    args.compare_torch = torch if args.compare_torch is None else args.compare_torch
    if not args.plot.absolute().parent.is_dir():
        made.error(f"--plot {args.plot}: there is no folder {args.plot.parent}")
    return args


def missing(package: str, extra: str) -> SystemExit:
    """The end of an example whose data come with a package that is not installed."""
    return SystemExit(f'{package} is missing, which holds the data: pip install ".[{extra}]"')


def save_figure(path: Path, size: tuple[float, float], draw: Callable[[Any], None]) -> None:
    """Draws on a new figure of this size in inches and writes it; without matplotlib says what to install."""
    if path == NO_FIGURE:
        return
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("no figure: pip install matplotlib")
        return
    figure = Figure(figsize=size, layout="constrained")
    draw(figure)
    figure.savefig(path, dpi=100)
    print(f"figure: {path}")


def confusion(true: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """(classes, classes): how often each class, a row, was taken for each one, a column."""
    return np.bincount(true * classes + predicted, minlength=classes**2).reshape(classes, classes)


def bar(steps: Any, title: str, wanted: bool) -> Any:
    """The same steps with a progress bar, where it is wanted and tqdm is installed."""
    if not wanted:
        return steps
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return steps
    return tqdm(steps, desc=title)


def farewell(start: float) -> None:
    """Prints how long all of it took since a time.perf_counter(), and on what."""
    print(f"{time.perf_counter() - start:.0f} s in all, {fastrnn.active()} kernels, ", end="")
    print(f"{fastrnn.get_num_threads()} threads")
