# SPDX-License-Identifier: MIT
"""Who speaks? Nine men say two Japanese vowels, and a bidirectional GRU tells them apart: Y = softmax(V h_N + b).

Japanese Vowels (Kudo, Toyama and Shimbo 1999; UCI) holds 640 utterances of 7 to 29 steps, 12 coefficients of linear
prediction a step. Its own split has 30 utterances of each speaker to train on and 370 to test. The channels are
brought to mean 0 and deviation 1 of the training set. The number of epochs is fixed: the curve over the test in the
figure is shown and chooses nothing.

The file is one of the data sets inside the package aeon, which need not be installed: where it is not, its wheel
(6 MB) is fetched by pip once, and read.

    pip install ".[examples-vowels]" && python examples/vowels.py
"""

from __future__ import annotations

import argparse
import importlib.util
import time
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import _command
import _data
import fastrnn
import numpy as np

FILES = "datasets/data/JapaneseVowels/JapaneseVowels_{}.ts"  # in the package aeon
AEON = "1.6.0"
CHANNELS, SPEAKERS = 12, 9
BATCH_SIZE = 16
LEARNING_RATE = 5e-3
CLIP = fastrnn.Clip(norm=5.0)


# ---- data ----


class Part(NamedTuple):
    """Utterances, each (T_n,12), and their speakers (N,), 0 to 8."""

    x: list[np.ndarray]
    y: np.ndarray


def parse(text: str) -> Part:
    """A .ts file: after @data a line for each series, its channels and its class between colons."""
    x, y = [], []
    for line in text.partition("@data")[2].split():
        *channels, speaker = line.split(":")
        x.append(np.array([channel.split(",") for channel in channels], np.float32).T)
        y.append(int(speaker) - 1)
    return Part(x, np.array(y))


def load_vowels() -> tuple[Part, Part]:
    """Training and test, out of the package aeon."""
    found = importlib.util.find_spec("aeon")
    if found is not None and found.submodule_search_locations:
        folder = Path(next(iter(found.submodule_search_locations)))
        texts = [(folder / FILES.format(part)).read_text(encoding="utf-8") for part in ("TRAIN", "TEST")]
    else:
        with zipfile.ZipFile(_data.wheel("aeon", AEON)) as files:
            texts = [files.read(f"aeon/{FILES.format(part)}").decode() for part in ("TRAIN", "TEST")]
    train, test = map(parse, texts)
    return train, test


def standardised(train: Part, test: Part) -> tuple[Part, Part]:
    """Both by mean and deviation of each channel in training."""
    steps = np.concatenate(train.x)
    mean, deviation = steps.mean(0), steps.std(0)
    train, test = (Part([(x - mean) / deviation for x in part.x], part.y) for part in (train, test))
    return train, test


# ---- training ----


class Run(NamedTuple):
    """Accuracy on the test after each epoch, the speakers that were told in the end, and seconds of training."""

    accuracy: np.ndarray
    predicted: np.ndarray
    seconds: float


def settings(args: argparse.Namespace, test: Part, seed: int) -> dict[str, Any]:
    """How both networks are trained."""
    return {
        "epochs": args.epochs, "batch_size": BATCH_SIZE, "optimizer": fastrnn.Adam(LEARNING_RATE), "clip": CLIP,
        "validation_data": tuple(test), "seed": seed, "progress": args.progress,
    }  # fmt: skip


def new_network(args: argparse.Namespace, seed: int) -> fastrnn.NToOne:
    """The untrained network."""
    return fastrnn.NToOne("gru", CHANNELS, args.hidden, SPEAKERS, bidirectional=True, seed=seed)


def train_ours(train: Part, test: Part, args: argparse.Namespace, seed: int) -> Run:
    """Trains and tests the network."""
    model = new_network(args, seed)
    history = model.fit(*train, **settings(args, test, seed))
    assert history.validation_accuracy is not None  # there are validation data
    return Run(history.validation_accuracy, model.predict(test.x), float(history.seconds.sum()))


def train_torch(train: Part, test: Part, args: argparse.Namespace, seed: int) -> Run:
    """The same in PyTorch."""
    import _torch

    net = _torch.Twin(new_network(args, seed))
    trained = _torch.train(net, *train, **settings(args, test, seed))
    return Run(trained.validation_accuracy, _torch.decide(net, test.x), trained.seconds)


# ---- what is shown ----


def draw(figure: Any, results: dict[str, list[Run]], train: Part, test: Part) -> None:
    """An utterance, learning curves, and who is taken for whom in all runs of fastrnn together."""
    heard, curves, matrix = figure.subplots(1, 3, width_ratios=(2, 3, 2))
    heard.plot(train.x[0], linewidth=1)
    heard.set(title="One utterance, 12 channels", xlabel="step", ylabel="standard deviations")
    for (name, runs), (colour, width) in zip(results.items(), _command.CURVES):
        for number, run in enumerate(runs):
            label = name if number == 0 else None
            epochs = np.arange(1, len(run.accuracy) + 1)
            curves.plot(epochs, 100 * run.accuracy, color=colour, linewidth=width, label=label)
    curves.set(title="Learning", xlabel="epoch", ylabel="right in the test, %", ylim=(80, 100))
    curves.grid(alpha=0.3)
    curves.legend(loc="lower right")
    runs = next(iter(results.values()))
    counts = sum(_command.confusion(test.y, run.predicted, SPEAKERS) for run in runs)
    matrix.imshow(np.sqrt(counts), cmap="Blues")
    for row, column in zip(*np.nonzero(counts)):
        colour = "white" if row == column else "black"
        matrix.text(column, row, counts[row, column], ha="center", va="center", color=colour, fontsize=8)
    ticks = {"ticks": range(SPEAKERS), "labels": range(1, SPEAKERS + 1)}
    matrix.set_xticks(**ticks)
    matrix.set_yticks(**ticks)
    matrix.set(title=f"{len(runs)} runs of fastrnn", xlabel="taken for speaker", ylabel="speaker")


def main(argv: list[str] | None = None) -> dict[str, list[Run]]:
    """Trains, compares, draws; the runs by name."""
    parser = _command.parser(
        "Tells speakers of Japanese vowels apart.", epochs=40, hidden=64, figure="vowels.png"
    )
    parser.add_argument(
        "--runs", type=int, default=3, help="nets to train, with seeds from --seed on (default: 3)"
    )
    args = _command.parse(parser, argv)
    start = time.perf_counter()
    train, test = standardised(*load_vowels())
    print(f"{len(train.x)} utterances of {SPEAKERS} speakers to train on, {len(test.x)} to test", flush=True)
    seeds = range(args.seed, args.seed + args.runs)
    results = {"fastrnn": [train_ours(train, test, args, seed) for seed in seeds]}
    if args.compare_torch:
        results["PyTorch"] = [train_torch(train, test, args, seed) for seed in seeds]
    print(f"\n{'right in the test':<26}" + "".join(f"{f'seed {seed}':>9}" for seed in seeds), end="")
    print(f"{'mean':>9}{'seconds':>9}")
    for name, runs in results.items():
        right = [float(np.mean(run.predicted == test.y)) for run in runs]
        line = "".join(f"{share:>9.2%}" for share in (*right, np.mean(right)))
        print(
            f"{f'bidirectional GRU {args.hidden}, {name}':<26}{line}{sum(run.seconds for run in runs):>9.1f}"
        )
    _command.save_figure(args.plot, (14, 4.2), lambda figure: draw(figure, results, train, test))
    _command.farewell(start)
    return results


if __name__ == "__main__":
    main()
