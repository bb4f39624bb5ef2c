# SPDX-License-Identifier: MIT
"""What bench/train.py trains: a model of each topology, in the shapes of the examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import corpus
import numpy as np
from fastrnn import Embedding

Make = Callable[[np.random.Generator, int], corpus.Data]


@dataclass(frozen=True)
class Lesson:
    """One model and its data.

    Attributes:
        name: of the example.
        topology: name of the class in fastrnn.
        arguments: cell, inputs, hidden, outputs.
        options: more arguments of the constructor.
        make: data, of a random generator and how many sequences.
        sequences: of an epoch.
        batch: sequences a batch.
    """

    name: str
    topology: str
    arguments: tuple[Any, ...]
    make: Make
    sequences: int
    batch: int
    options: Mapping[str, Any] = field(default_factory=dict)

    def model(self) -> Any:
        """The untrained model, always the same."""
        import fastrnn

        return getattr(fastrnn, self.topology)(*self.arguments, **self.options, seed=0)

    def data(self, sequences: int) -> corpus.Data:
        """x and y of so many, always the same."""
        return self.make(np.random.default_rng(0), sequences)


_FEEDBACK = {"feedback": True, "end": corpus.END}
_G2P = ("lstm", Embedding(corpus.SPELLING, 64), 256, corpus.PHONEMES)
_G2P_OPTIONS = {"bidirectional": True, "context_to": "both", "embedding": 64, "end": corpus.END}
_LESSONS = (
    Lesson(
        "tagging", "NToN", ("lstm", Embedding(corpus.WORDS, 64), 64, corpus.TAGS),
        corpus.sentences, 1600, 32, {"bidirectional": True},
    ),
    Lesson(
        "chorales", "NToN", ("lstm", corpus.KEYS, 128, corpus.KEYS),
        corpus.chorales, 160, 8, {"activation": "sigmoid"},
    ),
    Lesson(
        "surnames", "NToOne", ("gru", Embedding(corpus.LETTERS, 32), 96, corpus.LOCALES),
        corpus.surnames, 3200, 64,
    ),
    Lesson(
        "vowels", "NToOne", ("gru", corpus.CHANNELS, 64, corpus.SPEAKERS),
        corpus.vowels, 540, 16, {"bidirectional": True},
    ),
    Lesson(
        "digit_words", "OneToN", ("gru", corpus.PIXELS, 96, corpus.DIGIT_LETTERS),
        corpus.digit_words, 1437, 32, {"feed": "first", "embedding": 16, **_FEEDBACK},
    ),
    Lesson(
        "generate_names", "OneToN", ("gru", Embedding(corpus.LOCALES, 16), 128, corpus.LETTERS),
        corpus.named, 3200, 64, {"feed": "every", "embedding": 32, **_FEEDBACK},
    ),
    Lesson(
        "dates", "NToM", ("gru", Embedding(corpus.DATE_LETTERS, 32), 96, corpus.DATE_SYMBOLS),
        corpus.dates, 960, 64, {"bidirectional": True, "context_to": "both", "embedding": 16, "end": corpus.END},
    ),
    Lesson("g2p", "NToM", _G2P, corpus.spellings, 960, 64, _G2P_OPTIONS),
    Lesson("g2p_attention", "NToM", _G2P, corpus.spellings, 640, 64, {"attention": "luong", **_G2P_OPTIONS}),
)  # fmt: skip
LESSONS: Mapping[str, Lesson] = {lesson.name: lesson for lesson in _LESSONS}
