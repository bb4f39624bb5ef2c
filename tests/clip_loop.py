# SPDX-License-Identifier: MIT
"""Back-propagation through time with clipping, step by step in NumPy and float64, from the words of `fastrnn.Clip`.

At every step, in the order in which the gradient flows:
    dh = dy_t + what comes from the step after; its norm is noted; clamped to [-step_value, step_value]
    dc = what comes from the step after + what dh gives through the output; noted and clamped likewise
    a row [dh ; dc] longer than step_norm is scaled to that length
and then both flow on: into the gradients of the parameters, into x, and into the step before. What arrives at the
initial state is not clipped. At the end, and after it was added to what is there, each gradient of a parameter is
clamped to [-value, value]; `norm` gives a factor and changes nothing.
"""

import dataclasses
import math

import numpy as np

DIRECTIONS = {"forward": (0,), "reverse": (1,), "both": (0, 1)}


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


class Rnn:
    """forward: pre-activations of x and of h, state -> state, what backward needs."""

    def __init__(self, relu):
        self.relu = relu

    def forward(self, a, b, h, c, p):
        h = np.maximum(a + b, 0) if self.relu else np.tanh(a + b)
        return h, None, h

    def through_output(self, saved, p, dh):
        return None

    def backward(self, saved, p, dh, dc):
        """-> gradients of both pre-activations, of h before (beside W_hh), of c before, of the peepholes."""
        d = dh * (saved > 0 if self.relu else 1 - saved**2)
        return d, d, 0, None, None


class Gru:
    def forward(self, a, b, h, c, p):
        (ar, az, an), (br, bz, bn) = np.split(a, 3, 1), np.split(b, 3, 1)
        r, z = sigmoid(ar + br), sigmoid(az + bz)
        n = np.tanh(an + r * bn)
        return (1 - z) * n + z * h, None, (r, z, n, bn, h)

    def through_output(self, saved, p, dh):
        return None

    def backward(self, saved, p, dh, dc):
        r, z, n, bn, h = saved
        dn = dh * (1 - z) * (1 - n**2)
        dz = dh * (h - n) * z * (1 - z)
        dr = dn * bn * r * (1 - r)
        return np.hstack([dr, dz, dn]), np.hstack([dr, dz, dn * r]), dh * z, None, None


class Lstm:
    def forward(self, a, b, h, c, p):
        i, f, g, o = np.split(a + b, 4, 1)
        i, f, g = sigmoid(i + p[0] * c), sigmoid(f + p[1] * c), np.tanh(g)
        new = f * c + i * g
        o = sigmoid(o + p[2] * new)
        return o * np.tanh(new), new, (i, f, g, o, c, new)

    def through_output(self, saved, p, dh):
        _, _, _, o, _, new = saved
        s = np.tanh(new)
        return dh * o * (1 - s**2) + dh * s * o * (1 - o) * p[2]

    def backward(self, saved, p, dh, dc):
        i, f, g, o, c, new = saved
        di, df = dc * g * i * (1 - i), dc * c * f * (1 - f)
        dg, do = dc * i * (1 - g**2), dh * np.tanh(new) * o * (1 - o)
        d = np.hstack([di, df, dg, do])
        units = np.hstack([di * c, df * c, do * new]).sum(0)
        return d, d, 0, dc * f + di * p[0] + df * p[1], units


CELLS = {
    "rnn_tanh": Rnn(False),
    "rnn_relu": Rnn(True),
    "gru": Gru(),
    "lstm": Lstm(),
    "lstm_peephole": Lstm(),
}


@dataclasses.dataclass
class Problem:
    """One call. x (T,B,I), state and dstate: tuples of (parts,B,H), directions: a word a layer."""

    cell: str
    directions: tuple
    parameters: dict  # by torch's names, in the order of the flat array
    x: np.ndarray
    state: tuple
    dy: np.ndarray
    dstate: tuple
    lengths: np.ndarray
    reset: np.ndarray  # (T,B)

    @property
    def places(self):
        """(layer, direction) of each part."""
        return [(layer, d) for layer, word in enumerate(self.directions) for d in DIRECTIONS[word]]


def entered(problem, direction):
    """Steps of a direction in the order of its run: t, rows that take it, rows whose state is dropped before it."""
    T = len(problem.x)
    for t in range(T) if direction == 0 else reversed(range(T)):
        edge = t if direction == 0 else t + 1  # between edge - 1 and edge
        cut = (
            problem.reset[edge] & (edge < problem.lengths)
            if edge < T
            else np.zeros(len(problem.lengths), bool)
        )
        yield t, t < problem.lengths, cut


