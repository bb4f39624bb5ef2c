# SPDX-License-Identifier: MIT
"""Decoders with attention, or with tokens of their own choice: one call forward, one backward (see attention.py)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .. import _check, control
from ..products import add_product
from ..recurrent import Recurrent
from .attending import attend, attend_backward, function
from .attention import Attention

if TYPE_CHECKING:
    from ..clip import Clip
    from ..results import Stats, Tape

_Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Sampling:
    """Scheduled sampling (Bengio et al. 2015): which tokens a decoder reads are its own choice.

    Attributes:
        probability: of each token but the first one of a sequence, from 0 to 1.
        weight, bias: (K,C) (K,), the readout z = weight h~ + bias.
        table: (V,E), V >= K: row k is what the first E numbers of x are for token k.
        seed: which tokens are chosen is a function of it, the row and the step.
        draw: a choice is drawn from softmax(z); else it is the largest of z.
    """

    probability: float
    weight: _Array
    bias: _Array
    table: _Array
    seed: int = 0
    draw: bool = False


@dataclass
class StepsTape:
    """What `forward` leaves for one `backward`. ids: (T,B) what was read, where tokens were chosen."""

    rnn: Recurrent
    attention: Attention | None
    core: Any  # of the loop
    whole: Tape | None  # of layers that ran over all steps at once
    arrays: dict[str, Any]
    lengths: npt.NDArray[np.int64] | None
    rows: npt.NDArray[np.intp] | None  # where the rows of the recurrence lie in (T,B); None: all, in order
    shape: tuple[int, int]
    given: int
    constant: bool
    ids: npt.NDArray[np.int64] | None = None

    def weights(self) -> _Array:
        """(T,B,S) a_ts of an attention; those past the end of a row, or of its memory, say nothing."""
        found: _Array = self.arrays[
            "weights"
        ]  # (B,T,S) of all steps at once, or a row for each of the loop's
        return found.swapaxes(0, 1) if found.ndim == 3 else _put(found, self.rows, *self.shape)


@dataclass(frozen=True)
class StepsGradients:
    """What `backward` returns; x, constant and memory are None where they were not wanted or given."""

    x: _Array | None
    memory: _Array | None  # (S,B,M)
    state: Any
    flat: _Array  # of the recurrent layers
    constant: _Array | None
    stats: Stats


def forward(
    rnn: Recurrent,
    attention: Attention | None,
    x: _Array,
    memory: _Array | None = None,
    state: Any = None,
    *,
    source_lengths: _Array | None = None,
    lengths: _Array | None = None,
    sampling: Sampling | None = None,
    ids: npt.NDArray[np.int64] | None = None,
    constant: _Array | None = None,
    constant_steps: int | None = None,
    dropout_seed: int | None = None,
    training: bool = True,
) -> tuple[_Array, Any, StepsTape]:
    """Runs a decoder over its targets.

    Args:
        rnn: all of whose layers run forward; it reads [x ; fed].
        x: (T,B,E), what is read of the given tokens.
        memory: (S,B,M), the encoder's outputs.
        state: as of `rnn.forward`.
        source_lengths, lengths: (B,) of the memory and of the targets, None for S and T.
        sampling: None reads what is given.
        ids: (T,B), the given tokens, where there is sampling; tape.ids is what was read instead.
        constant, constant_steps, dropout_seed: as of `rnn.forward`.
        training: False drops nothing; backward is then not to be called.

    Returns:
        h~ (T,B,C), or h without attention, 0 past the end of a row; the final state; a tape.

    Raises:
        ValueError: a shape or value does not fit.
        TypeError: an array is of another type.
    """
    fed = attention.fed if attention else 0
    x, _ = _check.sequence(x, rnn.input_size - fed, rnn.dtype, False, rnn._weight("weight_ih_l0"))
    T, B, given = x.shape
    long = _check.lengths(lengths, T, B, False)
    arrays = _memory(attention, memory, source_lengths, B, rnn.dtype)
    chosen = _sampling(sampling, ids, x.shape, attention.size if attention else rnn.output_size, rnn.dtype)
    added = rnn._constant(constant, constant_steps, B)
    if fed == 0 and chosen is None:
        h, after, whole = rnn.forward(
            x,
            state,
            lengths=long,
            constant=constant,
            constant_steps=constant_steps,
            dropout_seed=dropout_seed,
            training=training,
        )
        tape = StepsTape(rnn, attention, None, whole, arrays, long, None, (T, B), given, constant is not None)
        return h if attention is None else attend(attention, tape, h), after, tape
    return _loop(rnn, attention, x, state, long, arrays, chosen, added, dropout_seed, training)


def backward(
    tape: StepsTape,
    dout: _Array,
    dstate: Any = None,
    *,
    rnn_flat: _Array | None = None,
    attention_flat: _Array | None = None,
    x_gradient: bool = True,
    clip: Clip | None = None,
) -> StepsGradients:
    """Back-propagation through the steps.

    Args:
        tape: of forward; it can be used once.
        dout: (T,B,C), gradient of what forward returned.
        dstate: of the final state, or None.
        rnn_flat, attention_flat: what gradients of the parameters are added to; that of the attention is needed
            where there is one.
        clip: as of `rnn.backward`.

    Raises:
        ValueError: the tape was used, or a shape does not fit.
    """
    rnn, attention = tape.rnn, tape.attention
    T, B = tape.shape
    width = attention.size if attention else rnn.output_size
    dout = _check.output_gradient(dout, T, B, width, rnn.dtype, False, False)
    _check.attention_flat(attention_flat, attention, rnn.dtype)
    if tape.whole is not None:
        return _whole_backward(tape, dout, dstate, rnn_flat, attention_flat, x_gradient, clip)
    return _loop_backward(tape, dout, dstate, rnn_flat, attention_flat, x_gradient, clip)


def _loop(
    rnn: Recurrent, attention: Attention | None, x: _Array, state: Any, long: npt.NDArray[np.int64] | None,
    arrays: dict[str, Any], chosen: dict[str, Any] | None, added: tuple[_Array, int] | None,
    dropout_seed: int | None, training: bool,
) -> tuple[_Array, Any, StepsTape]:  # fmt: skip
    """What forward returns, by the loop over the steps."""
    T, B, given = x.shape
    before = None if state is None else _check.states(
        "state", state, rnn.cell, rnn._STATES, rnn._state_shapes(B, False), rnn.dtype
    )  # fmt: skip
    rows = _rows(long, T, B)
    R = T * B if rows is None else len(rows)
    P = rnn.output_size
    arrays |= dict.fromkeys(("joined", "attended", "weights", "queries", "previous"))
    arrays["joined"] = np.empty((R, P + (attention.memory if attention else 0)), rnn.dtype)
    if attention is not None:
        arrays["attended"] = np.empty((R, attention.size), rnn.dtype)
        arrays["weights"] = np.empty((R, arrays["memory"].shape[1]), rnn.dtype)
        if attention.early:
            arrays["queries"], arrays["previous"] = np.empty((2, R, P), rnn.dtype)
    masks = None
    if rnn._drops or dropout_seed is not None:
        masks = rnn._dropout.draw(dropout_seed, training, rnn._rng)
    after, core = function("stepwise_forward", rnn)(rnn._net, arrays, x, before, long, masks, chosen, added)
    out = arrays["joined"] if attention is None else arrays["attended"]
    tape = StepsTape(rnn, attention, core, None, arrays, long, rows, (T, B), given, added is not None)
    tape.ids = chosen["ids"] if chosen else None
    return _put(out, rows, T, B), rnn._state_of(after, False), tape


def _loop_backward(
    tape: StepsTape, dout: _Array, dstate: Any, rnn_flat: _Array | None, attention_flat: _Array | None,
    x_gradient: bool, clip: Clip | None,
) -> StepsGradients:  # fmt: skip
    """What backward returns, by the loop over the steps."""
    rnn, attention = tape.rnn, tape.attention
    T, B = tape.shape
    _check.unused_steps(tape.core.used)
    after = None if dstate is None else _check.states(
        "dstate", dstate, rnn.cell, rnn._STATES, rnn._state_shapes(B, False), rnn.dtype, True
    )  # fmt: skip
    flat = np.empty(rnn._count, rnn.dtype) if rnn_flat is None else _check.gradient_buffer(
        rnn_flat, rnn._count, rnn.dtype
    )  # fmt: skip
    arrays = _gradient_arrays(tape, dout)
    limits = control.limits(clip, False, False)
    norms = control.room(limits, len(rnn._places), T, B, tape.lengths is not None)
    dx = np.empty((T, B, tape.given), rnn.dtype) if x_gradient else None
    added = np.empty((B, rnn._gates * rnn.hidden_size), rnn.dtype) if tape.constant else None
    before, sums = function("stepwise_backward", rnn)(
        rnn._net, arrays, tape.core, after, dx, flat, rnn_flat is None,
        limits.step_value, limits.step_norm, limits.value, limits.trace, norms, added,
    )  # fmt: skip
    dmemory = None if attention is None else _add_gradients(attention, arrays, attention_flat)
    stats = control.stats(limits, sums, norms, rnn._places, rnn._count, tape.lengths, rnn._state_widths)
    return StepsGradients(dx, dmemory, rnn._state_of(before, False), flat, added, stats)


def _gradient_arrays(tape: StepsTape, dout: _Array) -> dict[str, Any]:
    """What the loop is given and leaves, by the names it knows."""
    attention = tape.attention
    arrays = tape.arrays | dict.fromkeys(
        ("before_tanh", "d_queries", "d_scores", "d_v", "d_keys", "d_memory")
    )
    arrays["d_attended"] = _pick(dout, tape.rows)
    if attention is not None:
        arrays["before_tanh"] = np.empty_like(arrays["attended"])
        arrays["d_scores"] = np.empty_like(arrays["weights"])
        arrays["d_memory"] = np.zeros_like(arrays["memory"])
        same = arrays["keys"] is arrays["memory"]
        arrays["d_keys"] = arrays["d_memory"] if same else np.zeros_like(arrays["keys"])
        if attention.early:
            arrays["d_queries"], arrays["d_v"] = np.empty((2, *arrays["queries"].shape), dout.dtype)
    return arrays


def _add_gradients(attention: Attention, arrays: dict[str, Any], flat: _Array | None) -> _Array:
    """Adds those of the attention's parameters, over the rows of all steps; returns that of the memory (S,B,M)."""
    assert flat is not None  # checked where there is an attention
    to = attention._views(flat)
    add_product(to["weight_c"], arrays["before_tanh"], arrays["joined"])
    to["bias_c"] += arrays["before_tanh"].sum(axis=0)
    if attention.early:
        add_product(to["weight_q"], arrays["d_queries"], arrays["previous"])
        to["v"] += arrays["d_v"].sum(axis=0)
    attention.keys_backward(arrays["memory"], arrays["d_keys"], arrays["d_memory"], flat)
    dmemory: _Array = arrays["d_memory"].swapaxes(0, 1)
    return dmemory


