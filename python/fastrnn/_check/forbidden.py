# SPDX-License-Identifier: MIT
"""Checks of what a CRF forbids: pairs (from, to) of classes, None for what stands before the first, behind the last.

As a matrix: barred (K+1,K+1) of bools, [from, to], where K stands for None.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .models import _pieces
from .values import Array, size

if TYPE_CHECKING:
    from ..batching import Sequences

Pairs = tuple[tuple["int | None", "int | None"], ...]
_Barred = npt.NDArray[np.bool_]


def forbidden_pairs(value: Any, outputs: Any, crf: bool) -> Pairs:
    """Pairs, or a matrix (K,K) of bools, as pairs in order, each once; and they leave some path."""
    if value is None:
        return ()
    if not crf:
        raise ValueError(f"forbidden is {value!r:.60}, but crf is False: only a CRF knows what stands before")
    K = size("outputs", outputs)
    entries = value.tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(entries, (list, tuple)):
        raise TypeError(
            f"forbidden is {value!r:.60} ({type(value).__name__}), but must be a list of pairs (from, to) of classes, "
            "or a matrix (K,K) of bools"
        )
    if any(
        isinstance(entry, (list, tuple)) and any(isinstance(v, (bool, np.bool_)) for v in entry)
        for entry in entries
    ):
        entries = _of_matrix(value, K)
    pairs = {_pair(f"forbidden[{n}]", entry, K) for n, entry in enumerate(entries)}
    found = tuple(sorted(pairs, key=lambda pair: tuple(-1 if k is None else k for k in pair)))
    if not has_path(barred(found, K), K)[1:].any():
        raise ValueError(f"forbidden is {found!r:.60}, which leaves no sequence of the {K} classes")
    return found


def _of_matrix(value: Any, outputs: int) -> list[list[int]]:
    try:
        given = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"forbidden is no matrix: {error}") from None
    if given.dtype != np.bool_ or given.shape != (outputs, outputs):
        raise ValueError(
            f"forbidden has dtype {given.dtype} and shape {given.shape}, but outputs={outputs} needs bools of shape "
            f"{(outputs, outputs)}, or pairs (from, to)"
        )
    pairs: list[list[int]] = np.argwhere(given).tolist()
    return pairs


def _pair(name: str, entry: Any, outputs: int) -> tuple[int | None, int | None]:
    if not isinstance(entry, (list, tuple)) or len(entry) != 2:
        raise TypeError(f"{name} is {entry!r:.60}, but must be a pair (from, to) of classes")
    before, after = (
        None if k is None else size(f"{name}[{n}]", k, 0, outputs - 1) for n, k in enumerate(entry)
    )
    if before is None and after is None:
        raise ValueError(f"{name} is {entry!r}, but one of both must be a class")
    return before, after


def barred(pairs: Pairs, outputs: int) -> _Barred:
    """(K+1,K+1) of pairs."""
    matrix = np.zeros((outputs + 1, outputs + 1), np.bool_)
    for before, after in pairs:
        matrix[outputs if before is None else before, outputs if after is None else after] = True
    return matrix


def has_path(barred: _Barred, longest: int) -> _Barred:
    """(longest+1,): whether a path of so many steps is allowed."""
    K = len(barred) - 1
    free, found = np.logical_not(barred), np.ones(longest + 1, np.bool_)
    reached: Array = free[K, :K]
    for n in range(1, longest + 1):
        found[n] = np.any(reached & free[:K, K])
        after: Array = np.logical_or.reduce(free[:K, :K][reached], axis=0)
        if np.array_equal(after, reached):  # and so for ever
            found[n:] = found[n]
            break
        reached = after
    return found


def some_path(name: str, rows: Sequences, barred: _Barred) -> None:
    """For each sequence there is a path of its length."""
    if not len(rows):
        return
    missing = np.flatnonzero(~has_path(barred, int(rows.lengths.max()))[rows.lengths])
    if missing.size:
        n = int(missing[0])
        raise ValueError(
            f"{name}[{n}] has {rows.lengths[n]} steps, but forbidden leaves no sequence of so many classes"
        )


def none_forbidden(name: str, rows: Sequences, barred: _Barred) -> None:
    """No sequence of classes, which are in range, holds what is forbidden."""
    K, last = len(barred) - 1, 0
    firsts, lasts = rows.starts, rows.starts + rows.lengths - 1
    of_all = rows.inside()
    for begin, part in _pieces(rows):
        inside = None if of_all is None else of_all[begin : begin + len(part)]
        labels = part if inside is None else np.where(inside, part, 0)
        before = np.concatenate(([last], labels[:-1]))
        before[_within(firsts, begin, len(labels))] = K
        wrong = barred[before, labels]
        ends = _within(lasts[rows.lengths > 0], begin, len(labels))
        late = np.zeros_like(wrong)
        late[ends] = barred[labels[ends], K]
        found = np.flatnonzero((wrong | late) if inside is None else (wrong | late) & inside)
        if found.size:
            at = int(found[0])
            _refuse(name, *rows.locate(begin + at), int(before[at]), int(labels[at]), bool(wrong[at]), K)
        last = int(labels[-1])


def _within(places: Array, begin: int, count: int) -> Array:
    """Those of some rows that lie in a piece, from its first one."""
    inside: Array = places[(places >= begin) & (places < begin + count)] - begin
    return inside


def _refuse(name: str, n: int, t: int, before: int, label: int, entered: bool, K: int) -> None:
    if not entered:
        what, pair = f"ends with class {label} at step {t}", f"({label}, None)"
    elif before == K:
        what, pair = f"begins with class {label}", f"(None, {label})"
    else:
        what, pair = f"goes from class {before} to class {label} at step {t}", f"({before}, {label})"
    raise ValueError(f"{name}[{n}] {what}, but {pair} is forbidden")
