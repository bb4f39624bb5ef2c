# SPDX-License-Identifier: MIT
"""The shapes in which a recurrent layer takes and returns its arrays."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy.typing as npt

from . import _check
from .parameters import Parameters
from .results import State, empty

_Array = npt.NDArray[Any]


class Shapes(Parameters):
    """How arrays of the user and of the kernels are related: one sequence, batch_first, a state or a tuple of them."""

    _STATES: ClassVar[tuple[str, ...]]
    batch_first: bool
    directions: tuple[str, ...]
    _gates: int
    _places: list[tuple[int, int]]
    _state_widths: tuple[int, ...]

    def _weight(self, name: str) -> str:
        name = name if name in self._layout else f"{name}_reverse"  # of a layer that runs in reverse alone
        return f"{name} {self._layout[name][0]}"

    def _state_shapes(self, B: int, unbatched: bool) -> tuple[tuple[int, ...], ...]:
        parts = len(self._places)
        return tuple((parts, n) if unbatched else (parts, B, n) for n in self._state_widths)

    def _state_of(self, arrays: tuple[_Array, ...], unbatched: bool) -> State:
        shaped = tuple(a[:, 0] for a in arrays) if unbatched else arrays
        return shaped if len(self._STATES) > 1 else shaped[0]

    def _new(self, T: int, B: int, n: int, unbatched: bool) -> tuple[_Array, _Array]:
        """An array in the layout of x, and its view (T,B,n)."""
        if unbatched:
            a = empty((T, n), self.dtype)
            return a, a[:, None]
        if self.batch_first:
            a = empty((B, T, n), self.dtype)
            return a, a.transpose(1, 0, 2)
        a = empty((T, B, n), self.dtype)
        return a, a

    def _constant(self, given: _Array | None, steps: int | None, B: int) -> tuple[_Array, int] | None:
        """A constant input as the kernels take it, checked."""
        if given is None:
            _check.needs("constant_steps", steps, "constant")
            return None
        return _check.constant(
            given, steps, B, self._gates * self.hidden_size, self.directions[0], self.dtype
        )
