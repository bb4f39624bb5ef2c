# SPDX-License-Identifier: MIT
"""Symbols as token ids, with a token behind them all that ends a sequence; and what sequences are worth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np


class Alphabet:
    """The symbols of some sequences: letters of strings, or whole words of lists, in their order.

    Attributes:
        symbols: the symbol of each id.
        end: the id that ends a sequence, which is no symbol's: the number of symbols.

    Args:
        sequences: what symbols are taken from.
    """

    def __init__(self, sequences: Iterable[Iterable[str]]) -> None:
        self.symbols = sorted({symbol for sequence in sequences for symbol in sequence})
        self.end = len(self.symbols)
        self._ids = {symbol: i for i, symbol in enumerate(self.symbols)}

    def encode(self, sequence: Iterable[str]) -> np.ndarray:
        """(T,) ids, without an end."""
        return np.array([self._ids[symbol] for symbol in sequence], np.int64)

    def decode(self, ids: Iterable[int]) -> list[str]:
        """The symbols of ids without an end."""
        return [self.symbols[i] for i in ids]


def exact(produced: Sequence[object], true: Sequence[object]) -> float:
    """Share of sequences that are right from the first symbol to the last."""
    return float(np.mean([a == b for a, b in zip(produced, true)]))
