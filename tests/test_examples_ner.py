# SPDX-License-Identifier: MIT
"""Named entities: files are read, entities counted as seqeval counts them, and the example runs; PyTorch's CRF."""

import itertools
import random
import warnings

import fastrnn
import numpy as np
import pytest
from example_files import load_example

conll = load_example("_conll")
ner = load_example("ner")

# ---- files ----


def test_a_file_is_read_by_its_first_and_last_column(tmp_path):
    path = tmp_path / "text"
    text = (
        "\ufeff-DOCSTART- -X- O O\n\nEU NNP  I-NP\tB-ORG \r\nsays VBZ I-VP O\n \t\u3000\nfirst\u00a0\u2028half\tO\n"
        "\u00a0\tO\n-DOCSTART-\n\n\nx B\n\n"
    )
    path.write_bytes(text.encode())
    assert conll.read(path) == [
        [("EU", "B-ORG"), ("says", "O")],
        [("first\u00a0\u2028half", "O"), ("\u00a0", "O")],
        [("x", "B")],
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a O\nb\n", r"line 2: 'b' has no tag"),
        (b"a O\n\nb NN\n", r"line 3: 'NN' is not O"),
        (b"a OO\n", r"line 1: 'OO' is not O"),
        (b"-DOCSTART- O\n\n", "holds no sentence"),
        (b"caf\xe9 O\n", "cannot be read: .*utf-8"),
        (None, "cannot be read: .*No such file"),
    ],
)
def test_files_that_cannot_be_read_are_refused(content, message, tmp_path):
    path = tmp_path / "text"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SystemExit, match=rf"text.* {message}"):
        conll.read(path)


# ---- entities ----


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ("", []),
        ("O O", []),
        ("B-A I-A O B-B", [("A", 0, 1), ("B", 3, 3)]),  # IOB2
        ("B-A B-A I-A", [("A", 0, 0), ("A", 1, 2)]),
        ("I-A I-A O I-B", [("A", 0, 1), ("B", 3, 3)]),  # IOB1
        ("I-A B-A I-B", [("A", 0, 0), ("A", 1, 1), ("B", 2, 2)]),
        ("I-A E-A I-A E-A", [("A", 0, 1), ("A", 2, 3)]),  # IOE2
        ("E-A E-A", [("A", 0, 0), ("A", 1, 1)]),
        ("I-A E-A I-A O", [("A", 0, 1), ("A", 2, 2)]),  # IOE1
        ("S-A B-A I-A E-A S-B", [("A", 0, 0), ("A", 1, 3), ("B", 4, 4)]),  # IOBES
        ("B-A I-B", [("A", 0, 0), ("B", 1, 1)]),  # no scheme allows these
        ("O I-A", [("A", 1, 1)]),
        ("S-A I-A", [("A", 0, 0), ("A", 1, 1)]),
        ("B-A E-B", [("A", 0, 0), ("B", 1, 1)]),
        ("I-A S-A", [("A", 0, 0), ("A", 1, 1)]),
        ("B I O E I", [("_", 0, 1), ("_", 3, 3), ("_", 4, 4)]),
        ("B-a-b I-a-b", [("a-b", 0, 1)]),
    ],
)
def test_entities(tags, found):
    assert conll.entities(tags.split()) == found


def test_entities_are_those_of_seqeval():
    labeling = pytest.importorskip("seqeval.metrics.sequence_labeling", reason="compares with seqeval")
    tags = ["O", *(prefix + kind for prefix in "BIES" for kind in ("-A", "-B", ""))]
    draw = random.Random(0)
    for _ in range(3000):
        sentence = draw.choices(tags, k=draw.randint(1, 9))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a prefix alone is no tag, it says
            assert conll.entities(sentence) == labeling.get_entities(sentence)


