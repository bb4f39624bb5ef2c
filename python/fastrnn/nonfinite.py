# SPDX-License-Identifier: MIT
"""The first NaN or infinity of a pass, by name and place, instead of a silent NaN at its end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from .recurrent import Recurrent

_Array = npt.NDArray[Any]
_Lengths = npt.NDArray[np.int64] | None
_WORDS = ("forward", "reverse")


class NonFiniteError(FloatingPointError):
    """A NaN or an infinity was met.

    Attributes:
        stage: "forward" or "backward".
        tensor: what holds it: "x", "h0", "c0", a parameter's name, "h"; in backward "dy", "dh_n", "dc_n", "dh", "dc";
            or what is returned: "d" and a parameter's name, "dx", "dh0", "dc0".
        layer, direction: of the recurrent layer, direction 0 forward and 1 reverse; None where it comes from outside.
        t, row: time and row of the batch; None where it belongs to none.
    """

    def __init__(
        self,
        stage: str,
        tensor: str,
        layer: int | None = None,
        direction: int | None = None,
        t: int | None = None,
        row: int | None = None,
    ) -> None:
        self.stage, self.tensor, self.layer, self.direction, self.t, self.row = (
            stage, tensor, layer, direction, t, row,
        )  # fmt: skip
        place = [] if layer is None else [f"layer {layer}"]
        place += [] if direction is None else [f"direction {_WORDS[direction]}"]
        place += [] if t is None else [f"t={t}"]
        place += [] if row is None else [f"row {row}"]
        super().__init__(f"{stage}: {tensor} is not finite" + (" at " + ", ".join(place) if place else ""))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.stage, self.tensor, self.layer, self.direction, self.t, self.row)


def check_inputs(
    net: Recurrent, x: _Array, states: tuple[_Array | None, ...] | None, lengths: _Lengths
) -> None:
    """x (T,B,I) within the lengths, initial states, parameters."""
    for t, row in _bad_steps(x, lengths):
        raise NonFiniteError("forward", "x", t=t, row=row)
    _check_states("forward", net, states, "{}0")
    for name, (shape, offset) in net._layout.items():
        if not np.isfinite(net.flat[offset : offset + int(np.prod(shape))]).all():
            raise NonFiniteError("forward", name)


def check_outputs(net: Recurrent, tape: Any, y: _Array, lengths: _Lengths) -> None:
    """The h of every layer and direction, in the order in which it was computed."""
    places = net._places
    for layer in range(net.num_layers):
        h = y if layer == net.num_layers - 1 else tape.output(layer)
        directions = [direction for at, direction in places if at == layer]
        for direction, part in zip(directions, np.split(h, len(directions), axis=2)):
            for t, row in _bad_steps(part, lengths, reverse=direction == 1):
                raise NonFiniteError("forward", "h", layer, direction, t, row)


def check_gradients(
    net: Recurrent, dy: _Array, states: tuple[_Array | None, ...] | None, lengths: _Lengths
) -> None:
    """dy (T,B,D*H) within the lengths, gradients of the final states."""
    for t, row in _bad_steps(dy, lengths, backward=True):
        raise NonFiniteError("backward", "dy", t=t, row=row)
    _check_states("backward", net, states, "d{}_n")


def check_steps(net: Recurrent, norms: _Array | None, lengths: _Lengths) -> None:
    """dL/dh_t and dL/dc_t of every step, by the squares of their norms (parts,T,B,4), as backward met them."""
    assert norms is not None
    for part, (layer, direction) in sorted(enumerate(net._places), key=lambda at: (-at[1][0], at[1][1])):
        for t, row in _bad_steps(norms[part, :, :, :2], lengths, reverse=direction == 1, backward=True):
            tensor = "dc" if np.isfinite(norms[part, t, row, 0]) else "dh"
            raise NonFiniteError("backward", tensor, layer, direction, t, row)


def check_results(
    net: Recurrent, flat: _Array, dx: _Array | None, states: tuple[_Array | None, ...] | None
) -> None:
    """Gradients of the parameters, of x (T,B,I) and of the initial states: products that overflow by themselves."""
    for name, (shape, offset) in net._layout.items():
        if not np.isfinite(flat[offset : offset + int(np.prod(shape))]).all():
            raise NonFiniteError("backward", f"d{name}")
    if dx is not None:
        for t, row in _bad_steps(dx, None, backward=True):
            raise NonFiniteError("backward", "dx", t=t, row=row)
    _check_states("backward", net, states, "d{}0")


def _check_states(stage: str, net: Recurrent, states: tuple[_Array | None, ...] | None, name: str) -> None:
    for letter, state in zip(net._STATES, states or ()):
        if state is None:
            continue
        for part, row in np.argwhere(~np.isfinite(state.reshape(state.shape[0], -1, state.shape[-1])).all(2)):
            layer, direction = net._places[part]
            raise NonFiniteError(stage, name.format(letter), layer, direction, row=int(row))


def _bad_steps(
    a: _Array, lengths: _Lengths, reverse: bool = False, backward: bool = False
) -> Iterator[tuple[int, int]]:
    """(t, row) of a (T,B,n) that hold a number that is not finite, in the order in which a pass meets them."""
    bad = ~np.isfinite(a).all(2)
    steps = np.arange(len(a))[:, None]
    whole = np.full(a.shape[1], len(a)) if lengths is None else lengths
    bad &= steps < whole
    order = whole - 1 - steps if reverse else np.broadcast_to(steps, bad.shape)
    order = -order if backward else order
    found = np.argwhere(bad)
    for t, row in found[np.argsort(order[bad], kind="stable")]:
        yield int(t), int(row)
