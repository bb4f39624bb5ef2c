# SPDX-License-Identifier: MIT
"""What the topologies share: named parameters, training, prediction and files.

A model is made of parts (embedding, recurrent layers, readout), each with all its parameters in one flat
buffer. How the parts are wired is the topology: the abstract methods.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _check
from ..losses import BinaryCrossEntropy, CrossEntropy, output
from ..training import Score
from .part import Part
from .trainable import Trainable

_Array = npt.NDArray[Any]


class Model(Trainable):
    """Base of the topologies.

    Args:
        arguments: what the constructor was called with, without the seed; written to files.
        parts: the parts by the name that prefixes their parameters.
        activation: output function g, a key of `losses.OUTPUTS`.
        outputs: K.
        loss: what counts in the loss of the activation; None: everything alike.
    """

    def __init__(
        self,
        arguments: Mapping[str, Any],
        parts: Mapping[str, Part],
        activation: str,
        outputs: int,
        loss: CrossEntropy | BinaryCrossEntropy | None = None,
    ) -> None:
        self._arguments = dict(arguments)
        self._parts = dict(parts)
        self._dtype: np.dtype[Any] = next(iter(parts.values())).flat.dtype
        self._output = output(activation, loss, outputs)
        self._outputs = outputs

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self._arguments.items())
        return f"{type(self).__name__}({arguments})"

    def _decides(self) -> bool:
        return self._output.hits is not None

    # ---- parameters ----

    @property
    def arguments(self) -> dict[str, Any]:
        """The constructor's arguments that make a model of the same form (not its seed)."""
        return dict(self._arguments)

    def parameters(self) -> dict[str, _Array]:
        """All parameters as writable views, by names such as "rnn.weight_ih_l0" (within a part as torch)."""
        return {
            f"{prefix}.{name}": array
            for prefix, part in self._parts.items()
            for name, array in part.parameters().items()
        }

    def state_dict(self) -> dict[str, _Array]:
        """Copies of all parameters by name."""
        return {name: array.copy() for name, array in self.parameters().items()}

    def load_state_dict(self, state: Mapping[str, _Array]) -> None:
        """Sets all parameters, converted to the model's dtype.

        Raises:
            TypeError: a value is no array of floating-point numbers.
            ValueError: a name is missing or unknown, or a shape differs. In all cases nothing is changed.
        """
        parameters = self.parameters()
        shapes = {name: array.shape for name, array in parameters.items()}
        for name, array in _check.state_dict(state, shapes, repr(self), self._dtype).items():
            parameters[name][...] = array

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the model to a safetensors file (see `fastrnn.load`), which appears whole or not at all.

        Raises:
            ImportError: safetensors is not installed (pip install fastrnn[io]).
            OSError: the file cannot be written; a file that was there before is untouched.
        """
        from .. import io  # it imports this module, and json and pathlib, which training does without

        io.save(self, path)

    def _score(self, z: _Array, targets: _Array, steps: int) -> tuple[Score, _Array]:
        """What rows z (N,K) with their targets came to, in so many time steps; and dz, for which z is overwritten."""
        ways, count, right = self._output, targets.size, None
        if ways.hits is not None and ways.ignored is None:
            right = ways.hits(z, targets)
        elif ways.hits is not None:
            kept = targets != ways.ignored
            count, right = int(np.count_nonzero(kept)), ways.hits(z[kept], targets[kept])
        loss = ways.loss(z, targets, z)
        return Score(loss.value, count, right, steps, loss.weight), loss.gradient

    @classmethod
    @abstractmethod
    def least_parameters(cls, arguments: Mapping[str, Any]) -> int:
        """A lower bound of the parameters of a model of these arguments of the constructor, not yet checked.

        A file must hold as many before the model that it describes is made.
        """
