# SPDX-License-Identifier: MIT
"""The benchmarks: the peer that is always there computes what we do, and what reads result files can be trusted."""

import copy
import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))

import compare
import measure
import run
import stream
import table
from cases import GATES, MODES, STREAM, Case, data, grid
from clients import CLIENTS, clients
from peers import CannotRun, fastrnn_peer, numpy_peer
from peers.process import Peer

NETS = {
    "plain": {},
    "layers": {"layers": 2},
    "both directions": {"layers": 2, "bidirectional": True},
    "strided": {"layers": 2, "strided": True},
    "resets": {"layers": 2, "resets": True},
}


def computed(peer, case):
    """What a peer computes, of a stream all steps."""
    work = peer.make(case, data(case))
    if case.mode != "step":
        return work.read(work.run())
    return {"y": np.stack([work.read(work.run())["y"].copy() for _ in range(STREAM)])}


def assert_agree(case):
    measure.agree(case, computed(fastrnn_peer, case), computed(numpy_peer, case), "numpy")


# ---- cases and peers ----


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("mode", ["infer", "train"])
@pytest.mark.parametrize("cell", GATES)
def test_numpy_computes_what_we_do(cell, mode, net):
    assert_agree(Case(cell, mode, 120 if net == "resets" else 7, 3, 5, 6, **NETS[net]))


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("cell", GATES)
def test_numpy_streams_what_we_do(cell, layers):
    assert_agree(Case(cell, "step", 1, 2, 5, 6, layers=layers))


def test_numpy_computes_peepholes():
    assert_agree(Case("lstm", "infer", 7, 3, 5, 6, layers=2, bidirectional=True, peepholes=True))
    with pytest.raises(CannotRun, match="peepholes"):
        numpy_peer.make(case := Case("lstm", "train", 7, 3, 5, 6, peepholes=True), data(case))


def test_data_of_resets_has_some():
    reset = data(Case("lstm", "train", 120, 3, 5, 6, resets=True))["reset"]
    assert 0 < reset.sum() < reset.size / 10
    assert data(Case("lstm", "train", 120, 3, 5, 6))["reset"] is None


def test_strided_data_are_a_view():
    x = data(Case("lstm", "infer", 7, 3, 5, 6, strided=True))["x"]
    assert x.shape == (3, 7, 5)
    assert x.strides == (7 * 5 * 4, 4, 7 * 4)


@pytest.mark.parametrize("key", ["y", "x", "weight_hh_l0"])
def test_a_wrong_result_is_found(key):
    case = Case("gru", "train", 4, 2, 3, 5)
    ours = computed(fastrnn_peer, case)
    wrong = {name: a.copy() for name, a in ours.items()}
    measure.agree(case, ours, wrong, "a peer")
    wrong[key].flat[0] += 2e-4 * np.abs(wrong[key]).max()
    with pytest.raises(measure.Disagreement, match=f"a peer .* {key}"):
        measure.agree(case, ours, wrong, "a peer")
    del wrong[key]
    with pytest.raises(measure.Disagreement, match=key):
        measure.agree(case, ours, wrong, "a peer")


def test_nan_is_a_wrong_result():
    case = Case("gru", "infer", 4, 2, 3, 5)
    ours = computed(fastrnn_peer, case)
    with pytest.raises(measure.Disagreement):
        measure.agree(case, ours, {"y": ours["y"] * np.nan}, "a peer")


def test_names_of_cases_are_unique():
    names = [case.name for case in [*grid(list(GATES), list(MODES)), *CLIENTS]]
    assert len(set(names)) == len(names)


def test_clients_name_their_source_and_are_filtered():
    assert all(case.label and case.source for case in CLIENTS)
    assert {case.cell for case in clients(["gru"], list(MODES))} == {"gru"}
    assert {case.mode for case in clients(list(GATES), ["step"])} == {"step"}


def test_operations_count_every_weight():
    case = Case("lstm", "train", 7, 3, 5, 6, layers=2, bidirectional=True)
    weights = sum(a.size for name, a in data(case).items() if name.startswith("weight"))
    assert case.operations == 6 * 7 * 3 * weights


