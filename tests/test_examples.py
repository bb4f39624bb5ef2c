# SPDX-License-Identifier: MIT
"""The examples run, and show what they say they show.

The corpus of tagging.py comes with a package that tests do not need: sentences made by hand stand in for it.
"""

import importlib.util
import json
import sys
from pathlib import Path

import fastrnn
import numpy as np
import pytest
from example_files import load_example

apple = load_example("apple")
tagging = load_example("tagging")
vanishing = load_example("vanishing")

# ---- apple.py ----


def test_memory_decides_what_an_apple_is(capsys):
    accuracy = apple.main(["--epochs", "5", "--no-progress"])
    for word in (*apple.AMBIGUOUS, "ambiguous words"):
        assert accuracy["without memory"][word] == 0.5
        assert accuracy["memory of both sides"][word] > 0.99
    assert 0.6 < accuracy["memory of the left"]["ambiguous words"] < 0.9
    shown = capsys.readouterr().out.split("memory of both sides:")[1]
    assert "i like eating apple/FRUIT\n" in shown
    assert "apple/COMPANY is a great company\n" in shown
    assert "(wrong)" not in shown


@pytest.mark.parametrize("seed", range(3))
def test_apple_corpus_is_balanced_and_split(seed):
    train, test = apple.corpus(seed)
    assert not {sentence.words for sentence in train} & {sentence.words for sentence in test}
    for part in (train, test):
        for word in apple.AMBIGUOUS:
            labels = [label for s in part for w, label in zip(s.words, s.labels) if w == word]
            assert labels.count("FRUIT") == labels.count("COMPANY") == len(labels) / 2 > 0
    assert apple.EXAMPLES[0] in test
    assert apple.EXAMPLES[1] in test


def test_apple_words_alone_keep_their_order():
    alone = apple.word_by_word([np.array([3, 1]), np.array([2])])
    assert alone.tolist() == [[3], [1], [2]]


# ---- tagging.py ----

TRAIN = [
    [("好", "d"), ("食", "v"), (".", "")],
    [("好", "d"), ("大", "a")],
    [("好", "a"), ("人", "n"), (".", "")],
    [("食", "v"), ("魚", "n")],
    [("人", "n"), ("人", "n")],
]
TEST = [[("好", "a"), ("食", "v"), ("tofu", "xn"), (".", "")], [("貓仔", "n")]]


@pytest.fixture
def lexicon():
    tags = {tag for sentence in TRAIN + TEST for _, tag in sentence}
    return tagging.Lexicon(TRAIN, tags)


def test_lexicon_knows_training_words_alone(lexicon):
    assert set(lexicon.word_ids) == {*tagging.UNKNOWN, "好", "食", "大", "人", "魚", "."}
    assert sorted(lexicon.word_ids.values()) == list(range(len(lexicon.word_ids)))
    assert lexicon.tags == ["", "a", "d", "n", "v", "xn"]
    assert lexicon.ambiguous == {"好"}
    assert lexicon.rare == {"大", "魚"}


def test_unknown_and_rare_words_become_their_class(lexicon):
    words = {i: word for word, i in lexicon.word_ids.items()}
    seen = [[words[i] for i in sentence] for sentence in lexicon.encode(TEST)]
    assert seen == [["好", "食", "<latin>", "."], ["<2>"]]
    hidden = [[words[i] for i in sentence] for sentence in lexicon.encode(TRAIN, hide_rare=True)]
    assert hidden[1] == ["好", "<1>"]
    assert hidden[3] == ["食", "<1>"]
    assert tagging.unknown_class("茶餐廳仔") == "<3+>"


def test_baseline_and_masks(lexicon):
    masks = lexicon.masks(TEST)
    assert masks["all words"].tolist() == [True, True, True, False, True]
    assert masks["ambiguous"].tolist() == [True, False, False, False, False]
    assert masks["unknown"].tolist() == [False, False, True, False, True]
    predicted = lexicon.most_frequent(TEST)
    assert [[lexicon.tags[i] for i in sentence] for sentence in predicted] == [["d", "v", "n", ""], ["n"]]
    accuracy = tagging.accuracies(predicted, lexicon.encode_tags(TEST), masks)
    assert accuracy == {"all words": 0.5, "ambiguous": 0.0, "unknown": 0.5}


