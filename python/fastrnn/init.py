# SPDX-License-Identifier: MIT
"""Start values of parameters other than torch's, for `init=` and `forget_bias=` of layers.

    xavier      W ~ U(-a, a), a = sqrt(6 / (fan_in + fan_out)) for the block of each gate, biases 0
                Glorot & Bengio, Understanding the difficulty of training deep feedforward neural networks, 2010
    orthogonal  W_hh of each gate is Q of a QR decomposition of Gaussian numbers, each column times the sign of its
                element of the diagonal of R, so that no Q is favoured (Mezzadri 2007); W_ih as xavier, biases 0
                Saxe, McClelland & Ganguli, arXiv:1312.6120, 2013
    identity    W_hh = I, W_ih ~ N(0, 0.001^2), biases 0; for relu
                Le, Jaitly & Hinton, A simple way to initialize recurrent networks of rectified linear units,
                arXiv:1504.00941, 2015
    chrono      LSTM  b_f = log u, b_i = -b_f      GRU  b_z = log u      u ~ U(1, t_max - 1) of each unit
                Tallec & Ollivier, Can recurrent neural networks warp time?, arXiv:1804.11188, 2018

With chrono a unit keeps its memory for about u steps; z of GRU is its forget gate: h_t = (1 - z) n + z h_{t-1}. All
else is as torch has it. forget_bias (Jozefowicz, Zaremba & Sutskever 2015) sets b_f of LSTM. Where a gate has two
biases, b_ih is what is said here and b_hh is 0. Peepholes are 0 where biases are; the gains of norms stay 1, and u of
IndRNN is as `uniform` has it, or refused where a word speaks of W_hh alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _check
from .options import Start

_Array = npt.NDArray[Any]
WORDS = ("uniform", "xavier", "orthogonal", "identity", "chrono")
_LSTMS = ("lstm", "lstm_peephole", "lstm_projected", "lstm_layer_norm")
_GRUS = ("gru", "gru_reset_before", "gru_layer_norm")
_FORGET = dict.fromkeys(_LSTMS + _GRUS, 1)  # the gate by which a cell keeps its memory
_INPUT = dict.fromkeys(_LSTMS, 0)  # and the one that lets the new into it
_INPUT_SPREAD = 0.001  # of W_ih beside W_hh = I


def check(chosen: Mapping[str, Any], cell: str, biases: int) -> Start:
    """The options of a net of this cell, with so many biases a gate.

    Raises:
        ValueError: they do not fit each other or the cell.
        TypeError: one is of a wrong type.
    """
    init = _check.choice("init", chosen["init"], WORDS)
    t_max, forget_bias = chosen["t_max"], chosen["forget_bias"]
    if init == "identity" and cell != "rnn_relu":
        raise ValueError(f"init='identity' is for RNN with nonlinearity='relu', but the cell is {cell}")
    if init == "orthogonal" and cell.startswith("indrnn"):
        raise ValueError(f"init='orthogonal' is for a matrix W_hh, but the cell is {cell}, which has none")
    if init == "chrono":
        if cell not in _FORGET:
            raise ValueError(f"init='chrono' sets the bias of a forget gate, but the cell is {cell}")
        if not biases:
            raise ValueError(f"init='chrono' sets biases, but bias is {chosen['bias']!r}")
        if t_max is None:
            raise ValueError("init='chrono' needs t_max, the longest dependence in steps, but t_max is None")
        t_max = _check.size("t_max", t_max, 2)
    elif t_max is not None:
        raise ValueError(f"t_max goes with init='chrono', but init is {init!r}")
    if forget_bias is not None:
        forget_bias = _check.number("forget_bias", forget_bias)
        if cell not in _INPUT:
            raise ValueError(f"forget_bias is for the forget gate of LSTM, but the cell is {cell}")
        if not biases:
            raise ValueError(f"forget_bias sets a bias, but bias is {chosen['bias']!r}")
        if init == "chrono":
            raise ValueError(
                "forget_bias and init='chrono' both set the bias of the forget gate: give one of them"
            )
    return Start(init, t_max, forget_bias)


def fill(
    parameters: Mapping[str, _Array], cell: str, hidden: int, start: Start, rng: np.random.Generator
) -> None:
    """Sets those parameters, one after the other, whose start values are not torch's, which all have now."""
    if start.init not in ("uniform", "chrono"):
        for name, view in parameters.items():
            if name.startswith(("bias", "weight_ch")):
                view[...] = 0
            elif name.startswith("weight") and view.ndim == 2:
                rows = len(view) if name.startswith("weight_hr") else hidden
                for block in view.reshape(-1, rows, view.shape[1]):
                    block[...] = _block(start.init, name.startswith("weight_hh"), block.shape, rng)
    for name, view in parameters.items():
        if not name.startswith("bias_ih"):
            continue
        biases = [view, *(b for b in [parameters.get(name.replace("bias_ih", "bias_hh"))] if b is not None)]
        if start.t_max is not None:
            keep = np.log(rng.uniform(1, start.t_max - 1, hidden))
            _set_gate(biases, _FORGET[cell], keep)
            if cell in _INPUT:
                _set_gate(biases, _INPUT[cell], -keep)
        elif start.forget_bias is not None:
            _set_gate(biases, _FORGET[cell], np.full(hidden, start.forget_bias))


def _set_gate(biases: list[_Array], gate: int, values: _Array) -> None:
    """b_ih of a gate; b_hh, where there is one, is 0."""
    rows = slice(gate * values.size, (gate + 1) * values.size)
    for bias, numbers in zip(biases, (values, 0)):
        bias[rows] = numbers


def _block(init: str, recurrent: bool, shape: tuple[int, ...], rng: np.random.Generator) -> _Array:
    """The weights (H,K) of one gate."""
    if init == "identity":
        return np.eye(shape[0], shape[1]) if recurrent else rng.normal(0, _INPUT_SPREAD, shape)
    if init == "orthogonal" and recurrent:
        return _orthogonal(shape, rng)
    bound = (6 / sum(shape)) ** 0.5
    return rng.uniform(-bound, bound, shape)


def _orthogonal(shape: tuple[int, ...], rng: np.random.Generator) -> _Array:
    """Orthogonal columns, or rows where there are fewer of them."""
    q, r = np.linalg.qr(rng.standard_normal((max(shape), min(shape))))
    q *= np.where(np.diagonal(r) < 0, -1, 1)
    return q if q.shape == shape else q.T
