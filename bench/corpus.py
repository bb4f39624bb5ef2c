# SPDX-License-Identifier: MIT
"""A synthetic corpus in the shape of tagging: words by Zipf's law, tags that hang on the word and the one before it."""

from __future__ import annotations

import numpy as np

VOCABULARY, TAGS, LONGEST = 4000, 20, 40

Sequences = list[np.ndarray]


def corpus(sentences: int, seed: int = 0) -> tuple[Sequences, Sequences]:
    """Word ids and tag ids of each sentence, of 1 to LONGEST words."""
    rng = np.random.default_rng(seed)
    frequency = 1 / np.arange(1, VOCABULARY + 1)
    words = [
        rng.choice(VOCABULARY, length, p=frequency / frequency.sum())
        for length in rng.integers(1, LONGEST + 1, sentences)
    ]
    own = rng.integers(0, TAGS, VOCABULARY)
    tags = [(own[w] + np.concatenate([[0], w[:-1]]) % 2) % TAGS for w in words]
    return words, tags
