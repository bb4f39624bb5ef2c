# SPDX-License-Identifier: MIT
"""Who and where, in any file of the CoNLL form: a bidirectional LSTM marks named entities, y_t = softmax(V h_t + b).

The network reads each word as a learned vector of its id, without regard to capitals, and beside it as features: what
it looks like (capitals, digits, other signs) and which letters it begins and ends with and holds, hashed. All words
seen in training less than twice share one vector, so that what is unknown in the test is known as such: by its
features. With --crf the tags of a sentence are chosen together, as the best path of a linear-chain CRF.

The score is F1 of whole entities as seqeval counts them (_conll.py): type, first and last word must be right.

    pip install ".[plot,progress]" && python examples/ner.py --train train.txt --test test.txt

A line of a file is a word, in the first column, and its tag, O or B-LOC and the like, in the last; blank lines
separate sentences. The files of CoNLL 2002 and 2003 and of WNUT 2016 and 2017 are of this form.
"""

from __future__ import annotations

import argparse
import time
import zlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import _command
import _conll
import fastrnn
import numpy as np
from _conll import Score, Sentence

UNKNOWN = 0  # the id of words that training has less than twice
OFTEN = 2
EMBEDDING = 64
INITIAL_VECTORS = 0.1  # times N(0, 1): the vector of a rare word is small rather than large and random
BATCH_SIZE = 16
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 0.1
CLIP = fastrnn.Clip(norm=5.0)
HASHED = 240  # features that groups of letters share
SHAPES = (
    str.istitle, str.isupper, str.islower, str.isdigit, str.isalpha, str.isascii,
    lambda word: any(c.isupper() for c in word[1:]),
    lambda word: any(c.isdigit() for c in word),
    lambda word: "-" in word[1:-1],
    lambda word: word[0] in "@#",
    lambda word: not any(c.isalnum() for c in word),
)  # fmt: skip
FEATURES = len(SHAPES) + HASHED


# ---- data ----


def groups(word: str) -> list[str]:
    """Its first letters, its last ones, and all three that stand side by side, without regard to capitals."""
    marked = f"<{word.lower()}>"
    ends = [marked[:n] for n in (2, 3, 4)] + [marked[-n:] for n in (2, 3, 4)]
    return [*ends, *(marked[i : i + 3] for i in range(len(marked) - 2))]


def features(word: str) -> np.ndarray:
    """(FEATURES,): 1 for each shape that the word has, and at the place of each of its groups; else 0."""
    row = np.zeros(FEATURES, np.float32)
    row[: len(SHAPES)] = [shape(word) for shape in SHAPES]
    row[[len(SHAPES) + zlib.crc32(group.encode()) % HASHED for group in groups(word)]] = 1
    return row


class Part(NamedTuple):
    """What the network reads of N sentences, word ids (T_n,) and features (T_n,F), and their tags (T_n,)."""

    x: tuple[list[np.ndarray], list[np.ndarray]]
    y: list[np.ndarray]


class Lexicon:
    """Words and tags as numbers.

    Args:
        train: the only sentences that words are taken from.
        tags: the tag set.
    """

    def __init__(self, train: list[Sentence], tags: Iterable[str]) -> None:
        counts = Counter(word.lower() for sentence in train for word, _ in sentence)
        often = sorted(word for word, count in counts.items() if count >= OFTEN)
        self.words = {word: i for i, word in enumerate(often, UNKNOWN + 1)}
        self.tags = sorted(set(tags))
        self._tag_ids = {tag: i for i, tag in enumerate(self.tags)}

    def part(self, sentences: list[Sentence]) -> Part:
        """Sentences as the network reads them."""
        rows = {word: features(word) for sentence in sentences for word, _ in sentence}
        ids = [
            np.array([self.words.get(word.lower(), UNKNOWN) for word, _ in sentence])
            for sentence in sentences
        ]
        seen = [np.array([rows[word] for word, _ in sentence]) for sentence in sentences]
        return Part((ids, seen), [np.array([self._tag_ids[tag] for _, tag in s]) for s in sentences])

    def names(self, tags: list[np.ndarray]) -> list[list[str]]:
        """The tags of sentences, from numbers."""
        return [[self.tags[i] for i in sentence] for sentence in tags]


