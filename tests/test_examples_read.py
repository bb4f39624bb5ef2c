# SPDX-License-Identifier: MIT
"""The examples whose networks read sequences: chorales, vowels, surnames.

Their data come with packages that tests do not need: some made by hand stand in for them.
"""

import sys
import types
import zipfile
from pathlib import Path

import fastrnn
import numpy as np
import pytest
from example_files import is_png, load_example

data = load_example("_data")
chorales = load_example("chorales")
surnames = load_example("surnames")
vowels = load_example("vowels")


def compared(torch):
    """Options with which both networks are trained where PyTorch is wanted."""
    if torch:
        pytest.importorskip("torch", reason="compares with PyTorch")
        load_example("_torch")
    return ["--no-progress", "--compare-torch" if torch else "--no-compare-torch"]


@pytest.fixture
def one_thread():
    """Small nets are slow on several, PyTorch's above all."""
    before = fastrnn.get_num_threads()
    fastrnn.set_num_threads(1)
    yield
    fastrnn.set_num_threads(before)


# ---- chorales.py ----


def test_a_roll_has_what_sounds_at_each_quarter():
    notes = [
        (0.0, 2.0, 60),
        (0.5, 1.0, 62),
        (0.5, 1.5, 64),
        (2.0, 3.0, 21),
        (2.0, 3.0, 108),
        (0, 3, 20),
        (0, 3, 109),
    ]
    roll = chorales.piano_roll(notes, 3)
    assert roll.shape == (3, 88)
    assert [(np.flatnonzero(step) + 21).tolist() for step in roll] == [[60], [60, 64], [21, 108]]


@pytest.mark.parametrize(
    ("tonic", "mode", "semitones"),
    [
        (0, "major", 0),
        (2, "major", -2),
        (11, "major", 1),
        (6, "major", -6),
        (7, "major", 5),
        (9, "minor", 0),
        (0, "minor", -3),
        (4, "minor", 5),
        (3, "minor", -6),
    ],
)
def test_keys_are_brought_to_the_white_ones(tonic, mode, semitones):
    assert chorales.to_common_key(tonic, mode) == semitones


def test_a_score_becomes_a_transposed_roll():
    def note(offset, length, *pitches):
        return types.SimpleNamespace(
            offset=offset, quarterLength=length, pitches=[types.SimpleNamespace(midi=p) for p in pitches]
        )

    key = types.SimpleNamespace(tonic=types.SimpleNamespace(pitchClass=2), mode="major")
    notes = types.SimpleNamespace(notes=[note(0, 1, 62, 66), note(1, 1.5, 69)])
    score = types.SimpleNamespace(analyze={"key": key}.get, flatten=lambda: notes, highestTime=2.5)
    roll = chorales.score_roll(score)
    assert [(np.flatnonzero(step) + 21).tolist() for step in roll] == [[60, 64], [67], [67]]


def test_repeated_rolls_count_once():
    a, b, short = np.zeros((2, 88), np.uint8), np.ones((2, 88), np.uint8), np.zeros((1, 88), np.uint8)
    found = chorales.distinct([a, b, a.copy(), short, b.copy()])
    assert [roll.tolist() for roll in found] == [roll.tolist() for roll in (a, b, short)]


def test_without_memory_each_key_has_its_frequency():
    heard, asked = np.zeros((9, 88), np.float32), np.zeros((2, 88), np.float32)
    heard[:4, 0] = asked[0, 0] = 1
    nats = chorales.without_memory(chorales.Part([], [heard]), chorales.Part([], [asked]))
    often = 4.5 / 10
    assert nats == pytest.approx(-(np.log(often) + np.log(1 - often)) / 2 - 87 * np.log(1 - 0.5 / 10))


def rolls_in_turn():
    """40 rolls of 20 steps in which two chords take turns; which one begins, differs."""
    rolls = np.zeros((40, 20, 88), np.uint8)
    for n in range(40):
        rolls[n, n % 2 :: 2, [40, 44]] = 1
        rolls[n, 1 - n % 2 :: 2, [42, 49]] = 1
    return list(rolls)


def test_chorales_are_split_whole():
    rolls = [np.full((3, 88), n, np.uint8) for n in range(30)]
    parts = chorales.split(rolls)
    assert [len(part.x) for part in parts] == [24, 3, 3]
    assert sorted(int(x[0, 0]) for part in parts for x in part.x) == list(range(30))
    steps = np.arange(4, dtype=np.uint8)[:, None] + np.zeros((1, 88), np.uint8)
    train, _, _ = chorales.split([steps])
    assert train.x[0][:, 0].tolist() == [0, 1, 2]
    assert train.y[0][:, 0].tolist() == [1, 2, 3]