def weights_of(problem, layer, direction):
    suffix = f"_l{layer}" + "_reverse" * direction
    names = [role + suffix for role in ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_ch")]
    H = problem.parameters[names[1]].shape[1]
    W, U, b, d, p = (problem.parameters.get(name) for name in names)
    zeros = np.zeros(len(W))
    peepholes = np.zeros((3, H)) if p is None else p.reshape(3, H)
    return names, (W, U, zeros if b is None else b, zeros if d is None else d, peepholes)


def forward(problem):
    """y, final states, inputs of the layers, and of each part its run: [(t, rows, cut, h before, saved)]."""
    cell, x = CELLS[problem.cell], problem.x
    inputs, finals, runs = [], [], []
    for layer in range(len(problem.directions)):
        inputs.append(x)
        outputs = []
        for part, (at, direction) in enumerate(problem.places):
            if at != layer:
                continue
            _, (W, U, b, d, p) = weights_of(problem, layer, direction)
            h, c = (*(s[part] for s in problem.state), None)[:2]
            y, run = np.zeros((*x.shape[:2], U.shape[1])), []
            for t, rows, cut in entered(problem, direction):
                h0, c0 = (None if s is None else np.where(cut[:, None], 0, s) for s in (h, c))
                h1, c1, saved = cell.forward(x[t] @ W.T + b, h0 @ U.T + d, h0, c0, p)
                run.append((t, rows, cut, h0, saved))
                h = np.where(rows[:, None], h1, h)
                c = None if c is None else np.where(rows[:, None], c1, c)
                y[t] = np.where(rows[:, None], h1, 0)
            outputs.append(y)
            finals.append((h,) if c is None else (h, c))
            runs.append(run)
        x = np.concatenate(outputs, 2)
    return x, tuple(np.stack(s) for s in zip(*finals)), inputs, runs


class Steps:
    """Clips the gradients of one step after the other, and notes what it has seen."""

    def __init__(self, problem, clip):
        self.value = math.inf if clip is None or clip.step_value is None else clip.step_value
        self.norm = math.inf if clip is None or clip.step_norm is None else clip.step_norm
        shape = (len(problem.places), len(problem.x))
        self.dh, self.dc, self.clamped, self.scaled = (np.zeros(shape) for _ in range(4))
        self.rows = np.maximum((problem.lengths > np.arange(len(problem.x))[:, None]).sum(1), 1)

    def clamp(self, d, rows, trace, part, t):
        trace[part, t] = np.sqrt((d[rows] ** 2).sum())
        self.clamped[part, t] += (np.abs(d[rows]) > self.value).sum() / self.rows[t]
        return np.clip(d, -self.value, self.value)

    def scale(self, arrays, rows, part, t):
        length = np.sqrt(sum((d**2).sum(1) for d in arrays if d is not None))
        self.scaled[part, t] = (length[rows] > self.norm).sum() / self.rows[t]
        factor = np.where(length > self.norm, self.norm / np.maximum(length, 1e-300), 1)[:, None]
        return [None if d is None else d * factor for d in arrays]


def backward(problem, clip=None, flat=None):
    """y, states, all gradients and what `Stats` tells, by name. flat: gradients are added to it."""
    cell = CELLS[problem.cell]
    y, final, inputs, runs = forward(problem)
    steps = Steps(problem, clip)
    gradients = {name: np.zeros(a.shape) for name, a in problem.parameters.items()}
    dstates, dy = [np.zeros(s.shape) for s in problem.state], problem.dy
    for layer in reversed(range(len(problem.directions))):
        dx, column = np.zeros(inputs[layer].shape), 0
        for part, (at, direction) in enumerate(problem.places):
            if at != layer:
                continue
            names, (W, U, _, _, p) = weights_of(problem, layer, direction)
            H = U.shape[1]
            dh_next, dc_next = (*(s[part] for s in problem.dstate), None)[:2]
            for t, rows, cut, before, saved in reversed(runs[part]):
                here = rows[:, None]
                dh = steps.clamp(dy[t, :, column : column + H] + dh_next, rows, steps.dh, part, t)
                dc = cell.through_output(saved, p, dh)
                if dc is not None:
                    dc = steps.clamp(dc_next + dc, rows, steps.dc, part, t)
                dh, dc = steps.scale((dh, dc), rows, part, t)
                dh, dc = (None if d is None else np.where(here, d, 0) for d in (dh, dc))
                da, db, dh_before, dc_before, units = cell.backward(saved, p, dh, dc)
                dx[t] += da @ W
                given = (da.T @ inputs[layer][t], db.T @ before, da.sum(0), db.sum(0), units)
                for name, gradient in zip(names, given):
                    if name in gradients:
                        gradients[name] += gradient
                dh_next = np.where(here, np.where(cut[:, None], 0, dh_before + db @ U), dh_next)
                if dc is not None:
                    dc_next = np.where(here, np.where(cut[:, None], 0, dc_before), dc_next)
            for whole, found in zip(dstates, (dh_next, dc_next)):
                whole[part] = found
            column += H
        dy = dx
    values = {"y": y, "dx": dy}
    values |= {f"state{k}": s for k, s in enumerate(final)}
    values |= {f"dstate{k}": s for k, s in enumerate(dstates)}
    total = np.concatenate([g.ravel() for g in gradients.values()])
    total, facts = finish(total if flat is None else flat + total, clip)
    values |= {"dflat": total}
    return values, facts | of_steps(problem, steps, clip)


def finish(flat, clip):
    """Gradients of parameters as they are stored, and what is told of them."""
    facts = {"norm": np.sqrt((flat**2).sum()), "scale": 1.0, "clamped": None}
    if clip is not None and clip.value is not None:
        facts["clamped"] = (np.abs(flat) > clip.value).mean()
        flat = np.clip(flat, -clip.value, clip.value)
    facts["stored_norm"] = np.sqrt((flat**2).sum())
    if clip is not None and clip.norm is not None:
        facts["scale"] = min(1.0, clip.norm / (facts["stored_norm"] + 1e-6))
    return flat, facts


def of_steps(problem, steps, clip):
    """(L,D,T) arrays, NaN where a layer has no such direction; None for what was not asked for or does not exist."""
    used = sorted({d for _, d in problem.places})
    widths = sum(s.shape[2] for s in problem.state)

    def arranged(values):
        whole = np.full((len(problem.directions), len(used), len(problem.x)), np.nan)
        for part, (layer, direction) in enumerate(problem.places):
            whole[layer, used.index(direction)] = values[part]
        return whole

    return {
        "dh": arranged(steps.dh),
        "dc": arranged(steps.dc) if len(problem.state) > 1 else None,
        "step_clamped": arranged(steps.clamped / widths) if steps.value < math.inf else None,
        "step_scaled": arranged(steps.scaled) if steps.norm < math.inf else None,
    }
