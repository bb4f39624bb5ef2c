# SPDX-License-Identifier: MIT
"""The benchmarks of whole models: PyTorch trains and decodes what we do, and what differs is found."""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))

import decode
import lessons
import train
import trainers

LESSONS = list(lessons.LESSONS)


@pytest.fixture
def one_thread():
    """Torch, which leaves the second processor to others."""
    torch = pytest.importorskip("torch", reason="what is trained is compared with PyTorch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield torch
    torch.set_num_threads(threads)


def small(lesson):
    """The same with 12 sequences, 4 a batch."""
    return dataclasses.replace(lesson, batch=4), 12


@pytest.mark.parametrize("name", LESSONS)
def test_lessons_are_of_the_shapes_they_name(name):
    lesson = lessons.LESSONS[name]
    model, (x, y) = lesson.model(), lesson.data(20)
    assert type(model).__name__ == lesson.topology
    assert len(x) == len(y) == 20
    assert np.isfinite(model.evaluate(x, y)["loss"])
    again = lesson.data(20)[1]
    assert all(np.array_equal(a, b) for a, b in zip(y, again))


@pytest.mark.parametrize("name", LESSONS)
def test_torch_trains_what_we_do(name, one_thread):
    lesson, sequences = small(lessons.LESSONS[name])
    ours, theirs = (trainers.TRAINERS[side](lesson, sequences) for side in train.EXACT)
    losses = [(ours.epoch(seed)[0], theirs.epoch(seed)[0]) for seed in range(3)]
    assert np.ptp([mine for mine, _ in losses]) > 1e-4  # they learn
    for mine, their in losses:
        assert their == pytest.approx(mine, rel=1e-4)


def test_padding_that_is_computed_is_another_model(one_thread):
    lesson, sequences = small(lessons.LESSONS["vowels"])
    exact, padded = (trainers.TRAINERS[side](lesson, sequences) for side in list(trainers.TRAINERS)[1:])
    assert abs(exact.epoch(0)[0] - padded.epoch(0)[0]) > 1e-4


def test_losses_that_differ_are_found():
    ours = [2.0, 1.5]
    assert train.agree("a case", {"fastrnn": ours, "torch": [2.0, 1.5 + 1e-4]}) == pytest.approx(1e-4)
    for wrong in (1.5 + 2e-3, float("nan")):
        with pytest.raises(train.Disagreement, match="a case"):
            train.agree("a case", {"fastrnn": ours, "torch": [2.0, wrong]})


def test_table_of_training():
    seconds = {"fastrnn": [1.0, 2.0, 4.0], "torch": [3.0, 4.0, 20.0]}
    first = {"case": "a", "topology": "NToN", **train.summary(1000, seconds)}
    second = {"case": "b", "topology": "NToM", **train.summary(10, {"fastrnn": [1.0], "torch": [12.0]})}
    assert first["ratio"] == {"torch": 3.0}  # of the pairs 3, 2 and 5
    assert train.means([first, second])["torch"] == pytest.approx({"geometric": 6.0, "least": 3.0})
    lines = train.table([first, second]).splitlines()
    assert lines[2] == "| a | NToN | 500 | 250 | 3.00 |"
    assert lines[-2:] == ["| geometric |  |  |  | 6.00 |", "| least |  |  |  | 3.00 |"]
    alone = {"case": "a", "topology": "NToN", **train.summary(10, {"fastrnn": [1.0]})}
    assert train.table([alone]).splitlines()[2] == "| a | NToN | 10 |"


def test_train(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(train, "QUICK_SHARE", 30)
    path = tmp_path / "train.json"
    assert train.main(["--case", "vowels", "--quick", "--epochs", "2", "--output", str(path)]) == 0
    report = json.loads(path.read_text())
    (result,) = report["results"]
    assert result["case"] == "vowels"
    assert result["sequences"] == 18
    assert len(result["losses"]["fastrnn"]) == 3
    assert result["losses"]["fastrnn"][-1] < result["losses"]["fastrnn"][0]
    assert all(speed > 0 for speed in result["steps_per_second"].values())
    assert "vowels" in capsys.readouterr().out


def test_tokens_that_differ_are_found():
    ours = [[1, 2], [3]]
    mode = decode.Mode(1, 1)
    decode.agree("a case", mode, {"fastrnn": ours, "torch": [[1, 2], [3]]})
    with pytest.raises(decode.Disagreement, match=r"a case, greedy, B=1: 1 is \[3\] here, \[3, 1\] in torch"):
        decode.agree("a case", mode, {"fastrnn": ours, "torch": [[1, 2], [3, 1]]})


def test_decode(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(decode, "QUICK_ROUNDS", 1)
    monkeypatch.setattr(decode, "EPOCHS", 1)
    path = tmp_path / "decode.json"
    assert decode.main(["--case", "generate_names", "--quick", "--output", str(path)]) == 0
    results = json.loads(path.read_text())["results"]
    assert [result["mode"] for result in results] == [mode.name for mode in decode.MODES]
    assert len({result["tokens"] for result in results[:2]}) == 1  # greedy: alone as in a batch
    for result in results:
        assert all(us > 0 for us in result["microseconds_per_call"].values())
    assert "greedy, B=64" in capsys.readouterr().out


def exhaustive(net, x, end, max_length, places):
    """A beam of one sequence, hypothesis by hypothesis."""
    import torch

    running, finished = [(0.0, [], net.begin(x))], []
    for _ in range(max_length):
        found = []
        for score, tokens, now in running:
            z, after = net.step(torch.tensor([tokens[-1] if tokens else net.start]), now)
            for k, p in enumerate(torch.log_softmax(z, -1)[0].tolist()):
                found.append((score + p, [*tokens, k], after))
        found = sorted(found, key=lambda h: -h[0])[: places - len(finished)]
        finished += [h for h in found if h[1][-1] == end]
        running = [h for h in found if h[1][-1] != end]
        if not running or (finished and max(h[0] for h in running) <= max(h[0] for h in finished)):
            break
    return max(finished or running, key=lambda h: h[0])[1]


@pytest.mark.parametrize("seed", range(12, 16))
@pytest.mark.parametrize("width", [1, 2, 5])
def test_the_beam_of_torch(width, seed, one_thread):
    import searches
    from fastrnn.batching import SequencePairs
    from twins import twin

    options = {**lessons.LESSONS["generate_names"].options, "embedding": 3}
    small_one = "gru", lessons.Embedding(20, 3), 8, 5
    lesson = dataclasses.replace(lessons.LESSONS["generate_names"], options=options, arguments=small_one)
    model, rng = lesson.model(), np.random.default_rng(seed)
    for weights in model.parameters().values():
        weights[...] = rng.normal(0, 1.5, weights.shape)
    net, data = twin(model), SequencePairs(model._asked(np.arange(20), None))
    together = searches.beam(net, data.batch(np.arange(20)), 0, 8, width)
    with one_thread.no_grad():
        for n, tokens in enumerate(together):
            one = exhaustive(net, data.batch(np.array([n])), 0, 8, width)
            assert tokens == searches.before(one, 0)
    if width == 1:
        assert together == searches.greedy(net, data.batch(np.arange(20)), 0, 8)
