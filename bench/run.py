# SPDX-License-Identifier: MIT
"""Compares this library with its peers.

    python bench/run.py                                        the grid, memory, import: a quarter of an hour
    python bench/run.py --quick                                a first look: minutes
    python bench/run.py --clients --modes step                 shapes of real clients
    python bench/run.py --device cuda                          on a GPU, whose options --help then shows
    python bench/run.py --peers torch --cells lstm --modes train --shapes 50,16,128,128 --threads 2

Every peer runs in its own process. Results must agree before anything is timed. Each round times every peer in turn;
a ratio is the median over rounds of (peer's time / ours in the same round), so above 1 ours is faster.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cases import GATES, MODES, Case, grid
from clients import clients
from environment import environment, load, processors
from footprint import footprint
from limits import UNLIMITED, pin
from measure import Disagreement, measure
from memory import memory
from peak import Peak
from peers import NAMES, Missing
from peers.process import Peer

QUIET = 0.5  # processes at work in the last minute; with more, this machine is not idle


def listed(*choices: str) -> Any:
    """An argument of words with commas between, each one of `choices`."""

    def parse(text: str) -> list[str]:
        words = text.split(",")
        for word in words:
            if word not in choices:
                raise argparse.ArgumentTypeError(f"{word!r} is none of {', '.join(choices)}")
        return words

    return parse


def positive(text: str) -> int:
    """A number from 1 on."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def shape(text: str) -> tuple[int, int, int, int]:
    """T,B,I,H."""
    T, B, I, H = map(positive, text.split(","))  # noqa: E741
    return T, B, I, H


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few shapes, 3 rounds")
    parser.add_argument("--device", choices=("cpu",), default="cpu", help="cuda: see --device cuda --help")
    parser.add_argument("--peers", type=listed(*NAMES), default=list(NAMES), help=", ".join(NAMES))
    parser.add_argument("--cells", type=listed(*GATES), default=list(GATES), help=", ".join(GATES))
    parser.add_argument("--modes", type=listed(*MODES), default=list(MODES), help=", ".join(MODES))
    parser.add_argument("--threads", type=positive, default=1, help="of every peer (default: 1)")
    parser.add_argument("--clients", action="store_true", help="cases of real clients instead of the grid")
    parser.add_argument("--shapes", type=shape, nargs="+", metavar="T,B,I,H", help="instead of the grid")
    parser.add_argument("--rounds", type=positive, help="instead of as many as a call's length suggests")
    parser.add_argument("--target", choices=("avx2",), help="hold every peer to these instructions")
    parser.add_argument("--output", type=Path, metavar="F.json")
    options = parser.parse_args(argv)
    if options.threads > processors():
        parser.error(f"--threads {options.threads} is more than the {processors()} processors at hand")
    if options.clients and options.shapes:
        parser.error("--clients have shapes of their own, so --shapes does not go with it")
    if not chosen(options):
        parser.error("no case has these cells and modes")
    if options.output and not options.output.parent.is_dir():
        parser.error(f"--output {options.output}: there is no such folder")
    return options


def chosen(options: argparse.Namespace) -> list[Case]:
    """The cases of a command line."""
    if options.clients:
        return clients(options.cells, options.modes, options.quick)
    return grid(options.cells, options.modes, options.shapes, options.quick)


def start(names: list[str], threads: int, target: str) -> list[Peer]:
    """Ours and the peers that are installed; says which are not.

    Raises:
        Missing: it is ours that is not.
    """
    peers = []
    for name in dict.fromkeys(["fastrnn", *names]):
        try:
            peers.append(Peer(name, threads, target))
            print(f"{name} {peers[-1].version}")
        except Missing as error:
            if name == "fastrnn":
                raise
            print(f"{name} is skipped: {error}")
    return peers


def line(result: dict[str, Any]) -> str:
    """A result as a line of the table."""
    us, percent = result["microseconds"]["fastrnn"], result["percent_of_peak"]["fastrnn"]
    ours = f"{us:10.4g} us {result['gflops']['fastrnn']:7.1f} GFLOP/s {percent:3.0f} %"
    best = f"best {result['best']} {result['best_ratio']:.2f}" if result["best"] else ""
    others = [f"{name} {ratio:.2f}" for name, ratio in result["ratio"].items() if name != result["best"]]
    if "single" in result:
        single = {name: f"{p['p50']:.1f}/{p['p99']:.1f}" for name, p in result["single"].items()}
        others.append("p50/p99 us " + ", ".join(f"{name} {text}" for name, text in single.items()))
    others += [
        f"({name}: {reason})" for name, reason in result["cannot"].items() if result["mode"] != "train"
    ]
    return f"{result['case']:36s} {ours}  {best:22s} | " + "  ".join(others)


def report(options: argparse.Namespace, peers: list[Peer]) -> Iterator[dict[str, Any]]:
    """What a result file holds, again after each case, which is printed: the last case cannot lose the first."""
    target = options.target or ""
    result: dict[str, Any] = {
        "environment": environment(),
        "threads": options.threads,
        "target": target,
        "device": options.device,
        "peers": {peer.name: peer.version for peer in peers},
        "not_held_to_target": UNLIMITED if target else {},
        "results": [],
    }
    if load()[:1] > [QUIET]:
        print(f"load {load()[0]}: other work is running here, which the figures will show")
    for name, why in result["not_held_to_target"].items():
        print(f"{name} is not held to {target}: {why}")
    pin(options.threads)
    peak = Peak(options.threads, target)
    for case in chosen(options):
        result["results"].append(measure(case, peers, peak, options.quick, options.rounds))
        print(line(result["results"][-1]), flush=True)
        yield result
    if not (options.quick or options.clients or options.shapes):
        names = [peer.name for peer in peers]
        result |= {"memory": memory(names, options.threads), "footprint": footprint()}
    result["environment"]["load_after"] = load()
    yield result


def on_gpu(argv: list[str] | None) -> list[str] | None:
    """The rest of a command line with --device cuda; None: it has another device."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--device")
    found, rest = parser.parse_known_args(argv)
    return rest if found.device == "cuda" else None


def main(argv: list[str] | None = None) -> int:
    """Prints the table, writes it as JSON; 1 if a peer's results differ from ours, 2 if the device is missing."""
    rest = on_gpu(argv)
    if rest is not None:
        sys.path.insert(0, str(Path(__file__).parent / "cuda"))
        import device_run

        return device_run.main(rest)
    options = arguments(argv)
    peers = start(options.peers, options.threads, options.target or "")
    try:
        for result in report(options, peers):
            if options.output:
                options.output.write_text(json.dumps(result, indent=1) + "\n")
    except Disagreement as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        for peer in peers:
            peer.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