# ---- training ----


class Run(NamedTuple):
    """Losses after each epoch, in nats a word; scores of the test by type, "" for all; seconds of training."""

    loss: np.ndarray
    test_loss: np.ndarray
    scores: dict[str, Score]
    seconds: float


class Task(NamedTuple):
    """What all runs share."""

    lexicon: Lexicon
    train: Part
    test: Part
    args: argparse.Namespace

    def network(self, seed: int) -> fastrnn.NToN:
        """The untrained network."""
        words = fastrnn.Embedding(len(self.lexicon.words) + 1, EMBEDDING)
        model = fastrnn.NToN(
            "lstm", (words, FEATURES), self.args.hidden, len(self.lexicon.tags),
            bidirectional=True, crf=self.args.crf, seed=seed,
        )  # fmt: skip
        model.parameters()["embedding.weight"][...] *= INITIAL_VECTORS
        return model

    def settings(self, seed: int) -> dict[str, Any]:
        """How both networks are trained; the curve over the test is shown, and chooses nothing."""
        return {
            "epochs": self.args.epochs, "batch_size": BATCH_SIZE, "clip": CLIP,
            "optimizer": fastrnn.AdamW(LEARNING_RATE, weight_decay=WEIGHT_DECAY),
            "schedule": fastrnn.schedules.Cosine(self.args.epochs),
            "validation_data": tuple(self.test), "seed": seed, "progress": self.args.progress,
        }  # fmt: skip

    def scores(self, predicted: list[np.ndarray]) -> dict[str, Score]:
        """Those of tags of the test."""
        return _conll.scores(self.lexicon.names(self.test.y), self.lexicon.names(predicted))


def train_ours(task: Task, seed: int) -> Run:
    """Trains and tests the network."""
    model = task.network(seed)
    history = model.fit(*task.train, **task.settings(seed))
    assert history.validation_loss is not None  # there are validation data
    scores = task.scores(model.predict(task.test.x))
    return Run(history.loss, history.validation_loss, scores, float(history.seconds.sum()))


def train_torch(task: Task, seed: int) -> Run:
    """The same in PyTorch."""
    import _torch

    net = _torch.Twin(task.network(seed))
    trained = _torch.train(net, *task.train, **task.settings(seed))
    return Run(
        trained.loss, trained.validation_loss, task.scores(_torch.decide(net, task.test.x)), trained.seconds
    )


# ---- what is shown ----


def describe(task: Task, train: list[Sentence], test: list[Sentence]) -> None:
    """Prints what the files hold."""
    for name, sentences in (("training", train), ("test", test)):
        marked = sum(len(_conll.entities(tag for _, tag in sentence)) for sentence in sentences)
        words = sum(map(len, sentences))
        print(f"{name}: {len(sentences)} sentences of {words} words with {marked} entities")
    unknown = np.mean(np.concatenate(task.test.x[0]) == UNKNOWN)
    print(f"{len(task.lexicon.words)} words have a vector of their own, ", end="")
    print(f"{unknown:.1%} of those of the test do not; {len(task.lexicon.tags)} tags", flush=True)


def report(results: dict[str, list[Run]], title: str) -> None:
    """Prints F1 of each seed, and means over the seeds and the deviation of F1."""
    runs = len(next(iter(results.values())))
    seeds = "".join(f"{f'F1, {n + 1}':>9}" for n in range(runs))
    print(
        f"\n{'entities of the test, %':<32}{'precision':>10}{'recall':>8}{seeds}{'mean':>8}{'+-':>6}{'seconds':>9}"
    )
    for name, found in results.items():
        scored = 100 * np.array([run.scores[""] for run in found])
        precision, recall, mean = scored.mean(0)
        each = "".join(f"{f1:>9.2f}" for f1 in scored[:, 2])
        spread = scored[:, 2].std(ddof=1) if runs > 1 else 0.0
        print(
            f"{f'{title}, {name}':<32}{precision:>10.2f}{recall:>8.2f}{each}{mean:>8.2f}{spread:>6.2f}",
            end="",
        )
        print(f"{sum(run.seconds for run in found):>9.1f}")


