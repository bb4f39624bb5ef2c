# SPDX-License-Identifier: MIT
"""Back-propagation through time with clipping, step by step in NumPy and float64, from the words of `fastrnn.Clip`.

At every step, in the order in which the gradient flows:
    dh = dy_t + what comes from the step after; its norm is noted; clamped to [-step_value, step_value]
    dc = what comes from the step after + what dh gives through the output; noted and clamped likewise
    a row [dh ; dc] longer than step_norm is scaled to that length
and then both flow on: into the gradients of the parameters, into x, and into the step before. What arrives at the
initial state is not clipped. At the end, and after it was added to what is there, each gradient of a parameter is
clamped to [-value, value]; `norm` gives a factor and changes nothing.

h is as wide as the output: of an LSTM with a projection dh is what arrives at the projected one, and passes the
projection, and the norm of a layer-normalised c, on its way to dc.
"""

import dataclasses
import math

import numpy as np

DIRECTIONS = {"forward": (0,), "reverse": (1,), "both": (0, 1)}
EPSILON = 1e-5  # of layer normalisation


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def normal(a):
    """a with mean 0 and variance 1, and what it was divided by."""
    deviation = np.sqrt(a.var(1, keepdims=True) + EPSILON)
    return (a - a.mean(1, keepdims=True)) / deviation, deviation


def normal_backward(d, normed, deviation):
    """d is the gradient of `normed`. Moving all of a by one number, or along `normed`, changes (nearly) nothing."""
    along = (d * normed).mean(1, keepdims=True)
    return (d - d.mean(1, keepdims=True) - normed * along) / deviation


class Products:
    """What x and h bring into a cell: a = W_ih x + b_ih, b = W_hh h + b_hh."""

    def forward(self, x, h, w):
        return x @ w["weight_ih"].T + w["bias_ih"], h @ w["weight_hh"].T + w["bias_hh"], (x, h)

    def backward(self, saved, w, da, db):
        """-> gradients of x, of h and of the parameters by role."""
        x, h = saved
        biases = {"bias_ih": da.sum(0), "bias_hh": db.sum(0)}
        given = {"weight_ih": da.T @ x, "weight_hh": db.T @ h}
        return da @ w["weight_ih"], db @ w["weight_hh"], biases | given


class OwnUnit(Products):
    """b = u h + b_hh, each unit for itself."""

    def forward(self, x, h, w):
        return x @ w["weight_ih"].T + w["bias_ih"], w["weight_hh"] * h + w["bias_hh"], (x, h)

    def backward(self, saved, w, da, db):
        x, h = saved
        biases = {"bias_ih": da.sum(0), "bias_hh": db.sum(0)}
        given = {"weight_ih": da.T @ x, "weight_hh": (db * h).sum(0)}
        return da @ w["weight_ih"], db * w["weight_hh"], biases | given


class NormedProducts(Products):
    """a = g_ih LN(W_ih x) + b_ih, b = g_hh LN(W_hh h) + b_hh, each normalised over all gates."""

    def forward(self, x, h, w):
        from_x, from_h = normal(x @ w["weight_ih"].T), normal(h @ w["weight_hh"].T)
        a, b = w["norm_ih"] * from_x[0] + w["bias_ih"], w["norm_hh"] * from_h[0] + w["bias_hh"]
        return a, b, (x, h, from_x, from_h)

    def backward(self, saved, w, da, db):
        x, h, from_x, from_h = saved
        dx, dh = normal_backward(da * w["norm_ih"], *from_x), normal_backward(db * w["norm_hh"], *from_h)
        gains = {"norm_ih": (da * from_x[0]).sum(0), "norm_hh": (db * from_h[0]).sum(0)}
        biases = {"bias_ih": da.sum(0), "bias_hh": db.sum(0)}
        given = {"weight_ih": dx.T @ x, "weight_hh": dh.T @ h}
        return dx @ w["weight_ih"], dh @ w["weight_hh"], gains | biases | given


class Cell:
    """forward: x, h, c, parameters -> h, c, what backward needs. c is None where a cell has none, and so is dc.

    backward: what it needs, parameters, dh, dc -> gradients of x, of h before, of c before, of parameters by role.
    """

    def __init__(self, products=Products):
        self.products = products()

    def through_output(self, saved, w, dh):
        """What dh gives to dc."""
        return None


