# SPDX-License-Identifier: MIT
"""What sounds next in a chorale of Bach: an LSTM that reads piano rolls, y_t = sigmoid(V h_t + b).

Each step is a quarter note, x_t the 88 keys of a piano that sound then, and y_t the probability of each key to sound
at step t+1, a task of Boulanger-Lewandowski et al. (2012). The score is the negative log-likelihood in nats a step:
the sum over the 88 keys, the mean over all steps but the first of each chorale.

music21 holds the 371 chorales in the numbering of Riemenschneider. 24 of them are the same piece as another one, note
for note; each counts once, so that no test chorale is in training. They are transposed to C major or A minor by their
key as music21 finds it, mixed with a fixed seed, and split into 80, 10 and 10 percent.

    pip install ".[examples-chorales]" && python examples/chorales.py

The first run parses the scores, about a minute, and keeps the rolls (_data.py says where).
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

import _command
import _data
import fastrnn
import numpy as np

KEYS, LOWEST = 88, 21  # of a piano; the MIDI number of its lowest
SPLIT_SEED = 0  # the split is part of the task: another seed of the network keeps it
BATCH_SIZE = 8
LEARNING_RATE = 5e-3
CLIP = fastrnn.Clip(norm=1.0)

Roll = np.ndarray  # (T,88) uint8, 1 where a key sounds
Note = tuple[float, float, int]  # from, until, in quarter notes, and MIDI number


# ---- data ----


def piano_roll(notes: Iterable[Note], steps: int) -> Roll:
    """(steps,88): the notes that sound at t = 0, 1, 2, ...; shorter ones in between are not seen."""
    roll = np.zeros((steps, KEYS), np.uint8)
    for start, end, midi in notes:
        if 0 <= midi - LOWEST < KEYS:
            roll[math.ceil(start) : math.ceil(end), midi - LOWEST] = 1
    return roll


def to_common_key(tonic: int, mode: str) -> int:
    """Semitones from a tonic, 0 to 11 for C to B, to the C of major or the A of minor: the nearer way, -6 to 5."""
    return ((0 if mode == "major" else 9) - tonic + 6) % 12 - 6


def score_roll(score: Any) -> Roll:
    """The roll of one score of music21, transposed."""
    key = score.analyze("key")
    semitones = to_common_key(key.tonic.pitchClass, key.mode)
    notes = [
        (float(note.offset), float(note.offset + note.quarterLength), pitch.midi + semitones)
        for note in score.flatten().notes
        for pitch in note.pitches
    ]
    return piano_roll(notes, math.ceil(score.highestTime))


def distinct(rolls: Iterable[Roll]) -> list[Roll]:
    """The rolls in their order without those that repeat an earlier one."""
    return list({(len(roll), roll.tobytes()): roll for roll in rolls}.values())


def load_chorales(progress: bool) -> list[Roll]:
    """All different chorales, parsed by music21 once and kept."""
    try:
        import music21
    except ImportError:
        raise _command.missing("music21", "examples-chorales") from None
    path = _data.cache_folder() / f"chorales-music21-{music21.VERSION_STR}.npz"
    if not path.exists():
        names = dict.fromkeys(music21.corpus.chorales.Iterator(returnType="filename"))
        parsing = _command.bar(names, "parsing, once", progress)
        rolls = distinct(score_roll(music21.corpus.parse(name)) for name in parsing)
        with _data.written_whole(path) as part:
            np.savez_compressed(part, steps=list(map(len, rolls)), rolls=np.concatenate(rolls))
    with np.load(path) as stored:
        return np.split(stored["rolls"], np.cumsum(stored["steps"])[:-1])


class Part(NamedTuple):
    """Rolls without their last step, and the same without their first one, which is to be said."""

    x: list[np.ndarray]
    y: list[np.ndarray]


def split(rolls: list[Roll]) -> tuple[Part, Part, Part]:
    """80, 10 and 10 percent of the chorales, to train on, to choose settings by, and to report on."""
    mixed = [rolls[i].astype(np.float32) for i in np.random.default_rng(SPLIT_SEED).permutation(len(rolls))]
    tenth = len(rolls) // 10
    parts = mixed[2 * tenth :], mixed[tenth : 2 * tenth], mixed[:tenth]
    train, validation, test = (Part([r[:-1] for r in part], [r[1:] for r in part]) for part in parts)
    return train, validation, test


# ---- scores ----


def without_memory(train: Part, test: Part) -> float:
    """Nats a step of the test where each key sounds as often as in training, whatever sounded before."""
    heard = np.concatenate(train.y)
    often = (heard.sum(0) + 0.5) / (len(heard) + 1)  # no key is impossible
    mean = np.concatenate(test.y).mean(0)
    return float(-(mean * np.log(often) + (1 - mean) * np.log1p(-often)).sum())


class Result(NamedTuple):
    """Nats a step: a curve over the epochs of training and validation, and the test; seconds of training."""

    training: np.ndarray
    validation: np.ndarray
    test: float
    seconds: float


def settings(args: argparse.Namespace, validation: Part) -> dict[str, Any]:
    """How both networks are trained."""
    return {
        "epochs": args.epochs, "batch_size": BATCH_SIZE, "optimizer": fastrnn.Adam(LEARNING_RATE), "clip": CLIP,
        "validation_data": tuple(validation), "seed": args.seed, "progress": args.progress,
    }  # fmt: skip


def new_network(args: argparse.Namespace) -> fastrnn.NToN:
    """The untrained network."""
    return fastrnn.NToN("lstm", KEYS, args.hidden, KEYS, activation="sigmoid", seed=args.seed)


def train_ours(model: fastrnn.NToN, parts: tuple[Part, Part, Part], args: argparse.Namespace) -> Result:
    """Trains and tests the network."""
    train, validation, test = parts
    history = model.fit(*train, **settings(args, validation))
    curves = KEYS * history.loss, KEYS * history.validation_loss
    return Result(*curves, KEYS * model.evaluate(*test)["loss"], float(history.seconds.sum()))


def train_torch(parts: tuple[Part, Part, Part], args: argparse.Namespace) -> Result:
    """The same in PyTorch."""
    import _torch

    train, validation, test = parts
    net = _torch.Twin(new_network(args))
    trained = _torch.train(net, *train, **settings(args, validation))
    curves = KEYS * trained.loss, KEYS * trained.validation_loss
    return Result(*curves, KEYS * _torch.evaluate(net, *test)["loss"], trained.seconds)


# ---- what is shown ----


def draw(figure: Any, results: dict[str, Result], sounding: Roll, said: np.ndarray) -> None:
    """Learning curves, and what the network expects in a test chorale: the first steps of its roll."""
    curves, roll = figure.subplots(1, 2, width_ratios=(2, 3))
    for (name, result), (colour, width) in zip(results.items(), _command.CURVES):
        epochs = np.arange(1, len(result.training) + 1)
        look = {"color": colour, "linewidth": width}
        curves.plot(epochs, result.training, linestyle=":", label=f"{name}, training", **look)
        curves.plot(epochs, result.validation, label=f"{name}, validation", **look)
    curves.set(xlabel="epoch", ylabel="nats a step", title="Learning", ylim=(None, 14))
    curves.legend()
    curves.grid(alpha=0.3)
    steps = slice(0, 48)
    image = roll.imshow(
        said[steps].T, origin="lower", aspect="auto", cmap="Blues", vmin=0, vmax=1,
        extent=(0.5, len(said[steps]) + 0.5, LOWEST - 0.5, LOWEST + KEYS - 0.5),
    )  # fmt: skip
    t, key = np.nonzero(sounding[steps])
    roll.plot(t + 1, key + LOWEST, ".", color="#b23a48", markersize=5, label="what sounds")
    roll.set(
        xlabel="quarter note", ylabel="MIDI number", title="What is expected in a test chorale, a step before"
    )
    roll.set_ylim(key.min() + LOWEST - 3, key.max() + LOWEST + 3)
    roll.legend(loc="upper right")
    figure.colorbar(image, ax=roll, label="probability")


def main(argv: list[str] | None = None) -> dict[str, Result]:
    """Trains, compares, draws; the results by name."""
    parser = _command.parser(
        "Predicts the next step of Bach's chorales.", epochs=60, hidden=128, figure="chorales.png"
    )
    args = _command.parse(parser, argv)
    start, rolls = time.perf_counter(), load_chorales(args.progress)
    parts = train, _, test = split(rolls)
    print(
        f"{len(rolls)} different chorales of {sum(map(len, rolls))} quarter notes; training, validation, test:"
    )
    print(", ".join(f"{len(part.x)} ({sum(map(len, part.x))} steps to say)" for part in parts), flush=True)
    model = new_network(args)
    results = {"fastrnn": train_ours(model, parts, args)}
    if args.compare_torch:
        results["PyTorch"] = train_torch(parts, args)
    print(f"\n{'nats a step':<26}{'training':>10}{'validation':>12}{'test':>8}{'seconds':>9}")
    print(f"{'each key by its frequency':<26}{without_memory(train, test):>30.3f}")
    for name, (training, validation, nats, seconds) in results.items():
        line = f"{training[-1]:>10.3f}{validation[-1]:>12.3f}{nats:>8.3f}{seconds:>9.1f}"
        print(f"{f'LSTM {args.hidden}, {name}':<26}{line}")
    said = model.predict_proba(test.x[:1])[0]
    _command.save_figure(args.plot, (13, 4.5), lambda figure: draw(figure, results, test.y[0], said))
    _command.farewell(start)
    return results


if __name__ == "__main__":
    main()
