# SPDX-License-Identifier: MIT
"""A stream: a net that runs step by step, with its state and its output array in one place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from . import _check
from .results import State

if TYPE_CHECKING:
    from .recurrent import Recurrent

_Array = npt.NDArray[Any]


class Stream:
    """What `net.stream()` returns: `net.step` with arrays that it owns, so that a step allocates nothing.

        y_t, state_t = net.step(x_t, state_{t-1})

    A net may have many streams. One stream belongs to one thread at a time.

    Attributes:
        net: the net, whose parameters may change between steps.
        batch: B, or None for one sequence without a batch axis.

    >>> stream = fastrnn.GRU(3, 4, num_layers=2, seed=0).stream()
    >>> stream.step(np.ones(3, np.float32)).shape, stream.state.shape
    ((4,), (2, 4))
    """

    def __init__(self, net: Recurrent, batch: int | None = None, state: State = None) -> None:
        _check.forward_only("stream", net.directions)
        self.net = net
        self.batch = None if batch is None else _check.size("batch", batch)
        rows = () if self.batch is None else (self.batch,)
        shapes = net._state_shapes(self.batch or 1, self.batch is None)
        given = _check.states("state", state, net.cell, net._STATES, shapes, net.dtype)
        self._arrays = tuple(np.array(start) for start in given or self._start())
        self._state = self._arrays if len(self._arrays) > 1 else self._arrays[0]
        self._y = np.zeros((*rows, net.output_size), net.dtype)

    def step(self, x_t: _Array, out: _Array | None = None) -> _Array:
        """One step: the same bits as the whole sequence of that batch in one call.

        Args:
            x_t: (I,), or (B,I) of a stream with a batch. Converted where dtype or strides differ, which allocates.
            out: where y goes instead; (H,) or (B,H), of the net's dtype.

        Returns:
            y (H,) or (B,H): `out`, else the SAME array at every step, so copy what must outlive the next one.

        Raises:
            ValueError: a shape does not fit, or x_t and where y goes share memory; nothing is then changed.
            TypeError: an argument is no array, or of a wrong dtype.
        """
        y = self._y if out is None else out
        if self.net._net.step(x_t, self._state, y) is None:  # something has to be converted or is wrong
            _check.stream_input(x_t, self.net.input_size, self.batch)
            self.net.step(x_t, self._state, y)
        return y

    @property
    def state(self) -> State:
        """A copy of the state, in the form in which layers take it: (L,H) or (L,B,H), for LSTM the tuple (h, c)."""
        copies = tuple(own.copy() for own in self._arrays)
        return copies if len(copies) > 1 else copies[0]

    def reset(self, rows: Any = None) -> None:
        """Back to the state of a call without one: zero, or what was learned.

        Args:
            rows: which rows of the batch begin anew: bool (B,), or their numbers; None is all.

        Raises:
            ValueError: a row is outside the batch, or the stream has no batch.
            TypeError: rows are neither bools nor integers.
        """
        chosen = _check.stream_rows(rows, self.batch)
        for own, start in zip(self._arrays, self._start()):
            own[:, chosen] = start[:, chosen]

    def _start(self) -> tuple[_Array, ...]:
        """The state of a call without one: what no step leaves of it."""
        net = self.net
        sizes = (0,) if self.batch is None else (self.batch, 0) if net.batch_first else (0, self.batch)
        _, start = net(np.empty((*sizes, net.input_size), net.dtype))
        return start if isinstance(start, tuple) else (start,)

    def __repr__(self) -> str:
        return f"{self.net!r}.stream({'' if self.batch is None else f'batch={self.batch}'})"