def _whole_backward(
    tape: StepsTape, dout: _Array, dstate: Any, rnn_flat: _Array | None, attention_flat: _Array | None,
    x_gradient: bool, clip: Clip | None,
) -> StepsGradients:  # fmt: skip
    """What backward returns, where the layers ran over all steps at once."""
    rnn, attention = tape.rnn, tape.attention
    assert tape.whole is not None
    _check.unused_steps(tape.whole.used)
    dh, dmemory = dout, None
    if attention is not None:
        dh, dmemory = attend_backward(attention, tape, dout, attention_flat)
    below = rnn.backward(tape.whole, dh, dstate, flat=rnn_flat, x_gradient=x_gradient, clip=clip)
    return StepsGradients(below.x, dmemory, below.state, below.flat, below.constant, below.stats)


def _memory(
    attention: Attention | None, memory: _Array | None, source_lengths: Any, B: int, dtype: np.dtype[Any]
) -> dict[str, Any]:
    """What the kernels are given of an attention, its parameters and the memory, by the names they know."""
    names = ("source_lengths", "keys", "memory", "v", "weight_q", "weight_c", "bias_c")
    arrays: dict[str, Any] = dict.fromkeys(names)
    if attention is None:
        return arrays | {"query": "none", "feeds": False, "sizes": (0, 0, 0, 0)}
    given, _ = _check.sequence(
        _check.with_attention("memory", memory),
        attention.memory,
        dtype,
        False,
        f"attention of {attention.memory}",
    )
    S = given.shape[0]
    _check.memory_rows(given, B)
    arrays |= {name: value for name, value in attention.parameters().items() if name in names}
    arrays["source_lengths"] = _check.lengths(source_lengths, S, B, False)
    arrays["memory"] = np.ascontiguousarray(given.swapaxes(0, 1))
    arrays["keys"] = attention.keys(arrays["memory"], arrays["source_lengths"])
    sizes = (S, attention.hidden, attention.memory, attention.size)
    query = "early" if attention.early else "late"
    return arrays | {"query": query, "feeds": attention.feeds, "sizes": sizes}


