# SPDX-License-Identifier: MIT
"""Benchmarks on a GPU, as far as they can be tested without one: cases, peers, measuring, readers of result files."""

import importlib
import json
import sys
import types
from pathlib import Path

import fastrnn
import numpy as np
import pytest
from cuda_producers import needs_cuda
from described_peers import haste_layer, lstm_by_flashrnn

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))
sys.path.insert(0, str(Path(__file__).parents[1] / "bench" / "cuda"))

import device_measure
import device_report
import device_run
import run
from cases import STREAM, data
from cuda_peers import clock, fastrnn_peer
from device_cases import CELLS, DTYPES, MODES, DeviceCase, device_grid, row_lengths
from measure import agree
from peers import CannotRun
from peers.process import results_of

ALL = list(CELLS), list(MODES), list(DTYPES)


# ---- without a GPU ----


def test_what_is_missing_is_said(monkeypatch, capsys):
    monkeypatch.setattr(fastrnn.cuda, "is_available", lambda: False)
    monkeypatch.setattr(fastrnn.cuda, "why_not", lambda: "there is no driver")
    assert run.main(["--device", "cuda", "--quick"]) == 2
    assert capsys.readouterr().err.startswith("No GPU: there is no driver.")


@pytest.mark.parametrize("argv", [["--peers", "jax"], ["--dtypes", "float64"], ["--shapes", "1,2,3"]])
def test_unknown_words_are_refused(argv, capsys):
    with pytest.raises(SystemExit):
        device_run.arguments(argv)
    assert argv[0] in capsys.readouterr().err


# ---- cases ----


def test_the_grid_has_every_kind_and_no_name_twice():
    cases = device_grid(*ALL)
    names = [case.name for case in cases]
    assert len(set(names)) == len(names)
    for kind in (
        lambda case: case.cudnn_regime == "fast",
        lambda case: case.cudnn_regime == "small",
        lambda case: case.cudnn_regime == "standard",
        lambda case: case.bidirectional,
        lambda case: case.lengths,
        lambda case: case.updated,
        lambda case: case.mode == "step",
    ):
        assert any(map(kind, cases))
    assert {(case.cell, case.dtype) for case in cases} == {(c, d) for c in CELLS for d in DTYPES}
    assert {case.dtype for case in device_grid(["gru"], ["train"], ["tf32"])} == {"tf32"}
    assert {(c.cell, c.T) for c in device_grid(["gru"], ["train"], ["tf32"], [(3, 4, 5, 6)])} == {("gru", 3)}


@pytest.mark.parametrize(
    ("change", "regime"),
    [
        ({}, "fast"),
        ({"mode": "infer"}, "fast"),
        ({"H": 1024}, "fast"),
        ({"H": 1152}, "standard"),
        ({"H": 320}, "standard"),
        ({"I": 40}, "standard"),
        ({"B": 12}, "standard"),
        ({"B": 256}, "standard"),
        ({"dtype": "bfloat16"}, "standard"),
        ({"cell": "gru"}, "standard"),
        ({"layers": 2}, "standard"),
        ({"bidirectional": True}, "standard"),
        ({"lengths": True}, "standard"),
        ({"H": 128}, "small"),
        ({"H": 128, "dtype": "float32", "cell": "gru", "I": 40, "layers": 2}, "small"),
        ({"H": 128, "lengths": True}, "standard"),
        ({"H": 160}, "standard"),
        ({"H": 160, "mode": "infer"}, "small"),
        ({"H": 193, "mode": "infer"}, "standard"),
    ],
)
def test_which_algorithm_cudnn_is_asked_for(change, regime):
    sizes = {"cell": "lstm", "mode": "train", "T": 10, "B": 64, "I": 128, "H": 512, "dtype": "float16"}
    case = DeviceCase(**(sizes | change))
    assert case.cudnn_regime == case.record()["cudnn_regime"] == regime


