# SPDX-License-Identifier: MIT
"""The cells compile for a GPU from the headers that the CPU uses. No GPU is needed, only the compiler."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from fastrnn import _core

ROOT = Path(__file__).parent.parent
NVCC = shutil.which("nvcc")


@pytest.mark.skipif(NVCC is None, reason="nvcc is not installed")
def test_every_cell_compiles_for_a_gpu(tmp_path):
    command = [NVCC, "-std=c++17", "-arch=sm_80", "-Xptxas=-v", f"-I{ROOT / 'csrc'}", "-c"]
    run = subprocess.run(
        [*command, str(ROOT / "tests/cuda/cells.cu"), "-o", str(tmp_path / "cells.o")],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    spills = re.findall(r"(\d+) bytes spill stores", run.stderr)
    assert spills == ["0"] * len(_core.cells()), run.stderr