def test_scores_are_those_of_seqeval():
    metrics = pytest.importorskip("seqeval.metrics", reason="compares with seqeval")
    tags, draw = ["O", "B-A", "I-A", "B-B", "I-B"], random.Random(0)
    true, said = ([draw.choices(tags, k=7) for _ in range(40)] for _ in range(2))
    ours = conll.scores(true, said)
    theirs = metrics.classification_report(true, said, output_dict=True)
    for name, key in (("", "micro avg"), ("A", "A"), ("B", "B")):
        wanted = [theirs[key][part] for part in ("precision", "recall", "f1-score")]
        assert ours[name] == pytest.approx(wanted)


def test_scores_count_whole_entities():
    true = [["B-A", "I-A", "O"], ["B-A", "B-B"]]
    said = [["B-A", "O", "O"], ["B-A", "B-B"]]
    scores = conll.scores(true, said)
    assert scores == {"": (2 / 3, 2 / 3, 2 / 3), "A": (0.5, 0.5, 0.5), "B": (1, 1, 1)}
    assert conll.scores([["O"]], [["O"]]) == {"": (0, 0, 0)}
    assert conll.scores([["B-A"]], [["B-B"]]) == dict.fromkeys(("", "A", "B"), (0, 0, 0))
    assert conll.scores([["B-A", "B-A"]], [["B-A", "O"]])[""] == pytest.approx((1, 1 / 2, 2 / 3))


# ---- ner.py ----

SENTENCES = [
    [("Paris", "B-LOC"), ("is", "O"), ("big", "O")],
    [("paris", "B-LOC"), ("is", "O"), ("Ann", "B-PER")],
]


def test_words_seen_once_are_unknown():
    lexicon = ner.Lexicon(SENTENCES, ["O", "B-LOC", "B-PER", "B-LOC"])
    assert lexicon.words == {"is": 1, "paris": 2}
    assert lexicon.tags == ["B-LOC", "B-PER", "O"]
    part = lexicon.part([SENTENCES[1], [("PARIS", "O")]])
    assert [ids.tolist() for ids in part.x[0]] == [[2, 1, ner.UNKNOWN], [2]]
    assert [seen.shape for seen in part.x[1]] == [(3, ner.FEATURES), (1, ner.FEATURES)]
    assert lexicon.names(part.y) == [["B-LOC", "O", "B-PER"], ["O"]]


def test_features_see_shapes_and_letters():
    shapes = len(ner.SHAPES)
    lower, title, digits = map(ner.features, ("word", "Word", "w0rd"))
    assert (lower[shapes:] == title[shapes:]).all()
    assert (lower[:shapes] != title[:shapes]).any()
    assert (lower[:shapes] != digits[:shapes]).any()
    assert ner.groups("Ab") == ["<a", "<ab", "<ab>", "b>", "ab>", "<ab>", "<ab", "ab>"]
    assert lower[shapes:].sum() == len({ner.zlib.crc32(g.encode()) % ner.HASHED for g in ner.groups("word")})


