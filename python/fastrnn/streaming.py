# SPDX-License-Identifier: MIT
"""One step at a time: what recurrent layers do with a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy.typing as npt

from . import _check
from .results import State
from .shapes import Shapes

if TYPE_CHECKING:
    from .stream import Stream

_Array = npt.NDArray[Any]


class Streaming(Shapes):
    """The part of a layer that runs single steps."""

    _STATES: ClassVar[tuple[str, ...]]
    cell: str
    input_size: int
    directions: tuple[str, ...]

    @property
    def output_size(self) -> int:
        """Width of y."""
        raise NotImplementedError

    def step(self, x_t: _Array, state: State = None, out: _Array | None = None) -> tuple[_Array, State]:
        """One step of a stream: the same bits as the whole sequence of that batch in one call.

        Args:
            x_t: (B,I), or (I,) for one stream.
            state: (L,B,H) or (L,H), for LSTM the tuple (h, c), as the step before returned it. None starts.
            out: where y goes. The arrays of `state` are then updated in place and returned, and nothing is allocated.

        Returns:
            y (B,H) or (H,), and the state.

        Raises:
            ValueError: a shape does not fit, or the net is bidirectional; nothing is then changed.
            TypeError: an argument is no array, or of a wrong dtype.
        """
        result = self._net.step(x_t, state, out)  # None where anything has to be converted or is wrong
        return result if result is not None else self._checked_step(x_t, state, out)

    def stream(self, batch: int | None = None, state: State = None) -> Stream:
        """A stream of (I,), or of (batch,I), that owns its state and its output; state as in `step`, None is zeros."""
        from .recurrent import Recurrent
        from .stream import Stream

        assert isinstance(self, Recurrent)
        return Stream(self, batch, state)

    def _checked_step(self, x_t: _Array, state: State, out: _Array | None) -> tuple[_Array, State]:
        if not _check.on_host(x_t, state, out):
            from .cuda import calls

            return calls.step(self, x_t, state, out)  # type: ignore[arg-type]
        _check.forward_only("step", self.directions)
        x = _check.step_input(x_t, self.input_size, self.dtype, self._weight("weight_ih_l0"))
        single = x.ndim == 1
        shapes = self._state_shapes(1 if single else x.shape[0], single)
        before = _check.states("state", state, self.cell, self._STATES, shapes, self.dtype)
        if out is not None:
            _check.in_place("out", out, (*x.shape[:-1], self.output_size), self.dtype)
            arrays = (
                {}
                if state is None
                else dict(zip(self._STATES, state if isinstance(state, (tuple, list)) else [state]))
            )
            for (letter, a), shape in zip(arrays.items(), shapes):
                _check.in_place(f"state {letter}", a, shape, self.dtype)
            _check.apart(x_t=x, out=out, **{f"state {letter}": a for letter, a in arrays.items()})
        arranged = None if before is None else before if len(self._STATES) > 1 else before[0]
        result = self._net.step(x, arranged, out)
        assert result is not None, "a checked step is what the kernels take"
        return result  # type: ignore[no-any-return]
