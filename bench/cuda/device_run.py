# SPDX-License-Identifier: MIT
"""Compares this library on a GPU with its peers there: cuDNN by PyTorch, FlashRNN, haste, as far as they are installed.

    python bench/run.py --device cuda                                  the grid
    python bench/run.py --device cuda --quick                          a first look
    python bench/run.py --device cuda --check                          results alone, held against the CPU backend
    python bench/run.py --device cuda --dtypes bfloat16 --cells lstm --modes train --shapes 512,64,512,512

Every peer runs in its own process, all its arrays in the memory of the GPU. Results must agree with the CPU backend
before anything is timed; a peer whose results do not is named and left out. Each round times every peer in turn; a
ratio is the median over rounds of (peer's time / ours in the same round), so above 1 ours is faster. Under the emulator
results are checked and nothing is timed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastrnn
from cuda_peers import NAMES
from device_cases import CELLS, DTYPES, MODES, DeviceCase, device_grid
from device_measure import QUICK_ROUNDS, ROUNDS, DevicePeer, Reference, measure
from environment import environment, load, processors
from peers import Missing
from run import listed, positive, shape

EMULATOR = "ptxemu"  # how it calls itself
ENGINE = "FASTRNN_CUDA_ENGINE"
QUERY = ["--query-gpu=name,driver_version,clocks.max.sm,clocks.max.mem,power.limit", "--format=csv,noheader"]


def arguments(argv: list[str]) -> argparse.Namespace:
    """The command line after --device cuda."""
    parser = argparse.ArgumentParser(
        prog="run.py --device cuda", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one shape, 3 rounds")
    parser.add_argument("--check", action="store_true", help="no times")
    parser.add_argument("--peers", type=listed(*NAMES), default=list(NAMES), help=", ".join(NAMES))
    for name, words in (("cells", CELLS), ("modes", MODES), ("dtypes", DTYPES)):
        parser.add_argument(f"--{name}", type=listed(*words), default=list(words), help=", ".join(words))
    parser.add_argument("--shapes", type=shape, nargs="+", metavar="T,B,I,H", help="instead of the grid")
    parser.add_argument("--rounds", type=positive)
    parser.add_argument("--output", type=Path, metavar="F.json")
    options = parser.parse_args(argv)
    if any(T != 1 for T, *_ in options.shapes or []) and "step" in options.modes:
        options.modes = [mode for mode in options.modes if mode != "step"]
    if not chosen(options):
        parser.error("no case has these cells, modes and dtypes")
    if options.output and not options.output.parent.is_dir():
        parser.error(f"--output {options.output}: there is no such folder")
    return options


def chosen(options: argparse.Namespace) -> list[DeviceCase]:
    """The cases of a command line."""
    return device_grid(options.cells, options.modes, options.dtypes, options.shapes, options.quick)


def device() -> dict[str, Any]:
    """The GPU by its driver, and what nvidia-smi adds; emulated: times would mean nothing."""
    found = fastrnn.cuda.devices()[0]
    told = ""
    if shutil.which("nvidia-smi"):
        told = subprocess.run(["nvidia-smi", *QUERY], capture_output=True, text=True).stdout.strip()
    return {
        **found._asdict(),
        "nvidia_smi": told,
        "engine": os.environ.get(ENGINE, "by the model"),
        "emulated": EMULATOR in found.name,
    }


def start(names: list[str]) -> list[DevicePeer]:
    """Ours and the peers that are installed; says which are not.

    Raises:
        Missing: it is ours that is not.
    """
    peers = []
    for name in dict.fromkeys(["fastrnn", *names]):
        try:
            peers.append(DevicePeer(name, processors()))
            print(f"{name} {peers[-1].version}, times by {peers[-1].clock}")
        except (Missing, RuntimeError) as error:  # some compile kernels when they are imported
            if name == "fastrnn":
                raise
            print(f"{name} is skipped: {str(error).strip().splitlines()[-1]}")
    return peers


def line(result: dict[str, Any]) -> str:
    """A result as a line of the table."""
    notes = [f"({name}: {reason})" for name, reason in result["cannot"].items()]
    notes += [f"WRONG {name}: {what}" for name, what in result["wrong"].items()]
    text = f"{result['case']:52s} "
    if "microseconds" in result:
        us, per_step = (result[key]["fastrnn"] for key in ("microseconds", "microseconds_per_step"))
        text += f"{us:10.4g} us {per_step:8.3g} us/step {result['gflops']['fastrnn'] / 1e3:7.2f} TFLOP/s  "
        ratios = [f"{name} {ratio:.2f}" for name, ratio in result["ratio"].items()]
        text += "  ".join(ratios) + f"  [cuDNN {result['cudnn_regime']}]"
    else:
        text += f"right: {', '.join(result['right']) or 'none'}"
    return "  ".join([text, *notes])


def report(
    options: argparse.Namespace, gpu: dict[str, Any], peers: list[DevicePeer]
) -> Iterator[dict[str, Any]]:
    """What a result file holds, again after each case, which is printed: the last case cannot lose the first."""
    timed = not (options.check or gpu["emulated"])
    result: dict[str, Any] = {
        "environment": environment(),
        "device": gpu,
        "timed": timed,
        "peers": {peer.name: peer.version for peer in peers},
        "clocks": {peer.name: peer.clock for peer in peers},
        "results": [],
    }
    reference = Reference(processors())
    try:
        for case in chosen(options):
            rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
            result["results"].append(measure(case, reference, peers, rounds, timed))
            print(line(result["results"][-1]), flush=True)
            yield result
    finally:
        reference.close()
    result["environment"]["load_after"] = load()
    yield result


def main(argv: list[str]) -> int:
    """Prints the table, writes it as JSON; 1 if results of ours or a peer's are wrong, 2 without a GPU."""
    options = arguments(argv)
    if not fastrnn.cuda.is_available():
        print(
            f"No GPU: {fastrnn.cuda.why_not()}. What the model expects: bench/cuda/model.py", file=sys.stderr
        )
        return 2
    gpu = device()
    print(f"{gpu['name']}, {gpu['multiprocessors']} multiprocessors, {gpu['nvidia_smi'] or 'no nvidia-smi'}")
    if gpu["emulated"]:
        print("emulated: results are checked, times would mean nothing and are not taken")
    peers, wrong = start(options.peers), False
    try:
        for result in report(options, gpu, peers):
            wrong = any(case["wrong"] for case in result["results"])
            if options.output:
                options.output.write_text(json.dumps(result, indent=1) + "\n")
    finally:
        for peer in peers:
            peer.close()
    return int(wrong)