def write(path, sentences):
    """A file of sentences whose names follow "mr" and "in", of letters of their own."""
    rng = np.random.default_rng(sentences)
    lines = []
    for n in range(sentences):
        person, place = "".join(rng.choice(list("abc"), 4)), "".join(rng.choice(list("xyz"), 4))
        words = ["mr", person.title(), "lives", "in", place.title(), place.title(), str(n)]
        lines += map(" ".join, zip(words, ["O", "B-PER", "O", "O", "B-LOC", "I-LOC", "O"]))
        lines.append("")
    path.write_text("\n".join(lines), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("crf", [[], ["--crf"]])
def test_ner_runs_and_draws(crf, tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="the figure is drawn with matplotlib")
    files = ["--train", write(tmp_path / "train", 120), "--test", write(tmp_path / "test", 20)]
    options = ["--no-progress", "--no-compare-torch", "--epochs", "12", "--hidden", "16", "--seeds", "2"]
    path = tmp_path / "figure.png"
    runs = ner.main([*files, *options, *crf, "--plot", str(path)])["fastrnn"]
    assert len(runs) == 2
    for run in runs:
        assert len(run.loss) == len(run.test_loss) == 12
        assert run.scores.keys() == {"", "LOC", "PER"}
        assert run.scores[""].f1 > 0.9
    shown = capsys.readouterr().out
    assert "test: 20 sentences of 140 words with 40 entities" in shown
    assert ("LSTM 16 and CRF, fastrnn " in shown) == bool(crf)
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("argv", [[], ["--train", "file"], ["--test", "file"]])
def test_without_files_it_says_what_it_needs(argv, capsys):
    with pytest.raises(SystemExit):
        ner.main(argv)
    assert "--train FILE and --test FILE are needed: text in the CoNLL form" in capsys.readouterr().err


def test_no_seeds_are_refused(capsys):
    with pytest.raises(SystemExit):
        ner.arguments(["--train", "a", "--test", "b", "--seeds", "0"])
    assert "--seeds 0" in capsys.readouterr().err


# ---- the same in PyTorch ----


@pytest.mark.parametrize("crf", [False, True])
def test_twin_computes_and_learns_the_same(crf, monkeypatch):
    pytest.importorskip("torch", reason="compares with PyTorch")
    monkeypatch.setattr(
        fastrnn, "get_num_threads", lambda: 1
    )  # which PyTorch takes: it is slow on more of them
    twins = load_example("_torch")
    model = fastrnn.NToN("lstm", (fastrnn.Embedding(9, 3), 2), 5, 4, bidirectional=True, crf=crf, seed=0)
    model.parameters()["readout.weight"][...] *= 4  # so that decisions differ
    rng, lengths = np.random.default_rng(0), [3, 1, 6, 6, 2, 1, 4]
    x = (
        [rng.integers(0, 9, n) for n in lengths],
        [rng.standard_normal((n, 2)).astype(np.float32) for n in lengths],
    )
    y = [rng.integers(0, 4, n) for n in lengths]
    net = twins.Twin(model)
    assert twins.evaluate(net, x, y) == pytest.approx(model.evaluate(x, y), abs=1e-5)
    assert [a.tolist() for a in twins.decide(net, x)] == [a.tolist() for a in model.predict(x)]
    assert len(set(np.concatenate(model.predict(x)))) > 1
    settings = {
        "epochs": 4, "batch_size": 3, "optimizer": fastrnn.AdamW(3e-2), "clip": fastrnn.Clip(norm=0.5), "seed": 0,
        "schedule": fastrnn.schedules.Cosine(4), "validation_data": (x, y), "progress": False,
    }  # fmt: skip
    history, trained = model.fit(x, y, **settings), twins.train(net, x, y, **settings)
    np.testing.assert_allclose(history.loss, trained.loss, rtol=1e-4)
    np.testing.assert_allclose(history.validation_loss, trained.validation_loss, rtol=1e-4)


def test_crf_of_torch_by_all_paths():
    torch = pytest.importorskip("torch", reason="it is in PyTorch")
    crf = load_example("_torch_crf").Crf(3).double()
    generator = torch.Generator().manual_seed(0)
    for part in crf.parameters():
        part.data = torch.randn(part.shape, generator=generator, dtype=torch.float64)
    scores = [torch.randn(n, 3, generator=generator, dtype=torch.float64) for n in (2, 4, 1, 4)]
    tags = [torch.arange(len(z)) % 3 for z in scores]

    def score(z, path):
        moves = sum(crf.transition[a, b] for a, b in itertools.pairwise(path))
        return z[range(len(z)), path].sum() + crf.start[path[0]] + moves + crf.end[path[-1]]

    loss, best = 0.0, []
    for z, own in zip(scores, tags):
        paths = list(itertools.product(range(3), repeat=len(z)))
        values = torch.stack([score(z, list(path)) for path in paths])
        loss += values.logsumexp(0) - score(z, own.tolist())
        best.append(list(paths[values.argmax()]))
    pack = torch.nn.utils.rnn.pack_sequence
    packed = pack(scores, enforce_sorted=False)
    value = crf(packed, pack(tags, enforce_sorted=False).data)
    assert value.item() == pytest.approx((loss / 11).item(), abs=1e-12)
    found = torch.nn.utils.rnn.unpack_sequence(packed._replace(data=crf.decode(packed)))
    assert [path.tolist() for path in found] == best
