# SPDX-License-Identifier: MIT
"""Surnames that nobody has: a GRU is told a locale at every step and writes a name letter by letter, one to N.

    h_t = f(U s + F E[y_{t-1}] + W h_{t-1})        y_t drawn from softmax((V h_t + b) / temperature)

s is the vector of one of 20 locales; U s is computed once for each name. Letters are drawn from the most probable ones
that together have the probability --top-p. The network learns from the training names of surnames.py.

Two questions are asked of what it writes. Is it at home there? The network of surnames.py, N to one, is trained on the
same names and reads the new ones: does it say the locale that was asked for? And is it new? A name that stands in
training was learned by heart, perhaps. Names are asked for as often as training has names of their locale.

    pip install ".[examples-surnames]" && python examples/generate_names.py
"""

from __future__ import annotations

import argparse
import time
from typing import Any, NamedTuple

import _command
import fastrnn
import numpy as np
import surnames
from _alphabet import Alphabet

EMBEDDING = 32  # of a locale, and of a letter
LONGEST = 40  # letters
BATCH_SIZE = 64
LEARNING_RATE = 4e-3
CLIP = fastrnn.Clip(norm=5.0)
JUDGE = {"epochs": 10, "hidden": 96}


# ---- data ----


class Task(NamedTuple):
    """Names with their locales to learn from and to choose settings by, and the letters of all of them."""

    train: surnames.Names
    validation: surnames.Names
    alphabet: Alphabet

    def data(self, names: surnames.Names) -> tuple[np.ndarray, list[np.ndarray]]:
        """Locales (N,), and the ids of the letters of each name."""
        return np.array([locale for _, locale in names]), [self.alphabet.encode(name) for name, _ in names]

    def asked(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """(count,) locales, as frequent as in training."""
        return rng.choice(self.data(self.train)[0], count)


def make_task(train: surnames.Names, validation: surnames.Names) -> Task:
    """Letters are those of training; validation leaves out names with others."""
    alphabet = Alphabet(name for name, _ in train)
    known = set(alphabet.symbols)
    return Task(train, [pair for pair in validation if set(pair[0]) <= known], alphabet)


# ---- networks ----


class Written(NamedTuple):
    """Losses by epoch of training and validation, the names that were written, seconds of training."""

    training: np.ndarray
    validation: np.ndarray
    names: list[str]
    seconds: float


def new_network(task: Task, args: argparse.Namespace) -> fastrnn.OneToN:
    """The untrained network."""
    return fastrnn.OneToN(
        "gru", fastrnn.Embedding(len(surnames.LOCALES), EMBEDDING), args.hidden, task.alphabet.end + 1,
        feed="every", feedback=True, embedding=EMBEDDING, end=task.alphabet.end, seed=args.seed,
    )  # fmt: skip


def settings(task: Task, args: argparse.Namespace) -> dict[str, Any]:
    """How both networks are trained."""
    return {
        "epochs": args.epochs, "batch_size": BATCH_SIZE, "optimizer": fastrnn.Adam(LEARNING_RATE), "clip": CLIP,
        "schedule": fastrnn.schedules.Cosine(args.epochs), "seed": args.seed, "progress": args.progress,
        "validation_data": task.data(task.validation),
    }  # fmt: skip


def train_ours(task: Task, asked: np.ndarray, args: argparse.Namespace) -> Written:
    """Trains the network and lets it write a name of each of the locales asked for."""
    model = new_network(task, args)
    history = model.fit(*task.data(task.train), **settings(task, args))
    assert history.validation_loss is not None  # there are validation data
    drawn = model.generate(
        asked, max_length=LONGEST, temperature=args.temperature, top_p=args.top_p, seed=args.seed
    )
    names = ["".join(task.alphabet.decode(name)) for name in drawn.sequences]
    return Written(history.loss, history.validation_loss, names, float(history.seconds.sum()))


def train_torch(task: Task, asked: np.ndarray, args: argparse.Namespace) -> Written:
    """The same in PyTorch."""
    import _torch_producers as producers

    net = producers.Twin(new_network(task, args))
    trained = producers.train(net, *task.data(task.train), **settings(task, args))
    ids = producers.sample(net, asked, LONGEST, args.temperature, args.top_p, args.seed)
    names = ["".join(task.alphabet.decode(name)) for name in ids]
    return Written(trained.loss, trained.validation_loss, names, trained.seconds)


class Judge(NamedTuple):
    """The network of surnames.py, and the share of names of its test that it gives their locale."""

    letters: surnames.Alphabet
    model: fastrnn.NToOne
    right: float

    def locales(self, names: list[str]) -> np.ndarray:
        """(N,) where names seem to be from; -1 of a name without letters."""
        some = np.array([name != "" for name in names])
        found = np.full(len(names), -1)
        found[some] = self.model.predict(self.letters.encode(name for name in names if name))
        return found


def train_judge(parts: tuple[surnames.Names, ...], seed: int, progress: bool) -> Judge:
    """Trains it on the first part."""
    letters = surnames.Alphabet(parts[0])
    train, validation, test = map(letters.part, parts)
    args = argparse.Namespace(**JUDGE, seed=seed, progress=progress)
    model = surnames.new_network(letters, args)
    told = surnames.train_ours(model, train, validation, test, args)
    return Judge(letters, model, float(np.mean(told.predicted == test.y)))


# ---- what is shown ----


class Score(NamedTuple):
    """Shares of written names: at home where asked for; not among those of training; both; different ones."""

    recognised: float
    new: float
    both: float
    different: float


def score(names: list[str], asked: np.ndarray, told: np.ndarray, train: surnames.Names) -> Score:
    """What names that were written for the locales asked for are worth, where a judge told their locales."""
    known = {name for name, _ in train}
    right, new = told == asked, np.array([name not in known for name in names])
    return Score(
        *(float(np.mean(share)) for share in (right, new, right & new)), len(set(names)) / len(names)
    )


def draw(figure: Any, results: dict[str, Written], asked: np.ndarray, told: np.ndarray) -> None:
    """Learning curves, and for each locale where the judge places the names that fastrnn wrote, with an example."""
    curves, matrix = figure.subplots(1, 2, width_ratios=(2, 3))
    for (name, result), (colour, width) in zip(results.items(), _command.CURVES):
        epochs, look = np.arange(1, len(result.training) + 1), {"color": colour, "linewidth": width}
        curves.plot(epochs, result.training, linestyle=":", label=f"{name}, training", **look)
        curves.plot(epochs, result.validation, label=f"{name}, validation", **look)
    curves.set(xlabel="epoch", ylabel="nats a letter", title="Learning")
    curves.grid(alpha=0.3)
    curves.legend()
    judged = told >= 0
    counts = _command.confusion(asked[judged], told[judged], len(surnames.LOCALES))
    image = matrix.imshow(
        100 * counts / np.maximum(counts.sum(1, keepdims=True), 1), cmap="Blues", vmin=0, vmax=100
    )
    labels = [f"{locale} ({count})" for locale, count in zip(surnames.LOCALES, counts.sum(1))]
    matrix.set_xticks(range(len(labels)), surnames.LOCALES, rotation=90)
    matrix.set_yticks(range(len(labels)), labels)
    matrix.set(title="Written names of fastrnn", xlabel="taken for", ylabel="asked for (names)")
    figure.colorbar(image, ax=matrix, label="% of the names asked for")


def show(names: list[str], asked: np.ndarray, train: surnames.Names) -> None:
    """Prints some new names of each locale."""
    known = {name for name, _ in train}
    for number, locale in enumerate(surnames.LOCALES):
        new = [name for name, wanted in zip(names, asked) if wanted == number and name and name not in known]
        print(f"  {locale}  {', '.join(dict.fromkeys(new[:6])) or '-'}")


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = _command.parser(
        "Writes surnames of a locale.", epochs=12, hidden=128, figure="generate_names.png"
    )
    parser.add_argument("--count", type=int, default=4000, help="names to write (default: 4000)")
    parser.add_argument(
        "--temperature", type=float, default=0.8, help="below 1: the probable more often (default: 0.8)"
    )
    parser.add_argument(
        "--top-p", type=float, default=0.95, help="draw from letters of this probability (default: 0.95)"
    )
    args = _command.parse(parser, argv)
    for name, good, wanted in (
        ("count", args.count >= 1, "at least 1 is needed"),
        ("temperature", args.temperature > 0, "it is above 0"),
        ("top-p", 0 < args.top_p <= 1, "it is above 0 and at most 1"),
    ):
        if not good:
            parser.error(f"--{name} {vars(args)[name.replace('-', '_')]}: {wanted}")
    return args


def main(argv: list[str] | None = None) -> dict[str, Score]:
    """Trains writer and judge, compares, draws; the scores by name."""
    args, start = arguments(argv), time.perf_counter()
    parts = surnames.split(surnames.load_names())
    task = make_task(*parts[:2])
    asked = task.asked(args.count, np.random.default_rng(args.seed))
    print(f"{len(task.train)} names of {len(surnames.LOCALES)} locales to learn from,", end=" ")
    print(f"{task.alphabet.end} letters", flush=True)
    judge = train_judge(parts, args.seed, args.progress)
    results = {"fastrnn": train_ours(task, asked, args)}
    if args.compare_torch:
        results["PyTorch"] = train_torch(task, asked, args)
    print(f"\nthe judge is right in {judge.right:.1%} of real names that it did not see")
    columns = ("recognised", "new", "both", "different", "nats a letter", "seconds")
    print(f"{f'of {args.count} names':<20}" + "".join(f"{column:>14}" for column in columns))
    scores, told = {}, {}
    for name, result in results.items():
        told[name] = judge.locales(result.names)
        scores[name] = score(result.names, asked, told[name], task.train)
        shares = "".join(f"{share:>14.1%}" for share in scores[name])
        print(
            f"{f'GRU {args.hidden}, {name}':<20}{shares}{result.validation[-1]:>14.3f}{result.seconds:>14.1f}"
        )
    print("\nnew names of fastrnn")
    show(results["fastrnn"].names, asked, task.train)
    _command.save_figure(args.plot, (15, 6), lambda figure: draw(figure, results, asked, told["fastrnn"]))
    _command.farewell(start)
    return scores


if __name__ == "__main__":
    main()
