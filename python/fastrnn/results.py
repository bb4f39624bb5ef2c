# SPDX-License-Identifier: MIT
"""What the passes of a layer return, and the memory it stands on."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _core

_Array = npt.NDArray[Any]
State = Any  # an array (L*D,B,H), or for cells with several states a tuple of such arrays
_LARGE = 1 << 14  # elements


@dataclass(frozen=True)
class Stats:
    """What backward measured on the way.

    Attributes:
        norm: L2 norm of `Gradients.flat` as it was stored.
    """

    norm: float


@dataclass(frozen=True, eq=False)
class Gradients:
    """What `backward` returns.

    Attributes:
        x: gradient of x, in its layout; None where it was not wanted.
        state: gradient of the initial state, in the form of a state.
        params: gradients of the parameters by name, views of `flat`.
        flat: all of them in one array, laid out like `net.flat`.
        stats: see `Stats`.
    """

    x: _Array | None
    state: State
    params: dict[str, _Array]
    flat: _Array
    stats: Stats


@dataclass
class Tape:
    """What one `forward` in training mode leaves for one `backward`.

    It holds copies of all that it needs: x, y and states may be overwritten in between.
    """

    _core: Any = field(repr=False)
    _unbatched: bool = field(repr=False)

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
