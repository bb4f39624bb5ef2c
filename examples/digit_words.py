# SPDX-License-Identifier: MIT
"""What does the image show? A GRU spells the name of a handwritten digit, letter by letter: one to N.

scikit-learn holds 1797 images of digits (Alpaydin and Kaynak 1998; UCI), 8 by 8 pixels. The image enters the first step
alone, each later step reads the letter before:

    h_1 = f(U image + F x_1 + W h_0)        h_t = f(F x_t + W h_{t-1})        y_t = softmax(V h_t + b)

Nothing tells the network that there are ten digits: it learns to see and to spell at once. A word counts when all of
its letters are right and it ends where it should. The number of epochs is fixed: the curve over the test in the figure
is shown and chooses nothing.

    pip install ".[examples-digits]" && python examples/digit_words.py
    python examples/digit_words.py --language fr        # or de, es, it, ...: all that num2words can say
"""

from __future__ import annotations

import argparse
import time
from typing import Any, NamedTuple

import _command
import fastrnn
import numpy as np
from _alphabet import Alphabet, exact

ENGLISH = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SIDE = 8  # of an image
SPLIT_SEED = 0  # the split is part of the task: another seed of the network keeps it
BATCH_SIZE = 32
LEARNING_RATE = 3e-3
CLIP = fastrnn.Clip(norm=5.0)


# ---- data ----


class Part(NamedTuple):
    """Images (N,64) from 0 to 1, and the digits (N,) that they show."""

    images: np.ndarray
    digits: np.ndarray


