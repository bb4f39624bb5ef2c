# SPDX-License-Identifier: MIT
"""Checks of what models are given: settings, sequences, targets, files."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .layers import lengths
from .values import Array, array, compute_dtype, flag, in_place, number

if TYPE_CHECKING:
    from ..batching import Sequences
    from ..losses import Output


# Elements that are checked at once
_PIECE = 2**18


def instance(name: str, value: object, kind: type[Any], wanted: str) -> Any:
    """An object of a class."""
    if not isinstance(value, kind):
        raise TypeError(f"{name} is {value!r:.60} ({type(value).__name__}), but must be {wanted}")
    return value


def clip_limit(name: str, value: object) -> None:
    """None or a positive finite number."""
    if value is not None and number(name, value, 0.0) == 0.0:
        raise ValueError(f"{name} is {value}, but must be greater than 0 (None does not clip)")


def betas(value: object) -> tuple[float, float]:
    """The two decay rates of Adam."""
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise TypeError(f"betas is {value!r}, not a pair of numbers")
    first, second = number("betas[0]", value[0], 0.0), number("betas[1]", value[1], 0.0)
    if max(first, second) >= 1.0:
        raise ValueError(f"betas is {value}, but both must be below 1")
    return first, second


def nesterov(wanted: object, momentum: float) -> bool:
    """Nesterov's look ahead needs a momentum to look along."""
    if flag("nesterov", wanted) and momentum == 0.0:
        raise ValueError("nesterov is True, but momentum is 0.0: it must be greater")
    return bool(wanted)


def buffers(parameters: Sequence[Array], gradients: Sequence[Array]) -> None:
    """Parameter buffers that can be updated in place, each with a gradient of its size and dtype."""
    if len(parameters) != len(gradients):
        raise ValueError(f"there are {len(parameters)} parameter buffers, but {len(gradients)} gradients")
    for i, (parameter, gradient) in enumerate(zip(parameters, gradients)):
        shape = array(f"parameters[{i}]", parameter).shape
        in_place(f"parameters[{i}]", parameter, (parameter.size,), compute_dtype(parameter.dtype))
        if array(f"gradients[{i}]", gradient).dtype != parameter.dtype:
            dtypes = f"{gradient.dtype}, but parameters[{i}] {parameter.dtype}"
            raise TypeError(f"gradients[{i}] has dtype {dtypes}")
        if gradient.shape != shape:
            raise ValueError(f"gradients[{i}] has shape {gradient.shape}, but parameters[{i}] {shape}")
        if not gradient.flags.c_contiguous:
            raise ValueError(f"gradients[{i}] must be contiguous")


def owned_buffers(parameters: Sequence[Array], sizes: Sequence[int], owned: bool) -> None:
    """The buffers are those that an optimizer has its state for."""
    if not owned:
        given = [parameter.size for parameter in parameters]
        alike = ", which are as large" if given == list(sizes) else f" (of sizes {given})"
        raise ValueError(
            f"this optimizer holds the state of other arrays of parameters (of sizes {list(sizes)}) than those given"
            f"{alike}: a model needs an optimizer of its own, or a copy of one"
        )


def optimizer_state(
    want: Mapping[str, Sequence[Array | None]], given: Mapping[str, Sequence[Array | None]]
) -> None:
    """Arrays of the same names and shapes."""
    if want.keys() != given.keys():
        names = [", ".join(state) or "nothing" for state in (given, want)]
        raise ValueError(f"the state is of {names[0]}, but this optimizer has {names[1]}")
    for name, arrays in want.items():
        if len(given[name]) != len(arrays):
            raise ValueError(f"{name} is of {len(given[name])} buffers, but there are {len(arrays)}")
        for i, (wanted, array_) in enumerate(zip(arrays, given[name])):
            if wanted is None or array_ is None:
                if wanted is not array_:
                    raise ValueError(
                        f"{name} of buffer {i} is {'missing' if array_ is None else 'not needed'}"
                    )
            elif array_.shape != wanted.shape or array_.dtype != wanted.dtype:
                raise ValueError(
                    f"{name} of buffer {i} has shape {array_.shape} and dtype {array_.dtype}, but {wanted.shape} "
                    f"and {wanted.dtype} are needed"
                )


