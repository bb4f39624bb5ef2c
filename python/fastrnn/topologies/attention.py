# SPDX-License-Identifier: MIT
"""Attention of a decoder over a memory, the outputs m_s of an encoder, and decoders that run step by step.

    luong      context_t = sum_s a_ts m_s    a_t = softmax_s score(h_t, m_s)    score: "dot" h.m, "general" h^T W_a m
    bahdanau   context_t = sum_s a_ts m_s    a_t = softmax_s v . tanh(W_q h_{t-1} + W_m m_s)        fed_t = context_t
    both       h~_t = tanh(W_c [context_t ; h_t] + b_c)          luong with input feeding: fed_t = h~_{t-1}, h~_0 = 0

A decoder reads [x_t ; fed_t]. Where nothing is fed and no token is its own choice, its layers run over all steps at
once, and attention after them; else the loop over steps is in C++ (csrc/stepwise/). The products of gradients of the
parameters are taken over the rows of all steps together.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _check
from ..products import add_product, product

_Array = npt.NDArray[Any]


class Attention:
    """The parameters of an attention, a part of a model, and its two products outside of the steps.

    Attributes:
        size: C = hidden, the width of h~.
        fed: how many numbers the decoder reads besides x.

    Args:
        kind: "luong" or "bahdanau".
        hidden: P, the width of the decoder's h.
        memory: M, the width of m_s.
        score: of "luong", "dot" or "general".
        input_feeding: of "luong"; "bahdanau" always feeds its context.
        dtype: float32 or float64.
        rng: source of the initial U(-1/sqrt(n), 1/sqrt(n)), n the columns of a matrix, as torch.nn.Linear.

    Raises:
        ValueError: a word is unknown, a size below 1, or "dot" is asked for widths that differ.
    """

    def __init__(
        self,
        kind: str,
        hidden: int,
        memory: int,
        *,
        score: str = "general",
        input_feeding: bool = True,
        dtype: Any = np.float32,
        rng: np.random.Generator,
    ) -> None:
        self.kind = _check.choice("attention", kind, ("luong", "bahdanau"))
        self.score = _check.choice("score", score, ("dot", "general"))
        self.hidden, self.memory = _check.size("hidden", hidden), _check.size("memory", memory)
        self.feeds = _check.flag("input_feeding", input_feeding) and kind == "luong"
        if kind == "luong":
            _check.dot_widths(self.score, hidden, memory)
        self.size = hidden
        self.fed = memory if kind == "bahdanau" else hidden if self.feeds else 0
        P, M = hidden, memory
        shapes: dict[str, tuple[int, ...]] = {}
        if kind == "bahdanau":
            shapes |= {"weight_q": (P, P), "weight_m": (P, M), "v": (P,)}
        elif score == "general":
            shapes["weight_a"] = (P, M)
        self._shapes = shapes | {"weight_c": (P, M + P), "bias_c": (P,)}
        _check.product(rows=2 * P, columns=M + 2 * P + 2)
        starts = []
        for name, shape in self._shapes.items():
            bound = 1 / math.sqrt(M + P if name == "bias_c" else shape[-1])
            starts.append(rng.uniform(-bound, bound, math.prod(shape)))
        self.flat: _Array = np.concatenate(starts).astype(dtype)

    def parameters(self) -> dict[str, _Array]:
        """Writable views of `flat` by name."""
        return self._views(self.flat)

    def _views(self, flat: _Array) -> dict[str, _Array]:
        views, at = {}, 0
        for name, shape in self._shapes.items():
            views[name] = flat[at : at + math.prod(shape)].reshape(shape)
            at += math.prod(shape)
        return views

    @property
    def early(self) -> bool:
        """Whether the query is of the last step's h."""
        return self.kind == "bahdanau"

    def keys(self, memory: _Array, lengths: npt.NDArray[np.int64] | None) -> _Array:
        """What queries are scored with: (B,S,P) of the memory (B,S,M), 0 past its lengths (B,), None for S."""
        weight = self.parameters().get("weight_m" if self.early else "weight_a")
        if weight is None:
            return memory
        B, S, M = memory.shape
        rows = memory.reshape(B * S, M)
        if lengths is None:
            return product(rows, weight.T).reshape(B, S, self.hidden)
        inside = np.flatnonzero(np.arange(S) < lengths[:, None])
        keys = np.zeros((B * S, self.hidden), memory.dtype)
        keys[inside] = product(rows.take(inside, axis=0), weight.T)
        return keys.reshape(B, S, self.hidden)

    def keys_backward(self, memory: _Array, dkeys: _Array, dmemory: _Array, flat: _Array) -> None:
        """Adds what the keys give to the memory's gradient and to `flat`, unless keys are the memory."""
        name = "weight_m" if self.early else "weight_a"
        if name not in self._shapes:
            return
        rows = dkeys.reshape(-1, self.hidden)
        add_product(self._views(flat)[name], rows, memory.reshape(-1, self.memory))
        dmemory.reshape(-1, self.memory)[...] += product(rows, self.parameters()[name])