def load_digits() -> Part:
    """All images, which lie inside the package scikit-learn."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise _command.missing("scikit-learn", "examples-digits") from None
    images, digits = load_digits(return_X_y=True)
    return Part((images / 16).astype(np.float32), digits)


def split(data: Part) -> tuple[Part, Part]:
    """80 percent to train on, 20 percent to test, at random."""
    order = np.random.default_rng(SPLIT_SEED).permutation(len(data.digits))
    train, test = (Part(*(a[i] for a in data)) for i in np.split(order, [len(order) * 4 // 5]))
    return train, test


def names(language: str) -> tuple[str, ...]:
    """The ten names of digits in a language."""
    if language == "en":
        return ENGLISH
    try:
        from num2words import num2words
    except ImportError:
        raise _command.missing("num2words", "examples-digits") from None
    try:
        return tuple(num2words(digit, lang=language) for digit in range(10))
    except NotImplementedError:
        raise SystemExit(f"--language {language}: num2words does not speak it") from None


# ---- networks ----


class Result(NamedTuple):
    """Losses by epoch of training and test, the words for the test images, seconds of training."""

    training: np.ndarray
    test: np.ndarray
    words: list[str]
    seconds: float


class Task(NamedTuple):
    """What is to be spelled."""

    train: Part
    test: Part
    names: tuple[str, ...]
    alphabet: Alphabet

    def letters(self, part: Part) -> list[np.ndarray]:
        """The name of each image as ids of letters."""
        ids = [self.alphabet.encode(name) for name in self.names]
        return [ids[digit] for digit in part.digits]

    def words(self, ids: list[np.ndarray]) -> list[str]:
        """What ids spell."""
        return ["".join(self.alphabet.decode(word)) for word in ids]

    @property
    def longest(self) -> int:
        """Steps that are allowed: the longest name and a letter, for its end."""
        return max(map(len, self.names)) + 1


def new_network(task: Task, args: argparse.Namespace) -> fastrnn.OneToN:
    """The untrained network."""
    return fastrnn.OneToN(
        "gru", SIDE * SIDE, args.hidden, task.alphabet.end + 1, feed="first", feedback=True, embedding=16,
        end=task.alphabet.end, seed=args.seed,
    )  # fmt: skip


def settings(task: Task, args: argparse.Namespace) -> dict[str, Any]:
    """How both networks are trained."""
    return {
        "epochs": args.epochs, "batch_size": BATCH_SIZE, "optimizer": fastrnn.Adam(LEARNING_RATE), "clip": CLIP,
        "schedule": fastrnn.schedules.Cosine(args.epochs), "seed": args.seed, "progress": args.progress,
        "validation_data": (task.test.images, task.letters(task.test)),
    }  # fmt: skip


def train_ours(task: Task, args: argparse.Namespace) -> Result:
    """Trains the network and lets it spell."""
    model = new_network(task, args)
    history = model.fit(task.train.images, task.letters(task.train), **settings(task, args))
    assert history.validation_loss is not None  # there are validation data
    words = task.words(model.decode(task.test.images, max_length=task.longest).sequences)
    return Result(history.loss, history.validation_loss, words, float(history.seconds.sum()))


def train_torch(task: Task, args: argparse.Namespace) -> Result:
    """The same in PyTorch."""
    import _torch_producers as producers

    net = producers.Twin(new_network(task, args))
    trained = producers.train(net, task.train.images, task.letters(task.train), **settings(task, args))
    words = task.words(producers.greedy(net, task.test.images, task.longest))
    return Result(trained.loss, trained.validation_loss, words, trained.seconds)


# ---- what is shown ----


def draw(figure: Any, results: dict[str, Result], task: Task) -> None:
    """Learning curves, and test images with their words: the wrong ones first, then the first of each digit."""
    left, right = figure.subfigures(1, 2, width_ratios=(2, 3))
    curves = left.subplots()
    for (name, result), (colour, width) in zip(results.items(), _command.CURVES):
        epochs, look = np.arange(1, len(result.test) + 1), {"color": colour, "linewidth": width}
        curves.semilogy(epochs, result.training, linestyle=":", label=f"{name}, training", **look)
        curves.semilogy(epochs, result.test, label=f"{name}, test", **look)
    curves.set(xlabel="epoch", ylabel="nats a letter", title="Learning")
    curves.grid(alpha=0.3)
    curves.legend()
    words = next(iter(results.values())).words
    wrong = [n for n, word in enumerate(words) if word != task.names[task.test.digits[n]]]
    firsts = [int(np.argmax(task.test.digits == digit)) for digit in range(10)]
    right.suptitle("Unseen images, and what was spelled; in red what is wrong")
    for axes, n in zip(right.subplots(3, 6).flat, [*wrong[:8], *firsts]):
        axes.imshow(task.test.images[n].reshape(SIDE, SIDE), cmap="Greys")
        axes.set_title(words[n], color="#b23a48" if n in wrong else "black", fontsize=10)
    for axes in right.axes:
        axes.axis("off")


def main(argv: list[str] | None = None) -> dict[str, Result]:
    """Trains, compares, draws; the results by name."""
    parser = _command.parser(
        "Spells the names of handwritten digits.", epochs=60, hidden=96, figure="digit_words.png"
    )
    parser.add_argument("--language", default="en", help="of the names (default: en)")
    args = _command.parse(parser, argv)
    start, spoken = time.perf_counter(), names(args.language)
    task = Task(*split(load_digits()), spoken, Alphabet(spoken))
    print(f"{len(task.train.digits)} images to train on, {len(task.test.digits)} to test;", end=" ")
    print(f"{task.alphabet.end} letters: {' '.join(task.alphabet.symbols)}", flush=True)
    results = {"fastrnn": train_ours(task, args)}
    if args.compare_torch:
        results["PyTorch"] = train_torch(task, args)
    true = [spoken[digit] for digit in task.test.digits]
    print(f"\n{'unseen images':<26}{'exact words':>12}{'nats a letter':>15}{'seconds':>9}")
    for name, result in results.items():
        figures = f"{exact(result.words, true):>12.2%}{result.test[-1]:>15.4f}{result.seconds:>9.1f}"
        print(f"{f'GRU {args.hidden}, {name}':<26}{figures}")
    invented = sorted(set(results["fastrnn"].words) - set(spoken))
    print(f"words of fastrnn that are no name of a digit: {', '.join(invented) or 'none'}")
    _command.save_figure(args.plot, (13, 4.5), lambda figure: draw(figure, results, task))
    _command.farewell(start)
    return results


if __name__ == "__main__":
    main()
