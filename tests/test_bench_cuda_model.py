# SPDX-License-Identifier: MIT
"""The model of what a step costs on a GPU is that of the library; the programs of the report on a GPU."""

import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import fastrnn
import pytest
from conftest import cuda_mode
from cuda_producers import needs_cuda

sys.path.insert(0, str(Path(__file__).parents[1] / "bench" / "cuda"))

import model

ROOT = Path(__file__).parents[1]


def constants(*names):
    """Numbers by the names that cuda/ has for them."""
    found = {}
    for name in names:
        for words, value in re.findall(r"\b(k[A-Z]\w*) = ([\d.]+)", (ROOT / "cuda" / name).read_text()):
            found[words] = float(value)
    return found


def classes_of(path):
    """(most H, most units of a block) of a file of classes."""
    return [(int(H), int(n)) for H, n in re.findall(r"^FR_CLASS\((\d+), (\d+)\)", path.read_text(), re.M)]


def test_constants_of_the_model_are_those_of_the_library():
    found = constants("model.cu", "persistent/tile.cuh", "fragments.cuh")
    own = {
        "kFlagHop": model.FLAG_HOP,
        "kLaunch": model.LAUNCH,
        "kL2PortBytes": model.L2_PORT_BYTES,
        "kL2Share": model.L2_SHARE,
        "kFetchLatency": model.FETCH_LATENCY,
        "kReduction": model.REDUCTION,
        "kCellLatency": model.CELL_LATENCY,
        "kCellRound": model.CELL_ROUND,
        "kSharedBytes": model.SHARED_BYTES,
        "kCells": model.CELLS,
        "kTileRows": model.TILE_ROWS,
        "kWeightRegisters": model.WEIGHT_REGISTERS,
        "kChunk": model.CHUNK,
        "kThreads": model.THREADS,
    }
    assert {name: found[name] for name in own} == own
    classes = (ROOT / "cuda" / "persistent" / "classes.def").read_text()
    assert [
        (int(H), int(n)) for H, n in re.findall(r"^FR_CLASS\((\d+), (\d+)\)", classes, re.M)
    ] == model.CLASSES


needs_nvcc = pytest.mark.skipif(not shutil.which("nvcc"), reason="compiles with nvcc, which is not in PATH")


