# SPDX-License-Identifier: MIT
"""Dates as people write them, to ISO 8601: an encoder reads "Thursday, March 5, 2009", a decoder writes "2009-03-05".

babel writes each day from 1970 to 2024 in one of eleven ways, chosen at random: numbers in three orders, names of
months and of days, years of two digits or four. A tenth of the days is there to test: none of them occurs in training,
in whatever way. Many to many, N to M: the encoder is a GRU of both directions; its final states make the first state of
the decoder, and enter each of its steps:

    c = [h_N forward ; h_1 reverse]        s_0 = tanh(W c + b)        s_t = f(F E[y_{t-1}] + W_c c + W s_{t-1})

    pip install ".[examples-dates]" && python examples/dates.py
    python examples/dates.py --locale de        # or ja, ar, ...: all that babel knows
"""

from __future__ import annotations

import argparse
import datetime
import time
from typing import Any, NamedTuple

import _command
import fastrnn
import numpy as np
from _alphabet import Alphabet, exact

FIRST, DAYS = (
    datetime.date(1970, 1, 1),
    20089,
)  # to 2024-12-31: fewer than a hundred years, that two digits may tell
WAYS = (
    "short", "medium", "long", "full", "d MMM y", "d MMMM y", "MMM d, y", "EEEE, MMMM d, y", "dd/MM/y", "y/M/d",
    "d.M.yy",
)  # fmt: skip
DATA_SEED = 0  # the data are part of the task: another seed of the network keeps them
LONGEST = len("2024-12-31") + 1  # steps that are allowed, one of them for the end
EMBEDDING = 32
BATCH_SIZE = 64
LEARNING_RATE = 4e-3
CLIP = fastrnn.Clip(norm=1.0)


# ---- data ----


class Example(NamedTuple):
    """A date as it was written, its ISO form, and the way of writing."""

    text: str
    iso: str
    way: str


def write_dates(locale: str) -> list[Example]:
    """Every day once, in an order and in ways chosen at random."""
    try:
        from babel import Locale, UnknownLocaleError
        from babel.dates import format_date
    except ImportError:
        raise _command.missing("babel", "examples-dates") from None
    try:
        spoken = Locale.parse(locale)
    except (UnknownLocaleError, ValueError):
        raise SystemExit(f"--locale {locale}: babel does not know it") from None
    rng = np.random.default_rng(DATA_SEED)
    examples = []
    for day, number in zip(rng.permutation(DAYS), rng.integers(len(WAYS), size=DAYS)):
        date, way = FIRST + datetime.timedelta(int(day)), WAYS[number]
        examples.append(Example(format_date(date, way, spoken), date.isoformat(), way))
    return examples


class Task(NamedTuple):
    """What there is to learn and to test, and the symbols of both sides."""

    train: list[Example]
    validation: list[Example]
    test: list[Example]
    texts: Alphabet
    dates: Alphabet

    def texts_of(self, examples: list[Example]) -> list[np.ndarray]:
        """What is read."""
        return [self.texts.encode(example.text) for example in examples]

    def dates_of(self, examples: list[Example]) -> list[np.ndarray]:
        """What is to be written."""
        return [self.dates.encode(example.iso) for example in examples]

    def written(self, ids: list[np.ndarray]) -> list[str]:
        """What ids say."""
        return ["".join(self.dates.decode(date)) for date in ids]


def make_task(examples: list[Example]) -> Task:
    """80, 10 and 10 percent of examples that are mixed already."""
    tenth = len(examples) // 10
    parts = examples[2 * tenth :], examples[tenth : 2 * tenth], examples[:tenth]
    alphabets = (Alphabet(getattr(example, side) for example in examples) for side in ("text", "iso"))
    return Task(*parts, *alphabets)


# ---- networks ----


class Result(NamedTuple):
    """Losses by epoch, the dates that were written for the test, seconds of training."""

    training: np.ndarray
    validation: np.ndarray
    dates: list[str]
    seconds: float


def new_network(task: Task, args: argparse.Namespace) -> fastrnn.NToM:
    """The untrained network."""
    texts, dates = task.texts, task.dates
    return fastrnn.NToM(
        "gru", fastrnn.Embedding(texts.end, EMBEDDING), args.hidden, dates.end + 1, context_to="both",
        embedding=EMBEDDING, end=dates.end, bidirectional=True, seed=args.seed,
    )  # fmt: skip


