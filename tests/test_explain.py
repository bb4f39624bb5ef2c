# SPDX-License-Identifier: MIT
"""What `fastrnn.explain` says of a call, on the CPU and on a GPU."""

import dataclasses
import json
import os
import subprocess
import sys

import fastrnn
import numpy as np
import pytest
from cuda_producers import needs_cuda
from refusal import refused


def in_a_new_process(script, **environment):
    """What a script prints as JSON."""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"import fastrnn, json\n{script}"],
        env={**os.environ, **environment},
        text=True,
        capture_output=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def first(net, T, B, **options):
    """The first layer's forward pass."""
    return fastrnn.explain(net, T, B, **options).loops[0]


# ---------------------------------------------------------------- on the CPU


@pytest.fixture(params=fastrnn.available())
def cpu_target(request):
    """Every target of the CPU, whatever other tests run on."""
    with fastrnn.using(request.param):
        yield request.param


def test_a_line_for_each_layer_direction_and_pass(cpu_target):
    net = fastrnn.LSTM(3, 5, num_layers=2, direction=("both", "reverse"))
    found = fastrnn.explain(net, T=7, B=2)
    assert (found.net, found.T, found.B, found.isa) == (repr(net), 7, 2, cpu_target)
    places = [(loop.layer, loop.reverse, loop.backward) for loop in found.loops]
    assert places == [
        (layer, reverse, backward)
        for layer, reverse in ((0, False), (0, True), (1, True))
        for backward in (False, True)
    ]
    assert {(loop.part, loop.kernel, loop.engine) for loop in found.loops} == {("", net.kernel, "threads")}
    assert all(loop.microseconds is None and loop.blocks is None for loop in found.loops)
    lines = str(found).splitlines()
    assert lines[0] == f"{net!r}: T=7, B=2, on {cpu_target}"
    assert len(lines) == 1 + len(places) + len(found.target)
    assert {line.index(net.kernel) for line in lines[1:7]} == {lines[1].index(net.kernel)}
    assert "modelled" not in str(found)


def test_recurrent_layers_of_models():
    model = fastrnn.NToM("gru", fastrnn.Embedding(7, 4), 6, 5, end=0, decoder_cell="lstm", seed=0)
    found = fastrnn.explain(model, 9, 3)
    assert [(loop.part, loop.kernel.split("_")[0]) for loop in found.loops] == [
        ("encoder", "gru"), ("encoder", "gru"), ("decoder", "lstm"), ("decoder", "lstm"),
    ]  # fmt: skip
    assert "encoder layer 0 forward" in str(found)


@pytest.mark.parametrize(("T", "B"), [(0, 3), (3, 0), (5, 1), (5, 8)])
def test_small_calls_take_one_thread(T, B):
    with fastrnn.threads(4):
        loop = first(fastrnn.GRU(3, 8), T, B)
    assert (loop.threads, loop.division) == (1, "")
    assert "fewer than 25 million operations" in loop.why_not


def test_threads_are_those_that_may_be_used():
    net = fastrnn.GRU(8, 64)
    with fastrnn.threads(1):
        loop = first(net, 1000, 64)
    assert (loop.threads, loop.why_not) == (1, "fastrnn.get_num_threads() is 1")
    with fastrnn.threads(3):
        loop = first(net, 1000, 64)
    assert (loop.threads, loop.division, loop.why_not) == (3, "each with rows of the batch", "")