def _sampling(
    sampling: Sampling | None, ids: Any, shape: tuple[int, ...], width: int, dtype: np.dtype[Any]
) -> dict[str, Any] | None:
    if sampling is None:
        return None
    p = _check.number("probability", sampling.probability, 0.0, 1.0)
    _check.own_tokens(sampling.weight, sampling.table, ids, shape, width)
    if p == 0:
        return None
    arrays = {
        name: np.ascontiguousarray(getattr(sampling, name), dtype) for name in ("weight", "bias", "table")
    }
    seed = _check.size("seed", sampling.seed, 0, 2**64 - 1)
    fresh = np.array(ids, np.int64, order="C")
    return arrays | {"probability": p, "seed": seed, "draw": sampling.draw, "ids": fresh}


def _rows(lengths: npt.NDArray[np.int64] | None, T: int, B: int) -> npt.NDArray[np.intp] | None:
    """Where the rows of the recurrence lie in (T,B): step by step, the longest sequence first."""
    if lengths is None or bool((lengths == T).all()):
        return None
    order = np.argsort(-lengths, kind="stable")
    steps, rows = np.nonzero(lengths[order] > np.arange(T)[:, None])
    return steps * B + order[rows]


def _put(rows: _Array, at: npt.NDArray[np.intp] | None, T: int, B: int) -> _Array:
    if at is None:
        return rows.reshape(T, B, -1).copy()
    out = np.zeros((T * B, rows.shape[1]), rows.dtype)
    out[at] = rows
    return out.reshape(T, B, -1)


def _pick(a: _Array, at: npt.NDArray[np.intp] | None) -> _Array:
    rows = np.ascontiguousarray(a).reshape(a.shape[0] * a.shape[1], -1)
    return rows if at is None else rows[at]