def test_split_takes_each_sentence_once():
    sentences = [[(str(i), "m")] for i in range(57)]
    parts = tagging.split(sentences)
    assert [len(part) for part in parts] == [47, 5, 5]
    assert sorted(sentence for part in parts for sentence in part) == sorted(sentences)
    assert tagging.split(sentences) == parts


def test_word_by_word_keeps_tokens_and_order(lexicon):
    data = tagging.prepare(lexicon, tagging.Parts(TRAIN, TEST, TEST))
    alone = tagging.word_by_word(data)
    assert len(data.x) == 2 * len(TRAIN)
    assert alone.x.shape == alone.y.shape == (sum(map(len, data.x)), 1)
    assert np.array_equal(alone.x[:, 0], np.concatenate(data.x))
    assert np.array_equal(alone.y[:, 0], np.concatenate(data.y))


@pytest.mark.parametrize("epochs", range(1, 10))
def test_phases_make_all_epochs(epochs):
    phases = tagging.phases(epochs)
    assert sum(count for count, _ in phases) == epochs
    assert phases[0][1] == tagging.LEARNING_RATE


def corpus_of_60():
    return [[*TRAIN[i % len(TRAIN)], (f"名{i}", "n"), ("好", "d")] for i in range(60)]


def test_tagging_runs_and_saves(tmp_path, monkeypatch, capsys):
    pytest.importorskip("safetensors", reason="models are written with safetensors")
    monkeypatch.setattr(tagging, "load_corpus", corpus_of_60)
    path = tmp_path / "tagger.safetensors"
    tagging.main(["--epochs", "1", "--hidden", "4", "--embedding", "5", "--save", str(path)])
    shown = capsys.readouterr().out
    for name in ("most frequent tag of each word", "network without recurrence", "bidirectional LSTM"):
        assert f"\n{name} " in shown
    meaning = json.loads(path.with_name(path.name + ".json").read_text(encoding="utf-8"))
    weights = fastrnn.load(path).state_dict()
    assert weights["embedding.weight"].shape == (len(meaning["words"]), 5)
    assert weights["readout.weight"].shape == (len(meaning["tags"]), 8)
    assert "CRF" not in shown


def test_tagging_with_a_crf_as_in_torch(tmp_path, monkeypatch, capsys):
    pytest.importorskip("torch", reason="compares with PyTorch")
    monkeypatch.syspath_prepend(Path(tagging.__file__).parent)
    monkeypatch.setattr(tagging, "load_corpus", corpus_of_60)
    path = tmp_path / "tagger.safetensors"
    monkeypatch.setattr(
        fastrnn, "get_num_threads", lambda: 1
    )  # which PyTorch takes: it is slow on more of them
    tagging.main(
        ["--epochs", "8", "--hidden", "8", "--embedding", "8", "--batch-size", "8", "--crf", "--torch"]
        + ["--save", str(path)] * (importlib.util.find_spec("safetensors") is not None)
    )
    rows = dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines() if "%" in line)
    shares = {name: [float(word[:-1]) for word in row.split()[:3]] for name, row in rows.items()}
    for name in ("bidirectional LSTM", "bidirectional LSTM and CRF"):
        assert shares[name] == shares[f"{name} in PyTorch"]
        assert shares[name][0] > 80
    if path.exists():
        assert "crf.transition" in fastrnn.load(path).state_dict()


def test_torch_network_computes_the_same(lexicon):
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    model = tagging.new_network(lexicon, tagging.arguments(["--hidden", "8", "--embedding", "6"]))
    x = lexicon.encode(TRAIN)
    ours = model.predict_proba(x)
    with torch.no_grad():
        packed = tagging.torch_logits(tagging.torch_network(model), [torch.from_numpy(ids) for ids in x])
    theirs = torch.nn.utils.rnn.unpack_sequence(packed)
    for mine, other in zip(ours, theirs):
        np.testing.assert_allclose(mine, other.softmax(-1).numpy(), atol=1e-5)


def test_missing_corpus_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycantonese", None)
    with pytest.raises(SystemExit, match=r'pip install "\.\[examples\]"'):
        tagging.load_corpus()


@pytest.mark.parametrize("argv", [["--epochs", "0"], ["--save", "no/such/folder/tagger"]])
def test_bad_arguments_are_refused_before_training(argv, capsys):
    with pytest.raises(SystemExit):
        tagging.arguments(argv)
    assert argv[0] in capsys.readouterr().err


