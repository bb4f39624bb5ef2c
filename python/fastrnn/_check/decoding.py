# SPDX-License-Identifier: MIT
"""Checks of what decoders are given."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .values import Array, dense, floats, number, size


def sampling(temperature: object, top_k: object, top_p: object) -> tuple[float, int, float]:
    """Temperature (0: none), top_k (0: all) and top_p (1: all), in their ranges."""
    warmth = number("temperature", temperature, 0.0)
    most = 0 if top_k is None else size("top_k", top_k)
    share = 1.0 if top_p is None else number("top_p", top_p, 0.0, 1.0)
    if share == 0:
        raise ValueError("top_p is 0, but must be above 0")
    if warmth == 0 and (most or share < 1):
        raise ValueError("top_k and top_p are of sampling, but temperature is 0")
    return warmth, most, share


def beam(width: object, n_best: object) -> tuple[int, int]:
    """1 <= n_best <= width."""
    places = size("beam", width, most=1 << 16)
    return places, size("n_best", n_best, most=places)


def end_token(end: object, outputs: int) -> int:
    """A token, or -1 for None."""
    return -1 if end is None else size("end", end, 0, outputs - 1)


def start_tokens(start: object, rows: int, vocabulary: int | None) -> npt.NDArray[np.int64]:
    """One token for all rows, or one a row; in the vocabulary of the embedding, if there is one."""
    given = np.asarray(start)
    if given.dtype.kind not in "iu":
        raise TypeError(f"start has dtype {given.dtype}, not integers")
    if given.shape not in ((), (rows,)):
        raise ValueError(f"start has shape {given.shape}, but the batch needs {(rows,)} or one token")
    if vocabulary is not None and given.size:
        low, high = int(given.min()), int(given.max())
        if low < 0 or high >= vocabulary:
            raise ValueError(f"start goes from {low} to {high}, but the embedding has {vocabulary} rows")
    return np.full(rows, given, np.int64)


def start_numbers(start: object, rows: int, outputs: int, dtype: np.dtype[np.float64]) -> Array:
    """(B,K) numbers before the first ones; None is zeros."""
    if start is None:
        return np.zeros((rows, outputs), dtype)
    return piece("start", start, (rows, outputs), dtype)


def piece(name: str, value: object, shape: tuple[int | None, ...], dtype: np.dtype[np.float64]) -> Array:
    """A dense array of that shape, where None is any size."""
    given = dense(floats(name, value, dtype))
    fits = given.ndim == len(shape)
    for want, have in zip(shape, given.shape):
        fits = fits and want in (None, have)
    if not fits:
        wanted = tuple("*" if n is None else n for n in shape)
        raise ValueError(f"{name} has shape {given.shape}, but the decoder needs {wanted}".replace("'", ""))
    return given


def decoder_width(input_size: int, fed_back: int, attention: int) -> None:
    """What the layers read is what they are given."""
    if input_size != fed_back + attention:
        raise ValueError(
            f"rnn has input_size {input_size}, but it is given {fed_back} numbers that are fed back and {attention} "
            "of attention"
        )
