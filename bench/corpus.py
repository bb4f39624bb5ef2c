# SPDX-License-Identifier: MIT
"""Synthetic data in the shape of real tasks: numbers of symbols, and lengths as they are distributed there.

Symbols follow Zipf's law, as words and letters do. Where a sequence is read, what is to be said hangs on it, so that
there is something to learn.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Sequences = list[np.ndarray]
Data = tuple[Any, Any]  # x and y of `fit`

WORDS, TAGS, LONGEST_SENTENCE = 7221, 95, 60
KEYS, VOICES = 88, 4
LETTERS, LOCALES = 120, 20
CHANNELS, SPEAKERS = 12, 9
PIXELS, DIGIT_LETTERS = 64, 16
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SPELLING, PHONEMES = 27, 40
DATE_LETTERS, DATE_SYMBOLS, DATE_LENGTH = 60, 12, 10
END = 0  # the token that ends what is produced


def zipf(rng: np.random.Generator, symbols: int, lengths: np.ndarray) -> Sequences:
    """A sequence of each length, of symbols 0 .. symbols-1."""
    frequency = 1 / np.arange(1, symbols + 1)
    drawn = rng.choice(symbols, int(lengths.sum()), p=frequency / frequency.sum())
    return np.split(drawn, np.cumsum(lengths)[:-1])


def sentences(rng: np.random.Generator, count: int) -> Data:
    """Utterances of HKCanCor: 9.5 words on average, most are shorter. The tag hangs on a word and the one before."""
    words = zipf(rng, WORDS, np.minimum(rng.geometric(1 / 9.5, count), LONGEST_SENTENCE))
    own = rng.integers(0, TAGS, WORDS)
    return words, [(own[w] + np.concatenate([[0], w[:-1]]) % 2) % TAGS for w in words]


def chorales(rng: np.random.Generator, count: int) -> Data:
    """Piano rolls of four voices, each step to be said from those before it."""
    rolls = []
    for steps in np.clip(rng.normal(60, 20, count).astype(int), 20, 160):
        roll = np.zeros((steps + 1, KEYS), np.float32)
        walk = rng.integers(30, 60, VOICES) + rng.integers(-2, 3, (steps + 1, VOICES)).cumsum(axis=0)
        np.put_along_axis(roll, np.clip(walk, 0, KEYS - 1), 1, axis=1)
        rolls.append(roll)
    return [roll[:-1] for roll in rolls], [roll[1:] for roll in rolls]


def _names(rng: np.random.Generator, count: int) -> Sequences:
    """3 to 12 letters, 7 on average."""
    return zipf(rng, LETTERS, np.clip(rng.normal(7, 2, count).astype(int), 3, 12))


def surnames(rng: np.random.Generator, count: int) -> Data:
    """Names and the locale of each, by its first and its last letter."""
    names = _names(rng, count)
    return names, np.array([(name[0] + name[-1]) % LOCALES for name in names])


def named(rng: np.random.Generator, count: int) -> Data:
    """A locale, and a name whose letters are shifted by it; END is not a letter."""
    locales = rng.integers(0, LOCALES, count)
    return locales, [1 + (name + n) % (LETTERS - 1) for name, n in zip(_names(rng, count), locales)]


def vowels(rng: np.random.Generator, count: int) -> Data:
    """7 to 29 steps of 12 channels about the mean of a speaker."""
    speakers, means = rng.integers(0, SPEAKERS, count), rng.standard_normal((SPEAKERS, CHANNELS))
    steps = rng.integers(7, 30, count)
    x = [means[n] + rng.standard_normal((T, CHANNELS)) for n, T in zip(speakers, steps)]
    return [a.astype(np.float32) for a in x], speakers


def digit_words(rng: np.random.Generator, count: int) -> Data:
    """An image of 8 x 8 about the mean of its digit, and the digit's name; END is not a letter."""
    letters = {letter: n for n, letter in enumerate(sorted(set("".join(DIGITS))), 1)}
    words = [np.array([letters[letter] for letter in word]) for word in DIGITS]
    digits, means = rng.integers(0, 10, count), rng.random((10, PIXELS))
    images = means[digits] + 0.1 * rng.standard_normal((count, PIXELS))
    return images.astype(np.float32), [words[digit] for digit in digits]


def spellings(rng: np.random.Generator, count: int) -> Data:
    """Words of cmudict: 3 to 14 letters, 7.5 on average, and a phoneme for each but every seventh or so."""
    x = zipf(rng, SPELLING, np.clip(rng.normal(8, 2.2, count).astype(int), 3, 14))
    return x, [1 + word[np.append(True, word[1:] % 7 != 2)] % (PHONEMES - 1) for word in x]


def dates(rng: np.random.Generator, count: int) -> Data:
    """Dates as they are written somewhere, 6 to 30 letters, and in digits, always as many."""
    x = zipf(rng, DATE_LETTERS, rng.integers(6, 31, count))
    return x, [1 + np.resize(letters, DATE_LENGTH) % (DATE_SYMBOLS - 1) for letters in x]
