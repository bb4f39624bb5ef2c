# SPDX-License-Identifier: MIT
"""Between `Clip` and the kernels: the limits that they are given, and what they have measured.

For every step of a part and row of the batch, the kernels write four numbers: the squares of the norms of dL/dh_t and
dL/dc_t as they arrive, of both as clamped, and how many of their numbers were clamped (StepNorms in csrc/api.h).
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .results import Stats, empty

if TYPE_CHECKING:
    from .clip import Clip

_Array = npt.NDArray[Any]
_DH, _DC, _CLAMPED, _COUNT = range(4)


class Limits(NamedTuple):
    """What one backward call is asked for; infinity stands for no limit."""

    clip: Clip | None
    step_value: float
    step_norm: float
    value: float
    trace: bool
    measure: bool  # whether the kernels need room for their measurements


def limits(clip: Clip | None, trace: bool, look: bool) -> Limits:
    """The limits of a clip; `look`: steps are looked through for numbers that are not finite."""
    if clip is None:
        return Limits(None, math.inf, math.inf, math.inf, trace, trace or look)
    from . import _check
    from .clip import Clip

    _check.instance("clip", clip, Clip, "an object such as fastrnn.Clip(norm=5.0), or None")
    step_value, step_norm, value = (
        math.inf if limit is None else float(limit) for limit in (clip.step_value, clip.step_norm, clip.value)
    )
    steps = step_value < math.inf or step_norm < math.inf
    return Limits(clip, step_value, step_norm, value, trace, steps or trace or look)


def room(limits: Limits, parts: int, T: int, B: int, ragged: bool) -> _Array | None:
    """Where the kernels write their measurements (parts,T,B,4); None where there are none."""
    if not limits.measure:
        return None
    norms = empty((parts, T, B, 4), np.dtype(np.float64))
    if ragged:  # they write where a row takes part in a step
        norms.fill(0)
    return norms


def stats(
    limits: Limits,
    sums: tuple[float, float, float],
    norms: _Array | None,
    places: list[tuple[int, int]],
    parameters: int,
    lengths: npt.NDArray[np.int64] | None,
    widths: tuple[int, ...],
) -> Stats:
    """What is told to the user. places: (layer, direction) of each part; widths: of dL/dh_t and, if any, dL/dc_t."""
    before, after, clamped = sums
    norm, stored = math.sqrt(before), math.sqrt(after)
    clip = limits.clip
    facts: dict[str, Any] = {}
    if clip is not None:
        facts["scale"] = clip.scale(stored)
        if clip.value is not None:
            facts["clamped"] = clamped / parameters
    if norms is not None and (clip is not None or limits.trace):
        # Most callers never look: the sums over the batch would take 2 % of a small training step.
        facts["_measured"] = partial(_of_steps, limits, norms, places, lengths, widths)
    return Stats(norm, stored, **facts)


def _of_steps(
    limits: Limits,
    norms: _Array,
    places: list[tuple[int, int]],
    lengths: npt.NDArray[np.int64] | None,
    widths: tuple[int, ...],
) -> dict[str, _Array]:
    _, T, B, _ = norms.shape
    rows = np.full(T, B) if lengths is None else (lengths > np.arange(T)[:, None]).sum(1)
    rows = np.maximum(rows, 1)
    found: dict[str, _Array] = {}
    if limits.step_value < math.inf:
        found["step_clamped"] = norms[..., _COUNT].sum(2) / (rows * sum(widths))
    if limits.step_norm < math.inf:
        found["step_scaled"] = (norms[..., _CLAMPED] > limits.step_norm * limits.step_norm).sum(2) / rows
    if limits.trace:
        found["dh"] = np.sqrt(norms[..., _DH].sum(2))
        if len(widths) > 1:
            found["dc"] = np.sqrt(norms[..., _DC].sum(2))
    return {name: by_place(values, places) for name, values in found.items()}


def by_place(values: _Array, places: list[tuple[int, int]]) -> _Array:
    """(parts,T) -> (L,D,T), NaN where a layer has no such direction."""
    directions = sorted({direction for _, direction in places})
    arranged = np.full((places[-1][0] + 1, len(directions), values.shape[1]), np.nan)
    for part, (layer, direction) in enumerate(places):
        arranged[layer, directions.index(direction)] = values[part]
    return arranged
