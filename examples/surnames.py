# SPDX-License-Identifier: MIT
"""Where is a name from? A GRU reads a surname by its letters and says one of 20 locales: Y = softmax(V h_N + b).

faker holds the surnames; those of some locales are in scripts of their own, most share the Latin letters. A name may
be at home in several locales (Martin is in five), so that nothing can be right always. 80, 10 and 10 percent of the
different names are to train on, to choose settings by and to report on; a name is in one of these parts with all its
locales.

    pip install ".[examples-surnames]" && python examples/surnames.py
"""

from __future__ import annotations

import argparse
import importlib
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

import _command
import fastrnn
import numpy as np

LOCALES = (
    "cs_CZ", "de_DE", "el_GR", "en_GB", "es_ES", "fi_FI", "fr_FR", "ga_IE", "hr_HR", "hu_HU",
    "it_IT", "ja_JP", "nl_NL", "pl_PL", "pt_PT", "ro_RO", "ru_RU", "sv_SE", "tr_TR", "uk_UA",
)  # fmt: skip
LISTS = (
    "last_names", "last_names_male", "last_names_female", "last_names_common", "last_romanized_names",
    "male_last_names", "unisex_last_names",
)  # fmt: skip
SPLIT_SEED = 0  # the split is part of the task: another seed of the network keeps it
UNKNOWN = 0  # the id of characters that training does not have
EMBEDDING = 48
BATCH_SIZE = 32
LEARNING_RATE = 4e-3
WEIGHT_DECAY = 0.1
CLIP = fastrnn.Clip(norm=5.0)

Names = list[tuple[str, int]]  # (surname, number of its locale)


# ---- data ----


def surnames(provider: Any) -> list[str]:
    """The different surnames of a provider of faker; lists that it inherits are those of another locale."""
    lists = [vars(provider).get(name, ()) for name in LISTS]  # tuples, or weights by name
    return sorted({name for names in lists for name in names})


def load_names() -> Names:
    """All surnames with their locales."""
    try:
        import faker.providers.person  # noqa: F401
    except ImportError:
        raise _command.missing("faker", "examples-surnames") from None
    names: Names = []
    for number, locale in enumerate(LOCALES):
        provider = importlib.import_module(f"faker.providers.person.{locale}").Provider
        names += [(name, number) for name in surnames(provider)]
    return names


def split(names: Names) -> tuple[Names, Names, Names]:
    """Training, validation, test: 80, 10 and 10 percent of the different names."""
    different = sorted({name for name, _ in names})
    order = np.random.default_rng(SPLIT_SEED).permutation(len(different))
    tenth = len(different) // 10
    test, validation = ({different[i] for i in order[part * tenth :][:tenth]} for part in (0, 1))
    held_out = test | validation
    return (
        [pair for pair in names if pair[0] not in held_out],
        [pair for pair in names if pair[0] in validation],
        [pair for pair in names if pair[0] in test],
    )


class Part(NamedTuple):
    """Character ids of N names, and their locales (N,)."""

    x: list[np.ndarray]
    y: np.ndarray


class Alphabet:
    """The characters of training names, numbered from 1."""

    def __init__(self, names: Names) -> None:
        self.ids = {c: i for i, c in enumerate(sorted({c for name, _ in names for c in name}), UNKNOWN + 1)}

    def encode(self, names: Iterable[str]) -> list[np.ndarray]:
        """The ids of each name."""
        return [np.array([self.ids.get(character, UNKNOWN) for character in name]) for name in names]

    def part(self, names: Names) -> Part:
        """Names and locales as numbers."""
        return Part(self.encode(name for name, _ in names), np.array([locale for _, locale in names]))


# ---- training ----


class Result(NamedTuple):
    """Accuracy on the validation after each epoch, the locales said in the test, and seconds of training."""

    accuracy: np.ndarray
    predicted: np.ndarray
    seconds: float


def settings(args: argparse.Namespace, validation: Part) -> dict[str, Any]:
    """How both networks are trained."""
    return {
        "epochs": args.epochs, "batch_size": BATCH_SIZE, "clip": CLIP,
        "optimizer": fastrnn.AdamW(LEARNING_RATE, weight_decay=WEIGHT_DECAY),
        "validation_data": tuple(validation), "seed": args.seed, "progress": args.progress,
    }  # fmt: skip


