# SPDX-License-Identifier: MIT
"""The parameters of a recurrent layer: one array, views of it by name, copies, and pickles."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _check
from .options import Start
from .runtime import active, available

_Array = npt.NDArray[Any]


class Parameters:
    """Base of `Recurrent`, which makes `_net` and the shapes and offsets of `_layout`."""

    cell: str
    hidden_size: int
    learn_state: bool
    dtype: np.dtype[Any]
    isa: Any
    _net: Any
    _rng: np.random.Generator
    _layout: dict[str, tuple[tuple[int, ...], int]]

    def _create(self, isa: str) -> None:
        raise NotImplementedError

    def _begin(self, start: Start, rng: np.random.Generator) -> None:
        """Sets the start values; learned states begin as zero."""
        flat, bound = self.flat, self.hidden_size**-0.5
        weights = self._layout["h0"][1] if self.learn_state else flat.size
        flat[:weights] = rng.uniform(-bound, bound, weights)
        for name, values in self._views(flat).items():
            if name.startswith("norm_"):
                values[:] = 0 if "_bias_" in name else 1
        if start != Start():
            from . import init

            init.fill(self._views(flat), self.cell, self.hidden_size, start, rng)

    @property
    def flat(self) -> _Array:
        """All parameters in one array, in the order of `parameters()`. Writing to it changes the net.

        While it or a view of it is held, every call lays the weights out anew for the kernels; let go of it before
        calls that should be fast.
        """
        flat: _Array = self._net.flat
        return flat

    def _views(self, flat: _Array) -> dict[str, _Array]:
        return {
            name: flat[offset : offset + math.prod(shape)].reshape(shape)
            for name, (shape, offset) in self._layout.items()
        }

    def parameters(self) -> dict[str, _Array]:
        """Parameters by torch's names, as writeable views of `flat`; holding one makes calls slower, as there."""
        return self._views(self.flat)

    def state_dict(self) -> dict[str, _Array]:
        """Copies of the parameters by torch's names. `numpy.savez(path, **net.state_dict())` writes them to a file."""
        return {name: view.copy() for name, view in self.parameters().items()}

    def load_state_dict(self, mapping: Mapping[str, _Array]) -> None:
        """Sets all parameters, such as those of torch's layer: {name: t.numpy() for name, t in m.state_dict().items()}.

        Raises:
            ValueError: a name is missing or unknown, or a shape differs; nothing is then changed.
            TypeError: a value is no array of floating-point numbers.
        """
        shapes = {name: shape for name, (shape, _) in self._layout.items()}
        values = _check.state_dict(mapping, shapes, repr(self), self.dtype)
        flat = np.concatenate(
            [values[name].reshape(-1) for name in shapes]
        )  # values may be views of this very net
        self.flat[:] = flat

    def __getstate__(self) -> dict[str, Any]:
        attributes = {name: value for name, value in vars(self).items() if name not in ("_net", "_layout")}
        return attributes | {
            "_parameters": self.flat.copy(),
            "_isa": self.isa,
            "_rng": copy.deepcopy(self._rng),
        }

    def __setstate__(self, attributes: dict[str, Any]) -> None:
        parameters, isa = attributes.pop("_parameters"), attributes.pop("_isa")
        vars(self).update(attributes)
        # Results keep their bits where the target is at hand and the environment does not ask for another one.
        kept = isa in available() and not os.environ.get("FASTRNN_ISA")
        self._create(isa if kept else active())
        self.flat[:] = parameters
