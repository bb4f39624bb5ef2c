# SPDX-License-Identifier: MIT
"""Decodes beside PyTorch: python bench/decode.py [--case NAME ...] [--quick] [--threads N] [--output F.json]

Greedy and by a beam of 5, one sequence at a time and 64 at once, the same trained weights on both sides, each in its
own process. The tokens must agree; then rounds take turns. A ratio is the median of pairs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import corpus
import numpy as np
from environment import environment
from lessons import LESSONS
from peers.process import Child, Commands, start_all
from results import geometric_mean
from table import markdown

CASES = ("generate_names", "g2p", "g2p_attention")
EPOCHS, RATE = 3, 3e-3  # of training, so that sequences end
SEQUENCES, MAX_LENGTH = 64, 20
ROUNDS, QUICK_ROUNDS = 15, 3
SIDES = ("fastrnn", "torch")

Tokens = list[list[int]]
Work = Callable[[], Tokens]


class Mode(NamedTuple):
    """How many sequences at once, and hypotheses of each."""

    batch: int
    beam: int

    @property
    def name(self) -> str:
        """Such as greedy, B=1."""
        return f"{'greedy' if self.beam == 1 else f'beam {self.beam}'}, B={self.batch}"


MODES = (Mode(1, 1), Mode(SEQUENCES, 1), Mode(1, 5), Mode(SEQUENCES, 5))


class Disagreement(Exception):
    """PyTorch's tokens are not ours."""


def sources(case: str) -> Any:
    """What is decoded from."""
    return LESSONS[case].data(SEQUENCES)[0]


def ours(model: Any, x: Any, mode: Mode) -> Work:
    """By `decode`: what it checks and converts is part of the time."""
    parts = [x[n : n + mode.batch] for n in range(0, SEQUENCES, mode.batch)]

    def run() -> Tokens:
        found: Tokens = []
        for part in parts:
            found += [s.tolist() for s in model.decode(part, max_length=MAX_LENGTH, beam=mode.beam).sequences]
        return found

    return run


def theirs(model: Any, x: Any, mode: Mode) -> Work:
    """In PyTorch; its batches are made beforehand."""
    from fastrnn.batching import SequencePairs
    from searches import beam, greedy
    from twins import twin

    net, data = twin(model), SequencePairs(model._asked(x, None))
    net.eval()
    batches = [data.batch(np.arange(n, n + mode.batch)) for n in range(0, SEQUENCES, mode.batch)]

    def run() -> Tokens:
        found: Tokens = []
        for batch in batches:
            if mode.beam == 1:
                found += greedy(net, batch, corpus.END, MAX_LENGTH)
            else:
                found += beam(net, batch, corpus.END, MAX_LENGTH, mode.beam)
        return found

    return run


def build(side: str, threads: int) -> Commands:
    """In the process of a side."""
    if side == "torch":
        import torch

        torch.set_num_threads(threads)
    make = theirs if side == "torch" else ours
    work: Work

    def prepare(case: str, weights: dict[str, np.ndarray], mode: Mode) -> Tokens:
        nonlocal work
        model = LESSONS[case].model()
        model.load_state_dict(weights)
        work = make(model, sources(case), mode)
        return work()

    def seconds(repeats: int) -> float:
        start = time.perf_counter()
        for _ in range(repeats):
            work()
        return (time.perf_counter() - start) / repeats

    return {"prepare": prepare, "seconds": seconds}


def trained(case: str) -> dict[str, np.ndarray]:
    """Weights of a model that has learned a little."""
    import fastrnn

    lesson = LESSONS[case]
    model = lesson.model()
    model.fit(
        *lesson.data(lesson.sequences), epochs=EPOCHS, batch_size=lesson.batch, optimizer=fastrnn.Adam(RATE), seed=0,
        clip=fastrnn.Clip(norm=1.0), progress=False,
    )  # fmt: skip
    weights: dict[str, np.ndarray] = model.state_dict()
    return weights


def agree(case: str, mode: Mode, tokens: dict[str, Tokens]) -> None:
    """Holds the tokens of all sides against ours.

    Raises:
        Disagreement: one is another.
    """
    for side, found in tokens.items():
        for n, (mine, their) in enumerate(zip(tokens["fastrnn"], found)):
            if mine != their:
                raise Disagreement(f"{case}, {mode.name}: {n} is {mine} here, {their} in {side}")


def measure(
    case: str, weights: dict[str, np.ndarray], mode: Mode, children: dict[str, Child], rounds: int
) -> dict[str, Any]:
    """All about one case and mode.

    Raises:
        Disagreement: PyTorch says something else.
    """
    found = {name: child.ask("prepare", case, weights, mode) for name, child in children.items()}
    agree(case, mode, found)
    tokens = sum(len(sequence) + 1 for sequence in found["fastrnn"])
    once = {name: child.ask("seconds", 1) for name, child in children.items()}
    repeats = {name: max(1, int(0.05 / seconds)) for name, seconds in once.items()}
    seconds: dict[str, list[float]] = {name: [] for name in children}
    for _ in range(rounds):
        for name, child in children.items():
            seconds[name].append(child.ask("seconds", repeats[name]))
    return {
        "case": case,
        "mode": mode.name,
        "batch": mode.batch,
        "beam": mode.beam,
        "tokens": tokens,
        "rounds": rounds,
        "microseconds_per_call": {
            name: statistics.median(s) * 1e6 * mode.batch / SEQUENCES for name, s in seconds.items()
        },
        "tokens_per_second": {name: tokens / statistics.median(s) for name, s in seconds.items()},
        "ratio": {
            name: statistics.median(their / mine for their, mine in zip(s, seconds["fastrnn"]))
            for name, s in seconds.items()
            if name != "fastrnn"
        },
    }


def table(results: list[dict[str, Any]]) -> str:
    """A row for each case and mode."""
    rows = []
    for result in results:
        calls, ratio = result["microseconds_per_call"], result["ratio"].get("torch")
        speeds = [f"{calls[side]:,.0f}" if side in calls else "" for side in SIDES]
        rows.append([result["case"], result["mode"], *speeds, "" if ratio is None else f"{ratio:.1f}"])
    ratios = [result["ratio"]["torch"] for result in results if "torch" in result["ratio"]]
    if ratios:
        rows.append(["geometric mean", "", "", "", f"{geometric_mean(ratios):.1f}"])
        rows.append(["least", "", "", "", f"{min(ratios):.1f}"])
    return markdown(["us a call", "mode", *SIDES, "torch / ours"], rows)


def main(argv: list[str] | None = None) -> int:
    """Prints the table, writes it as JSON; 1 where PyTorch says something else."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", nargs="+", choices=CASES, default=list(CASES), metavar="NAME")
    parser.add_argument("--quick", action="store_true", help="3 rounds")
    parser.add_argument("--threads", type=int, default=1, help="of both (default: 1)")
    parser.add_argument("--output", type=Path, metavar="F.json")
    options = parser.parse_args(argv)
    where, children, results = environment(), start_all(SIDES, build, options.threads), []
    try:
        for case in options.case:
            weights = trained(case)
            for mode in MODES:
                rounds = QUICK_ROUNDS if options.quick else ROUNDS
                results.append(measure(case, weights, mode, children, rounds))
    except Disagreement as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        for child in children.values():
            child.close()
    print(table(results))
    if options.output:
        content = {"environment": where, "threads": options.threads, "results": results}
        options.output.write_text(json.dumps(content, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
