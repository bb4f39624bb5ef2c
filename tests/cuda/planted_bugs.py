# SPDX-License-Identifier: MIT
"""Plants one fault at a time in the protocol of cuda/exchange.cuh, and fails unless each is noticed.

A fault is noticed by wrong numbers, by a report of a race, or by the watchdog. Without one the same runs must be clean.

    python planted_bugs.py RUNTIME BUILD [bf16 [FAULT ...]]     RUNTIME: as of schedules.py; needs nvcc
"""

import re
import subprocess
import sys
from pathlib import Path

from schedules import run, schedules

ROOT = Path(__file__).parents[2]
FLAGS = ["-cudart", "shared", "--no-compress", "-lineinfo", "-std=c++17", "-O2", "-gencode"]
FLAGS += ["arch=compute_80,code=compute_80", f"-I{ROOT / 'csrc'}", f"-I{ROOT / 'cuda'}"]
CLASSES = ROOT / "tests/cuda/persistent_classes.def"


def bugs() -> list[str]:
    listed = re.search(r"enum class Bug \{([\s\w,]+)\}", (ROOT / "cuda/exchange.cuh").read_text())
    assert listed, "cuda/exchange.cuh lists the faults that it can hold"
    return [name.strip() for name in listed[1].split(",")]


def noticed(program: Path, runtime: Path) -> dict[str, int]:
    """In how many runs of the kernels of LSTMs something noticed a fault."""
    counts = {"wrong numbers": 0, "races": 0, "watchdog": 0}
    for schedule in schedules(2):
        done = run(runtime, [str(program), "1", "lstm"], schedule)
        counts["wrong numbers"] += "WRONG" in done.stdout
        counts["races"] += "race" in done.stderr
        counts["watchdog"] += "DEADLOCK" in done.stdout
        if done.returncode not in (0, 1):
            sys.exit(f"{program.name} failed in a way of its own:\n{done.stdout}\n{done.stderr}")
    return counts


def main() -> int:
    runtime, build = Path(sys.argv[1]), Path(sys.argv[2])
    build.mkdir(parents=True, exist_ok=True)
    flags = [*FLAGS, f"-DFR_ARITHMETIC={sys.argv[3] if len(sys.argv) > 3 else 'bf16'}"]
    test, target = build / "test.o", build / "target.o"
    subprocess.run(
        ["nvcc", *flags, "-c", str(ROOT / "tests/cuda/test_persistent.cu"), "-o", str(test)], check=True
    )
    wrong = []
    for bug in sys.argv[4:] or bugs():
        defines = [f"-DFR_BUG={bug}", "-DFR_MAX_POLLS=20000", f'-DFR_CLASSES="{CLASSES}"']
        source = str(ROOT / "cuda/persistent/target.cu")
        subprocess.run(["nvcc", *flags, *defines, "-c", source, "-o", str(target)], check=True)
        program = build / f"planted_{bug}"
        subprocess.run(["nvcc", "-cudart", "shared", str(target), str(test), "-o", str(program)], check=True)
        counts = noticed(program, runtime)
        print(
            f"{bug}: of {len(schedules(2))} runs",
            ", ".join(f"{n} {what}" for what, n in counts.items()),
            flush=True,
        )
        if any(counts.values()) == (bug == "none"):
            wrong.append(bug)
    print("not as it should be:", *wrong) if wrong else print(
        "all are noticed, and the kernel as it is is clean"
    )
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