def test_a_peer_in_its_process():
    peer = Peer("numpy", 1)
    try:
        case = Case("rnn_tanh", "step", 1, 2, 3, 4)
        assert np.array_equal(peer.prepare(case)["y"], computed(numpy_peer, case)["y"])
        assert 0 < peer.seconds(10) < 1
        assert len(peer.each(5)) == 5
        with pytest.raises(CannotRun, match="peepholes"):
            peer.prepare(Case("lstm", "train", 2, 2, 3, 4, peepholes=True))
        with pytest.raises(RuntimeError, match="KeyError"):
            peer.prepare(Case("no such cell", "infer", 2, 2, 3, 4))
    finally:
        peer.close()


def test_ratios_are_medians_of_pairs():
    seconds = {"fastrnn": [1.0, 2.0, 4.0], "torch": [3.0, 4.0, 4.0], "jax": [2.0, 8.0, 2.0]}
    result = measure.summary(Case("lstm", "infer", 1, 1, 1, 1), seconds, [1.0, 3.0, 2.0])
    assert result["ratio"] == {"torch": 2.0, "jax": 2.0}
    assert result["best"] == "jax"  # whose median is 2 s, that of torch 4 s
    assert result["microseconds"]["fastrnn"] == 2e6
    assert result["peak_gflops"] == 2.0


@pytest.mark.parametrize("argv", [["--peers", "caffe"], ["--cells", "lstm,mlp"], ["--shapes", "1,2,3"]])
def test_unknown_words_are_refused(argv, capsys):
    with pytest.raises(SystemExit):
        run.arguments(argv)
    assert argv[0] in capsys.readouterr().err


# ---- readers of result files ----


def made_up_result(cell, mode, us, torch, jax, peak=100.0, **case):
    best, ratio = ("torch", torch) if torch < jax else ("jax", jax)
    return {
        **Case(cell, mode, 10, 1, 8, 8, **case).record(),
        "microseconds": {"fastrnn": us, "torch": us * torch, "jax": us * jax},
        "gflops": {"fastrnn": 42.0},
        "percent_of_peak": {"fastrnn": 42.0},
        "peak_gflops": peak,
        "ratio": {"torch": torch, "jax": jax},
        "best": best,
        "best_ratio": ratio,
    }


@pytest.fixture
def report():
    results = [
        made_up_result("lstm", "infer", 10.0, 2.0, 3.0),
        made_up_result("lstm", "infer", 20.0, 8.0, 0.75, label="client"),
        made_up_result("gru", "infer", 30.0, 5.0, 7.0),
        made_up_result("gru", "step", 40.0, 5.0, 1.25)
        | {"single": {"fastrnn": {"p50": 1.25, "p99": 2.5}, "jax": {"p50": 3.0, "p99": 4.0}}},
    ]
    return {
        "environment": {"cpu": "made up"},
        "threads": 1,
        "target": "",
        "results": results,
        "memory": {"lstm-train": {"fastrnn": 10.4, "jax": 20.0}},
        "footprint": {"import_added_ms": 3.25, "import_numpy_ms": 50.0, "package_mb": 7.0},
    }


@pytest.fixture
def compared(tmp_path, report, capsys):
    """Writes A and B, B being a copy of A that `change` has been let at; exit code and what was printed."""

    def run_compare(change, *options):
        b = copy.deepcopy(report)
        change(b)
        for name, content in (("a", report), ("b", b)):
            (tmp_path / f"{name}.json").write_text(json.dumps(content))
        code = compare.main([str(tmp_path / "a.json"), str(tmp_path / "b.json"), *options])
        return code, "".join(capsys.readouterr())

    return run_compare


def slow_down(by, peak=1.0):
    def change(report):
        report["results"][2]["microseconds"]["fastrnn"] *= by
        report["results"][2]["peak_gflops"] *= peak

    return change


