# SPDX-License-Identifier: MIT
"""Checks of what models that read sequences are made of, and of one target for each sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .models import (
    _converted,
    _good_targets,
    _letters,
    _real,
    _targets_wanted,
    depth,
    padded_steps,
    some_count,
)
from .values import Array, size

if TYPE_CHECKING:
    from ..batching import Sequences
    from ..losses import Output


def weights(name: str, value: object) -> tuple[float, ...] | None:
    """None or numbers (K,) of at least 0, one of them greater."""
    if value is None:
        return None
    given = _converted(name, value)
    _real(name, given, "iuf")
    if given.ndim != 1 or not given.size:
        raise ValueError(f"{name} has shape {given.shape}, but (K,), one number for each output, is needed")
    if not (np.isfinite(given) & (given >= 0)).all() or not given.any():
        raise ValueError(f"{name} is {given.tolist()}, but all must be finite, at least 0, and one greater")
    return tuple(given.astype(np.float64).tolist())


def weights_of(name: str, given: Sequence[float] | Array | None, outputs: int) -> None:
    """As many weights as outputs."""
    if given is not None and len(given) != outputs:
        raise ValueError(f"{name} has {len(given)} numbers, but there are {outputs} outputs")


def ignore_index(value: object) -> int | None:
    """None or a label."""
    return None if value is None else size("ignore_index", value, -(2**63), 2**63 - 1)


def loss_of(value: object, activation: str, wanted: type[Any] | None) -> Any:
    """An object that says what counts in the loss of an activation."""
    if wanted is None:
        raise ValueError(
            f"loss is {value!r:.60}, but activation is {activation!r}, whose loss has no options"
        )
    if not isinstance(value, wanted):
        kind = ValueError if type(value).__module__ == wanted.__module__ else TypeError
        raise kind(
            f"loss is {value!r:.60} ({type(value).__name__}), but activation is {activation!r}, whose loss is None or "
            f"fastrnn.{wanted.__name__}(...)"
        )
    return value


def inputs(value: object, embedding: type[Any]) -> Any:
    """A number of features, an Embedding, or the pair of both."""
    if isinstance(value, embedding):
        return value
    if not isinstance(value, (tuple, list, int, np.integer)):
        raise TypeError(
            f"inputs is {value!r:.60} ({type(value).__name__}), but must be a number of features, an Embedding, or the "
            "pair (Embedding, number of features)"
        )
    if not isinstance(value, (tuple, list)):
        return size("inputs", value)
    if len(value) != 2 or not isinstance(value[0], embedding):
        raise TypeError(f"inputs is {value!r:.80}, but a pair must be (Embedding, number of features)")
    return value[0], size("inputs[1]", value[1])


def ids_and_features(name: str, data: object) -> tuple[Any, Any]:
    """A pair."""
    kind = type(data).__name__
    if not isinstance(data, (tuple, list)):
        raise TypeError(f"{name} is of type {kind}, but must be the pair (ids, features)")
    if len(data) and all(_ids_with_features(entry) for entry in data):
        raise TypeError(
            f"{name} is a {kind} of {len(data)} pairs, but must be one pair: ([ids of each], [features of each])"
        )
    if len(data) != 2:
        missing = ": the features are missing" if len(data) == 1 else ""
        raise TypeError(f"{name} is a {kind} of {len(data)}, but must be the pair (ids, features){missing}")
    return data[0], data[1]


def _ids_with_features(entry: object) -> bool:
    """Whether this is the pair of one sequence, (T,) and (T,F)."""
    return isinstance(entry, (tuple, list)) and len(entry) == 2 and [depth(part) for part in entry] == [1, 2]


def same_form(ids: Sequences, features: Sequences) -> None:
    """Ids and features of the same steps."""
    if (ids.padded is None) != (features.padded is None):
        forms = ["a list" if s.padded is None else "a padded array" for s in (ids, features)]
        raise ValueError(f"the ids of x are {forms[0]}, but its features {forms[1]}: both must come alike")
    if len(ids) != len(features):
        raise ValueError(f"the ids of x are {len(ids)} sequences, but its features {len(features)}")
    if ids.padded != features.padded:
        raise ValueError(f"{padded_steps('ids', ids)}, but {padded_steps('features', features)}")
    differ = np.flatnonzero(ids.lengths != features.lengths)
    if differ.size:
        n = int(differ[0])
        raise ValueError(
            f"the ids of x[{n}] have length {ids.lengths[n]}, but its features length {features.lengths[n]}"
        )


def none_empty(name: str, rows: Sequences, owner: str) -> None:
    """Each sequence has a step."""
    empty = np.flatnonzero(rows.lengths == 0)
    if empty.size:
        raise ValueError(f"{name}[{empty[0]}] is empty, but {owner} needs at least one step of each sequence")


def labels(name: str, data: object, count: int, output: Output, outputs: int, dtype: np.dtype[Any]) -> Array:
    """One target for each of `count` sequences: a class (N,), or numbers (N,K)."""
    given = _converted(name, data)
    _real(name, given, "iu" if output.by_class else "biuf")
    form = _letters("N") if output.by_class else _letters("N", outputs)
    if given.ndim == 0 or given.shape[1:] != (() if output.by_class else (outputs,)):
        raise ValueError(f"{name} has shape {given.shape}, but {form}, one target a sequence, is needed")
    if len(given) != count:
        raise ValueError(f"x has {count} sequences, but {name} has {len(given)}")
    with np.errstate(over="ignore"):
        rows = given.astype(np.int64 if output.by_class else dtype)
    bad = np.argwhere(~_good_targets(rows, output, outputs))
    if len(bad):
        wanted = _targets_wanted(rows.dtype, output, outputs)
        raise ValueError(f"{name}[{bad[0][0]}] holds {rows[tuple(bad[0])]}, but {wanted}")
    some_count(name, rows, output, "targets")
    return rows


def tied(embedding: object, seen: int, outputs: int) -> None:
    """The table (V,E) of an embedding fits the readout (outputs, seen)."""
    if embedding is None:
        raise ValueError("tie is True, but inputs has no Embedding whose weights the readout could share")
    V, E = embedding.vocabulary, embedding.size  # type: ignore[attr-defined]
    if outputs != V:
        raise ValueError(f"tie is True, but outputs is {outputs} and the vocabulary of the Embedding is {V}")
    if seen != E:
        raise ValueError(
            f"tie is True, but h has {seen} numbers and the Embedding has size {E}: make them equal"
        )
