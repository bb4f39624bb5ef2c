# SPDX-License-Identifier: MIT
"""Why a recurrent network: is "apple" a fruit or a company?

"I like eating apple" and "Apple is a great company" hold the same word once case is folded, and only its
neighbours tell what it means. A network that reads word by word, y_i = g(V f(U x_i)), must give "apple" one
answer for both, and is right half of the time. A recurrent one, h_i = f(U x_i + W h_{i-1}), carries the
neighbours to the word: from the left, or from both sides when it is bidirectional.

The corpus is generated. A clause has one noun and one cue that decides its sense, before the noun or after
it, with neutral words in between that occur in both senses alike. Each ambiguous word is a fruit in exactly
half of its clauses, for each side and distance of the cue. A test clause joins a word with a cue that this
word never meets in training, so that nothing can be learned by heart.

    python examples/apple.py
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

import fastrnn
import numpy as np

LABELS = ("O", "FRUIT", "COMPANY")
AMBIGUOUS = ("apple", "orange", "blackberry", "mango", "tangerine", "lime", "kiwi", "peach")
UNAMBIGUOUS = {
    "FRUIT": ("banana", "pear", "plum", "cherry"),
    "COMPANY": ("google", "nokia", "siemens", "toyota"),
}
CUES_BEFORE = {
    "FRUIT": ("I like eating", "she peeled", "we baked", "they squeezed", "the salad needs", "he picked"),
    "COMPANY": ("he works for", "I own shares of", "she sued", "they founded", "the bank trusts", "we left"),
}
CUES_AFTER = {
    "FRUIT": (
        "is a sweet snack", "tastes best in summer", "grows on our farm", "goes well with cream",
        "is full of vitamins", "fell from the tree",
    ),
    "COMPANY": (
        "is a great company", "hired new engineers", "reported record profits", "is listed in New York",
        "opened an office in Berlin", "fired the chairman",
    ),
}  # fmt: skip
# Between cue and noun, and between noun and cue: neutral, from next to each other to a dozen words apart.
BEFORE_NOUN = ("", "nothing but", "what we all know as", "for many years , as my aunt likes to tell us ,")
AFTER_NOUN = ("", "really", ", as we all know ,", ", or so my aunt likes to tell us every now and then ,")
HELD_OUT = 2  # of the six cues of each sense and side, those that a word meets in the test alone


class Sentence(NamedTuple):
    """Words after case folding, and one of LABELS for each."""

    words: tuple[str, ...]
    labels: tuple[str, ...]


class Network(NamedTuple):
    """What a network remembers at a word: nothing, what stands left of it, or what stands on both sides."""

    memory: bool
    bidirectional: bool


NETWORKS = {
    "without memory": Network(memory=False, bidirectional=True),
    "memory of the left": Network(memory=True, bidirectional=False),
    "memory of both sides": Network(memory=True, bidirectional=True),
}


# ---- the corpus ----


def clause(noun: str, sense: str, before: str = "", after: str = "") -> Sentence:
    """One noun among other words. Case is folded: a capital would give the company away."""
    left, right = before.lower().split(), after.lower().split()
    return Sentence((*left, noun, *right), (*["O"] * len(left), sense, *["O"] * len(right)))


def joined(first: Sentence, second: Sentence) -> Sentence:
    """Two clauses in one sentence: the cue next to a noun need not be its own."""
    return Sentence((*first.words, "while", *second.words), (*first.labels, "O", *second.labels))


def clauses(noun: str, sense: str, cues: list[int]) -> list[Sentence]:
    """All clauses of a noun in one sense with the cues of these numbers, on both sides, at all distances."""
    before, after = CUES_BEFORE[sense], CUES_AFTER[sense]
    left = [clause(noun, sense, before=f"{before[cue]} {gap}") for cue in cues for gap in BEFORE_NOUN]
    right = [clause(noun, sense, after=f"{gap} {after[cue]}") for cue in cues for gap in AFTER_NOUN]
    return left + right


def corpus(seed: int) -> tuple[list[Sentence], list[Sentence]]:
    """Training and test sentences, single clauses and pairs; the two of the theory are in the test."""
    rng = np.random.default_rng(seed)
    train, test = [], []
    for sense, words in UNAMBIGUOUS.items():
        for word in words:
            train += clauses(word, sense, list(range(len(CUES_BEFORE[sense]))))
    for word in AMBIGUOUS:
        for sense in UNAMBIGUOUS:
            cues = rng.permutation(len(CUES_BEFORE[sense])).tolist()
            if word == "apple":
                cues.sort(key=lambda cue: cue != 0)  # the theory's own cues, number 0, go to the test
            test += clauses(word, sense, cues[:HELD_OUT])
            train += clauses(word, sense, cues[HELD_OUT:])
    for part in (train, test):
        part += [joined(first, part[i]) for first, i in zip(part, rng.permutation(len(part)))]
    return train, test


EXAMPLES = (
    clause("apple", "FRUIT", before="I like eating"),
    clause("apple", "COMPANY", after="is a great company"),
    joined(
        clause("apple", "COMPANY", after=f"{AFTER_NOUN[-1]} is a great company"),
        clause("apple", "FRUIT", before=f"I like eating {BEFORE_NOUN[-1]}"),
    ),
)


# ---- the networks ----


def word_by_word(sequences: list[np.ndarray]) -> np.ndarray:
    """The same words, each as a sequence of length one, (N,1): no state ever passes from word to word."""
    return np.concatenate(sequences)[:, None]


class Tagger:
    """One of NETWORKS, its words and its training.

    Args:
        network: what it remembers.
        train: sentences; every word that will be tagged occurs in them.
        args: epochs, hidden, seed and progress of the command line.
    """

    def __init__(self, network: Network, train: list[Sentence], args: argparse.Namespace) -> None:
        words = sorted({word for sentence in train for word in sentence.words})
        self.ids = {word: i for i, word in enumerate(words)}
        self.memory = network.memory
        self.model = fastrnn.NToN(
            "lstm", fastrnn.Embedding(len(words), args.hidden), args.hidden, len(LABELS),
            bidirectional=network.bidirectional, seed=args.seed,
        )  # fmt: skip
        x = self._encode(train)
        y = [np.array([LABELS.index(label) for label in sentence.labels]) for sentence in train]
        batch_size = 32
        if not self.memory:  # as many words a batch as with memory, so that both take equally many steps
            batch_size *= round(sum(map(len, x)) / len(x))
            x, y = word_by_word(x), word_by_word(y)
        self.model.fit(
            x, y, epochs=args.epochs, batch_size=batch_size, optimizer=fastrnn.Adam(5e-3),
            clip=fastrnn.Clip(norm=5.0), seed=args.seed, progress=args.progress,
        )  # fmt: skip

    def tag(self, sentences: list[Sentence]) -> list[list[str]]:
        """The most probable label of each word."""
        x = self._encode(sentences)
        labels = np.concatenate(self.model.predict(x if self.memory else word_by_word(x)))
        ends = np.cumsum([len(sequence) for sequence in x])
        return [[LABELS[i] for i in part] for part in np.split(labels, ends[:-1])]

    def _encode(self, sentences: list[Sentence]) -> list[np.ndarray]:
        return [np.array([self.ids[word] for word in sentence.words]) for sentence in sentences]


# ---- the comparison ----


def accuracies(sentences: list[Sentence], predicted: list[list[str]]) -> dict[str, float]:
    """Share of right labels among all words, among the ambiguous ones, and for each of these."""
    words = np.array([word for sentence in sentences for word in sentence.words])
    true = np.array([label for sentence in sentences for label in sentence.labels])
    right = np.concatenate(predicted) == true
    rows = {"all words": right, "ambiguous words": right[np.isin(words, AMBIGUOUS)]}
    rows |= {word: right[words == word] for word in AMBIGUOUS}
    return {name: float(row.mean()) for name, row in rows.items()}


def show(sentence: Sentence, predicted: list[str]) -> str:
    """The sentence with every label that is not O; a wrong label is marked."""
    words = []
    for word, label, guess in zip(sentence.words, sentence.labels, predicted):
        words.append(word + ("" if guess == "O" else f"/{guess}") + ("" if guess == label else " (wrong)"))
    return " ".join(words)


def compare(args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Trains the networks and prints how they do; {network: accuracies on the test}."""
    train, test = corpus(args.seed)
    print(f"{len(train)} training sentences, {len(test)} test sentences, none of them in training")
    results, lines = {}, []
    for name, network in NETWORKS.items():
        print(f"\ntraining the network {name}", flush=True)
        tagger = Tagger(network, train, args)
        results[name] = accuracies(test, tagger.tag(test))
        examples = zip(EXAMPLES, tagger.tag(list(EXAMPLES)))
        lines += [f"\n{name}:", *(f"  {show(sentence, labels)}" for sentence, labels in examples)]
    print(f"\n{'right in the test':<18}" + "".join(f"{name:>22}" for name in results))
    for row in results["without memory"]:
        print(f"{row:<18}" + "".join(f"{accuracy[row]:>22.1%}" for accuracy in results.values()))
    print(*lines, sep="\n")
    return results


def main(argv: list[str] | None = None) -> dict[str, dict[str, float]]:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Is apple a fruit or a company? Networks with and without memory."
    )
    parser.add_argument("--epochs", type=int, default=6, help="passes over the data (default: 6)")
    parser.add_argument("--hidden", type=int, default=32, help="units and size of vectors (default: 32)")
    parser.add_argument("--seed", type=int, default=0, help="of corpus, weights and shuffling (default: 0)")
    parser.add_argument("--no-progress", dest="progress", action="store_false", help="show no progress bars")
    return compare(parser.parse_args(argv))


if __name__ == "__main__":
    main()