def loss_arguments(
    z: object,
    targets: object,
    mask: object,
    out: object,
    name: str,
    *,
    by_class: bool,
    unit_range: bool = False,
    ignored: int | None = None,
) -> None:
    """z (N,K), targets (N,) or (N,K), mask (N,) with a True in it, out like z; and the targets that count."""
    pre, given = array("z", z), array(name, targets)
    compute_dtype(pre.dtype)
    if pre.ndim != 2:
        raise ValueError(f"z has shape {pre.shape}, but (N,K) is needed")
    _real(name, given, "iu" if by_class else "biuf")
    want = pre.shape[:1] if by_class else pre.shape
    if given.shape != want:
        raise ValueError(f"{name} has shape {given.shape}, but z {pre.shape} needs {want}")
    if mask is not None:
        rows = array("mask", mask)
        if rows.dtype.kind != "b":
            raise TypeError(f"mask has dtype {rows.dtype}, but bool is needed")
        if rows.shape != pre.shape[:1]:
            raise ValueError(f"mask has shape {rows.shape}, but z {pre.shape} needs {pre.shape[:1]}")
        given = given[rows]
    if len(given) == 0:
        raise ValueError(f"no row counts of the {len(pre)} of z: a mean over none is not defined")
    if out is not None:
        in_place("out", out, pre.shape, pre.dtype)
    if by_class or unit_range:
        wrong = ~((given >= 0) & (given < pre.shape[1] if by_class else given <= 1))
        if ignored is not None:
            wrong &= given != ignored
        if wrong.any():
            want_text = f"0 to {pre.shape[1] - 1}, as z {pre.shape} has columns," if by_class else "0 to 1"
            raise ValueError(f"{name} holds {given[wrong][0]}, but {want_text} is needed")


def is_sequence_list(name: str, data: object) -> bool:
    """Whether data is a list of sequences, else one padded array."""
    if isinstance(data, (list, tuple)):
        return True
    if not hasattr(data, "__array__"):
        raise TypeError(f"{name} is of type {type(data).__name__}, not a list of sequences or a padded array")
    return isinstance(data, np.ndarray) and data.dtype == object and data.ndim == 1


def sequence_list(
    name: str, data: Iterable[object], item: tuple[int, ...], dtype: np.dtype[Any], given_lengths: object
) -> list[Array]:
    """Arrays (T_n, *item) whose values can become dtype."""
    if given_lengths is not None:
        raise ValueError(f"lengths goes with a padded array, but {name} is a list of sequences")
    return [_one_sequence(f"{name}[{n}]", entry, item, dtype) for n, entry in enumerate(data)]