def test_lengths_are_of_the_sequence():
    assert row_lengths(DeviceCase("lstm", "train", 9, 50, 3, 4)) is None
    drawn = row_lengths(DeviceCase("lstm", "train", 9, 50, 3, 4, lengths=True))
    assert (drawn.min(), drawn.max(), drawn.shape) == (1, 9, (50,))


# ---- peers, on the CPU ----


def computed(module, case, **device):
    return results_of(module.make(case, data(case), row_lengths(case), **device), case)


def assert_agree(module, case, tolerance=1e-4):
    expected = computed(fastrnn_peer, case, device="cpu")
    agree(case, expected, computed(module, case, device="cpu"), module.__name__, tolerance)


NETS = [{}, {"lengths": True}, {"layers": 2, "bidirectional": True}]


@pytest.mark.parametrize("net", NETS, ids=str)
@pytest.mark.parametrize("mode", ["infer", "train"])
@pytest.mark.parametrize("cell", CELLS)
def test_torch_computes_what_we_do(cell, mode, net):
    pytest.importorskip("torch", reason="a peer")
    from cuda_peers import torch_peer

    assert_agree(torch_peer, DeviceCase(cell, mode, 7, 3, 5, 6, **net))


@pytest.mark.parametrize("cell", CELLS)
def test_torch_streams_what_we_do(cell):
    pytest.importorskip("torch", reason="a peer")
    from cuda_peers import torch_peer

    assert_agree(torch_peer, DeviceCase(cell, "step", 1, 3, 5, 6))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("cell", CELLS)
def test_what_torch_rounds_is_within_the_tolerance(cell, dtype):
    pytest.importorskip("torch", reason="a peer")
    from cuda_peers import torch_peer

    case = DeviceCase(cell, "train", 50, 8, 64, 64, dtype=dtype)
    assert_agree(torch_peer, case, device_measure.PEER_TOLERANCES[dtype])
    with pytest.raises(device_measure.Disagreement):
        assert_agree(torch_peer, case, 1e-5)


@pytest.fixture
def described(monkeypatch):
    """The peers with modules in place that do what the documentation of FlashRNN and haste says."""
    torch = pytest.importorskip("torch", reason="peers are made of it")
    modules = {
        "flashrnn": {"flashrnn": lstm_by_flashrnn(torch)},
        "haste_pytorch": {"LSTM": haste_layer(torch, "lstm", 0), "GRU": haste_layer(torch, "gru", 1)},
    }
    for name, contents in modules.items():
        stand_in = types.ModuleType(name)
        vars(stand_in).update(contents)
        monkeypatch.setitem(sys.modules, name, stand_in)
    names = {name: f"cuda_peers.{name}_peer" for name in ("flashrnn", "haste")}
    for name in names.values():
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield {short: importlib.import_module(name) for short, name in names.items()}
    for name in names.values():
        sys.modules.pop(name, None)


@pytest.mark.parametrize("mode", ["infer", "train"])
def test_arguments_of_flashrnn_and_haste_are_as_described(described, mode):
    assert_agree(described["flashrnn"], DeviceCase("lstm", mode, 7, 3, 5, 6))
    for cell in CELLS:
        assert_agree(described["haste"], DeviceCase(cell, mode, 7, 3, 5, 6))


@pytest.mark.parametrize(
    "net", [{"lengths": True}, {"layers": 2}, {"bidirectional": True}, {"dtype": "tf32"}]
)
def test_what_flashrnn_and_haste_cannot(described, net):
    case = DeviceCase("lstm", "train", 7, 3, 5, 6, **net)
    with pytest.raises(CannotRun):
        described["flashrnn"].make(case, data(case), None, "cpu")
    half = DeviceCase("lstm", "train", 7, 3, 5, 6, **(net | {"dtype": "float16"}))
    with pytest.raises(CannotRun):
        described["haste"].make(half, data(half), None, "cpu")


# ---- measuring ----


