# SPDX-License-Identifier: MIT
"""Checks of models that produce sequences."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .models import _converted, _letters
from .values import Array, choice, flag, size

if TYPE_CHECKING:
    from ..batching import Sequences


def end(value: object, activation: str, outputs: int) -> int | None:
    """None or one of K tokens."""
    if value is None:
        return None
    if activation != "softmax":
        raise ValueError(
            f"end is {value!r}, but activation is {activation!r}: only tokens (softmax) have an end"
        )
    return size("end", value, 0, outputs - 1)


def fed_back(embedding: object, feedback: bool, activation: str) -> int | None:
    """The length of the vectors of tokens that are fed back, None for the default."""
    if embedding is None:
        return None
    if not feedback:
        raise ValueError(f"embedding is {embedding!r}, but feedback=False feeds back no token")
    if activation != "softmax":
        raise ValueError(
            f"embedding is {embedding!r}, but activation is {activation!r}, whose outputs are no tokens"
        )
    return size("embedding", embedding)


def no_end(name: str, rows: Sequences, end: int) -> None:
    """The end stands nowhere in what is given."""
    found = np.flatnonzero(rows.values == end)
    inside = rows.inside()
    if inside is not None:
        found = found[inside[found]]
    if found.size:
        n, t = rows.locate(int(found[0]))
        raise ValueError(f"{name}[{n}] holds the end {end} at step {t}, but the model appends it itself")


def no_padding(name: str, rows: Sequences, ignored: int | None) -> None:
    """No row of a padded array ends with a label that is ignored, as padding does: the end would stand behind it."""
    if ignored is None or rows.padded is None:
        return
    some = np.flatnonzero(rows.lengths)
    last = np.asarray(rows.take(rows.starts[some] + rows.lengths[some] - 1))
    found = some[last == ignored]
    if found.size:
        n = int(found[0])
        raise ValueError(
            f"{name}[{n}] ends with the ignored label {ignored}, behind which the model would put the end: pass "
            "lengths, or sequences without padding"
        )


def same_count(name: str, count: int, other: str, others: int) -> None:
    """As many of one thing as of another."""
    if count != others:
        raise ValueError(f"{name} has {count} entries, but {other} has {others} sequences")
    if not count:
        raise ValueError(f"{name} holds no entry, but at least one is needed")


def seeds(name: str, value: object, item: tuple[int, ...]) -> Array:
    """N seeds of a shape: () for ids, (F,) for features."""
    given = _converted(name, value)
    if given.size == 0 and given.shape[:1] == (0,):
        return np.empty((0, *item), np.int64)
    if given.ndim != 1 + len(item) or given.shape[1:] != item:
        raise ValueError(f"{name} has shape {given.shape}, but must hold N seeds {_letters('N', *item)}")
    return given


def single(name: str, cell: str, wanted: str, states: tuple[str, ...]) -> None:
    """An option that is for cells with c."""
    if len(states) < 2:
        raise ValueError(f"{name} is {wanted!r}, but the state of {cell} is h alone")


def without(name: str, value: object, default: object, other: str) -> None:
    """An option that means nothing beside what another one says."""
    if value != default:
        raise ValueError(f"{name} is {value!r}, but {other}")


def pair_of_lengths(lengths: object) -> tuple[object, object]:
    """Lengths of x and of y, each None or (N,)."""
    if lengths is None:
        return None, None
    if not isinstance(lengths, (tuple, list)) or len(lengths) != 2:
        raise TypeError(f"lengths is of type {type(lengths).__name__}, but must be the pair (of x, of y)")
    if any(isinstance(part, (int, np.integer)) for part in lengths):
        raise TypeError(
            f"lengths is {lengths!r:.60}, but must be the pair of lists (lengths of x, lengths of y)"
        )
    return lengths[0], lengths[1]


def attention(kind: object, score: object, input_feeding: object, max_workspace: object) -> dict[str, object]:
    """The arguments of an attention, as they stand in a file."""
    own: dict[str, object] = {
        "attention": None if kind is None else choice("attention", kind, ("luong", "bahdanau")),
        "score": choice("score", score, ("general", "dot")),
        "input_feeding": flag("input_feeding", input_feeding),
    }
    if kind != "luong":
        what = (
            "there is no attention" if kind is None else "bahdanau has a score of its own, and always feeds"
        )
        without("score", score, "general", what)
        without("input_feeding", input_feeding, True, what)
    if kind is not None and max_workspace is not None:
        raise ValueError("max_workspace and attention do not combine")
    return own


def some_choice(name: str, value: object, tokens: bool) -> None:
    """A model that reads the tokens before."""
    if not tokens:
        raise ValueError(f"{name} is {value!r:.40}, but the model feeds back no token")


def tokens_of(name: str, activation: str) -> None:
    """Outputs that are tokens."""
    if activation != "softmax":
        raise ValueError(f"{name} is for tokens, but activation is {activation!r}: use generate")