def _one_sequence(name: str, entry: object, item: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    try:
        given = _converted(name, entry)
    except TypeError:
        _no_sequences_inside(name, entry, item)
        raise
    if given.size == 0 and given.shape[:1] == (0,):
        return np.empty((0, *item), dtype)  # an empty list has neither dtype nor width of its own
    _real(name, given, "iu" if dtype.kind == "i" else "biuf")
    if given.ndim == 0 or given.shape[1:] != item:
        _no_sequences_inside(name, entry, item)
        hint = ""
        if given.ndim == 0:
            hint = _instead_of_a_number(name)
        elif given.ndim == 1 and item and given.dtype.kind in "iu":
            hint = "; token ids need inputs=fastrnn.Embedding(vocabulary, size)"
        elif given.ndim == len(item):
            hint = "; for a single sequence pass a list of one"
        raise ValueError(f"{name} has shape {given.shape}, but a sequence is {_letters('T', *item)}{hint}")
    return given


def _no_sequences_inside(name: str, entry: object, item: tuple[int, ...]) -> None:
    """An entry of a list of sequences is no list of sequences itself."""
    if isinstance(entry, (list, tuple)) and depth(entry) == len(item) + 2:
        whole = name.partition("[")[0]
        raise ValueError(
            f"{name} is a {type(entry).__name__} of sequences, but must be one, {_letters('T', *item)}: "
            f"{whole} is a list of sequences, not of lists of them"
        )


def _instead_of_a_number(name: str) -> str:
    """What would do where a sequence is needed."""
    if name.startswith("y"):
        return "; one target for each sequence is what NToOne learns"
    if name.startswith(("ids of", "features of")):
        return "; x must be the pair (ids, features), each a list of sequences"
    return "; for a single sequence pass a list of one"


def depth(value: Any) -> int:
    """How many axes the first of what is in a list has, and the list: 2 of a list of lists of numbers."""
    if not isinstance(value, (list, tuple)):
        return np.ndim(value)
    return 1 + (depth(value[0]) if value else 0)


def padded_array(
    name: str, data: object, item: tuple[int, ...], dtype: np.dtype[Any], given_lengths: object
) -> tuple[Array, npt.NDArray[np.int64]]:
    """An array (N, T, *item) whose values can become dtype, and lengths (N,) from 0 to T."""
    given = _converted(name, data)
    _real(name, given, "iu" if dtype.kind == "i" else "biuf")
    if given.ndim != 2 + len(item) or given.shape[2:] != item:
        form = _letters("N", "T", *item)
        raise ValueError(f"{name} has shape {given.shape}, but {form} or a list of sequences is needed")
    N, T = given.shape[:2]
    counts = lengths(given_lengths, T, N, of=f"{name} of shape {given.shape}")
    return given, np.full(N, T, np.int64) if counts is None else counts


def values(name: str, rows: Sequences, good: Callable[[Array], Array], wanted: str) -> None:
    """What `good` says of rows holds for every element that is no padding."""
    for begin, part in _pieces(rows):
        fine = good(part).reshape(len(part), -1)
        if fine.all():
            continue
        bad, inside = ~fine.all(axis=1), rows.inside()
        at = np.flatnonzero(bad if inside is None else bad & inside[begin : begin + len(part)])
        if at.size:
            n, t = rows.locate(begin + int(at[0]))
            value = part[at[0]].reshape(-1)[~fine[at[0]]][0]
            raise ValueError(f"{name}[{n}] holds {value} at step {t}, but {wanted}")


def _pieces(rows: Sequences) -> Iterator[tuple[int, Array]]:
    """Rows in pieces, as they may be in a file that is larger than memory: the first, and all."""
    piece = max(1, _PIECE // max(1, math.prod(rows.values.shape[1:])))
    for begin in range(0, len(rows.values), piece):
        yield begin, rows.piece(begin, begin + piece)


def token_ids(name: str, rows: Sequences, vocabulary: int) -> None:
    """Ids within a vocabulary."""
    wanted = f"Embedding(vocabulary={vocabulary}) has ids 0 to {vocabulary - 1}"
    values(name, rows, lambda ids: (ids >= 0) & (ids < vocabulary), wanted)


def features(name: str, rows: Sequences) -> None:
    """Finite numbers."""
    values(name, rows, np.isfinite, f"features must be finite as {rows.dtype or rows.values.dtype}")


def targets(name: str, rows: Sequences, output: Output, outputs: int) -> None:
    """What a loss is defined for: classes, numbers from 0 to 1, or finite numbers; something counts."""
    kind = rows.dtype or rows.values.dtype
    wanted = _targets_wanted(kind, output, outputs)
    values(name, rows, lambda given: _good_targets(given, output, outputs), wanted)
    inside = rows.inside()
    of_steps = (part if inside is None else part[inside[at : at + len(part)]] for at, part in _pieces(rows))
    if not any(output.counts(part) for part in of_steps):
        raise ValueError(f"{name} has {rows.lengths.sum()} steps, but none counts in {output.chosen}")


def _good_targets(given: Array, output: Output, outputs: int) -> Array:
    """Which targets a loss is defined for."""
    if output.unit_range:
        return (given >= 0) & (given <= 1)
    if not output.by_class:
        return np.isfinite(given)
    good = (given >= 0) & (given < outputs)
    return good if output.ignored is None else good | (given == output.ignored)


def _targets_wanted(kind: np.dtype[Any], output: Output, outputs: int) -> str:
    """What is needed of them."""
    if output.unit_range:
        return "targets of sigmoid outputs must be 0 to 1"
    if not output.by_class:
        return f"targets must be finite as {kind}"
    wanted = f"outputs={outputs} has classes 0 to {outputs - 1}"
    return wanted if output.ignored is None else f"{wanted}, and ignore_index is {output.ignored}"


def some_count(name: str, given: Array, output: Output, what: str) -> None:
    """Of the targets (M,...), not one of padding, at least one counts in the loss."""
    if not output.counts(given):
        raise ValueError(f"{name} has {len(given)} {what}, but none counts in {output.chosen}")


def same_lengths(x: Sequences, y: Sequences) -> None:
    """y has as many sequences as x, each of the same length."""
    if len(x) != len(y):
        raise ValueError(f"x has {len(x)} sequences, but y has {len(y)}")
    if x.padded is not None and y.padded is not None and x.padded != y.padded:
        raise ValueError(f"{padded_steps('x', x)}, but {padded_steps('y', y)}")
    differ = np.flatnonzero(x.lengths != y.lengths)
    if differ.size:
        n = int(differ[0])
        raise ValueError(f"x[{n}] has length {x.lengths[n]}, but y[{n}] has length {y.lengths[n]}")


def padded_steps(name: str, rows: Sequences) -> str:
    """How many steps a padded array has, and its shape."""
    return f"{name} of shape {(len(rows), rows.padded, *rows.values.shape[1:])} has T={rows.padded} steps"


def some_steps(name: str, rows: Sequences) -> None:
    """There is something to take a mean over."""
    if len(rows) == 0:
        raise ValueError(f"{name} holds no sequence, but at least one is needed")
    if not rows.lengths.any():
        raise ValueError(f"{name} holds {len(rows)} sequences, all empty, but at least one step is needed")


def probabilistic(are_decisions: bool) -> None:
    """Outputs that have probabilities."""
    if not are_decisions:
        raise ValueError("activation is 'linear', but probabilities need 'softmax' or 'sigmoid': use predict")


def path(value: object) -> str:
    """A file's name."""
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"path is {value!r:.60} ({type(value).__name__}), not a str or os.PathLike")
    return os.fsdecode(value)


def new_file(name: str, value: object) -> str:
    """A path where a file can stand."""
    place = path(value)
    folder = os.path.dirname(place) or "."
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{name} is {place!r}, but there is no folder {folder!r}")
    if os.path.isdir(place):
        raise IsADirectoryError(f"{name} is {place!r}, which is a folder")
    return place


def stored_tensors(stored: Mapping[str, Array], dtype: np.dtype[Any], least: int) -> None:
    """What a file must hold before the model it describes is made: enough numbers, of the model's dtype."""
    total = sum(tensor.size for tensor in stored.values())
    if total < least:
        raise ValueError(f"there are {total} numbers stored, but the model has at least {least}")
    for name, tensor in stored.items():
        if tensor.dtype != dtype:
            raise ValueError(f"{name} is stored as {tensor.dtype}, but the model has {dtype}")


def _converted(name: str, value: object) -> Array:
    """An array of numbers, from whatever NumPy can make one of."""
    try:
        given = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise TypeError(f"{name} is no array: {error}") from None
    if given.dtype == object:
        raise TypeError(f"{name} ({type(value).__name__}) holds objects, but numbers are needed")
    return given


def _real(name: str, given: Array, kinds: str) -> None:
    if given.dtype.kind not in kinds:
        wanted = "integers" if kinds == "iu" else "real numbers"
        raise TypeError(f"{name} has dtype {given.dtype}, but {wanted} are needed")


def _letters(*sizes: object) -> str:
    return "(" + ",".join(map(str, sizes)) + ("," if len(sizes) == 1 else "") + ")"