# ---- vanishing.py ----


@pytest.fixture(scope="module")
def vanishing_found():
    return vanishing.main(["--quick", "--figure", "none"])


def test_vanishing_shows_what_vanishes_and_what_explodes(vanishing_found):
    left = {name: vanishing.left(flow.dh)[-1] for name, flow in vanishing_found["start"].items()}
    assert left["tanh"] < 1e-4 < left["GRU"] < left["LSTM"]
    assert 0.1 < left["relu, W = 1"] < 1 < left["tanh, large W"]
    rates = {name: flow.rate[0, 0] for name, flow in vanishing_found["start"].items()}
    for name, rate in rates.items():
        assert rate ** (vanishing.QUICK.steps[-1] - 1) == pytest.approx(left[name])


def test_vanishing_explodes_without_clipping_alone(vanishing_found):
    largest = {name: np.nanmax(losses) for name, losses in vanishing_found["clipped"].items()}
    without = largest.pop("no clipping")
    assert without > 1e6
    assert max(largest.values()) < 10
    assert len(largest) == 2


def test_vanishing_table_and_repetition(vanishing_found, capsys):
    again = vanishing.main(["--quick", "--figure", "none"])
    shown = capsys.readouterr().out
    for name in ("tanh, large W", "relu, W = 1", "LSTM", "GRU", "no clipping", "norm = 0.3", "copy memory"):
        assert name in shown
    assert shown.rstrip().splitlines()[-1].startswith("GRU")  # and no figure was written
    for part in ("adding", "clipped", "copied"):
        for name, losses in vanishing_found[part].items():
            np.testing.assert_array_equal(again[part][name], losses)


def test_vanishing_figure(vanishing_found, tmp_path):
    pytest.importorskip("matplotlib", reason="the figure is drawn with matplotlib")
    path = tmp_path / "figure.png"
    vanishing.draw(vanishing_found, vanishing.QUICK, str(path))
    assert path.read_bytes().startswith(b"\x89PNG")


def test_vanishing_without_matplotlib(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setattr(vanishing, "measure", lambda settings, seed: {})
    monkeypatch.setattr(vanishing, "table", lambda found, settings: "the table")
    vanishing.main(["--quick", "--figure", str(tmp_path / "figure.png")])
    shown = capsys.readouterr().out
    assert "the table" in shown
    assert "pip install fastrnn[plot]" in shown


def test_adding_asks_for_the_sum_of_one_number_of_each_half():
    x, y = vanishing.adding(10).draw(np.random.default_rng(0))
    marks = x[..., 1]
    assert (marks[:5].sum(0) == 1).all()
    assert (marks[5:].sum(0) == 1).all()
    np.testing.assert_allclose(y[:, 0], (x[..., 0] * marks).sum(0))
    task = vanishing.adding(10)
    sums = np.concatenate([task.draw(np.random.default_rng(n))[1] for n in range(300)])
    assert np.mean((sums - 1) ** 2) == pytest.approx(task.baseline, rel=0.03)


def test_copy_memory_asks_for_what_came_first():
    T, M = 7, vanishing.MEMORY
    task = vanishing.copy_memory(T)
    x, y = task.draw(np.random.default_rng(0))
    ids, y = x.argmax(-1), y.reshape(T + 2 * M, -1)
    np.testing.assert_array_equal(y[-M:], ids[:M])
    assert ids[:M].min() >= 1
    assert not y[:-M].any()
    assert (ids[T + M - 1] == vanishing.SYMBOLS + 1).all()
    assert (x.sum(-1) == 1).all()
    assert not ids[M : T + M - 1].any()
    assert not ids[T + M :].any()
    guess = np.where(np.arange(vanishing.SYMBOLS + 1) > 0, 0.0, -np.inf)  # symbols alike, at the last M steps
    z = np.where(
        np.arange(len(y))[:, None] < T + M, np.eye(vanishing.SYMBOLS + 1)[0] * 99, np.maximum(guess, -99)
    )
    z = np.repeat(z[:, None], y.shape[1], axis=1).reshape(-1, vanishing.SYMBOLS + 1)
    assert task.loss(z, y.reshape(-1)).value == pytest.approx(task.baseline)