def nvcc(*arguments):
    done = subprocess.run(
        ["nvcc", "-std=c++17", *map(str, arguments)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr


@needs_nvcc
def test_formulas_of_the_model_are_those_of_the_library(tmp_path):
    program, cuda = tmp_path / "model_table", ROOT / "cuda"
    sources = ROOT / "tests" / "cuda" / "model_table.cu", cuda / "model.cu"
    nvcc(
        "-O0",
        "-gencode",
        "arch=compute_80,code=compute_80",
        f"-I{ROOT / 'csrc'}",
        f"-I{cuda}",
        *sources,
        "-o",
        program,
    )
    for device in model.DEVICES.values():
        arguments = map(str, (device.multiprocessors, device.clock, device.memory, device.l2))
        printed = subprocess.run(
            [program, *arguments], capture_output=True, text=True, check=True, timeout=60
        )
        rows = [line.split() for line in printed.stdout.splitlines()]
        assert len(rows) == 5 * 10 * 4
        for kind, dtype, *numbers in rows:
            assert_same_costs(
                device, model.KINDS[kind], model.ARITHMETICS[dtype], [float(n) for n in numbers]
            )


def assert_same_costs(device, cell, arithmetic, numbers):
    B, H, units, fixed, kept, streaming, *persistent = numbers
    B, H = int(B), int(H)
    mine = model.streaming_cost(device, B, H, cell.gates, arithmetic).microseconds
    assert math.isclose(mine, streaming, rel_tol=1e-12)
    shape = model.forward_shape(cell, H, arithmetic.words)
    assert (shape.block_units if shape else 0) == units
    if not shape:
        assert not persistent
        return
    assert model.shared_bytes(cell, arithmetic, shape) == (fixed, kept)
    assert len(persistent) == 3
    for groups, cost in enumerate(persistent, 1):
        blocks = math.ceil(H / units)
        mine = model.persistent_cost(device, B, H, cell.gates, arithmetic, blocks, groups).microseconds
        assert math.isclose(mine, cost, rel_tol=1e-12)


@pytest.mark.parametrize("tiles", [1, 2, 7, 16, 300])
@pytest.mark.parametrize("blocks", [1, 8, 64, 128])
def test_groups_hold_all_tiles_and_run_at_a_time(blocks, tiles):
    device, fixed, kept = model.DEVICES["H100"], 40000, 2176
    groups = model.groups_of(device, tiles, blocks, fixed, kept)
    most = (device.shared - fixed) // kept  # tiles of a group
    together = device.multiprocessors // blocks
    assert bool(groups) == (math.ceil(tiles / together) <= most)
    if groups:
        assert groups <= together
        assert math.ceil(tiles / groups) <= most
        assert groups == min(tiles, together) or math.ceil(tiles / groups) == math.ceil(tiles / together)
    assert model.groups_of(device, tiles, 133, fixed, kept) == 0


@needs_cuda
@pytest.mark.parametrize("B", [1, 60, 200])
@pytest.mark.parametrize("H", [32, 64, 100, 512, 768])
@pytest.mark.parametrize("kind", model.KINDS)
def test_calls_are_divided_as_the_model_says(request, monkeypatch, kind, H, B):
    if cuda_mode(request.config) == "emulated":  # kernels of fewer and smaller sizes
        monkeypatch.setattr(model, "CLASSES", classes_of(ROOT / "tests" / "cuda" / "persistent_classes.def"))
    device = model.DEVICES["A100"]._replace(multiprocessors=fastrnn.cuda.devices()[0].multiprocessors)
    cell, arithmetic = model.KINDS[kind], model.ARITHMETICS["bfloat16"]
    net = getattr(fastrnn, kind)(8, H, device="cuda", dtype="bfloat16")
    loop = next(loop for loop in fastrnn.explain(net, 10, B).loops if not loop.backward)
    shape = model.forward_shape(cell, H, arithmetic.words)
    if not shape:
        assert "larger than" in loop.why_not
        return
    blocks = math.ceil(H / shape.block_units)
    fixed, kept = model.shared_bytes(cell, arithmetic, shape)
    groups = model.groups_of(device, math.ceil(B / model.TILE_ROWS), blocks, fixed, kept)
    assert loop.engine == "persistent"
    assert (loop.blocks, loop.groups) == (blocks, groups)


def test_tables_of_the_model_say_that_they_are_modelled(capsys):
    assert model.main(["--device", "A100"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "## A100: MODELLED, not measured" in lines
    header = next(line for line in lines if line.startswith("| cell"))
    assert header.count("modelled") == 2
    rows = [line for line in lines if line.startswith(("| LSTM", "| GRU"))]
    assert len(rows) == 2 * len(model.KINDS) * len(model.BATCHES) * len(model.HIDDEN)


# ---- programs ----


@pytest.mark.skipif(not shutil.which("bash"), reason="a script of bash")
def test_the_report_ends_with_the_model(tmp_path):
    environ = {
        **os.environ,
        "PYTHON": sys.executable,
        "PYTHONPATH": str(Path(fastrnn.__file__).parents[1]),
        "FASTRNN_CUDA_LIBRARY": str(tmp_path / "absent.so"),
    }
    command = ["bash", str(ROOT / "bench" / "gpu_report.sh"), str(tmp_path / "report")]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("No GPU: ")
    assert "absent.so" in done.stdout.splitlines()[0]
    assert "## H100: MODELLED, not measured" in done.stdout
    assert not (tmp_path / "report").exists()


@needs_nvcc
def test_microbenchmarks_run(request, tmp_path):
    """Compiled for the devices that there are; under --cuda=emulated run as well, where the clock stands still."""
    source = ROOT / "bench" / "cuda" / "microbench.cu"
    strict = "-Xcompiler=-Wall,-Wextra", "-Werror=all-warnings"
    codes = [word for arch in (80, 90) for word in ("-gencode", f"arch=compute_{arch},code=sm_{arch}")]
    nvcc("-O3", *strict, *codes, source, "-o", tmp_path / "device")
    if cuda_mode(request.config) != "emulated":
        return
    code = "-gencode", "arch=compute_80,code=compute_80"
    nvcc("-O2", "-cudart", "shared", "--no-compress", "-lineinfo", *code, source, "-o", tmp_path / "emulated")
    for weak in "01":
        environ = {**os.environ, "PTXEMU_WEAK": weak, "PTXEMU_RESIDENT": "6"}
        done = subprocess.run(
            [tmp_path / "emulated", "--quick"], env=environ, capture_output=True, text=True, timeout=120
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert json.loads(done.stdout)["flag_hop_us"] is None
