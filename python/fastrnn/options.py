# SPDX-License-Identifier: MIT
"""The options that every recurrent layer takes, beside its sizes and those of its cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

import numpy as np
import numpy.typing as npt

from . import _check
from .signatures import of_options

if TYPE_CHECKING:
    from .recurrent import Recurrent

DIRECTIONS = {"forward": 1, "reverse": 2, "both": 3}  # as csrc/network.h numbers them
BIASES: Mapping[Any, int] = {False: 0, "none": 0, "one": 1, True: 2, "two": 2}


# Attributes of a net that its repr names where they are not the default
_SHOWN = (
    "bias", "batch_first", "bidirectional", "dropout", "variational", "input_dropout", "recurrent_dropout",
    "zoneout", "learn_state", "init", "t_max", "forget_bias", "device",
    "allow_tf32",
)  # fmt: skip


class ModelOptions(TypedDict, total=False):
    """Keyword arguments of models for their recurrent layers; explained in `RNN`."""

    bias: bool | str
    bidirectional: bool
    direction: str | Sequence[str] | None
    dropout: float
    variational: bool
    input_dropout: float
    recurrent_dropout: float
    zoneout: float | tuple[float, float]
    learn_state: bool
    init: str
    t_max: int | None
    forget_bias: float | None
    device: str
    allow_tf32: bool


#: Those of `ModelOptions` that say where and how a model is computed, and not what: files do not hold them
OF_THE_MACHINE = ("device", "allow_tf32")


class LayerOptions(ModelOptions, total=False):
    """Keyword arguments of RNN, LSTM, GRU, IndRNN; explained in `RNN`."""

    batch_first: bool
    dtype: npt.DTypeLike
    seed: int | None


class ForwardOptions(TypedDict, total=False):
    """Keyword arguments of `forward` that change no type of what it returns."""

    lengths: Any
    reset: npt.NDArray[Any] | None
    training: bool
    max_workspace: int | None
    dropout_seed: int | None
    constant: npt.NDArray[Any] | None
    constant_steps: int | None
    error_if_nonfinite: bool


class Start(NamedTuple):
    """What parameters start as: see init.py."""

    init: str = "uniform"
    t_max: int | None = None
    forget_bias: float | None = None


class Dropout(NamedTuple):
    """What forward drops where it trains."""

    dropout: float
    variational: bool
    input_dropout: float
    noise: tuple[float, float, float]  # in the recurrence: recurrent_dropout, zoneout of h and of c

    def __bool__(self) -> bool:
        return self.dropout > 0 or self.input_dropout > 0 or any(self.noise)

    def draw(self, seed: object, training: bool, rng: Any) -> tuple[float, bool, float, int] | None:
        """What the kernels need to know for one forward call; the seed from `rng` where none is given."""
        chosen = _check.dropout_seed(seed, bool(self), training)
        if not (self and training):
            return None
        return (*self[:3], int(rng.integers(2**63)) if chosen is None else chosen)


DEFAULTS: Mapping[str, Any] = {
    "bias": True,
    "batch_first": False,
    "bidirectional": False,
    "direction": None,
    "dropout": 0.0,
    "variational": False,
    "input_dropout": 0.0,
    "recurrent_dropout": 0.0,
    "zoneout": 0.0,
    "learn_state": False,
    "init": "uniform",
    "t_max": None,
    "forget_bias": None,
    "device": "cpu",
    "allow_tf32": False,
    "dtype": "float32",
    "seed": None,
}


# As `signatures.shows` takes them
MODEL_KEYWORDS, LAYER_KEYWORDS = (of_options(kind, DEFAULTS) for kind in (ModelOptions, LayerOptions))


def complete(owner: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """All options, the defaults where none was given.

    Raises:
        TypeError: a name is unknown, as for any call.
    """
    for name in given:
        if name not in DEFAULTS:
            raise TypeError(f"{owner}() got an unexpected keyword argument {name!r}")
    return {**DEFAULTS, **given}


def of_model(owner: str, given: Mapping[str, Any]) -> None:
    """The names are those of `ModelOptions`.

    Raises:
        TypeError: one is not.
    """
    for name in given:
        if name not in ModelOptions.__annotations__:
            raise TypeError(f"{owner}() got an unexpected keyword argument {name!r}")


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
    if not isinstance(bias, (bool, np.bool_, str)) or bias not in BIASES:
        words = "True, False, " + ", ".join(repr(word) for word in BIASES if isinstance(word, str))
        kind = ValueError if isinstance(bias, str) else TypeError
        raise kind(f"bias is {bias!r} ({type(bias).__name__}), but must be one of {words}: a bool or a word")
    return BIASES[bias]


def dropout(chosen: Mapping[str, Any], num_layers: int, cell: str, states: tuple[str, ...]) -> Dropout:
    """The probabilities and the form of the masks."""
    found = Dropout(
        _check.probability("dropout", chosen["dropout"]),
        _check.flag("variational", chosen["variational"]),
        _check.probability("input_dropout", chosen["input_dropout"]),
        (
            _check.probability("recurrent_dropout", chosen["recurrent_dropout"]),
            *_check.zoneout(chosen["zoneout"], cell, states),
        ),
    )
    if found.noise[0] and cell.startswith("indrnn"):
        raise ValueError("recurrent_dropout drops what W_hh multiplies, but an IndRNN has none")
    if found.dropout and num_layers == 1:
        raise ValueError("dropout acts between layers, but num_layers is 1")
    if found.variational and not found.dropout:
        raise ValueError("variational is the form of the masks of dropout, but dropout is 0")
    return found


def start(chosen: Mapping[str, Any], cell: str) -> Start:
    """What parameters start as."""
    if all(chosen[name] == DEFAULTS[name] for name in Start._fields):
        return Start()
    from . import init

    return init.check(chosen, cell, biases(chosen["bias"]))


def shown(net: Recurrent) -> dict[str, Any]:
    """Arguments of the constructor that differ from their defaults."""
    plain = {"num_layers": 1, **{name: DEFAULTS[name] for name in _SHOWN}}
    chosen = {name: getattr(net, name) for name, value in plain.items() if getattr(net, name) != value}
    if not net.bidirectional and set(net.directions) != {"forward"}:
        chosen["direction"] = net.directions[0] if len(set(net.directions)) == 1 else net.directions
    return chosen | ({} if net._kind == "float32" else {"dtype": net._kind})


def stored(net: Recurrent) -> dict[str, Any]:
    """Those of `shown` that a file holds of a model."""
    kept = ModelOptions.__annotations__.keys() - set(OF_THE_MACHINE)
    return {name: value for name, value in shown(net).items() if name in kept}
