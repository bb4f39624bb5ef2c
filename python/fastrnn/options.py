# SPDX-License-Identifier: MIT
"""The options that every recurrent layer takes, beside its sizes and those of its cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy.typing as npt

from . import _check

DIRECTIONS = {"forward": 1, "reverse": 2, "both": 3}  # as csrc/network.h numbers them
BIASES: Mapping[Any, int] = {False: 0, "none": 0, "one": 1, True: 2, "two": 2}


class LayerOptions(TypedDict, total=False):
    """Keyword arguments of RNN, LSTM, GRU; explained in `RNN`."""

    bias: bool | str
    batch_first: bool
    bidirectional: bool
    direction: str | Sequence[str] | None
    dtype: npt.DTypeLike
    seed: int | None


DEFAULTS: Mapping[str, Any] = {
    "bias": True,
    "batch_first": False,
    "bidirectional": False,
    "direction": None,
    "dtype": "float32",
    "seed": None,
}


def complete(owner: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """All options, the defaults where none was given.

    Raises:
        TypeError: a name is unknown, as for any call.
    """
    for name in given:
        if name not in DEFAULTS:
            raise TypeError(f"{owner}() got an unexpected keyword argument {name!r}")
    return {**DEFAULTS, **given}


def directions(direction: object, bidirectional: object, num_layers: int) -> tuple[str, ...]:
    """The direction of each layer."""
    both = _check.flag("bidirectional", bidirectional)
    if direction is None:
        return ("both" if both else "forward",) * num_layers
    if both:
        raise ValueError("bidirectional and direction say the same thing: give one of them")
    words = (direction,) * num_layers if isinstance(direction, str) else direction
    if not isinstance(words, (tuple, list)):
        raise TypeError(f"direction is {direction!r}, not a word or one word a layer")
    if len(words) != num_layers:
        raise ValueError(f"direction names {len(words)} layers, but num_layers is {num_layers}")
    return tuple(_check.choice("direction", word, tuple(DIRECTIONS)) for word in words)


def biases(bias: object) -> int:
    """How many biases a gate has: 0, 1 (b_ih) or 2 (b_ih and b_hh)."""
    if not isinstance(bias, (bool, str)) or bias not in BIASES:
        words = "True, False, " + ", ".join(repr(word) for word in BIASES if isinstance(word, str))
        kind = ValueError if isinstance(bias, str) else TypeError
        raise kind(f"bias is {bias!r} ({type(bias).__name__}), but must be one of {words}: a bool or a word")
    return BIASES[bias]
