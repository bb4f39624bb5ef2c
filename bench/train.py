# SPDX-License-Identifier: MIT
"""Trains whole models beside the same in PyTorch: python bench/train.py [--case NAME ...] [--quick] [--threads N] ...

A model of each topology, in the shapes of the examples (lessons.py). Same initial weights, same batches. The losses of
the first steps must agree; then epochs take turns, each side in its own process. A ratio is the median of pairs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from environment import environment
from lessons import LESSONS, Lesson
from peers import CannotRun
from peers.process import Child, Commands, start_all
from results import geometric_mean
from table import markdown
from trainers import TRAINERS, Trainer

EPOCHS, QUICK_EPOCHS = 9, 3
QUICK_SHARE = 8  # of the sequences one in so many
FIRST_STEPS = 8
TOLERANCE = 1e-3  # of the losses of the first steps
EXACT = ("fastrnn", "torch")  # those that compute the same


class Disagreement(Exception):
    """PyTorch's losses are not ours."""


def build(name: str, threads: int) -> Commands:
    """In the process of a trainer: `steps` trains single steps on one batch, `epoch` all of a lesson."""
    if name.startswith("torch"):
        import torch

        torch.set_num_threads(threads)
    make = TRAINERS[name]
    trainer: Trainer

    def prepare(lesson: str, sequences: int) -> None:
        nonlocal trainer
        if name not in EXACT and not LESSONS[lesson].options.get("bidirectional"):
            raise CannotRun("no direction starts in padding")
        trainer = make(LESSONS[lesson], sequences)

    def steps(lesson: str, count: int) -> list[float]:
        one_batch = make(LESSONS[lesson], LESSONS[lesson].batch)
        return [one_batch.epoch(k)[0] for k in range(count)]

    return {"prepare": prepare, "steps": steps, "epoch": lambda seed: trainer.epoch(seed)}


def able(children: dict[str, Child], lesson: Lesson, sequences: int) -> dict[str, Child]:
    """Those that have something of their own to say to a lesson, prepared for it."""
    found = {}
    for name, child in children.items():
        try:
            child.ask("prepare", lesson.name, sequences)
            found[name] = child
        except CannotRun:
            continue
    return found


def agree(lesson: str, losses: dict[str, list[float]]) -> float:
    """Largest difference of the losses of the first steps.

    Raises:
        Disagreement: they differ.
    """
    ours, theirs = (losses[name] for name in EXACT)
    difference = float(np.abs(np.subtract(ours, theirs)).max())
    if not difference <= TOLERANCE:
        raise Disagreement(f"{lesson}: the losses of the first steps differ by {difference:.1e}: {losses}")
    return difference


def summary(steps: int, seconds: dict[str, list[float]]) -> dict[str, Any]:
    """Steps a second, and each one's time / ours, paired by epoch."""
    ours = seconds["fastrnn"]
    paired = {
        name: sorted(theirs / mine for theirs, mine in zip(s, ours))
        for name, s in seconds.items()
        if name != "fastrnn"
    }
    return {
        "steps_per_second": {name: steps / statistics.median(s) for name, s in seconds.items()},
        "ratio": {name: statistics.median(ratios) for name, ratios in paired.items()},
        "ratio_range": {name: [ratios[0], ratios[-1]] for name, ratios in paired.items()},
    }


def measure(lesson: Lesson, children: dict[str, Child], sequences: int, epochs: int) -> dict[str, Any]:
    """Compares the first steps, then trains epoch after epoch in turns; the first one warms up.

    Raises:
        Disagreement: PyTorch learns something else.
    """
    sides = able(children, lesson, sequences)
    losses = {name: sides[name].ask("steps", lesson.name, FIRST_STEPS) for name in EXACT if name in sides}
    difference = agree(lesson.name, losses) if len(losses) > 1 else None
    model = lesson.model()
    steps = int(model._training_data(*lesson.data(sequences), None).lengths.sum())
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    curve: dict[str, list[float]] = {name: [] for name in sides}
    for epoch in range(epochs + 1):
        for name, side in sides.items():
            loss, duration = side.ask("epoch", epoch)
            curve[name].append(loss)
            seconds[name] += [duration] if epoch else []
    return {
        "case": lesson.name,
        "topology": lesson.topology,
        "model": repr(model),
        "sequences": sequences,
        "batch": lesson.batch,
        "steps": steps,
        "epochs": epochs,
        "first_losses": losses,
        "first_difference": difference,
        "losses": curve,
        **summary(steps, seconds),
    }


def means(results: Iterable[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Geometric mean and least of the ratios, over the cases that have one."""
    ratios: dict[str, list[float]] = {}
    for result in results:
        for name, ratio in result["ratio"].items():
            ratios.setdefault(name, []).append(ratio)
    return {name: {"geometric": geometric_mean(r), "least": min(r)} for name, r in ratios.items()}


def table(results: list[dict[str, Any]]) -> str:
    """A row for each case: steps a second, and the others' time / ours."""
    names = [name for name in TRAINERS if any(name in r["steps_per_second"] for r in results)]
    rows = [
        [
            r["case"],
            r["topology"],
            *(_speed(r, name) for name in names),
            *(_ratio(r, name) for name in names[1:]),
        ]
        for r in results
    ]
    for kind in ("geometric", "least"):
        of = means(results)
        rows += [[kind, "", *([""] * len(names)), *(f"{of[name][kind]:.2f}" for name in names[1:])]]
    header = ["steps/s", "topology", *names, *(f"{name} / ours" for name in names[1:])]
    return markdown(header, rows)


def _speed(result: dict[str, Any], name: str) -> str:
    speeds = result["steps_per_second"]
    return f"{speeds[name]:,.0f}" if name in speeds else ""


def _ratio(result: dict[str, Any], name: str) -> str:
    return f"{result['ratio'][name]:.2f}" if name in result["ratio"] else ""


def main(argv: list[str] | None = None) -> int:
    """Prints the table, writes it as JSON; 1 where PyTorch learns something else."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", nargs="+", choices=tuple(LESSONS), default=list(LESSONS), metavar="NAME")
    parser.add_argument("--quick", action="store_true", help="few sequences, 3 epochs")
    parser.add_argument("--epochs", type=int, help=f"that are timed (default: {EPOCHS})")
    parser.add_argument("--threads", type=int, default=1, help="of both (default: 1)")
    parser.add_argument("--output", type=Path, metavar="F.json")
    options = parser.parse_args(argv)
    epochs = options.epochs or (QUICK_EPOCHS if options.quick else EPOCHS)
    where, children, results = environment(), start_all(TRAINERS, build, options.threads), []
    try:
        for lesson in (LESSONS[name] for name in options.case):
            sequences = lesson.sequences // (QUICK_SHARE if options.quick else 1)
            results.append(measure(lesson, children, sequences, epochs))
            ratios = ", ".join(f"{name} {ratio:.2f}" for name, ratio in results[-1]["ratio"].items())
            print(f"{lesson.name}: time / ours {ratios}", flush=True)
    except Disagreement as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        for child in children.values():
            child.close()
    print(table(results))
    if options.output:
        content = {
            "environment": where,
            "threads": options.threads,
            "results": results,
            "mean": means(results),
        }
        options.output.write_text(json.dumps(content, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
