# SPDX-License-Identifier: MIT
"""Runs a program of kernels under several schedules, which must all be clean and print the same, bits included.

RUNTIME is a folder with a libcudart.so.13 that runs PTX on the host, under a schedule of threads that PTXEMU_SEED
chooses, on a device of PTXEMU_RESIDENT blocks; races are reported, with PTXEMU_WEAK=1 stores wait for a fence.

    python schedules.py RUNTIME PROGRAM [its arguments]
"""

import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple


class Schedule(NamedTuple):
    seed: int
    weak: int
    blocks: int  # few: groups of blocks take several tiles by turns


def schedules(seeds: int) -> list[Schedule]:
    return [Schedule(*how) for how in itertools.product(range(1, seeds + 1), (0, 1), (132, 5))]


def run(runtime: Path, command: list[str], schedule: Schedule) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": str(runtime),
        "PTXEMU_SEED": str(schedule.seed),
        "PTXEMU_WEAK": str(schedule.weak),
        "PTXEMU_RESIDENT": str(schedule.blocks),
        "PTXEMU_ABORT": "0",  # reports are read, by whoever asks for this run
    }
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)


def main() -> int:
    runtime, command = Path(sys.argv[1]), sys.argv[2:]
    printed = set()
    for schedule in schedules(3):
        done = run(runtime, command, schedule)
        if done.returncode or done.stderr:
            print(f"{schedule}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
            return 1
        printed.add(done.stdout)
    print(*printed, sep="another schedule:\n")
    return len(printed) != 1


if __name__ == "__main__":
    sys.exit(main())
