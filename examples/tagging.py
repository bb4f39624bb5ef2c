# SPDX-License-Identifier: MIT
"""A bidirectional LSTM that tags parts of speech in spoken Cantonese, trained on real text.

HKCanCor (Luke and Wong 2015) holds transcribed talk and radio of Hong Kong, each word with its part of
speech. About half of its tokens are words that take several tags, such as 好 ("good", an adjective, or
"very", an adverb), so that the words around must decide. Three taggers are compared on the same held-out
utterances:

1. every word gets the tag it has most often in training;
2. the network without recurrence: the very same one, but it reads each word as a sequence of its own;
3. the bidirectional LSTM, y_t = softmax(V h_t + b), which reads the whole utterance.

With --crf there is a fourth: the same LSTM under a linear-chain CRF, which chooses the tags of an utterance together.

    pip install ".[examples]" && python examples/tagging.py
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import fastrnn
import numpy as np

Sentence = list[tuple[str, str]]  # (word, tag)

SPLIT_SEED = 0  # the split is part of the task: another seed of the network keeps it
PUNCTUATION = ""  # HKCanCor gives punctuation no tag; the networks read it, the figures leave it out
UNKNOWN = ("<latin>", "<1>", "<2>", "<3+>")  # words not seen in training, by script and number of characters
LEARNING_RATE = 5e-3
WEIGHT_DECAY = 0.1
INITIAL_VECTORS = 0.1  # times N(0, 1): the vector of a rare word is small rather than large and random
CLIP = fastrnn.Clip(norm=5.0)


# ---- data ----


class Parts(NamedTuple):
    """Sentences to train on, to choose settings by, and to report on."""

    train: list[Sentence]
    validation: list[Sentence]
    test: list[Sentence]


def load_corpus() -> list[Sentence]:
    """The utterances of HKCanCor, which lies inside the package pycantonese; nothing is downloaded."""
    try:
        import pycantonese
    except ImportError:
        raise SystemExit(
            'HKCanCor comes with pycantonese 5, which is missing: pip install ".[examples]"'
        ) from None
    utterances = pycantonese.hkcancor().utterances()
    return [
        [(token.word, token.pos or PUNCTUATION) for token in utterance.tokens] for utterance in utterances
    ]


def split(sentences: list[Sentence]) -> Parts:
    """80, 10 and 10 percent of the sentences at random."""
    order = [sentences[i] for i in np.random.default_rng(SPLIT_SEED).permutation(len(sentences))]
    tenth = len(sentences) // 10
    return Parts(order[2 * tenth :], order[tenth : 2 * tenth], order[:tenth])


def unknown_class(word: str) -> str:
    """Which of UNKNOWN stands for a word: its shape is all that is used of it."""
    return "<latin>" if word.isascii() else UNKNOWN[min(len(word), 3)]


class Lexicon:
    """What training sentences say of words: their ids, their tags, which are ambiguous, which are rare.

    Args:
        train: the only sentences that words are taken from.
        tags: the tag set of the corpus.
    """

    def __init__(self, train: list[Sentence], tags: Iterable[str]) -> None:
        seen: defaultdict[str, Counter[str]] = defaultdict(Counter)
        totals: Counter[str] = Counter()
        for word, tag in (token for sentence in train for token in sentence):
            seen[word][tag] += 1
            totals[tag] += tag != PUNCTUATION
        self.tags = sorted(tags)
        self.tag_ids = {tag: i for i, tag in enumerate(self.tags)}
        self.word_ids = {word: i for i, word in enumerate([*UNKNOWN, *sorted(seen)])}
        self.best_tag = {word: counts.most_common(1)[0][0] for word, counts in seen.items()}
        self.overall_tag = totals.most_common(1)[0][0]
        self.ambiguous = {word for word, counts in seen.items() if len(counts) > 1}
        self.rare = {word for word, counts in seen.items() if counts.total() == 1}

    def encode(self, sentences: list[Sentence], hide_rare: bool = False) -> list[np.ndarray]:
        """Word ids of each sentence; unknown words, and rare ones if so asked, become their unknown class."""
        return [np.array([self._word_id(word, hide_rare) for word, _ in sentence]) for sentence in sentences]

    def encode_tags(self, sentences: list[Sentence]) -> list[np.ndarray]:
        """Tag ids of each sentence."""
        return [np.array([self.tag_ids[tag] for _, tag in sentence]) for sentence in sentences]

    def most_frequent(self, sentences: list[Sentence]) -> list[np.ndarray]:
        """The baseline: each word's most frequent tag in training; for unknown words that of all words."""
        tags = [[self.best_tag.get(word, self.overall_tag) for word, _ in sentence] for sentence in sentences]
        return [np.array([self.tag_ids[tag] for tag in sentence]) for sentence in tags]

    def masks(self, sentences: list[Sentence]) -> dict[str, np.ndarray]:
        """Which tokens of all sentences, end to end, count as what; punctuation counts as nothing."""
        tokens = [token for sentence in sentences for token in sentence]
        scored = np.array([tag != PUNCTUATION for _, tag in tokens])
        return {
            "all words": scored,
            "ambiguous": scored & [word in self.ambiguous for word, _ in tokens],
            "unknown": scored & [word not in self.best_tag for word, _ in tokens],
        }

    def _word_id(self, word: str, hide_rare: bool) -> int:
        if word not in self.best_tag or (hide_rare and word in self.rare):
            word = unknown_class(word)
        return self.word_ids[word]


