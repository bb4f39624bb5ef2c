# SPDX-License-Identifier: MIT
"""The parts that models are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from .. import _check
from ..layers import CELLS
from ..recurrent import Recurrent

_Array = npt.NDArray[Any]


class Part(Protocol):
    """Parameters that live in one flat buffer."""

    @property
    def flat(self) -> _Array:
        """(P,) all parameters of the part."""

    def parameters(self) -> dict[str, _Array]:
        """Writable views of `flat` by name."""

    def _views(self, flat: _Array) -> dict[str, _Array]:
        """Views, by the names of the parameters, of an array laid out like `flat`."""


def recurrent(
    cell: str,
    inputs: int,
    hidden: int,
    num_layers: int,
    options: Mapping[str, Any],
    rng: np.random.Generator,
) -> Recurrent:
    """The recurrent layers of a model, by the name of their cell, with options of the layer."""
    make = CELLS[_check.choice("cell", cell, tuple(CELLS))]
    return make(inputs, hidden, num_layers, seed=int(rng.integers(2**63)), **options)
