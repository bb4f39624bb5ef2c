# SPDX-License-Identifier: MIT
"""What the passes of a layer return, and the memory it stands on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _core

_Array = npt.NDArray[Any]
State = Any  # an array (L*D,B,H), or for cells with several states a tuple of such arrays
_LARGE = 1 << 14  # elements


@dataclass(frozen=True, eq=False)
class Stats:
    """What backward measured on the way.

    Arrays are (L,D,T) of float64: layer, direction, time t of the sequence. D is 2 where the net runs both ways (0
    forward, 1 reverse), with NaN for directions that a layer has not, else 1.

    Attributes:
        norm: L2 norm of the gradients of the parameters before clipping by `Clip.value` and `Clip.norm`.
        stored_norm: the same of `Gradients.flat`, clamped by `Clip.value`.
        scale: what `Clip.norm` asks the optimizer to multiply by, min(1, norm / (stored_norm + 1e-6)); 1 without.
        clamped: fraction of the gradients of the parameters that `Clip.value` clamped; None without.
        step_clamped: fraction of the numbers of dL/dh_t and dL/dc_t that `Clip.step_value` clamped; None without.
        step_scaled: fraction of the rows [dL/dh_t ; dL/dc_t] that `Clip.step_norm` scaled; None without.
        dh: with trace=True, L2 norms of dL/dh_t over the batch as they reach step t, before it is clipped; else None.
        dc: the same for dL/dc_t; None for cells without c.
    """

    norm: float
    stored_norm: float
    scale: float = 1.0
    clamped: float | None = None
    _measured: Callable[[], Mapping[str, _Array]] = field(
        default=dict, repr=False
    )  # arrays, made when asked for

    @cached_property
    def _of_steps(self) -> Mapping[str, _Array]:
        return self._measured()

    @property
    def step_clamped(self) -> _Array | None:
        """(L,D,T)"""
        return self._of_steps.get("step_clamped")

    @property
    def step_scaled(self) -> _Array | None:
        """(L,D,T)"""
        return self._of_steps.get("step_scaled")

    @property
    def dh(self) -> _Array | None:
        """(L,D,T)"""
        return self._of_steps.get("dh")

    @property
    def dc(self) -> _Array | None:
        """(L,D,T)"""
        return self._of_steps.get("dc")

    def to_dict(self) -> dict[str, Any]:
        """All of it by name, None where it was not measured."""
        names = ("norm", "stored_norm", "scale", "clamped", "step_clamped", "step_scaled", "dh", "dc")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, eq=False)
class Gradients:
    """What `backward` returns.

    Attributes:
        x: gradient of x, in its layout; None where it was not wanted.
        state: gradient of the initial state, in the form of a state.
        params: gradients of the parameters by name, views of `flat`.
        flat: all of them in one array, laid out like `net.flat`.
        stats: see `Stats`.
        constant: (B,G*H) gradient of the constant input; None where forward had none.
    """

    x: _Array | None
    state: State
    params: dict[str, _Array]
    flat: _Array
    stats: Stats
    constant: _Array | None = None


@dataclass(frozen=True, eq=False)
class Internals:
    """What the cells computed, with return_cells and return_gates; 0 past the end of a row.

    The first axis is layer and direction, as that of a state; T and B stand as in x, without B for one sequence.

    Attributes:
        cells: (L*D,T,B,H) c_t of every step; None where it was not asked for.
        gates: (L*D,T,B,G*H) the gates of every step after their activations, in the order of the rows of the weights:
            LSTM i f g o, GRU r z n, RNN its h; None where they were not asked for.
    """

    cells: _Array | None
    gates: _Array | None


@dataclass
class Tape:
    """What one `forward` in training mode leaves for one `backward`.

    It holds copies of all that it needs: x, y and states may be overwritten in between.
    """

    _core: Any = field(repr=False)
    _unbatched: bool = field(repr=False)
    _lengths: npt.NDArray[np.int64] | None = field(repr=False, default=None)
    _constant: bool = field(repr=False, default=False)

    @property
    def segments(self) -> int:
        """In how many pieces backward will run; 1 where the whole tape is kept."""
        return int(self._core.segments)

    @property
    def _of_arrays(self) -> bool:
        """Whether forward has been given arrays in the memory of a GPU."""
        return getattr(self._core, "of_arrays", False)

    @property
    def used(self) -> bool:
        """Whether a backward pass has consumed this tape."""
        return bool(self._core.used)


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> _Array:
    """A new array for results. The memory of a large one comes back at its end, for the next call: the system would
    take its pages and clear others, 4 % of the time of inference at (T,B,I,H) = 784, 32, 1, 128."""
    if math.prod(shape) < _LARGE:
        return np.empty(shape, dtype)
    return _core.empty(shape, dtype == np.float64)
