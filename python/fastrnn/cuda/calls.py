# SPDX-License-Identifier: MIT
"""Calls of layers on arrays in the memory of their GPU: what `Recurrent` does, without copies and without waiting.

Arrays come in and go out as they are; lengths and resets are of the host, where they are checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .. import _check, control
from .._core import Array
from ..results import Gradients, Internals, Stats, Tape

if TYPE_CHECKING:
    from ..recurrent import Recurrent


class LazyStats(Stats):
    """`Stats` that are measured on the device: whoever asks first waits for them."""

    def __init__(
        self, limits: control.Limits, sums: Array, norms: Array | None, rest: tuple[Any, ...]
    ) -> None:
        self.__dict__["_parts"] = limits, sums, norms, rest

    @cached_property
    def _found(self) -> Stats:
        limits, sums, norms, rest = self.__dict__["_parts"]
        before, after, clamped = 0.0, 0.0, 0.0
        for part in sums.numpy().reshape(-1, 3).tolist():
            before, after, clamped = before + part[0], after + part[1], clamped + part[2]
        return control.stats(
            limits, (before, after, clamped), None if norms is None else norms.numpy(), *rest
        )

    def __getattribute__(self, name: str) -> Any:
        if name in ("norm", "stored_norm", "scale", "clamped", "_measured"):
            return getattr(self._found, name)
        return super().__getattribute__(name)


def _items(net: Recurrent, name: str, state: Any) -> dict[str, Any]:
    """A state by the names of its arrays."""
    if state is None:
        return {}
    items = _check.state_items(name, state, net.cell, net._STATES)
    return {f"{name} {letter}": item for letter, item in zip(net._STATES, items)}


def _state_of(net: Recurrent, arrays: list[Array], unbatched: bool) -> Any:
    shaped = tuple(a._view((a.shape[0], a.shape[2])) if unbatched else a for a in arrays)
    return shaped if len(shaped) > 1 else shaped[0]


def _arranged(net: Recurrent, rows: Array, unbatched: bool) -> Array:
    """Rows (T,B,n) in the layout of x."""
    if unbatched:
        return rows._view((rows.shape[0], rows.shape[2]))
    return rows._swapped(0, 1) if net.batch_first else rows


def _constant(net: Recurrent, given: Any, steps: Any, B: int, device: int) -> tuple[Array, int] | None:
    if given is None:
        _check.needs("constant_steps", steps, "constant")
        return None
    count = _check.constant_steps(steps, net.directions[0])
    return _check.device_dense("constant", given, (B, net._gates * net.hidden_size), device, net.dtype), count


def forward(net: Recurrent, x: Any, state: Any, given: Mapping[str, Any]) -> Any:
    """`Recurrent.forward`; given: its other arguments by name."""
    items = _items(net, "state", state)
    device = _check.one_device(net.device, {"x": x, **items, "constant": given["constant"]})
    _check.only_of_host(**{name: given[name] for name in ("bptt", "max_workspace", "error_if_nonfinite")})
    rows = _check.device_rows("x", x, device, net.dtype)
    unbatched = _check.sequence_shape(
        rows.shape, net.input_size, net.batch_first, net._weight("weight_ih_l0")
    )
    turned = net.batch_first and not unbatched
    rows = rows._expanded(1) if unbatched else rows._swapped(0, 1) if turned else rows
    T, B, _ = rows.shape
    before = _check.device_states(items, net._state_shapes(B, unbatched), device, net.dtype)
    row_lengths = _check.lengths(given["lengths"], T, B, unbatched)
    cuts = _check.reset(given["reset"], T, B, net.batch_first, unbatched)
    added = _constant(net, given["constant"], given["constant_steps"], B, device)
    training = _check.flag("training", given["training"])
    asked = (
        _check.flag("return_cells", given["return_cells"]),
        _check.flag("return_gates", given["return_gates"]),
    )
    telling = asked[0] or asked[1]
    if telling:
        from .. import internals

        internals.check(net, *asked, None)
    _check.product(T=T, B=B, width=net._widest)
    masks, began = None, net._rng.bit_generator.state if net._drops else None
    if (net._drops and training) or given["dropout_seed"] is not None:
        masks = net._dropout.draw(given["dropout_seed"], training, net._rng)
    if masks is not None and net.input_dropout:
        _check.one_piece(rows)
    try:
        y, after, tape = net._net.forward_arrays(
            rows, before, row_lengths, cuts, training or telling, masks, added, turned, None
        )
    except (ValueError, MemoryError):
        if began is not None:  # nothing is changed: the next call draws what this one would have
            net._rng.bit_generator.state = began
        raise
    results = (
        _arranged(net, y, unbatched),
        _state_of(net, after, unbatched),
        Tape(tape, unbatched, None if row_lengths is None else row_lengths.copy(), added is not None)
        if training
        else None,
    )
    return (*results, _internals(net, tape, asked, unbatched)) if telling else results


def _internals(net: Recurrent, tape: Any, asked: tuple[bool, bool], unbatched: bool) -> Internals:
    def arranged(a: Array | None) -> Array | None:
        if a is None:
            return None
        parts, T, _, n = a.shape
        return a._view((parts, T, n)) if unbatched else a._swapped(1, 2) if net.batch_first else a

    cells, gates = net._net.read_tape_arrays(tape, *asked)
    return Internals(arranged(cells), arranged(gates))  # type: ignore[arg-type]


def backward(
    net: Recurrent, tape: Tape, dy: Any, dstate: Any, flat: Any, x_gradient: bool, given: Mapping[str, Any]
) -> Gradients:
    """`Recurrent.backward` of a tape of this net that has not been used; given: its other arguments by name."""
    items = _items(net, "dstate", dstate)
    arrays = {"dy": dy, **items, "flat": flat}
    if not _check.on_host(*arrays.values()):
        device = _check.one_device(net.device, arrays)
    _check.of_tape(tape._of_arrays, arrays)
    device = net._net.device
    _check.only_of_host(error_if_nonfinite=given["error_if_nonfinite"])
    T, B, unbatched = tape._core.steps, tape._core.batch, tape._unbatched
    turned = net.batch_first and not unbatched
    dy_rows = _check.device_output_gradient(
        dy, T, B, net._y_width, device, net.dtype, net.batch_first, unbatched
    )
    dafter = _check.device_states(items, net._state_shapes(B, unbatched), device, net.dtype)
    added_to = (
        None if flat is None else _check.device_dense("flat", flat, (net._count,), device, net.dtype, True)
    )
    wanted = _check.flag("x_gradient", x_gradient)
    limits = control.limits(given["clip"], _check.flag("trace", given["trace"]), False)
    dx, before, gradients, sums, norms, constant = net._net.backward_arrays(
        tape._core, dy_rows, dafter, wanted, added_to, limits.step_value, limits.step_norm, limits.value,
        limits.trace, limits.measure, turned,
    )  # fmt: skip
    rest = net._places, net._count, tape._lengths, net._state_widths
    params: dict[str, Any] = {
        name: gradients._view(shape, offset) for name, (shape, offset) in net._layout.items()
    }
    return Gradients(
        None if dx is None else _arranged(net, dx, unbatched),  # type: ignore[arg-type]
        _state_of(net, before, unbatched), params, gradients, LazyStats(limits, sums, norms, rest), constant,
    )  # fmt: skip


def step(net: Recurrent, x_t: Any, state: Any, out: Any) -> tuple[Any, Any]:
    """`Recurrent.step`."""
    items = _items(net, "state", state)
    device = _check.one_device(net.device, {"x_t": x_t, **items, "out": out})
    _check.forward_only("step", net.directions)
    x = _check.device_rows("x_t", x_t, device, net.dtype)
    _check.step_shape(x.shape, net.input_size, net._weight("weight_ih_l0"))
    single = x.ndim == 1
    rows = x._expanded(0)._expanded(0) if single else x._expanded(0)
    B, width = rows.shape[1], net._y_width
    in_place = out is not None
    before = _check.device_states(items, net._state_shapes(B, single), device, net.dtype, in_place)
    y_shape = (width,) if single else (B, width)
    if not in_place:
        y, after, _ = net._net.forward_arrays(rows, before, None, None, False, None, None, False, None)
        return y._view(y_shape), _state_of(net, after, single)
    target = _check.device_dense("out", out, y_shape, device, net.dtype, True)
    _check.apart_on_device({"x_t": x, "out": target, **dict(zip(items, before))})
    target = target._view((1, B, width))
    _, after, _ = net._net.forward_arrays(rows, before, None, None, False, None, None, False, target)
    return out, state if before else _state_of(net, after, single)