def test_back_propagation_is_more_work():
    net, T = fastrnn.GRU(64, 64), 1000  # 2 * 3 * 64 * 128 * T operations forward, three times that backward
    with fastrnn.threads(2):
        small = fastrnn.explain(net, T // 8, 2).loops
        large = fastrnn.explain(net, T, 8).loops
    assert [loop.threads for loop in small] == [1, 2]
    assert [loop.threads for loop in large] == [2, 2]


def test_few_rows(cpu_target):
    net = fastrnn.LSTM(64, 256)
    with fastrnn.threads(4):
        alone, two = first(net, 400, 1), first(net, 400, 2)
    if cpu_target == "reference":  # which divides no units
        assert (alone.threads, two.threads) == (1, 2)
        assert "one row" in alone.why_not
        assert two.division == "each with rows of the batch"
        assert "few rows" in two.why_not
    else:
        assert (alone.threads, alone.division, alone.why_not) == (4, "each with units of all rows", "")
        assert two.threads == 4


def test_a_forced_split_is_named():
    fastrnn._core.force_split("batch")
    try:
        with fastrnn.threads(2):
            loop = first(fastrnn.RNN(3, 4), 2, 2)
    finally:
        fastrnn._core.force_split(None)
    assert (loop.threads, loop.division) == (2, "by a split that was forced")


def test_why_not_a_better_target(cpu_target):
    built = fastrnn._core.targets()
    better = list(built)[: list(built).index(cpu_target)]
    words = fastrnn.explain(fastrnn.RNN(2, 3), 4, 1).target
    assert len(words) == len(better)
    for name, line in zip(better, words):
        assert line.startswith(f"{name} is ")
        assert ("not available on this processor" in line) == (not built[name])
        assert built[name] == (name in fastrnn.available())


def test_the_environment_is_named():
    name = fastrnn.available()[-2]
    script = "print(json.dumps(fastrnn.explain(fastrnn.RNN(2, 3), 4, 1).target))"
    words = in_a_new_process(script, FASTRNN_ISA=name)
    assert [line for line in words if "is available" in line] == [
        f"{better} is available, but FASTRNN_ISA={name}" for better in fastrnn.available()[:-2]
    ]


def test_bfloat16(cpu_target):
    net = fastrnn.LSTM(2, 3, dtype="bfloat16")
    found = fastrnn.explain(net, 4, 1)
    assert any("widens" in line for line in found.target) == (not net.kernel.endswith("avx512bf16"))
    assert not any("bfloat16" in line for line in fastrnn.explain(fastrnn.LSTM(2, 3), 4, 1).target)


def test_nothing_runs_and_nothing_changes():
    net = fastrnn.LSTM(3, 5, seed=0)
    flat = net.flat.copy()
    found = fastrnn.explain(net, 10**9, 10**6)
    assert (net.flat == flat).all()
    assert found == fastrnn.explain(net, 10**9, 10**6)
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.T = 3


def test_refused():
    net = fastrnn.LSTM(3, 5)
    refused(ValueError, ["T", "-1", "0"], fastrnn.explain, net, -1, 2)
    refused(ValueError, ["B", "-2", "0"], fastrnn.explain, net, 1, -2)
    refused(TypeError, ["T", "2.0", "integer"], fastrnn.explain, net, 2.0, 2)
    refused(TypeError, ["B", "True", "integer"], fastrnn.explain, net, 2, True)
    refused(ValueError, ["T", "B", "addressed"], fastrnn.explain, net, 2**40, 2**40)
    refused(TypeError, ["net", "ndarray", "fastrnn.LSTM"], fastrnn.explain, np.zeros(3), 2, 2)
    refused(TypeError, ["net", "type", "fastrnn.NToN"], fastrnn.explain, fastrnn.LSTM, 2, 2)
    refused(TypeError, ["clip", "5.0", "fastrnn.Clip"], fastrnn.explain, net, 2, 2, clip=5.0)


# ---------------------------------------------------------------- with CUDA


@needs_cuda
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_engine_is_the_faster_one_of_the_model(dtype):
    net = fastrnn.LSTM(3, 64, bidirectional=True, dtype=dtype, device="cuda")
    found = fastrnn.explain(net, 100, 4)
    assert found.isa == "cuda"
    assert found.target == ()
    assert len(found.loops) == 4
    for loop in found.loops:
        assert loop.threads is None
        assert loop.engine in ("persistent", "streaming")
        assert 0 < loop.microseconds <= loop.other_microseconds
        assert loop.limit
        if loop.engine == "persistent":
            assert loop.why_not == ""
            assert loop.blocks >= 2
            assert loop.groups == 1  # 4 rows are one tile
            assert f"persistent, 1 group of {loop.blocks} blocks" in str(found)
        else:
            assert "by the model" in loop.why_not
            assert loop.blocks is None
    assert str(found).count("modelled") == 8


@needs_cuda
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: fastrnn.LSTM(3, 8, dtype="float64", device="cuda"), "float32, bfloat16 and float16"),
        (lambda: fastrnn.LSTM(3, 8, allow_tf32=True, device="cuda"), "float32, bfloat16 and float16"),
        (lambda: fastrnn.IndRNN(3, 8, device="cuda"), "W_hh"),
        (lambda: fastrnn.GRU(3, 3000, device="cuda"), "larger than"),
    ],
    ids=["f64", "tf32", "indrnn", "large"],
)
def test_what_cannot_run_persistently(make, words):
    for loop in fastrnn.explain(make(), 10, 4).loops:
        assert (loop.engine, loop.other_microseconds) == ("streaming", None)
        assert loop.microseconds > 0
        assert words in loop.why_not


@needs_cuda
def test_limits_of_each_step():
    net = fastrnn.LSTM(3, 64, device="cuda")
    plain, clipped = (
        fastrnn.explain(net, 10, 4, clip=clip).loops for clip in (None, fastrnn.Clip(step_norm=1.0))
    )
    assert clipped[0] == plain[0]
    assert clipped[1].engine == "streaming"
    assert "gradients of each step" in clipped[1].why_not
    assert fastrnn.explain(net, 10, 4, clip=fastrnn.Clip(norm=1.0)).loops == plain


@needs_cuda
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layer_norm": True}, "several phases"),
        ({"proj_size": 3}, "several phases"),
        ({"zoneout": 0.1}, "noise"),
    ],
    ids=["layer_norm", "proj_size", "zoneout"],
)
def test_phases(options, words):
    for loop in fastrnn.explain(fastrnn.LSTM(3, 8, device="cuda", **options), 10, 4).loops:
        assert (loop.engine, loop.microseconds, loop.limit) == ("phases", None, "")
        assert words in loop.why_not


@needs_cuda
@pytest.mark.parametrize("engine", ["streaming", "persistent"])
def test_a_forced_engine(engine):
    script = """
import dataclasses
loops = fastrnn.explain(fastrnn.GRU(3, 64, device="cuda"), 10, 4).loops
print(json.dumps([dataclasses.asdict(loop) for loop in loops]))
"""
    for loop in in_a_new_process(script, FASTRNN_CUDA_ENGINE=engine):
        assert loop["engine"] == engine
        slower = loop["microseconds"] > loop["other_microseconds"]
        if engine == "streaming" or slower:
            assert loop["why_not"] == f"FASTRNN_CUDA_ENGINE={engine}"


@needs_cuda
@pytest.mark.parametrize(("T", "B"), [(0, 2), (2, 0)])
def test_no_rows_on_a_gpu(T, B):
    loop = first(fastrnn.LSTM(3, 8, device="cuda"), T, B)
    assert loop.microseconds is None
    assert "no steps or no rows" in loop.why_not
