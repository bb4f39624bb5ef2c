# SPDX-License-Identifier: MIT
"""Trains a whole model beside the same one in PyTorch: python bench/train.py [--quick] [--threads N] [--output F.json]

Same initial weights, same batches. The losses of the first steps must agree; then epochs take turns, each network in
its own process. Also ours with clipping against ours without.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from corpus import corpus
from environment import environment
from peers import Missing
from peers.process import Child, Commands
from taggers import BATCH, TAGGERS

SENTENCES, EPOCHS = 3200, 9
QUICK_SENTENCES, QUICK_EPOCHS = 640, 3
FIRST_STEPS = 8
TOLERANCE = 1e-3  # of the losses of the first steps
EXACT = ("fastrnn", "torch")  # those that compute the same


def build(name: str, sentences: int, threads: int) -> Commands:
    """In the process of a tagger: `steps` trains single steps on one batch, `epoch` all of the corpus."""
    if name.startswith("torch"):
        import torch

        torch.set_num_threads(threads)
    words, tags = corpus(sentences)
    tagger = TAGGERS[name](words, tags)

    def steps(count: int) -> list[float]:
        one_batch = TAGGERS[name](words[:BATCH], tags[:BATCH])
        return [one_batch.epoch(k)[0] for k in range(count)]

    return {"steps": steps, "epoch": lambda seed: tagger.epoch(seed)}


def start(sentences: int, threads: int) -> dict[str, Child]:
    """The taggers whose packages are installed."""
    children = {}
    for name in TAGGERS:
        try:
            children[name] = Child(build, (name, sentences, threads), threads)
        except Missing as error:
            print(f"{name} is skipped: {error}")
    return children


def differ(losses: dict[str, list[float]]) -> float:
    """Largest difference of the losses of the first steps."""
    ours, theirs = (losses[name] for name in EXACT)
    return max(abs(a - b) for a, b in zip(ours, theirs))


def summary(tokens: int, seconds: dict[str, list[float]]) -> dict[str, Any]:
    """Tokens a second, and each one's time / ours, paired by epoch."""
    ours = seconds["fastrnn"]
    return {
        "tokens_per_second": {name: tokens / statistics.median(s) for name, s in seconds.items()},
        "ratio": {
            name: statistics.median(theirs / mine for theirs, mine in zip(s, ours))
            for name, s in seconds.items()
            if name != "fastrnn"
        },
    }


def report(children: dict[str, Child], sentences: int, epochs: int) -> dict[str, Any]:
    """Compares the first steps, then trains epoch after epoch in turns; the first one warms up.

    Raises:
        SystemExit: the losses differ.
    """
    losses = {name: child.ask("steps", FIRST_STEPS) for name, child in children.items()}
    difference = differ(losses) if all(name in losses for name in EXACT) else None
    if difference is not None and not difference <= TOLERANCE:
        raise SystemExit(f"the losses of the first steps differ by {difference:.1e}: {losses}")
    tokens = sum(map(len, corpus(sentences)[0]))
    seconds: dict[str, list[float]] = {name: [] for name in children}
    curve: dict[str, list[float]] = {name: [] for name in children}
    for epoch in range(epochs + 1):
        for name, child in children.items():
            loss, duration = child.ask("epoch", epoch)
            curve[name].append(loss)
            seconds[name] += [duration] if epoch else []
    return {
        "tokens": tokens,
        "epochs": epochs,
        "first_losses": losses,
        "first_difference": difference,
        "losses": curve,
        **summary(tokens, seconds),
    }


def show(result: dict[str, Any]) -> None:
    """Prints the table."""
    if result["first_difference"] is not None:
        print(f"losses of the first {FIRST_STEPS} steps differ by at most {result['first_difference']:.1e}")
    for name, speed in result["tokens_per_second"].items():
        ratio = f"time / ours {result['ratio'][name]:.2f}" if name in result["ratio"] else ""
        print(f"{name:24} {speed:10,.0f} tokens/s   loss {result['losses'][name][-1]:.4f}   {ratio}")


def main(argv: list[str] | None = None) -> int:
    """Prints the table, writes it as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a small corpus, 3 epochs")
    parser.add_argument("--threads", type=int, default=1, help="of both (default: 1)")
    parser.add_argument("--output", type=Path, metavar="F.json")
    options = parser.parse_args(argv)
    sentences, epochs = (QUICK_SENTENCES, QUICK_EPOCHS) if options.quick else (SENTENCES, EPOCHS)
    where = environment()
    children = start(sentences, options.threads)
    result = report(children, sentences, epochs)
    for child in children.values():
        child.close()
    show(result)
    if options.output:
        content = {"environment": where, "threads": options.threads, **result}
        options.output.write_text(json.dumps(content, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