def test_compare_passes_the_same_and_the_faster(compared):
    assert compared(lambda b: None)[0] == 0
    assert compared(slow_down(0.5))[0] == 0
    assert compared(slow_down(1.04))[0] == 0


def test_compare_finds_the_slower(compared):
    code, shown = compared(slow_down(1.06))
    assert code == 1
    assert [line.split()[0] for line in shown.splitlines() if "SLOWER" in line] == ["gru-infer-10x1x8x8"]
    assert compared(slow_down(1.06), "--tolerance", "0.1")[0] == 0


def test_compare_counts_in_units_of_the_peak(compared):
    assert compared(slow_down(1.25, peak=0.8))[0] == 0
    assert compared(slow_down(1.0, peak=1.25))[0] == 1


def test_compare_finds_the_missing_and_allows_the_new(compared):
    code, shown = compared(lambda b: b["results"].pop(1))
    assert code == 1
    assert "client-lstm-infer-10x1x8x8 is missing" in shown
    new = made_up_result("rnn_tanh", "infer", 1.0, 1.0, 1.0)
    assert compared(lambda b: b["results"].append(new))[0] == 0


@pytest.mark.parametrize(
    "spoil",
    [
        lambda b: b.pop("results"),
        lambda b: b["results"].clear(),
        lambda b: b["results"][0].pop("peak_gflops"),
        lambda b: b["results"][0]["microseconds"].pop("fastrnn"),
        lambda b: b.update(threads=2),
        lambda b: b.update(target="avx2"),
    ],
)
def test_compare_refuses_what_it_cannot_compare(compared, spoil):
    assert compared(spoil)[0] == 2


def test_compare_refuses_other_files(tmp_path, capsys):
    (tmp_path / "a.json").write_text("no JSON")
    assert compare.main([str(tmp_path / "a.json"), str(tmp_path / "missing.json")]) == 2
    assert "a.json" in capsys.readouterr().err


def test_table(tmp_path, report, capsys):
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report))
    assert table.main([str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "| infer | LSTM | 2 | 4.00 | 1.22 | 0.75 |" in lines  # geometric means of 2, 8 and of 2, 0.75
    assert "| step | GRU | 1 | 5.00 | 1.25 | 1.25 |" in lines
    assert "| 10, 1, 8, 8 | infer | 2.00 / 2.00 PyTorch | 5.00 / 5.00 PyTorch |" in lines
    assert "| client 10, 1, 8, 8 | infer | 8.00 / 0.75 JAX |  |" in lines
    assert "| gru-step-10x1x8x8 | 3.0 / 4.0 | 1.2 / 2.5 |" in lines
    assert "| lstm-train | 20 | 10 |" in lines
    assert lines[-2] == "Import: 3.2 ms beyond the 50 ms of NumPy. Package: 7.0 MB."
    assert table.main([str(tmp_path / "missing.json")]) == 2


def test_stream(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(stream, "QUICK_CALLS", 60)
    path = tmp_path / "stream.json"
    assert stream.main(["--quick", "--output", str(path)]) == 0
    report = json.loads(path.read_text())
    assert report["environment"]["compiler"]
    names = [result["case"] for result in report["results"]]
    assert names == [f"{cell}-{L}x128-B{B}" for cell in ("lstm", "gru") for L in (1, 2) for B in (1, 8)]
    for result in report["results"]:
        for times in result["microseconds"].values():
            assert 0 < times["p50"] <= times["p99"] <= times["max"]
        assert result["calls"] == 60
    assert capsys.readouterr().out.count("\n") == 1 + len(names)


def test_chart(tmp_path, report):
    pytest.importorskip("matplotlib", reason="charts are drawn with matplotlib")
    import chart

    report["results"][0]["best"] = None  # ours alone was run: no bar
    path, picture = tmp_path / "report.json", tmp_path / "chart.png"
    path.write_text(json.dumps(report))
    assert chart.main([str(path), str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert chart.main([str(tmp_path / "missing.json"), str(picture)]) == 2
