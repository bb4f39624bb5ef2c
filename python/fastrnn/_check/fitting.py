# SPDX-License-Identifier: MIT
"""Checks of what training is given beside data: schedules, callbacks, checkpoints, batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .values import Array, choice, size

# What early stopping and schedules may look at. Of accuracies more is better, of losses less.
MONITORS = ("loss", "accuracy", "validation_loss", "validation_accuracy")


def per(value: object) -> str:
    """What a schedule counts."""
    return choice("per", value, ("epoch", "update"))


def warmup(value: object, T_max: object) -> None:
    """A warm-up that ends before T_max."""
    if size("warmup", value, 0) >= size("T_max", T_max):
        raise ValueError(f"warmup is {value}, but must be less than T_max, which is {T_max}")


def monitor(value: object) -> str:
    """What is measured each epoch."""
    return choice("monitor", value, MONITORS)


def monitored(owner: object, monitor: str | None, validated: bool, decides: bool) -> None:
    """What is to be looked at will be measured."""
    if monitor is None:
        return
    name = type(owner).__name__
    if monitor.startswith("validation_") and not validated:
        raise ValueError(f"{name} has monitor={monitor!r}, but there is no validation_data")
    if monitor.endswith("accuracy") and not decides:
        raise ValueError(
            f"{name} has monitor={monitor!r}, but outputs of activation 'linear' have no accuracy"
        )


def callbacks(value: object, kind: type[Any]) -> tuple[Any, ...]:
    """A list of callbacks; None is none."""
    if value is None:
        return ()
    if not isinstance(value, (list, tuple)):
        raise TypeError(
            f"callbacks is {value!r:.60} ({type(value).__name__}), but must be a list of Callback objects"
        )
    for number, callback in enumerate(value):
        if not isinstance(callback, kind):
            raise TypeError(
                f"callbacks[{number}] is {callback!r:.60} ({type(callback).__name__}), but must be a fastrnn.Callback"
            )
    return tuple(value)


def checkpoint_every(value: object) -> tuple[int, str]:
    """n epochs, or (n, "epochs") or (n, "updates")."""
    if not isinstance(value, (tuple, list)):
        return size("checkpoint_every", value), "epochs"
    if len(value) != 2:
        raise ValueError(
            f"checkpoint_every is {value!r:.60}, but must be n or (n, 'epochs') or (n, 'updates')"
        )
    return size("checkpoint_every", value[0]), choice(
        "checkpoint_every's unit", value[1], ("epochs", "updates")
    )


def resumable(resume: bool, path: str | None) -> None:
    """There is a file to resume from."""
    if resume and path is None:
        raise ValueError("resume is True, but checkpoint is None: it names the file to resume from")


def same_run(path: str, saved: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """A checkpoint is of this model, optimizer, data and settings."""
    for name in [*now, *(name for name in saved if name not in now)]:
        if name not in saved or name not in now or saved[name] != now[name]:
            group, _, what = name.partition(": ")
            sides = [repr(form[name]) if name in form else "none" for form in (saved, now)]
            raise ValueError(
                f"the checkpoint {path} is of another run: its {group} has {what}={sides[0]}, but this one {sides[1]}"
            )


def epochs_left(path: str, epochs: int, begun: int) -> None:
    """A run to resume is not beyond the epochs asked for."""
    if begun > epochs:
        raise ValueError(f"the checkpoint {path} has {begun} epochs begun, but epochs is {epochs}")


def some_batches(batches: int, epoch: int) -> None:
    """An epoch is not empty."""
    if batches == 0:
        raise ValueError(
            f"epoch {epoch} has no batches: x must give them anew for each epoch, which a generator does only once"
        )


def batch_source(source: object, y: object, lengths: object, epochs: int, bptt: int | None) -> Any:
    """An iterable of batches, or a function from the number of an epoch to one; None where x is no such thing."""
    if isinstance(source, (list, tuple, str, bytes, Mapping)) or hasattr(source, "__array__"):
        return None
    if not (callable(source) or hasattr(source, "__iter__")):
        return None
    kind = type(source).__name__
    for name, value in (("y", y), ("lengths", lengths), ("bptt", bptt)):
        if value is not None:
            raise ValueError(
                f"x ({kind}) gives batches, which hold all there is, but {name} is given as well"
            )
    if isinstance(source, Iterator) and epochs > 1:
        raise ValueError(
            f"x is a {kind}, which gives its batches once, but epochs is {epochs}: pass a function that makes one, "
            f"such as lambda epoch: make_batches()"
        )
    return source


def batch_item(name: str, item: object) -> tuple[Any, Any, Any]:
    """(x, y) or (x, y, lengths)."""
    if not isinstance(item, (tuple, list)) or len(item) not in (2, 3):
        raise TypeError(f"{name} is {item!r:.60}, but must be (x, y) or (x, y, lengths)")
    return item[0], item[1], item[2] if len(item) == 3 else None


def no_windows(owner: object) -> ValueError:
    """The error where streams cannot be cut."""
    return ValueError(
        f"bptt cuts streams with an output at each step, but this model is a {type(owner).__name__}"
    )


def sequence_width(name: str, data: Any) -> int:
    """Numbers of a step, by the first sequence that has one."""
    shape: tuple[int, ...] = np.shape(data) if hasattr(data, "__array__") and data.dtype != object else ()
    if len(shape) == 3:
        return int(shape[2])
    if shape:
        raise ValueError(
            f"{name} has shape {shape}, but features are (N,T,I) or a list of (T,I); ids need a vocabulary"
        )
    for n, entry in enumerate(data):
        given = np.shape(entry)
        if len(given) == 2 and given[0]:
            return int(given[1])
        if len(given) != 2 and given[:1] != (0,):
            raise ValueError(f"{name}[{n}] has shape {given}, but features are (T,I); ids need a vocabulary")
    raise ValueError(f"{name} holds {len(data)} sequences, all empty, but at least one step is needed")


def label_array(name: str, value: Any) -> Array:
    """Labels (N,) of any type that sorts."""
    given = np.asarray(value)
    if given.ndim != 1:
        raise ValueError(f"{name} has shape {given.shape}, but one label each, in one dimension, is needed")
    return given


def some_labels(name: str, rows: Sequence[Array]) -> None:
    """There is a label at all."""
    if not any(row.size for row in rows):
        raise ValueError(f"{name} holds {len(rows)} sequences, all empty, but at least one step is needed")


def same_rows(name: str, rows: Any, other: str, others: Sequence[Array]) -> None:
    """Two of the same lengths."""
    if len(rows) != len(others):
        raise ValueError(f"{name} has {len(rows)} sequences, but {other} has {len(others)}")
    for n, (a, b) in enumerate(zip(rows, others)):
        if len(a) != len(b):
            raise ValueError(f"{name}[{n}] has length {len(a)}, but {other}[{n}] has length {len(b)}")