def draw(figure: Any, results: dict[str, list[Run]], counts: Counter[str]) -> None:
    """Losses of training and test, and F1 of each type: the mean over the seeds, and a dot for each."""
    curves, bars = figure.subplots(1, 2, width_ratios=(2, 3))
    types = [name for name, _ in counts.most_common()]
    for number, ((name, runs), (colour, width)) in enumerate(zip(results.items(), _command.CURVES)):
        for run in runs:
            look = {"color": colour, "linewidth": width}
            label = name if run is runs[0] else None
            epochs = np.arange(1, len(run.loss) + 1)
            curves.semilogy(epochs, run.loss, linestyle=":", **look)
            curves.semilogy(epochs, run.test_loss, label=label, **look)
        f1 = 100 * np.array([[run.scores[kind].f1 for kind in ("", *types)] for run in runs])
        at = np.arange(1 + len(types)) + 0.4 * (number - 0.5) * (len(results) > 1)
        bars.bar(at, f1.mean(0), 0.38, color=colour, label=name)
        for row in f1:
            bars.plot(at, row, ".", color="black", markersize=4)
    curves.set(title="Learning: test, and dotted training", xlabel="epoch", ylabel="nats a word")
    labels = [f"all ({counts.total()})", *(f"{kind} ({counts[kind]})" for kind in types)]
    bars.set_xticks(range(1 + len(types)), labels, rotation=30, ha="right")
    bars.set(title="Entities of the test, and how many there are", ylabel="F1, %")
    for axes in (curves, bars):
        axes.grid(alpha=0.3)
        axes.legend()


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = _command.parser("Marks named entities in text.", epochs=12, hidden=96, figure="ner.png")
    for name in ("train", "test"):
        parser.add_argument(
            f"--{name}", type=Path, metavar="FILE", help=f"sentences to {name} on: a word first, its tag last"
        )
    parser.add_argument("--crf", action="store_true", help="choose the tags of a sentence together")
    parser.add_argument(
        "--seeds", type=int, default=3, help="nets to train, with seeds from --seed on (default: 3)"
    )
    args = _command.parse(parser, argv)
    if args.train is None or args.test is None:
        parser.error(
            "--train FILE and --test FILE are needed: text in the CoNLL form, each line a word and, in the "
            "last column, its tag (O, B-LOC, I-LOC and the like), with a blank line after each sentence"
        )
    return args


def main(argv: list[str] | None = None) -> dict[str, list[Run]]:
    """Trains, compares, draws; the runs by name."""
    args = arguments(argv)
    start = time.perf_counter()
    train, test = _conll.read(args.train), _conll.read(args.test)
    lexicon = Lexicon(train, (tag for sentence in train + test for _, tag in sentence))
    task = Task(lexicon, lexicon.part(train), lexicon.part(test), args)
    describe(task, train, test)
    seeds = range(args.seed, args.seed + args.seeds)
    results = {"fastrnn": [train_ours(task, seed) for seed in seeds]}
    if args.compare_torch:
        results["PyTorch"] = [train_torch(task, seed) for seed in seeds]
    report(results, f"LSTM {args.hidden}{' and CRF' * args.crf}")
    found = (entity.type for sentence in test for entity in _conll.entities(tag for _, tag in sentence))
    counts = Counter(found)
    _command.save_figure(args.plot, (13, 4.8), lambda figure: draw(figure, results, counts))
    _command.farewell(start)
    return results


if __name__ == "__main__":
    main()