def new_network(alphabet: Alphabet, args: argparse.Namespace) -> fastrnn.NToOne:
    """The untrained network."""
    letters = fastrnn.Embedding(len(alphabet.ids) + 1, EMBEDDING)
    return fastrnn.NToOne("gru", letters, args.hidden, len(LOCALES), seed=args.seed)


def train_ours(
    model: fastrnn.NToOne, train: Part, validation: Part, test: Part, args: argparse.Namespace
) -> Result:
    """Trains and tests the network."""
    history = model.fit(*train, **settings(args, validation))
    assert history.validation_accuracy is not None  # there are validation data
    return Result(history.validation_accuracy, model.predict(test.x), float(history.seconds.sum()))


def train_torch(
    model: fastrnn.NToOne, train: Part, validation: Part, test: Part, args: argparse.Namespace
) -> Result:
    """The same in PyTorch, from the weights that `model` has now."""
    import _torch

    net = _torch.Twin(model)
    trained = _torch.train(net, *train, **settings(args, validation))
    return Result(trained.validation_accuracy, _torch.decide(net, test.x), trained.seconds)


# ---- what is shown ----


def draw(figure: Any, results: dict[str, Result], true: np.ndarray) -> None:
    """Learning curves, and for the test names of each locale where fastrnn places them."""
    curves, matrix = figure.subplots(1, 2)
    for (name, result), (colour, width) in zip(results.items(), _command.CURVES):
        epochs = np.arange(1, len(result.accuracy) + 1)
        curves.plot(epochs, 100 * result.accuracy, color=colour, linewidth=width, label=name)
    curves.set(title="Learning", xlabel="epoch", ylabel="right in the validation, %")
    curves.grid(alpha=0.3)
    curves.legend(loc="lower right")
    predicted = next(iter(results.values())).predicted
    counts = _command.confusion(true, predicted, len(LOCALES))
    image = matrix.imshow(
        100 * counts / np.maximum(counts.sum(1, keepdims=True), 1), cmap="Blues", vmin=0, vmax=100
    )
    labels = [f"{locale} ({count})" for locale, count in zip(LOCALES, counts.sum(1))]
    matrix.set_xticks(range(len(LOCALES)), LOCALES, rotation=90)
    matrix.set_yticks(range(len(LOCALES)), labels)
    matrix.set(title="Names of the test", xlabel="taken for", ylabel="locale (names)")
    figure.colorbar(image, ax=matrix, label="% of the locale's names")


def main(argv: list[str] | None = None) -> dict[str, Result]:
    """Trains, compares, draws; the results by name."""
    parser = _command.parser("Says where surnames come from.", epochs=10, hidden=96, figure="surnames.png")
    args = _command.parse(parser, argv)
    start, names = time.perf_counter(), load_names()
    parts = split(names)
    alphabet = Alphabet(parts[0])
    train, validation, test = map(alphabet.part, parts)
    print(
        f"{len(names)} surnames, {len({name for name, _ in names})} different ones, of {len(LOCALES)} locales; ",
        end="",
    )
    print(f"training, validation, test: {len(train.x)}, {len(validation.x)}, {len(test.x)}", flush=True)
    results = {"fastrnn": train_ours(new_network(alphabet, args), train, validation, test, args)}
    if args.compare_torch:
        results["PyTorch"] = train_torch(new_network(alphabet, args), train, validation, test, args)
    largest = np.bincount(train.y).argmax()
    print(f"\n{'right':<26}{'validation':>11}{'test':>9}{'seconds':>9}")
    print(f"{f'always {LOCALES[largest]}':<26}{np.mean(validation.y == largest):>11.2%}", end="")
    print(f"{np.mean(test.y == largest):>9.2%}")
    for name, result in results.items():
        right = np.mean(result.predicted == test.y)
        line = f"{result.accuracy[-1]:>11.2%}{right:>9.2%}{result.seconds:>9.1f}"
        print(f"{f'GRU {args.hidden}, {name}':<26}{line}")
    _command.save_figure(args.plot, (14, 6), lambda figure: draw(figure, results, test.y))
    _command.farewell(start)
    return results


if __name__ == "__main__":
    main()
