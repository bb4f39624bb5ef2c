# SPDX-License-Identifier: MIT
"""Attention over all steps of a decoder at once, where nothing of it is fed back: its layers have run already.

h~ = tanh(W_c [context ; h] + b_c)      context of every h (attention.py)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .. import _core
from ..products import add_product, product
from ..recurrent import Recurrent
from .attention import Attention

if TYPE_CHECKING:
    from .stepwise import StepsTape

_Array = npt.NDArray[Any]


def attend(attention: Attention, tape: StepsTape, h: _Array) -> _Array:
    """h~ (T,B,C) of the h of all steps."""
    T, B, P = h.shape
    arrays, dtype = tape.arrays, h.dtype
    S, M = arrays["memory"].shape[1:]
    arrays["queries"] = np.ascontiguousarray(h.swapaxes(0, 1))
    arrays["weights"], arrays["context"] = np.empty((B, T, S), dtype), np.empty((B, T, M), dtype)
    arrays["lengths"] = arrays["source_lengths"]
    function("attention", tape.rnn)(tape.rnn.isa, arrays, (B, T, S, P, M))
    joined = np.concatenate((arrays["context"], arrays["queries"]), axis=2).reshape(B * T, M + P)
    own = attention.parameters()
    out = product(joined, own["weight_c"].T)
    out += own["bias_c"]
    np.tanh(out, out=out)
    if tape.lengths is not None:
        out.reshape(B, T, -1)[np.arange(T) >= tape.lengths[:, None]] = 0
    arrays["joined"], arrays["attended"] = joined, out
    return np.ascontiguousarray(out.reshape(B, T, -1).swapaxes(0, 1))


def attend_backward(
    attention: Attention, tape: StepsTape, dout: _Array, flat: _Array | None
) -> tuple[_Array, _Array]:
    """dh (T,B,P) and the gradient of the memory (S,B,M); those of the parameters are added to `flat`."""
    assert flat is not None  # checked where there is an attention
    arrays = tape.arrays
    B, T, S = arrays["weights"].shape
    P, M = attention.hidden, attention.memory
    dz = np.ascontiguousarray(dout.swapaxes(0, 1))
    if tape.lengths is not None:
        dz[np.arange(T) >= tape.lengths[:, None]] = 0
    dz = dz.reshape(B * T, -1) * (1 - arrays["attended"] * arrays["attended"])
    to = attention._views(flat)
    add_product(to["weight_c"], dz, arrays["joined"])
    to["bias_c"] += dz.sum(axis=0)
    djoined = product(dz, attention.parameters()["weight_c"])
    dkeys = dmemory = np.zeros_like(arrays["memory"])
    if arrays["keys"] is not arrays["memory"]:
        dkeys = np.zeros_like(arrays["keys"])
    dqueries = np.empty((B, T, P), dout.dtype)
    more = {"d_context": np.ascontiguousarray(djoined[:, :M]), "d_queries": dqueries, "d_keys": dkeys}
    more |= {"d_memory": dmemory, "d_scores": np.empty_like(arrays["weights"]), "d_v": None}
    function("attention_backward", tape.rnn)(tape.rnn.isa, arrays | more, (B, T, S, P, M))
    attention.keys_backward(arrays["memory"], dkeys, dmemory, flat)
    return (dqueries + djoined[:, M:].reshape(B, T, P)).swapaxes(0, 1), dmemory.swapaxes(0, 1)


def function(name: str, rnn: Recurrent) -> Any:
    """A function of the extension, for the type of a layer."""
    return getattr(_core, f"{name}_f32" if rnn.dtype == np.float32 else f"{name}_f64")