class MadeUp:
    """A peer with so many seconds a call, whose results are those of `compute`, or what that raises."""

    def __init__(self, name, seconds, compute):
        self.name, self.seconds, self.compute = name, seconds, compute

    def prepare(self, case):
        return self.compute(case)

    results = prepare

    def ask(self, command, argument):
        if command == "plan":
            return [{"engine": "persistent", "microseconds": 0.5}]
        assert command in ("seconds", "single")
        return self.seconds


def right(case):
    return {"y": np.ones(3)}


def wrong(case):
    return {"y": np.full(3, 1.5)}


def unable(case):
    raise CannotRun("no such thing")


def broken(case):
    raise RuntimeError("prepare failed:\nTraceback\nout of memory\n")


def measured(*peers):
    case = DeviceCase("lstm", "infer", 10, 2, 3, 4)
    return device_measure.measure(case, MadeUp("cpu", 1.0, right), list(peers), 3)


def test_peers_that_are_wrong_or_cannot_are_left_out_of_the_times():
    result = measured(
        MadeUp("fastrnn", 1e-3, right),
        MadeUp("torch", 3e-3, right),
        MadeUp("flashrnn", 1e-3, wrong),
        MadeUp("haste", 1e-3, unable),
        MadeUp("other", 1e-3, broken),
    )
    assert result["ratio"] == {"torch": 3.0}
    assert result["microseconds"] == {"fastrnn": 1e3, "torch": 3e3}
    assert result["microseconds_per_step"] == {"fastrnn": 1e2, "torch": 3e2}
    assert result["cannot"] == {"haste": "no such thing"}
    assert result["plan"][0]["engine"] == "persistent"
    assert result["wrong"]["other"] == "out of memory"
    assert "flashrnn and fastrnn differ" in result["wrong"]["flashrnn"]
    assert "WRONG flashrnn" in device_run.line(result)


def test_nothing_is_timed_where_ours_is_wrong():
    result = measured(MadeUp("fastrnn", 1e-3, wrong), MadeUp("torch", 1e-3, right))
    assert "microseconds" not in result
    assert result["right"] == ["torch"]
    assert "WRONG fastrnn: " in device_run.line(result)


def test_the_wall_clock_waits_before_and_after(monkeypatch):
    calls = []
    monkeypatch.setattr(fastrnn.cuda, "synchronize", lambda: calls.append("wait"))
    assert clock.WallClock().seconds(lambda: calls.append("run"), 2) > 0
    assert calls == ["wait", "run", "run", "wait"]


@needs_cuda
def test_results_on_the_device_are_those_of_the_cpu(tmp_path, capsys):
    path = tmp_path / "check.json"
    argv = [
        "--device",
        "cuda",
        "--check",
        "--peers",
        "fastrnn",
        "--shapes",
        "3,2,8,16",
        "--output",
        str(path),
    ]
    assert run.main([*argv, "--cells", "gru", "--dtypes", "float16,float32"]) == 0
    assert capsys.readouterr().out.count("right: fastrnn") == 4
    report = json.loads(path.read_text())
    assert report["device"]["name"] == fastrnn.cuda.devices()[0].name
    assert not report["timed"]


@needs_cuda
def test_a_peer_in_its_process_times_its_calls():
    peer = device_measure.DevicePeer("fastrnn", 1)
    try:
        case = DeviceCase("gru", "step", 1, 2, 8, 16, dtype="float16")
        assert peer.prepare(case)["y"].shape == (STREAM, 2, 16)
        assert 0 <= peer.ask("seconds", 2) < 60  # events of the emulator are all at one time
        assert 0 < peer.ask("single", 2) < 60
        with pytest.raises(RuntimeError, match="KeyError"):
            peer.prepare(DeviceCase("no such cell", "infer", 2, 2, 3, 4))
    finally:
        peer.close()