@pytest.mark.parametrize("torch", [False, True])
def test_chorales_run_and_draw(torch, one_thread, monkeypatch, tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="the figure is drawn with matplotlib")
    monkeypatch.setattr(chorales, "load_chorales", lambda progress: rolls_in_turn())
    path = tmp_path / "figure.png"
    argv = [*compared(torch), "--epochs", "150", "--hidden", "24", "--plot", str(path)]
    results = chorales.main(argv)
    train, _, test = chorales.split(rolls_in_turn())
    for result in results.values():
        assert len(result.training) == len(result.validation) == 150
        assert result.test < chorales.without_memory(train, test) / 2
    if torch:
        np.testing.assert_allclose(results["PyTorch"].training, results["fastrnn"].training, rtol=1e-3)
    assert "40 different chorales of 800 quarter notes" in capsys.readouterr().out
    assert is_png(path)


def test_chorales_are_parsed_once(monkeypatch, tmp_path):
    rolls = [np.eye(n, 88, dtype=np.uint8) for n in (3, 5, 5, 2)]
    named = dict(zip("abcd", rolls))
    parsed = []
    corpus = types.SimpleNamespace(
        chorales=types.SimpleNamespace(Iterator=lambda returnType: iter("abcda")),
        parse=lambda name: parsed.append(name) or named[name],
    )
    monkeypatch.setitem(sys.modules, "music21", types.SimpleNamespace(VERSION_STR="0", corpus=corpus))
    monkeypatch.setenv("FASTRNN_EXAMPLES_CACHE", str(tmp_path))
    monkeypatch.setattr(chorales, "score_roll", lambda score: score)
    for _ in range(2):
        found = chorales.load_chorales(progress=False)
        assert [roll.tolist() for roll in found] == [rolls[n].tolist() for n in (0, 1, 3)]
    assert parsed == ["a", "b", "c", "d"]
    assert [path.name for path in tmp_path.iterdir()] == ["chorales-music21-0.npz"]


def test_missing_chorales_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "music21", None)
    with pytest.raises(SystemExit, match=r'music21 is missing.*pip install "\.\[examples-chorales\]"'):
        chorales.load_chorales(progress=False)


# ---- vowels.py ----

SERIES = "# about\n@problemName x\n@data\n1,2,3:4,5,6:1\n7,8:9,-1.5:9\n"


def test_series_are_parsed():
    x, y = vowels.parse(SERIES)
    assert [a.tolist() for a in x] == [[[1, 4], [2, 5], [3, 6]], [[7, 9], [8, -1.5]]]
    assert y.tolist() == [0, 8]
    assert x[0].dtype == np.float32


