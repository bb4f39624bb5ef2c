# SPDX-License-Identifier: MIT
"""Forward only, straight from the papers, in NumPy: the bottom of the ladder of truth.

It knows nothing of the package.

    rnn     Elman, Finding structure in time, 1990:          h' = f(W x + b + U h + d), f tanh or relu
    lstm    Hochreiter & Schmidhuber, Long short-term memory, 1997, with the forget gate of
            Gers, Schmidhuber & Cummins, Learning to forget, 2000:   c' = f c + i g,  h' = o tanh c'
    lstm_peephole  Gers, Schraudolph & Schmidhuber, Learning precise timing, 2002: i and f also see c, o sees c'
    indrnn  Li et al., Independently recurrent neural network, 2018:   h' = f(W x + b + u h), u one number a unit
    gru     Cho et al., 2014, arXiv:1406.1078, with the reset after the product as cuDNN and torch have it:
            n = tanh(W x + b + r (U h + d)),  h' = (1 - z) n + z h
    gru_reset_before  the same paper's own:  n = tanh(W x + b + U (r h) + d)
    lstm_projected  Sak, Senior & Beaufays, 2014, arXiv:1402.1128:  h' = V (o tanh c')
    lstm_layer_norm, gru_layer_norm  Ba, Kiros & Hinton, 2016, arXiv:1607.06450: W x and U h are normalised over all
            gates, and the c' of an LSTM over its units on the way to the output

A cell is one function of one step; `layer` runs it over time in one direction, `stack` composes layers and
directions. There is no backward code that could be wrong: everything accepts complex numbers, and a gradient
is the imaginary part of the loss after one element was moved by 1e-30 i (Squire & Trapp, 1998), exact to
rounding. All arrays may carry leading axes, which broadcast: `gradient` moves many elements at once, one a
leading index.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

EPSILON = 1e-5  # of layer normalisation
COMPLEX_STEP = 1e-30  # its square vanishes against 1, and it is far above the smallest double


@dataclasses.dataclass(frozen=True)
class Cell:
    """One step of a cell, and what its parameters look like."""

    step: Callable
    gates: int
    states: int
    unit_roles: tuple = ()  # names of parameters that belong to single units, and how many of them a unit has
    recurrent: bool = True  # whether it has a W_hh
    projected: bool = False  # whether h is narrower than c
    direct: bool = False  # whether h also reaches the next one beside U: the step takes that h as `direct`

    @property
    def magnified(self):
        """How much a normalisation may enlarge an error: it divides by a standard deviation, or by sqrt(epsilon)."""
        return EPSILON**-0.5 if any(role.startswith("norm") for role, _ in self.unit_roles) else 1

    @property
    def units(self):
        """How many parameters of its own a unit has."""
        return sum(count for _, count in self.unit_roles)

    def width(self, state, H):
        """Of a state; tests take half of c for a projected h."""
        return H // 2 if self.projected and state == 0 else H


CELLS: dict[str, Cell] = {}


def cell(**facts):
    """Registers a function as the cell of its name."""

    def register(step):
        CELLS[step.__name__] = Cell(step, **facts)
        return step

    return register


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def relu(a):
    return np.where(a.real > 0, a, 0)  # a kink has no complex continuation: the real part decides


def affine(W, a, b):
    return a @ np.swapaxes(W, -1, -2) + b[..., None, :]


@cell(gates=1, states=1)
def rnn_tanh(x, state, W_ih, W_hh, b_ih, b_hh):
    (h,) = state
    return (np.tanh(affine(W_ih, x, b_ih) + affine(W_hh, h, b_hh)),)


@cell(gates=1, states=1)
def rnn_relu(x, state, W_ih, W_hh, b_ih, b_hh):
    (h,) = state
    return (relu(affine(W_ih, x, b_ih) + affine(W_hh, h, b_hh)),)


@cell(gates=1, states=1, unit_roles=(("weight_hh", 1),), recurrent=False)
def indrnn_tanh(x, state, W_ih, b_ih, b_hh, u):
    (h,) = state
    return (np.tanh(affine(W_ih, x, b_ih + b_hh) + u[..., None, :] * h),)


@cell(gates=1, states=1, unit_roles=(("weight_hh", 1),), recurrent=False)
def indrnn_relu(x, state, W_ih, b_ih, b_hh, u):
    (h,) = state
    return (relu(affine(W_ih, x, b_ih + b_hh) + u[..., None, :] * h),)


@cell(gates=4, states=2)
def lstm(x, state, W_ih, W_hh, b_ih, b_hh):
    h, c = state
    i, f, g, o = np.split(affine(W_ih, x, b_ih) + affine(W_hh, h, b_hh), 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


@cell(gates=4, states=2, unit_roles=(("weight_ch", 3),))
def lstm_peephole(x, state, W_ih, W_hh, b_ih, b_hh, p):
    h, c = state
    p_i, p_f, p_o = np.split(p[..., None, :], 3, axis=-1)
    i, f, g, o = np.split(affine(W_ih, x, b_ih) + affine(W_hh, h, b_hh), 4, axis=-1)
    new = sigmoid(f + p_f * c) * c + sigmoid(i + p_i * c) * np.tanh(g)
    return sigmoid(o + p_o * new) * np.tanh(new), new


@cell(gates=3, states=1, direct=True)
def gru(x, state, W_ih, W_hh, b_ih, b_hh, direct=None):
    (h,) = state
    r_x, z_x, n_x = np.split(affine(W_ih, x, b_ih), 3, axis=-1)
    r_h, z_h, n_h = np.split(affine(W_hh, h, b_hh), 3, axis=-1)
    r, z = sigmoid(r_x + r_h), sigmoid(z_x + z_h)
    n = np.tanh(n_x + r * n_h)
    return ((1 - z) * n + z * (h if direct is None else direct),)


@cell(gates=3, states=1, direct=True)
def gru_reset_before(x, state, W_ih, W_hh, b_ih, b_hh, direct=None):
    (h,) = state
    r_x, z_x, n_x = np.split(affine(W_ih, x, b_ih), 3, axis=-1)
    U_r, U_z, U_n = np.split(W_hh, 3, axis=-2)
    b_r, b_z, b_n = np.split(b_hh, 3, axis=-1)
    r, z = sigmoid(r_x + affine(U_r, h, b_r)), sigmoid(z_x + affine(U_z, h, b_z))
    n = np.tanh(n_x + affine(U_n, r * h, b_n))
    return ((1 - z) * n + z * (h if direct is None else direct),)


def normal(a):
    """To mean 0 and variance 1, nearly."""
    centred = a - a.mean(-1, keepdims=True)
    return centred / np.sqrt((centred * centred).mean(-1, keepdims=True) + EPSILON)


def normal_affine(W, a, gain, b):
    return normal(a @ np.swapaxes(W, -1, -2)) * gain[..., None, :] + b[..., None, :]


@cell(gates=3, states=1, direct=True, unit_roles=(("norm_ih", 3), ("norm_hh", 3)))
def gru_layer_norm(x, state, W_ih, W_hh, b_ih, b_hh, g_ih, g_hh, direct=None):
    (h,) = state
    r_x, z_x, n_x = np.split(normal_affine(W_ih, x, g_ih, b_ih), 3, axis=-1)
    r_h, z_h, n_h = np.split(normal_affine(W_hh, h, g_hh, b_hh), 3, axis=-1)
    r, z = sigmoid(r_x + r_h), sigmoid(z_x + z_h)
    n = np.tanh(n_x + r * n_h)
    return ((1 - z) * n + z * (h if direct is None else direct),)


@cell(gates=4, states=2, projected=True)
def lstm_projected(x, state, W_ih, W_hh, b_ih, b_hh, W_hr):
    wide, c = lstm(x, state, W_ih, W_hh, b_ih, b_hh)
    return wide @ np.swapaxes(W_hr, -1, -2), c


@cell(gates=4, states=2, unit_roles=(("norm_ih", 4), ("norm_hh", 4), ("norm_cell", 1), ("norm_cell_bias", 1)))
def lstm_layer_norm(x, state, W_ih, W_hh, b_ih, b_hh, g_ih, g_hh, g_c, b_c):
    h, c = state
    i, f, g, o = np.split(normal_affine(W_ih, x, g_ih, b_ih) + normal_affine(W_hh, h, g_hh, b_hh), 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(normal(c) * g_c[..., None, :] + b_c[..., None, :]), c


@dataclasses.dataclass(frozen=True)
class Noise:
    """In one layer and direction.

    Gal & Ghahramani, 2016, arXiv:1512.05287: what U multiplies is factor * h. Krueger et al., 2016,
    arXiv:1606.01305: a state s becomes fresh * s' + (1 - fresh) * s, while the output sees the c' that is
    not mixed. factor (B,P), fresh: one (T,B,n) a state.
    """

    factor: np.ndarray
    fresh: tuple


def noisy_step(cell, x, state, weights, noise, t):
    h = {"direct": state[0]} if CELLS[cell].direct else {}
    new = CELLS[cell].step(x, (noise.factor * state[0], *state[1:]), *weights, **h)
    return tuple(w[t] * n + (1 - w[t]) * s for w, n, s in zip(noise.fresh, new, state))


def layer(cell, x, state, weights, lengths=None, reset=None, reverse=False, noise=None):
    """One layer in one direction.

    x (...,T,B,I), state: tuple of (...,B,H), weights: W_ih (G*H,I) W_hh (G*H,H) b_ih b_hh (G*H,) and, of a
    cell that has them, the parameters of single units (count*H,) and W_hr (P,H), each with leading axes or without;
    h and y are then (...,P), W_hh (G*H,P). lengths
    (B,) or None, reset (T,B) or None. Returns y (...,T,B,H) and the state behind the last step taken.

    A sequence takes part in step t while t < length: what lies beyond changes no state and outputs 0.
    reset[t] cuts between t-1 and t, whichever way the state flows: forward it enters step t from t-1, reverse
    step t-1 from t. At t = 0 it drops the initial state of the forward direction; in the padding it means
    nothing.
    """
    T, B = x.shape[-3], x.shape[-2]
    lengths = np.full(B, T) if lengths is None else lengths
    reset = np.zeros((T, B), bool) if reset is None else reset
    outputs = [None] * T
    for t in reversed(range(T)) if reverse else range(T):
        taken = (t < lengths)[:, None]
        came_over = t + 1 if reverse else t
        cut = reset[came_over] & (came_over < lengths) if came_over < T else np.zeros(B, bool)
        entering = tuple(np.where(cut[:, None], 0, s) for s in state)
        if noise is None:
            new = CELLS[cell].step(x[..., t, :, :], entering, *weights)
        else:
            new = noisy_step(cell, x[..., t, :, :], entering, weights, noise, t)
        outputs[t] = np.where(taken, new[0], 0)
        state = tuple(np.where(taken, n, s) for n, s in zip(new, state))
    if T == 0:
        return np.zeros(x.shape[:-1] + state[0].shape[-1:]), state
    return np.stack(outputs, axis=-3), state


def stack(
    cell, x, state, parameters, *, num_layers=1, bidirectional=False, lengths=None, reset=None, noise=None
):
    """Layers and directions as torch composes them.

    x (...,T,B,I), state: tuple of (...,L*D,B,H), parameters: dict by torch's names (no bias where it has
    none). Row layer*D + direction of a state belongs to that layer and direction; the next layer reads both
    directions side by side. noise: one Noise a row of a state.
    """
    directions = ["", "_reverse"][: 1 + bidirectional]
    finals = []
    for k in range(num_layers):
        outputs = []
        for d, suffix in enumerate(directions):
            row = k * len(directions) + d
            weights = layer_weights(cell, parameters, f"_l{k}{suffix}")
            initial = tuple(s[..., row, :, :] for s in state)
            of_row = None if noise is None else noise[row]
            y, final = layer(cell, x, initial, weights, lengths, reset, reverse=d == 1, noise=of_row)
            outputs.append(y)
            finals.append(final)
        x = np.concatenate(np.broadcast_arrays(*outputs), axis=-1)
    return x, tuple(np.stack(np.broadcast_arrays(*rows), axis=-3) for rows in zip(*finals))


def layer_weights(cell, parameters, suffix):
    facts, W_ih = CELLS[cell], parameters["weight_ih" + suffix]
    none = np.zeros(W_ih.shape[-2])
    biases = parameters.get("bias_ih" + suffix, none), parameters.get("bias_hh" + suffix, none)
    W_hh = [parameters["weight_hh" + suffix]] if facts.recurrent else []
    roles = [role for role, _ in facts.unit_roles] + ["weight_hr"] * facts.projected
    return W_ih, *W_hh, *biases, *(parameters[role + suffix] for role in roles)


def gradients(cell, x, state, parameters, dy, dstate, **options):
    """Gradients of sum(dy * y) + sum(dstate * final state).

    Returns a dict: "x", "state0" (and "state1": the c of an LSTM), and the names in parameters.
    """
    arguments = {"x": x, **{f"state{k}": s for k, s in enumerate(state)}, **parameters}

    def loss(changed):
        of = {**arguments, **changed}
        states = tuple(of[f"state{k}"] for k in range(len(state)))
        y, final = stack(cell, of["x"], states, {name: of[name] for name in parameters}, **options)
        return (dy * y).sum((-1, -2, -3)) + sum((d * s).sum((-1, -2, -3)) for d, s in zip(dstate, final))

    return {name: gradient(lambda a, name=name: loss({name: a}), a) for name, a in arguments.items()}


def gradient(loss, a, at_once=256):
    """d loss / d a by the complex step; loss maps (n, *a.shape) to (n,)."""
    result = np.empty(a.size)
    for begin in range(0, a.size, at_once):
        moved = np.arange(begin, min(begin + at_once, a.size))
        copies = np.repeat(a.reshape(1, -1).astype(complex), moved.size, axis=0)
        copies[np.arange(moved.size), moved] += 1j * COMPLEX_STEP
        result[moved] = np.broadcast_to(loss(copies.reshape(-1, *a.shape)).imag, moved.shape) / COMPLEX_STEP
    return result.reshape(a.shape)