@needs_cuda
@pytest.mark.parametrize(("mode", "loops"), [("infer", 2), ("train", 4), ("step", 2)])
def test_the_plan_is_of_the_loops_that_run(mode, loops):
    plan = fastrnn_peer.plan(DeviceCase("lstm", mode, 1, 8, 64, 64, layers=2, dtype="bfloat16"))
    assert len(plan) == loops
    assert any(loop["backward"] for loop in plan) == (mode == "train")
    assert all(loop["microseconds"] > 0 for loop in plan)
    json.dumps(plan)


# ---- readers of result files ----


@pytest.fixture
def report():
    cases = [
        DeviceCase("lstm", "train", 512, 64, 512, 512, dtype="float16"),
        DeviceCase("lstm", "train", 512, 64, 1024, 1024, dtype="float16"),
        DeviceCase("gru", "infer", 512, 64, 512, 512, dtype="bfloat16", lengths=True),
    ]
    results = [
        {
            **case.record(),
            "cannot": {},
            "wrong": {"haste": "y differs"},
            "microseconds": {"fastrnn": 100.0, "torch": 100.0 * ratio},
            "microseconds_per_step": {"fastrnn": 0.25},
            "single_call_microseconds": {"fastrnn": 110.0},
            "ratio": {"torch": ratio},
            "plan": [
                {"engine": "persistent", "microseconds": 0.5},
                {"engine": "streaming", "microseconds": 1.25},
            ],
            "best": "torch",
            "best_ratio": ratio,
        }
        for case, ratio in zip(cases, (2.0, 0.5, 3.0))
    ]
    untimed = {**cases[0].record(), "cannot": {}, "wrong": {}, "right": ["fastrnn"]}
    return {
        "device": {"name": "made up", "nvidia_smi": "made up, 1.2", "engine": "by the model"},
        "peers": {"fastrnn": "0", "torch": "1"},
        "results": [*results, untimed],
    }


def test_tables_keep_the_regimes_apart(tmp_path, report, capsys):
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report))
    assert device_report.main([str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "made up, 1.2; fastrnn 0, PyTorch 1; engine by the model"
    assert "| cuDNN persistent | train | LSTM | float16 | 2 | 1.00 | 0.50 |" in lines
    assert "| cuDNN standard | infer | GRU | bfloat16 | 1 | 3.00 | 3.00 |" in lines
    row = "300 | 100 | 0.25 | 110 | persistent, streaming | 1.75 | PyTorch 3.00"
    assert f"| bfloat16-lengths-gru-infer-512x64x512x512 | {row} |" in lines
    assert "WRONG, haste: y differs" in lines


def test_the_picture(tmp_path, report):
    pytest.importorskip("matplotlib", reason="charts are drawn with matplotlib")
    path, picture = tmp_path / "report.json", tmp_path / "report.png"
    path.write_text(json.dumps(report))
    assert device_report.main([str(path), "--picture", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_what_is_measured_can_be_read(tmp_path, capsys):
    path = tmp_path / "report.json"
    device = {"name": "made up", "nvidia_smi": "", "engine": "by the model"}
    results = [
        measured(MadeUp("fastrnn", 1e-3, right), *others) for others in ([MadeUp("torch", 2e-3, right)], [])
    ]
    path.write_text(json.dumps({"device": device, "peers": {"fastrnn": "0"}, "results": results}))
    assert device_report.main([str(path)]) == 0
    shown = capsys.readouterr().out
    assert (
        "| float32-lstm-infer-10x2x3x4 | 2000 | 1000 | 100 | 1000 | persistent | 0.5 | PyTorch 2.00 |"
        in shown
    )
    assert "| float32-lstm-infer-10x2x3x4 | - | 1000 | 100 | 1000 | persistent | 0.5 | - |" in shown


@pytest.mark.parametrize(
    "spoil",
    [lambda r: r.pop("results"), lambda r: r.pop("device"), lambda r: r.update(results=r["results"][-1:])],
)
def test_files_without_times_are_refused(tmp_path, report, spoil, capsys):
    spoil(report)
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report))
    assert device_report.main([str(path)]) == 2
    assert str(path) in capsys.readouterr().err