def accuracies(
    predicted: list[np.ndarray], true: list[np.ndarray], masks: dict[str, np.ndarray]
) -> dict[str, float]:
    """Share of right tags among the tokens of each mask."""
    right = np.concatenate(predicted) == np.concatenate(true)
    return {name: float(right[mask].mean()) for name, mask in masks.items()}


# ---- networks ----


class Data(NamedTuple):
    """Word ids and tag ids of training and validation sentences, and word ids of the test."""

    x: Any
    y: Any
    validation: tuple[Any, Any]
    test: Any


def prepare(lexicon: Lexicon, parts: Parts) -> Data:
    """Each training sentence twice, once with its rare words hidden: so unknown classes are learned, too."""
    train, validation, test = parts
    y = lexicon.encode_tags(train)
    x = lexicon.encode(train) + lexicon.encode(train, hide_rare=True)
    held_out = (lexicon.encode(validation), lexicon.encode_tags(validation))
    return Data(x, y + y, held_out, lexicon.encode(test))


def word_by_word(data: Data) -> Data:
    """The same tokens, each as a sequence of length one, (N,1): no state ever passes from word to word."""

    def alone(sequences: list[np.ndarray]) -> np.ndarray:
        return np.concatenate(sequences)[:, None]

    x, y = data.validation
    return Data(alone(data.x), alone(data.y), (alone(x), alone(y)), alone(data.test))


def phases(epochs: int) -> list[tuple[int, float]]:
    """(epochs, learning rate): the last quarter goes at a tenth of the rate, to settle what was learned."""
    last = epochs // 4
    return [(n, rate) for n, rate in ((epochs - last, LEARNING_RATE), (last, LEARNING_RATE / 10)) if n]


def new_network(lexicon: Lexicon, args: argparse.Namespace, crf: bool = False) -> fastrnn.NToN:
    """The untrained tagger; the weights are the same ones with a CRF and without."""
    words = fastrnn.Embedding(len(lexicon.word_ids), args.embedding)
    model = fastrnn.NToN(
        "lstm", words, args.hidden, len(lexicon.tags), bidirectional=True, crf=crf, seed=args.seed
    )
    model.parameters()["embedding.weight"][...] *= INITIAL_VECTORS
    return model


