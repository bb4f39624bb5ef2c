# SPDX-License-Identifier: MIT
"""Plants one fault at a time in the protocol of cuda/exchange.cuh, and fails unless each is noticed.

A fault is noticed by wrong numbers, by a report of a race, or by the watchdog. Without one the same runs must be clean.
Needed: nvcc, and a folder with a libcudart.so.13 that runs PTX on the host under a schedule of threads that PTXEMU_SEED
chooses, reports races, and where PTXEMU_WEAK=1 lets stores wait until a fence.

    python planted_bugs.py RUNTIME BUILD [--arithmetic bf16]
"""

import argparse
import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
BUGS = re.search(r"enum class Bug \{ none, ([\w, ]+) \}", (ROOT / "cuda/exchange.cuh").read_text())
FLAGS = ["-cudart", "shared", "--no-compress", "-lineinfo", "-std=c++17", "-O2"]
FLAGS += ["-gencode", "arch=compute_80,code=compute_80"]  # what the runtime reads is PTX
CLASSES = ROOT / "tests/cuda/persistent_classes.def"


def compile_to(build: Path, source: str, name: str, arithmetic: str, *defines: str) -> Path:
    to = build / f"{name}.o"
    include = [f"-I{ROOT / 'csrc'}", f"-I{ROOT / 'cuda'}"]
    command = ["nvcc", *FLAGS, *include, f"-DFR_ARITHMETIC={arithmetic}", *defines, "-c", str(ROOT / source)]
    subprocess.run([*command, "-o", str(to)], check=True)
    return to


def run(program: Path, runtime: Path, seed: int, weak: int, blocks: int) -> dict[str, bool]:
    """What noticed something in one run of the kernels of LSTMs."""
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": str(runtime),
        "PTXEMU_SEED": str(seed),
        "PTXEMU_WEAK": str(weak),
        "PTXEMU_RESIDENT": str(blocks),  # fewer blocks: groups that take several tiles by turns
    }
    done = subprocess.run(
        [program, str(seed), "lstm"], env=environment, capture_output=True, text=True, timeout=600
    )
    seen = {
        "wrong numbers": "WRONG" in done.stdout,
        "races": "race" in done.stderr,
        "watchdog": "DEADLOCK" in done.stdout,
    }
    if not any(seen.values()) and done.returncode:
        sys.exit(f"{program.name} failed in a way of its own:\n{done.stdout}\n{done.stderr}")
    return seen


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runtime", type=Path)
    parser.add_argument("build", type=Path)
    parser.add_argument("--arithmetic", default="bf16", choices=["f32", "bf16", "f16"])
    options = parser.parse_args()
    options.build.mkdir(parents=True, exist_ok=True)
    assert BUGS, "cuda/exchange.cuh lists the faults that it can hold"
    test = compile_to(options.build, "tests/cuda/test_persistent.cu", "test", options.arithmetic)
    missed = []
    for bug in ["none", *BUGS[1].split(", ")]:
        defines = [f"-DFR_BUG={bug}", "-DFR_MAX_POLLS=20000", f'-DFR_CLASSES="{CLASSES}"']
        target = compile_to(options.build, "cuda/persistent/target.cu", bug, options.arithmetic, *defines)
        program = options.build / f"planted_{bug}"
        subprocess.run(["nvcc", "-cudart", "shared", str(target), str(test), "-o", str(program)], check=True)
        runs = [run(program, options.runtime, *how) for how in itertools.product((1, 2), (0, 1), (132, 5))]
        counts = {what: sum(seen[what] for seen in runs) for what in runs[0]}
        print(
            f"{bug}: of {len(runs)} runs " + ", ".join(f"{what} in {n}" for what, n in counts.items()),
            flush=True,
        )
        if any(counts.values()) == (bug == "none"):
            missed.append(bug)
    print(
        "not as it should be: " + ", ".join(missed)
        if missed
        else "all noticed, and the kernel as it is clean"
    )
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