class Rnn(Cell):
    def __init__(self, relu, products=Products):
        super().__init__(products)
        self.relu = relu

    def forward(self, x, h, c, w):
        a, b, kept = self.products.forward(x, h, w)
        h = np.maximum(a + b, 0) if self.relu else np.tanh(a + b)
        return h, None, (h, kept)

    def backward(self, saved, w, dh, dc):
        h, kept = saved
        d = dh * (h > 0 if self.relu else 1 - h**2)
        dx, dh, given = self.products.backward(kept, w, d, d)
        return dx, dh, None, given


class Gru(Cell):
    def forward(self, x, h, c, w):
        a, b, kept = self.products.forward(x, h, w)
        (ar, az, an), (br, bz, bn) = np.split(a, 3, 1), np.split(b, 3, 1)
        r, z = sigmoid(ar + br), sigmoid(az + bz)
        n = np.tanh(an + r * bn)
        return (1 - z) * n + z * h, None, (r, z, n, bn, h, kept)

    def backward(self, saved, w, dh, dc):
        r, z, n, bn, h, kept = saved
        dn = dh * (1 - z) * (1 - n**2)
        dz = dh * (h - n) * z * (1 - z)
        dr = dn * bn * r * (1 - r)
        da, db = np.hstack([dr, dz, dn]), np.hstack([dr, dz, dn * r])
        dx, dh_before, given = self.products.backward(kept, w, da, db)
        return dx, dh_before + dh * z, None, given


class GruResetBefore(Cell):
    def forward(self, x, h, c, w):
        ar, az, an = np.split(x @ w["weight_ih"].T + w["bias_ih"], 3, 1)
        (U_r, U_z, U_n), (d_r, d_z, d_n) = np.split(w["weight_hh"], 3), np.split(w["bias_hh"], 3)
        r, z = sigmoid(ar + h @ U_r.T + d_r), sigmoid(az + h @ U_z.T + d_z)
        n = np.tanh(an + (r * h) @ U_n.T + d_n)
        return (1 - z) * n + z * h, None, (x, h, r, z, n)

    def backward(self, saved, w, dh, dc):
        x, h, r, z, n = saved
        U_r, U_z, U_n = np.split(w["weight_hh"], 3)
        dn, dz = dh * (1 - z) * (1 - n**2), dh * (h - n) * z * (1 - z)
        dreset = dn @ U_n  # of r * h
        dr = dreset * h * r * (1 - r)
        d = np.hstack([dr, dz, dn])
        given = {"weight_ih": d.T @ x, "bias_ih": d.sum(0), "bias_hh": d.sum(0)}
        given["weight_hh"] = np.vstack([dr.T @ h, dz.T @ h, dn.T @ (r * h)])
        return d @ w["weight_ih"], dh * z + dreset * r + dr @ U_r + dz @ U_z, None, given


class Lstm(Cell):
    def forward(self, x, h, c, w):
        a, b, kept = self.products.forward(x, h, w)
        i, f, g, o = np.split(a + b, 4, 1)
        p_i, p_f, p_o = self.peepholes(w)
        i, f, g = sigmoid(i + p_i * c), sigmoid(f + p_f * c), np.tanh(g)
        new = f * c + i * g
        o = sigmoid(o + p_o * new)
        seen, kept_norm = self.see(new, w)
        s = np.tanh(seen)
        return self.put_out(o * s, w), new, (i, f, g, o, c, new, s, kept_norm, kept)

    def peepholes(self, w):
        return 0, 0, 0

    def see(self, c, w):
        """The c that the output sees."""
        return c, None

    def see_backward(self, kept, w, d):
        """-> gradients of c and of parameters."""
        return d, {}

    def put_out(self, h, w):
        return h

    def put_out_backward(self, h, w, dh):
        return dh, {}

    def output_backward(self, saved, w, dh):
        """-> gradients of c, of the output gate before its sigmoid, of parameters."""
        *_, o, _, _, s, kept_norm, _ = saved
        dh, given = self.put_out_backward(o * s, w, dh)
        dc, more = self.see_backward(kept_norm, w, dh * o * (1 - s**2))
        do = dh * s * o * (1 - o)
        return dc + do * self.peepholes(w)[2], do, given | more

    def through_output(self, saved, w, dh):
        return self.output_backward(saved, w, dh)[0]

    def backward(self, saved, w, dh, dc):
        i, f, g, _, c, new, _, _, kept = saved
        _, do, given = self.output_backward(saved, w, dh)
        di, df, dg = dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g**2)
        d = np.hstack([di, df, dg, do])
        dx, dh_before, more = self.products.backward(kept, w, d, d)
        p_i, p_f, _ = self.peepholes(w)
        units = {"weight_ch": np.hstack([di * c, df * c, do * new]).sum(0)}
        return dx, dh_before, dc * f + di * p_i + df * p_f, given | more | units


