# SPDX-License-Identifier: MIT
"""Truncated back-propagation through time (Williams & Peng 1990): gradients of bounded reach, state of unbounded.

The T steps are divided into windows of k1. With the state carried from window to window and L_w the losses of window w,

    gradient = sum_w dL_w / d(parameters),     each through the last k2 steps before the end of the window.

k2 >= T is back-propagation through time itself. With k2 = k1 no step is computed twice: every window is recorded while
it runs, and goes back to its own first step. With k2 > k1 windows overlap, and each is run again from a saved state
when its gradient is wanted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import _check, _core, control, nonfinite
from .nonfinite import NonFiniteError
from .results import Gradients, State, Stats, Tape

if TYPE_CHECKING:
    from .clip import Clip
    from .recurrent import Recurrent

_Array = npt.NDArray[Any]
_OF_STEPS = ("step_clamped", "step_scaled", "dh", "dc")  # what `Stats` holds for each step


class _Rows(NamedTuple):
    """What the steps read: x in the layout of the caller, lengths (B,), reset like x without I."""

    x: _Array
    lengths: npt.NDArray[np.int64] | None
    reset: _Array | None
    axis: int  # of time

    def part(self, begin: int, end: int) -> _Rows:
        """Steps begin .. end-1. A row that ended before has length 0."""
        lengths = None if self.lengths is None else np.clip(self.lengths - begin, 0, end - begin)
        reset = None if self.reset is None else _cut(self.reset, self.axis, begin, end)
        return _Rows(_cut(self.x, self.axis, begin, end), lengths, reset, self.axis)

    def kept(self, recorded: bool) -> _Rows:
        """What backward needs of them, in arrays that the caller cannot change."""
        lengths = None if self.lengths is None else self.lengths.copy()
        if recorded:
            return _Rows(np.empty(0), lengths, None, self.axis)
        return _Rows(self.x.copy(), lengths, None if self.reset is None else self.reset.copy(), self.axis)


class _Shape(NamedTuple):
    T: int
    B: int
    unbatched: bool


class _Window(NamedTuple):
    """The losses of steps losses .. end-1, whose gradients go back to step begin."""

    begin: int
    losses: int
    end: int
    tape: Tape | None  # None: to be run again
    state: State  # that enters step begin, if there is no tape


class TruncatedTape:
    """What one `forward(bptt=(k1, k2))` leaves for one `backward`.

    It holds copies of all that it needs. With k2 = k1 these are the tapes of all windows, else x and the states with
    which windows begin; backward then holds the tape of one window at a time.

    Attributes:
        bptt: (k1, k2).
        used: whether a backward pass has consumed this tape.
    """

    def __init__(
        self, net: Recurrent, bptt: tuple[int, int], shape: _Shape, rows: _Rows, windows: list[_Window]
    ) -> None:
        self.bptt = bptt
        self.used = False
        self._core, self._shape, self._rows, self._windows = net._net, shape, rows, windows

    @property
    def windows(self) -> int:
        """How many there are: ceil(T / k1), at least one."""
        return len(self._windows)

    def __repr__(self) -> str:
        return f"TruncatedTape(bptt={self.bptt}, windows={self.windows}, used={self.used})"

    def backward(
        self,
        net: Recurrent,
        dy: _Array | None,
        dstate: State,
        *,
        flat: _Array | None,
        x_gradient: bool,
        clip: Clip | None,
        trace: bool,
        error_if_nonfinite: bool,
    ) -> Gradients:
        """`net.backward` of this tape, which says more. All is checked before the first window."""
        _check.fresh_tape(self._core is net._net, self.used, net)
        T, B, unbatched = self._shape
        dy_rows = _check.output_gradient(dy, T, B, net.output_size, net.dtype, net.batch_first, unbatched)
        shapes = net._state_shapes(B, unbatched)
        after = _check.states("dstate", dstate, net.cell, net._STATES, shapes, net.dtype, parts_optional=True)
        if flat is not None:
            _check.gradient_buffer(flat, net._count, net.dtype)
        wanted = _check.flag("x_gradient", x_gradient)
        look = _check.flag("error_if_nonfinite", error_if_nonfinite)
        limits = control.limits(clip, _check.flag("trace", trace), look)
        if self.windows == 1 and (whole := self._windows[0].tape):
            try:
                return net.backward(
                    whole, dy, dstate, flat=flat, x_gradient=wanted, clip=clip, trace=trace,
                    error_if_nonfinite=look,
                )  # fmt: skip
            finally:
                self.used = whole.used
        if look:
            nonfinite.check_gradients(net, dy_rows, after, self._rows.lengths)
        self.used = True
        of_steps = None if clip is None else replace(clip, value=None, norm=None)
        total = _Total(net, self._shape, self._rows.axis, wanted)
        for number, window in enumerate(self._windows):
            tape = window.tape or self._run(net, window)
            self._windows[number] = window._replace(
                tape=None, state=None
            )  # a used tape lets go of its memory
            with _times_from(window.begin):
                part = net.backward(
                    tape, self._losses(dy, window), self._ending(net, after, window), flat=total.flat,
                    x_gradient=wanted, clip=of_steps, trace=trace, error_if_nonfinite=look,
                )  # fmt: skip
            total.add(window, part)
        return total.gradients(flat, limits, look)

    def _run(self, net: Recurrent, window: _Window) -> Tape:
        """The tape of a window, from its saved state."""
        rows = self._rows.part(window.begin, window.end)
        _, _, tape = net.forward(rows.x, window.state, lengths=rows.lengths, reset=rows.reset)
        assert isinstance(tape, Tape)
        return tape

    def _losses(self, dy: _Array | None, window: _Window) -> _Array | None:
        """dy of a window, zero before the steps whose losses are its own."""
        if dy is None:
            return None
        part = _cut(dy, self._rows.axis, window.begin, window.end)
        if window.losses > window.begin:
            part = part.copy()
            _cut(part, self._rows.axis, 0, window.losses - window.begin)[...] = 0
        return part

    def _ending(self, net: Recurrent, after: tuple[_Array | None, ...] | None, window: _Window) -> State:
        """The gradients of the final states of rows that end in a window. Rows of length 0 end in the first one."""
        lengths = self._rows.lengths
        if after is None or (lengths is None and window.end < self._shape.T):
            return None
        if lengths is not None:
            here = (lengths <= window.end) & ((lengths > window.losses) | (window.losses == 0))
            after = tuple(None if a is None else np.where(here[:, None], a, a.dtype.type(0)) for a in after)
        return after if len(net._STATES) > 1 else after[0]


class _Total:
    """The gradients of windows, added up."""

    def __init__(self, net: Recurrent, shape: _Shape, axis: int, x_gradient: bool) -> None:
        self.flat: _Array | None = None
        self._net, self._axis = net, axis
        self._dx = net._new(shape.T, shape.B, net.input_size, shape.unbatched)[0] if x_gradient else None
        if self._dx is not None:
            self._dx.fill(0)
        self._state: State = None
        self._stats: list[Stats] = []

    def add(self, window: _Window, part: Gradients) -> None:
        """One more window. The kernels have added its gradients of parameters to `flat`."""
        self.flat = part.flat
        if self._dx is not None:
            _cut(self._dx, self._axis, window.begin, window.end)[...] += part.x
        if window.begin == 0:
            self._state = part.state if self._state is None else _sum(self._state, part.state)
        own: dict[str, Any] = {
            name: values[..., window.losses - window.begin :] for name, values in _of_steps(part.stats)
        }
        self._stats.append(replace(part.stats, _measured=partial(dict, own)))

    def gradients(self, flat: _Array | None, limits: control.Limits, look: bool) -> Gradients:
        """All of it, added to `flat` if there is one, then clamped as in one call."""
        assert self.flat is not None, "there is at least one window"
        total = self.flat if flat is None else flat + self.flat
        square, clamped = _core.square_sum(total), 0
        stored = square
        if limits.value < math.inf:
            clamped = int(np.count_nonzero(np.abs(total) > limits.value))
            np.clip(total, -limits.value, limits.value, out=total)
            stored = _core.square_sum(total)
        if look:
            nonfinite.check_results(self._net, total, None, None)
        if flat is None:
            flat = total
        else:
            flat[:] = total
        stats = control.stats(limits, (square, stored, clamped), None, [], flat.size, None, ())
        steps: dict[str, Any] = {
            name: np.concatenate([getattr(s, name) for s in self._stats], axis=2)
            for name, _ in _of_steps(self._stats[0])
        }
        stats = replace(stats, _measured=partial(dict, steps))
        return Gradients(self._dx, self._state, self._net._views(flat), flat, stats)


def forward(
    net: Recurrent,
    x: _Array,
    state: State,
    bptt: object,
    *,
    lengths: Any,
    reset: _Array | None,
    training: bool,
    max_workspace: int | None,
    error_if_nonfinite: bool,
) -> tuple[_Array, State, TruncatedTape]:
    """`net.forward` with bptt=(k1, k2), which says more."""
    k1, k2 = _check.bptt(bptt, net.directions, max_workspace, _check.flag("training", training))
    _check.no_dropout("bptt", vars(net))
    weight = net._weight("weight_ih_l0")
    given, unbatched = _check.sequence(x, net.input_size, net.dtype, net.batch_first, weight)
    T, B, _ = given.shape
    shapes = net._state_shapes(B, unbatched)
    before = _check.states("state", state, net.cell, net._STATES, shapes, net.dtype)
    row_lengths = _check.lengths(lengths, T, B, unbatched)
    _check.reset(reset, T, B, net.batch_first, unbatched)
    given = given[:, 0] if unbatched else given.transpose(1, 0, 2) if net.batch_first else given
    rows = _Rows(given, row_lengths, reset, int(net.batch_first and not unbatched))
    recorded = k1 == k2 or k1 >= T
    spans = [(losses, min(losses + k1, T)) for losses in range(0, max(T, 1), k1)]
    begins = [losses if recorded else max(0, end - k2) for losses, end in spans]
    y = net._new(T, B, net.output_size, unbatched)[0]
    now = None if before is None else net._state_of(tuple(np.array(a) for a in before), False)
    tapes: dict[int, tuple[Tape | None, State]] = {}
    cuts = sorted(set(begins))
    for begin, end in zip(cuts, [*cuts[1:], T]):
        part = rows.part(begin, end)
        with _times_from(begin):
            y_part, after, tape = net.forward(
                part.x, now, lengths=part.lengths, reset=part.reset, training=recorded,
                error_if_nonfinite=error_if_nonfinite,
            )  # fmt: skip
        assert not isinstance(tape, TruncatedTape)
        _cut(y, rows.axis, begin, end)[...] = y_part
        tapes[begin] = (tape, None if recorded else now)
        now = after
    windows = [_Window(begin, *span, *tapes[begin]) for begin, span in zip(begins, spans)]
    return y, now, TruncatedTape(net, (k1, k2), _Shape(T, B, unbatched), rows.kept(recorded), windows)


@contextmanager
def _times_from(begin: int) -> Iterator[None]:
    """Times in errors become those of the whole sequence."""
    try:
        yield
    except NonFiniteError as error:
        t = None if error.t is None else error.t + begin
        raise NonFiniteError(error.stage, error.tensor, error.layer, error.direction, t, error.row) from None


def _cut(a: _Array, axis: int, begin: int, end: int) -> _Array:
    """A view of the steps begin .. end-1."""
    return a[:, begin:end] if axis else a[begin:end]


def _sum(a: State, b: State) -> State:
    """Of two states."""
    return tuple(map(np.add, a, b)) if isinstance(a, tuple) else a + b


def _of_steps(stats: Stats) -> list[tuple[str, _Array]]:
    """What was measured for each step, (L,D,T)."""
    return [(name, values) for name in _OF_STEPS if (values := getattr(stats, name)) is not None]