def test_vowels_are_read_out_of_the_wheel(monkeypatch, tmp_path):
    monkeypatch.setattr(vowels.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("FASTRNN_EXAMPLES_CACHE", str(tmp_path))
    with zipfile.ZipFile(tmp_path / f"aeon-{vowels.AEON}-py3-none-any.whl", "w") as wheel:
        for part, text in (("TRAIN", SERIES), ("TEST", "@data\n1:2:3\n")):
            wheel.writestr(f"aeon/{vowels.FILES.format(part)}", text)
    train, test = vowels.load_vowels()
    assert (train.y.tolist(), test.y.tolist()) == ([0, 8], [2])


def test_vowels_are_read_out_of_the_package(monkeypatch, tmp_path):
    package = types.SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(vowels.importlib.util, "find_spec", lambda name: package)
    for part, text in (("TRAIN", SERIES), ("TEST", "@data\n1:2:3\n")):
        path = tmp_path / vowels.FILES.format(part)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    train, test = vowels.load_vowels()
    assert (train.y.tolist(), test.y.tolist()) == ([0, 8], [2])


def utterances(count, seed):
    """Each speaker has a level of their own in each channel, and noise."""
    rng, levels = np.random.default_rng(seed), np.random.default_rng(9).standard_normal((9, 12))
    y = np.arange(count) % 9
    x = [(levels[n] + 0.3 * rng.standard_normal((rng.integers(2, 9), 12))).astype(np.float32) for n in y]
    return vowels.Part([7 + 3 * a for a in x], y)


def test_channels_are_standardised_by_training_alone():
    train, test = utterances(30, 0), utterances(9, 1)
    ours, others = vowels.standardised(train, test)
    steps = np.concatenate(ours.x)
    np.testing.assert_allclose(steps.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(steps.std(0), 1, rtol=1e-5)
    before = np.concatenate(train.x)
    np.testing.assert_allclose(
        others.x[0], (test.x[0] - before.mean(0)) / before.std(0), rtol=1e-4, atol=1e-5
    )
    assert (others.y == test.y).all()


@pytest.mark.parametrize("torch", [False, True])
def test_vowels_run_and_draw(torch, one_thread, monkeypatch, tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="the figure is drawn with matplotlib")
    monkeypatch.setattr(vowels, "load_vowels", lambda: (utterances(90, 0), utterances(45, 1)))
    path = tmp_path / "figure.png"
    argv = [*compared(torch), "--epochs", "8", "--hidden", "12", "--runs", "2", "--plot", str(path)]
    results = vowels.main(argv)
    for runs in results.values():
        assert len(runs) == 2
        for run in runs:
            assert len(run.accuracy) == 8
            assert np.mean(run.predicted == np.arange(45) % 9) == pytest.approx(run.accuracy[-1], abs=1e-6)
            assert run.accuracy[-1] > 0.9
    assert ("PyTorch" in results) == torch
    assert "90 utterances of 9 speakers to train on, 45 to test" in capsys.readouterr().out
    assert is_png(path)


# ---- surnames.py ----


def test_surnames_of_a_provider_alone():
    class Inherited:
        last_names = ("Smith",)

    class Provider(Inherited):
        last_names_male = types.MappingProxyType({"Novak": 0.5, "Dvorak": 0.5})
        unisex_last_names = ("Novak", "Kral")
        first_names = ("Jan",)

    assert surnames.surnames(Provider) == ["Dvorak", "Kral", "Novak"]


def test_a_name_is_in_one_part_with_all_its_locales():
    names = [(f"n{n}", locale) for n in range(50) for locale in range(1 + n % 3)]
    parts = surnames.split(names)
    assert sorted(pair for part in parts for pair in part) == sorted(names)
    different = [{name for name, _ in part} for part in parts]
    assert [len(part) for part in different] == [40, 5, 5]
    assert len(set.union(*different)) == 50


def test_characters_that_training_lacks_are_unknown():
    alphabet = surnames.Alphabet([("bab", 3), ("c", 4)])
    assert alphabet.ids == {"a": 1, "b": 2, "c": 3}
    part = alphabet.part([("cab", 1), ("xa", 0)])
    assert [ids.tolist() for ids in part.x] == [[3, 1, 2], [surnames.UNKNOWN, 1]]
    assert part.y.tolist() == [1, 0]


def names_by_letters():
    """Names of one locale have the letters a and b, those of the other c and d."""
    rng = np.random.default_rng(0)
    return [
        ("".join(rng.choice(list(letters), 2 + n % 6)), locale)
        for n in range(150)
        for letters, locale in (("ab", 0), ("cd", 7))
    ]


@pytest.mark.parametrize("torch", [False, True])
def test_surnames_run_and_draw(torch, one_thread, monkeypatch, tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="the figure is drawn with matplotlib")
    monkeypatch.setattr(surnames, "load_names", names_by_letters)
    path = tmp_path / "figure.png"
    results = surnames.main([*compared(torch), "--epochs", "5", "--hidden", "12", "--plot", str(path)])
    _, _, test = surnames.split(names_by_letters())
    for result in results.values():
        assert len(result.accuracy) == 5
        assert result.predicted.tolist() == [locale for _, locale in test]
    assert ("PyTorch" in results) == torch
    shown = capsys.readouterr().out
    assert "300 surnames" in shown
    assert "\nalways " in shown
    assert is_png(path)


# ---- _data.py ----


def test_a_wheel_that_cannot_be_fetched_ends_the_example(monkeypatch, tmp_path):
    monkeypatch.setenv("FASTRNN_EXAMPLES_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(data.subprocess, "run", lambda command: types.SimpleNamespace(returncode=1))
    with pytest.raises(SystemExit, match=r"pip could not fetch thing 1\.0"):
        data.wheel("thing", "1.0")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_wheel_is_fetched_once(monkeypatch, tmp_path):
    monkeypatch.setenv("FASTRNN_EXAMPLES_CACHE", str(tmp_path))
    commands = []

    def fetch(command):
        commands.append(command)
        folder = Path(command[command.index("--dest") + 1])
        (folder / "thing-1.0-py3-none-any.whl").write_bytes(b"whole")
        return types.SimpleNamespace(returncode=0)

    monkeypatch.setattr(data.subprocess, "run", fetch)
    assert data.wheel("thing", "1.0") == data.wheel("thing", "1.0")
    assert data.wheel("thing", "1.0").read_bytes() == b"whole"
    assert [command[-1] for command in commands] == ["thing==1.0"]


def test_a_file_that_is_not_written_whole_is_gone(tmp_path):
    path = tmp_path / "file.txt"

    def interrupted():
        with data.written_whole(path) as part:
            part.write_text("half")
            raise KeyError

    with pytest.raises(KeyError):
        interrupted()
    assert list(tmp_path.iterdir()) == []
    with data.written_whole(path) as part:
        part.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]