def settings(task: Task, args: argparse.Namespace) -> dict[str, Any]:
    """How both networks are trained."""
    return {
        "epochs": args.epochs, "batch_size": BATCH_SIZE, "optimizer": fastrnn.Adam(LEARNING_RATE), "clip": CLIP,
        "schedule": fastrnn.schedules.Cosine(args.epochs), "seed": args.seed, "progress": args.progress,
        "validation_data": (task.texts_of(task.validation), task.dates_of(task.validation)),
    }  # fmt: skip


def train_ours(task: Task, args: argparse.Namespace) -> Result:
    """Trains the network and lets it write."""
    model = new_network(task, args)
    history = model.fit(task.texts_of(task.train), task.dates_of(task.train), **settings(task, args))
    assert history.validation_loss is not None  # there are validation data
    dates = task.written(model.decode(task.texts_of(task.test), max_length=LONGEST).sequences)
    return Result(history.loss, history.validation_loss, dates, float(history.seconds.sum()))


def train_torch(task: Task, args: argparse.Namespace) -> Result:
    """The same in PyTorch."""
    import _torch_producers as producers

    net = producers.Twin(new_network(task, args))
    data = task.texts_of(task.train), task.dates_of(task.train)
    trained = producers.train(net, *data, **settings(task, args))
    dates = task.written(producers.greedy(net, task.texts_of(task.test), LONGEST))
    return Result(trained.loss, trained.validation_loss, dates, trained.seconds)


# ---- what is shown ----


def right_by_way(test: list[Example], dates: list[str]) -> dict[str, float]:
    """Share of exact dates of each way of writing that occurs."""
    right: dict[str, list[bool]] = {}
    for example, date in zip(test, dates):
        right.setdefault(example.way, []).append(example.iso == date)
    return {way: float(np.mean(right[way])) for way in WAYS if way in right}


def draw(figure: Any, results: dict[str, Result], task: Task) -> None:
    """Learning curves, and the share of exact dates by way of writing, with an example of each."""
    curves, ways = figure.subplots(1, 2, width_ratios=(2, 3))
    for (name, result), (colour, width) in zip(results.items(), _command.CURVES):
        epochs, look = np.arange(1, len(result.training) + 1), {"color": colour, "linewidth": width}
        curves.semilogy(epochs, result.training, linestyle=":", label=f"{name}, training", **look)
        curves.semilogy(epochs, result.validation, label=f"{name}, validation", **look)
    curves.set(xlabel="epoch", ylabel="nats a symbol", title="Learning")
    curves.grid(alpha=0.3)
    curves.legend()
    written = next(iter(results.values())).dates
    right = right_by_way(task.test, written)
    shown = {example.way: f"{example.text}  →  {date}" for example, date in zip(task.test, written)}
    ways.barh(range(len(right)), [100 * share for share in right.values()], color=_command.CURVES[0][0])
    for row, (way, share) in enumerate(right.items()):
        ways.text(1, row, shown[way], va="center", fontsize=9)
        ways.text(100.5, row, f"{share:.1%}", va="center", fontsize=9)
    ways.set_yticks(range(len(right)), right)
    ways.set(title="Unseen days by way of writing, each with an example", xlabel="exact, %", xlim=(0, 110))
    ways.invert_yaxis()


def main(argv: list[str] | None = None) -> dict[str, Result]:
    """Trains, compares, draws; the results by name."""
    parser = _command.parser("Writes dates in ISO form.", epochs=6, hidden=128, figure="dates.png")
    parser.add_argument("--locale", default="en", help="of the dates to read (default: en)")
    args = _command.parse(parser, argv)
    start, task = time.perf_counter(), make_task(write_dates(args.locale))
    print("training, validation, test: {}, {}, {} days;".format(*map(len, task[:3])), end=" ")
    print(f"{task.texts.end} symbols to read, {task.dates.end} to write", flush=True)
    results = {"fastrnn": train_ours(task, args)}
    if args.compare_torch:
        results["PyTorch"] = train_torch(task, args)
    true = [example.iso for example in task.test]
    print(f"\n{'unseen days':<30}{'exact':>9}{'nats a symbol':>15}{'seconds':>9}")
    for name, result in results.items():
        figures = f"{exact(result.dates, true):>9.2%}{result.validation[-1]:>15.4f}{result.seconds:>9.1f}"
        print(f"{f'GRU {args.hidden}, {name}':<30}{figures}")
    wrong = [(e.text, date) for e, date in zip(task.test, results["fastrnn"].dates) if e.iso != date]
    for text, date in wrong[:5]:
        print(f"  wrong: {text} -> {date}")
    _command.save_figure(args.plot, (13, 4.5), lambda figure: draw(figure, results, task))
    _command.farewell(start)
    return results


if __name__ == "__main__":
    main()