def train_network(model: fastrnn.NToN, data: Data, batch_size: int, args: argparse.Namespace) -> float:
    """Trains the tagger; tokens a second."""
    optimizer = fastrnn.AdamW(LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    tokens, seconds = 0, 0.0
    for phase, (epochs, rate) in enumerate(phases(args.epochs)):
        print(f"{epochs} epoch{'s' * (epochs > 1)} at learning rate {rate:g}", flush=True)
        optimizer.lr = rate
        history = model.fit(
            data.x, data.y, epochs=epochs, batch_size=batch_size, optimizer=optimizer, clip=CLIP,
            validation_data=data.validation, seed=args.seed + phase,
        )  # fmt: skip
        tokens += epochs * sum(map(len, data.x))
        seconds += history.seconds.sum()
    return tokens / seconds


# ---- the same in PyTorch ----


def torch_network(model: fastrnn.NToN) -> Any:
    """PyTorch's network of the same shape and weights; the names of the parameters are the same, too."""
    import torch

    weights = {name: torch.from_numpy(value) for name, value in model.state_dict().items()}
    vocabulary, size = weights["embedding.weight"].shape
    classes, features = weights["readout.weight"].shape
    net = torch.nn.ModuleDict(
        {
            "embedding": torch.nn.Embedding(vocabulary, size),
            "rnn": torch.nn.LSTM(size, features // 2, bidirectional=True),
            "readout": torch.nn.Linear(features, classes),
        }
    )
    if "crf.transition" in weights:
        from _torch_crf import Crf

        net["crf"] = Crf(classes)
    net.load_state_dict(weights)
    return net


def torch_logits(net: Any, x: list[Any]) -> Any:
    """The readout's outputs for sequences of word ids, packed: no step is padding."""
    from torch.nn.utils.rnn import pack_sequence

    ids = pack_sequence(x, enforce_sorted=False)
    h, _ = net["rnn"](ids._replace(data=net["embedding"](ids.data)))
    return h._replace(data=net["readout"](h.data))


def train_torch(net: Any, data: Data, args: argparse.Namespace) -> float:
    """Trains as `train_network` does, on the same batches in the same order; tokens a second."""
    import torch
    from fastrnn.batching import bucket
    from torch.nn.utils.rnn import pack_sequence

    torch.set_num_threads(fastrnn.get_num_threads())
    optimizer = torch.optim.AdamW(net.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    x, y = ([torch.from_numpy(sequence) for sequence in sequences] for sequences in (data.x, data.y))
    lengths = np.array([len(sequence) for sequence in x])
    start = time.perf_counter()
    for phase, (epochs, rate) in enumerate(phases(args.epochs)):
        optimizer.param_groups[0]["lr"] = rate
        rng = np.random.default_rng(args.seed + phase)
        for index in (index for _ in range(epochs) for index in bucket(lengths, args.batch_size, rng)):
            target = pack_sequence([y[i] for i in index], enforce_sorted=False).data
            z = torch_logits(net, [x[i] for i in index])
            loss = (
                net["crf"](z, target) if "crf" in net else torch.nn.functional.cross_entropy(z.data, target)
            )
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), CLIP.norm)
            optimizer.step()
    return float(args.epochs * lengths.sum() / (time.perf_counter() - start))


def predict_torch(net: Any, x: list[np.ndarray]) -> list[np.ndarray]:
    """The most probable tag of each word, or of a CRF the most probable tags of each sentence."""
    import torch
    from torch.nn.utils.rnn import unpack_sequence

    with torch.no_grad():
        z = torch_logits(net, [torch.from_numpy(sequence) for sequence in x])
        tags = net["crf"].decode(z) if "crf" in net else z.data.argmax(-1)
    return [sequence.numpy() for sequence in unpack_sequence(z._replace(data=tags))]


# ---- the comparison ----


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Trains a part-of-speech tagger on HKCanCor.")
    parser.add_argument("--epochs", type=int, default=4, help="passes over the training data (default: 4)")
    parser.add_argument("--hidden", type=int, default=64, help="units of each direction (default: 64)")
    parser.add_argument("--embedding", type=int, default=64, help="length of a word's vector (default: 64)")
    parser.add_argument("--batch-size", type=int, default=32, help="utterances a batch (default: 32)")
    parser.add_argument("--seed", type=int, default=0, help="of the weights and the shuffling (default: 0)")
    parser.add_argument(
        "--crf", action="store_true", help="train the network under a CRF, too; save that one"
    )
    parser.add_argument("--torch", action="store_true", help="train the same network in PyTorch, too")
    parser.add_argument("--save", type=Path, metavar="PATH", help="write the tagger here, words to PATH.json")
    args = parser.parse_args(argv)
    if args.epochs < 1:
        parser.error(f"--epochs {args.epochs}: at least 1 is needed")
    for flag, package in (("torch", "torch"), ("save", "safetensors")):
        if getattr(args, flag) and importlib.util.find_spec(package) is None:
            parser.error(f"--{flag} needs the package {package}, which is not installed")
    if args.save and not args.save.absolute().parent.is_dir():
        parser.error(f"--save {args.save}: there is no folder {args.save.parent}")
    return args


def describe(sentences: list[Sentence], parts: Parts, lexicon: Lexicon) -> None:
    """Prints what the corpus holds."""
    words = [word for sentence in sentences for word, _ in sentence]
    print(f"HKCanCor: {len(sentences)} utterances of {len(words)} tokens,", end=" ")
    print(f"{len(set(words))} different words, {len(lexicon.tags)} tags")
    print("training, validation, test: {}, {}, {} utterances".format(*map(len, parts)))
    masks = lexicon.masks(parts.test)
    scored, ambiguous, unknown = (int(mask.sum()) for mask in masks.values())
    print(f"test: {len(masks['unknown'])} tokens, {scored} of them words to tag (the rest is punctuation),")
    print(f"      {ambiguous} have several tags in training, {unknown} do not occur there", flush=True)


def report(results: dict[str, tuple[dict[str, float], float | None]]) -> None:
    """Prints {tagger: (accuracies, tokens a second)} as a table."""
    columns = next(iter(results.values()))[0]
    header = "".join(f"{name:>12}" for name in (*columns, "tokens/s"))
    width = max(32, 2 + max(map(len, results)))
    print(f"\n{'right in the test':<{width}}{header}")
    for name, (accuracy, speed) in results.items():
        figures = "".join(f"{value:>12.2%}" for value in accuracy.values())
        print(f"{name:<{width}}{figures}{'-' if speed is None else f'{speed:,.0f}':>12}")


def save(model: fastrnn.NToN, lexicon: Lexicon, path: Path) -> None:
    """Writes the network, and what its ids mean beside it."""
    model.save(path)
    meaning = {"words": list(lexicon.word_ids), "tags": lexicon.tags}
    path.with_name(path.name + ".json").write_text(json.dumps(meaning, ensure_ascii=False), encoding="utf-8")


def main(argv: list[str] | None = None) -> None:
    """Trains and compares the taggers."""
    start, args = time.perf_counter(), arguments(argv)
    sentences = load_corpus()
    parts = split(sentences)
    lexicon = Lexicon(parts.train, {tag for sentence in sentences for _, tag in sentence})
    describe(sentences, parts, lexicon)

    true, masks = lexicon.encode_tags(parts.test), lexicon.masks(parts.test)
    baseline = accuracies(lexicon.most_frequent(parts.test), true, masks)
    results: dict[str, tuple[dict[str, float], float | None]] = {
        "most frequent tag of each word": (baseline, None)
    }
    data = prepare(lexicon, parts)
    # As many tokens a batch without recurrence as with it, so that both take equally many steps.
    tokens_a_batch = args.batch_size * sum(map(len, data.x)) // len(data.x)
    taggers = [
        ("network without recurrence", word_by_word(data), tokens_a_batch, False),
        ("bidirectional LSTM", data, args.batch_size, False),
    ]
    if args.crf:
        taggers.append(("bidirectional LSTM and CRF", data, args.batch_size, True))
    for name, part, batch_size, crf in taggers:
        print(f"\ntraining the {name}", flush=True)
        model = new_network(lexicon, args, crf)
        speed = train_network(model, part, batch_size, args)
        results[name] = accuracies(model.predict(part.test), true, masks), speed
    for name, _, _, crf in taggers[1:] if args.torch else ():
        print(f"\ntraining the {name} in PyTorch", flush=True)
        net = torch_network(new_network(lexicon, args, crf))
        speed = train_torch(net, data, args)
        accuracy = accuracies(predict_torch(net, data.test), true, masks)
        results[f"{name} in PyTorch"] = accuracy, speed
    report(results)
    if args.save:
        save(model, lexicon, args.save)
    threads = fastrnn.get_num_threads()
    print(f"\n{time.perf_counter() - start:.0f} s in all, {fastrnn.active()} kernels, {threads} threads")


if __name__ == "__main__":
    main()
