# SPDX-License-Identifier: MIT
"""JAX on the CPU, compiled by XLA: lax.scan over the steps, the input product of all steps before it.

Training is the compiled vjp of the same. States of a stream stay JAX's arrays. XLA takes its threads from the
processors of the process (`limits.pin`).
"""

from __future__ import annotations

from functools import partial
from itertools import cycle
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from cases import Case

from . import CannotRun, Work, cell_name

jax.config.update("jax_platforms", "cpu")


def version() -> str:
    """Version of jax."""
    return str(jax.__version__)


def set_threads(n: int) -> None:
    """XLA has as many as the process has processors."""


def make(case: Case, data: dict[str, Any]) -> Work:
    """See `peers`."""
    if case.resets and case.bidirectional:
        raise CannotRun("resets are written for one direction")
    parameters = {name: jnp.asarray(a) for name, a in data.items() if name not in ("x", "dy", "reset")}
    if case.mode == "step":
        return _stream(case, parameters, data["x"])
    memory = data["x"].transpose(0, 2, 1) if case.strided else data["x"]
    x, dy = jnp.asarray(memory), jnp.asarray(data["dy"])
    keep = None if data["reset"] is None else jnp.asarray(~data["reset"], jnp.float32)[:, :, None]
    forward = partial(_net, case, keep)
    if case.mode == "infer":
        compiled = jax.jit(forward)
        return Work(lambda: compiled(parameters, x).block_until_ready(), lambda y: {"y": np.asarray(y)})

    @jax.jit
    def train(parameters: Any, x: Any, dy: Any) -> Any:
        y, pull = jax.vjp(forward, parameters, x)
        return y, *pull(dy)

    return Work(
        lambda: jax.block_until_ready(train(parameters, x, dy)), lambda result: _gradients(case, result)
    )


def _gradients(case: Case, result: Any) -> dict[str, np.ndarray]:
    y, parameters, x = result
    x = np.asarray(x)
    gradients = {name: np.asarray(a) for name, a in parameters.items()}
    return {"y": np.asarray(y), "x": x.transpose(0, 2, 1) if case.strided else x, **gradients}


# ---- cells: (carry, gates of the input, weights) -> carry, the first of which is h ----


def _lstm(carry: Any, pre: Any, p: dict[str, Any]) -> Any:
    h, c = carry
    i, f, g, o = _gates(h, pre, p, 4)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def _lstm_peephole(carry: Any, pre: Any, p: dict[str, Any]) -> Any:
    h, c = carry
    i, f, g, o = _gates(h, pre, p, 4)
    p_i, p_f, p_o = jnp.split(p["weight_ch"], 3)
    c = jax.nn.sigmoid(f + p_f * c) * c + jax.nn.sigmoid(i + p_i * c) * jnp.tanh(g)
    return jax.nn.sigmoid(o + p_o * c) * jnp.tanh(c), c


def _gates(h: Any, pre: Any, p: dict[str, Any], count: int) -> Any:
    """Gate by gate: XLA would fuse a sum over all of them into a product that is several times slower at B = 1."""
    product = h @ p["weight_hh"].T
    return (a + b for a, b in zip(jnp.split(pre, count, -1), jnp.split(product, count, -1)))


def _gru(carry: Any, pre: Any, p: dict[str, Any]) -> Any:
    (h,), H = carry, carry[0].shape[-1]
    product = h @ p["weight_hh"].T  # its bias is added to n alone, for the reason of _gates
    r = jax.nn.sigmoid(pre[:, :H] + product[:, :H])
    z = jax.nn.sigmoid(pre[:, H : 2 * H] + product[:, H : 2 * H])
    n = jnp.tanh(pre[:, 2 * H :] + r * (product[:, 2 * H :] + p["bias_hh"][2 * H :]))
    return ((1 - z) * n + z * h,)


def _rnn(carry: Any, pre: Any, p: dict[str, Any]) -> Any:
    (h,) = carry
    return (jnp.tanh(pre + h @ p["weight_hh"].T),)


CELLS = {"lstm": (_lstm, 2), "lstm_peephole": (_lstm_peephole, 2), "gru": (_gru, 1), "rnn_tanh": (_rnn, 1)}


def _input(case: Case, p: dict[str, Any], x: Any) -> Any:
    """Gates of the input (...,G*H) with all biases, but that of a GRU's n that belongs to the product with h."""
    outer = p["bias_hh"].at[2 * case.H :].set(0) if case.cell == "gru" else p["bias_hh"]
    return x @ p["weight_ih"].T + (p["bias_ih"] + outer)


def _own(parameters: dict[str, Any], suffix: str) -> dict[str, Any]:
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_ch")
    return {name: parameters[name + suffix] for name in names if name + suffix in parameters}


def _direction(case: Case, keep: Any, p: dict[str, Any], x: Any, reverse: bool) -> Any:
    cell, states = CELLS[cell_name(case)]
    zero = jnp.zeros((x.shape[1], case.H), x.dtype)

    def step(carry: Any, inputs: Any) -> Any:
        pre, kept = inputs
        if kept is not None:
            carry = tuple(s * kept for s in carry)
        carry = cell(carry, pre, p)
        return carry, carry[0]

    return jax.lax.scan(step, (zero,) * states, (_input(case, p, x), keep), reverse=reverse)[1]


def _net(case: Case, keep: Any, parameters: dict[str, Any], x: Any) -> Any:
    """y of all layers; x is (T,B,I), or with strided (B,I,T)."""
    y = x.transpose(2, 0, 1) if case.strided else x
    for layer in range(case.layers):
        sides = [
            _direction(case, keep, _own(parameters, f"_l{layer}" + "_reverse" * reverse), y, bool(reverse))
            for reverse in range(case.directions)
        ]
        y = jnp.concatenate(sides, -1) if case.bidirectional else sides[0]
    return y.transpose(1, 0, 2) if case.strided else y


def _stream(case: Case, parameters: dict[str, Any], x: np.ndarray) -> Work:
    cell, count = CELLS[cell_name(case)]

    @jax.jit
    def step(parameters: Any, states: Any, y: Any) -> Any:
        after = []
        for (suffix, _), carry in zip(case.parts, states):
            p = _own(parameters, suffix)
            after.append(cell(carry, _input(case, p, y), p))
            y = after[-1][0]
        return y, after

    inputs = cycle([jnp.asarray(x_t) for x_t in x])
    states: Any = [(jnp.zeros((case.B, case.H), jnp.float32),) * count for _ in case.parts]

    def run() -> Any:
        nonlocal states
        y, states = step(parameters, states, next(inputs))
        return y.block_until_ready()

    return Work(run, lambda y: {"y": np.asarray(y)})