class LstmPeephole(Lstm):
    def peepholes(self, w):
        return np.split(w["weight_ch"], 3)


class LstmProjected(Lstm):
    def put_out(self, h, w):
        return h @ w["weight_hr"].T

    def put_out_backward(self, h, w, dh):
        return dh @ w["weight_hr"], {"weight_hr": dh.T @ h}


class LstmLayerNorm(Lstm):
    def __init__(self):
        super().__init__(NormedProducts)

    def see(self, c, w):
        kept = normal(c)
        return w["norm_cell"] * kept[0] + w["norm_cell_bias"], kept

    def see_backward(self, kept, w, d):
        given = {"norm_cell": (d * kept[0]).sum(0), "norm_cell_bias": d.sum(0)}
        return normal_backward(d * w["norm_cell"], *kept), given


CELLS = {
    "rnn_tanh": Rnn(False),
    "rnn_relu": Rnn(True),
    "gru": Gru(),
    "lstm": Lstm(),
    "lstm_peephole": LstmPeephole(),
    "indrnn_tanh": Rnn(False, OwnUnit),
    "indrnn_relu": Rnn(True, OwnUnit),
    "gru_reset_before": GruResetBefore(),
    "gru_layer_norm": Gru(NormedProducts),
    "lstm_projected": LstmProjected(),
    "lstm_layer_norm": LstmLayerNorm(),
}


@dataclasses.dataclass
class Problem:
    """One call. x (T,B,I), state and dstate: tuples of (parts,B,P or H), directions: a word a layer."""

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
    """The parameters of one part by role; biases that it lacks are 0."""
    suffix = f"_l{layer}" + "_reverse" * direction
    found = {name.removesuffix(suffix): a for name, a in problem.parameters.items() if name.endswith(suffix)}
    return suffix, dict.fromkeys(("bias_ih", "bias_hh"), np.zeros(len(found["weight_ih"]))) | found


def forward(problem):
    """y, final states, inputs of the layers, and of each part its run: [(t, rows, cut, saved)]."""
    cell, x = CELLS[problem.cell], problem.x
    inputs, finals, runs = [], [], []
    for layer in range(len(problem.directions)):
        inputs.append(x)
        outputs = []
        for part, (at, direction) in enumerate(problem.places):
            if at != layer:
                continue
            _, w = weights_of(problem, layer, direction)
            h, c = (*(s[part] for s in problem.state), None)[:2]
            y, run = np.zeros((*x.shape[:2], h.shape[1])), []
            for t, rows, cut in entered(problem, direction):
                h0, c0 = (None if s is None else np.where(cut[:, None], 0, s) for s in (h, c))
                h1, c1, saved = cell.forward(x[t], h0, c0, w)
                run.append((t, rows, cut, saved))
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
    width = problem.state[0].shape[2]
    for layer in reversed(range(len(problem.directions))):
        dx, column = np.zeros(inputs[layer].shape), 0
        for part, (at, direction) in enumerate(problem.places):
            if at != layer:
                continue
            suffix, w = weights_of(problem, layer, direction)
            dh_next, dc_next = (*(s[part] for s in problem.dstate), None)[:2]
            for t, rows, cut, saved in reversed(runs[part]):
                here = rows[:, None]
                dh = steps.clamp(dy[t, :, column : column + width] + dh_next, rows, steps.dh, part, t)
                dc = cell.through_output(saved, w, dh)
                if dc is not None:
                    dc = steps.clamp(dc_next + dc, rows, steps.dc, part, t)
                dh, dc = steps.scale((dh, dc), rows, part, t)
                dh, dc = (None if d is None else np.where(here, d, 0) for d in (dh, dc))
                dx_t, dh_before, dc_before, given = cell.backward(saved, w, dh, dc)
                dx[t] += dx_t
                for role, gradient in given.items():
                    if role + suffix in gradients:
                        gradients[role + suffix] += gradient
                dh_next = np.where(here, np.where(cut[:, None], 0, dh_before), dh_next)
                if dc is not None:
                    dc_next = np.where(here, np.where(cut[:, None], 0, dc_before), dc_next)
            for whole, found in zip(dstates, (dh_next, dc_next)):
                whole[part] = found
            column += width
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
