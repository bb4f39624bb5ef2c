# SPDX-License-Identifier: MIT
"""LSTM, GRU and RNN in NumPy: whole sequences (T,B,I), BPTT, and single steps."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import numpy as np

Gradients = tuple[np.ndarray, dict[str, np.ndarray]]  # of x, and of the parameters by name


class Parameters(NamedTuple):
    """Of one layer and direction, in the layout of torch."""

    weight_ih: np.ndarray
    weight_hh: np.ndarray
    bias_ih: np.ndarray
    bias_hh: np.ndarray
    weight_ch: np.ndarray | None


class Cell:
    """What the cells share: work arrays that outlive the call, the products outside of the loop.

    keep is (T,B,1), False where a row begins anew, or None. gates (T,B,G*H) holds the gates of the input first, then
    those of the cell, in place; h (T+1,B,H) begins with the initial state.
    """

    STATES: ClassVar[int] = 1

    def __init__(self, p: Parameters, keep: np.ndarray | None) -> None:
        self.p = p
        self.keep = keep
        self.any_reset: Any = [] if keep is None else np.any(~keep, (1, 2)).tolist()
        self.H = p.weight_hh.shape[1]
        self._shape: tuple[int, int] = (0, 0)
        self._work: dict[str, np.ndarray] = {}

    def _allocate(self, T: int, B: int) -> None:
        if self._shape == (T, B):
            return
        self._shape = (T, B)
        G = len(self.p.weight_hh)
        self.gates = np.empty((T, B, G), np.float32)
        self.h = np.zeros((T + 1, B, self.H), np.float32)
        self.product = np.empty((B, G), np.float32)
        self.scratch = np.empty((B, self.H), np.float32)
        self._more(T, B)

    def _more(self, T: int, B: int) -> None:
        """Further work arrays."""

    def _kept(self, name: str, like: np.ndarray) -> np.ndarray:
        """A work array of backward: fresh memory in every call would cost more than filling it."""
        if (a := self._work.get(name)) is None or a.shape != like.shape:
            a = self._work[name] = np.empty(like.shape, np.float32)
        return a

    def _entering(self, states: np.ndarray, t: int) -> np.ndarray:
        """The state that enters step t."""
        return states[t] * self.keep[t] if self.keep is not None and self.any_reset[t] else states[t]

    def _input_bias(self) -> np.ndarray:
        return self.p.bias_ih + self.p.bias_hh

    def forward(self, x: np.ndarray) -> np.ndarray:
        """y (T,B,H), a view of what the next call overwrites."""
        T, B, width = x.shape
        self._allocate(T, B)
        rows = x.reshape(T * B, width)
        np.matmul(rows, self.p.weight_ih.T, out=self.gates.reshape(T * B, -1))
        self.gates += self._input_bias()
        for t in range(T):
            self._step(t)
        return self.h[1:]

    def start(self, B: int) -> None:
        """A stream of B rows begins with zeros."""
        self._allocate(1, B)
        self._bias = self._input_bias()

    def step(self, x_t: np.ndarray) -> np.ndarray:
        """y (B,H) of the stream's next step."""
        np.matmul(x_t, self.p.weight_ih.T, out=self.gates[0])
        self.gates[0] += self._bias
        self._step(0)
        self._advance()
        return self.h[1]

    def _advance(self) -> None:
        self.h[0] = self.h[1]

    def _step(self, t: int) -> None:
        raise NotImplementedError

    def backward(self, x: np.ndarray, dy: np.ndarray) -> Gradients:
        """BPTT after forward with the same x: gradients of x and of the parameters."""
        raise NotImplementedError

    def _products(self, x: np.ndarray, d_in: np.ndarray, d_rec: np.ndarray) -> Gradients:
        """Gradients from those of the gates, as the input and as the state sees them (T,B,G*H)."""
        T, B, width = x.shape
        before = self.h[:-1] if self.keep is None else self.h[:-1] * self.keep
        flat_in, flat_rec = d_in.reshape(T * B, -1), d_rec.reshape(T * B, -1)
        dx = (flat_in @ self.p.weight_ih).reshape(T, B, width)
        ones = np.ones(T * B, np.float32)
        return dx, {
            "weight_ih": flat_in.T @ x.reshape(T * B, width),
            "weight_hh": flat_rec.T @ before.reshape(T * B, self.H),
            "bias_ih": (bias := ones @ flat_in),
            "bias_hh": bias if d_in is d_rec else ones @ flat_rec,
        }

    def _before(self, t: int, d: np.ndarray) -> None:
        """A gradient that leaves step t for the one before it, in place."""
        if self.keep is not None and self.any_reset[t]:
            d *= self.keep[t]


class Lstm(Cell):
    """sigmoid(x) = (1 + tanh(x / 2)) / 2: one tanh runs over all four gates."""

    def __init__(self, p: Parameters, keep: np.ndarray | None) -> None:
        super().__init__(p, keep)
        half = np.full(self.H, 0.5, np.float32)
        self.scale = np.concatenate([half, half, 2 * half, half])
        self.shift = np.concatenate([half, half, 0 * half, half])
        self.parts = [slice(k * self.H, (k + 1) * self.H) for k in range(4)]

    def _more(self, T: int, B: int) -> None:
        self.c = np.zeros((T + 1, B, self.H), np.float32)
        self.tanh_c = np.empty((T, B, self.H), np.float32)

    def _squash(self, a: np.ndarray, part: Any) -> None:
        a *= self.scale[part]
        np.tanh(a, out=a)
        a *= self.scale[part]
        a += self.shift[part]

    def _step(self, t: int) -> None:
        a, c, tanh_c = self.gates[t], self.c[t + 1], self.tanh_c[t]
        np.matmul(self._entering(self.h, t), self.p.weight_hh.T, out=self.product)
        a += self.product
        self._squash(a, slice(None))
        i, f, g, o = (a[:, part] for part in self.parts)
        np.multiply(f, self._entering(self.c, t), out=c)
        c += np.multiply(i, g, out=self.scratch)
        np.tanh(c, out=tanh_c)
        np.multiply(o, tanh_c, out=self.h[t + 1])

    def _advance(self) -> None:
        super()._advance()
        self.c[0] = self.c[1]

    def backward(self, x: np.ndarray, dy: np.ndarray) -> Gradients:
        """See `Cell`."""
        i, f, g, o = (self.gates[..., part] for part in self.parts)
        slope, d = self._kept("slope", self.gates), self._kept("d", self.gates)
        through_c = self._kept("through_c", self.tanh_c)
        np.multiply(self.gates, self.gates, out=slope)
        np.subtract(self.gates, slope, out=slope)
        slope_g = np.multiply(g, g, out=slope[..., self.parts[2]])
        np.subtract(1, slope_g, out=slope_g)
        np.multiply(self.tanh_c, self.tanh_c, out=through_c)
        np.subtract(1, through_c, out=through_c)
        through_c *= o
        d_i, d_f, d_g, d_o = (d[..., part] for part in self.parts)
        dh, dc, scratch = np.zeros_like(self.scratch), np.zeros_like(self.scratch), self.scratch
        for t in reversed(range(len(x))):
            dh += dy[t]
            dc += np.multiply(dh, through_c[t], out=scratch)
            np.multiply(dc, g[t], out=d_i[t])
            np.multiply(dc, self._entering(self.c, t), out=d_f[t])
            np.multiply(dc, i[t], out=d_g[t])
            np.multiply(dh, self.tanh_c[t], out=d_o[t])
            d[t] *= slope[t]
            dc *= f[t]
            np.matmul(d[t], self.p.weight_hh, out=dh)
            self._before(t, dh)
            self._before(t, dc)
        return self._products(x, d, d)


class LstmPeephole(Lstm):
    """The gates of a unit see its own memory; inference alone."""

    def _step(self, t: int) -> None:
        assert self.p.weight_ch is not None
        a, before, c, tanh_c = self.gates[t], self._entering(self.c, t), self.c[t + 1], self.tanh_c[t]
        np.matmul(self._entering(self.h, t), self.p.weight_hh.T, out=self.product)
        a += self.product
        H, (i, f, g, o) = self.H, (a[:, part] for part in self.parts)
        i += self.p.weight_ch[:H] * before
        f += self.p.weight_ch[H : 2 * H] * before
        self._squash(a[:, : 3 * H], slice(3 * H))
        np.multiply(f, before, out=c)
        c += np.multiply(i, g, out=self.scratch)
        o += np.multiply(self.p.weight_ch[2 * H :], c, out=self.scratch)
        self._squash(o, self.parts[3])
        np.tanh(c, out=tanh_c)
        np.multiply(o, tanh_c, out=self.h[t + 1])


class Gru(Cell):
    """The reset gate acts on the product with h, which is kept for backward as inner (T,B,H)."""

    def _more(self, T: int, B: int) -> None:
        self.inner = np.empty((T, B, self.H), np.float32)

    def _input_bias(self) -> np.ndarray:
        bias = self.p.bias_ih.copy()
        bias[: 2 * self.H] += self.p.bias_hh[: 2 * self.H]
        return bias

    def _step(self, t: int) -> None:
        H, a, product, inner, h = self.H, self.gates[t], self.product, self.inner[t], self.h[t + 1]
        before = self._entering(self.h, t)
        np.matmul(before, self.p.weight_hh.T, out=product)
        np.add(product[:, 2 * H :], self.p.bias_hh[2 * H :], out=inner)
        rz, n = a[:, : 2 * H], a[:, 2 * H :]
        rz += product[:, : 2 * H]
        rz *= 0.5
        np.tanh(rz, out=rz)
        rz *= 0.5
        rz += 0.5
        n += np.multiply(rz[:, :H], inner, out=self.scratch)
        np.tanh(n, out=n)
        np.subtract(before, n, out=h)
        h *= rz[:, H:]
        h += n

    def backward(self, x: np.ndarray, dy: np.ndarray) -> Gradients:
        """See `Cell`."""
        H = self.H
        before = self.h[:-1] if self.keep is None else self.h[:-1] * self.keep
        r, z, n = (self.gates[..., k * H : (k + 1) * H] for k in range(3))
        d, slope, d_n = (
            self._kept("d", self.gates),
            self._kept("slope", self.gates),
            self._kept("d_n", self.inner),
        )
        d_r, d_z, d_inner = (d[..., k * H : (k + 1) * H] for k in range(3))
        to_r, to_z, to_n = (slope[..., k * H : (k + 1) * H] for k in range(3))
        np.multiply(self.gates, self.gates, out=slope)
        np.subtract(self.gates[..., : 2 * H], slope[..., : 2 * H], out=slope[..., : 2 * H])
        to_r *= self.inner
        to_z *= np.subtract(before, n, out=d_n)
        np.subtract(1, to_n, out=to_n)
        to_n *= np.subtract(1, z, out=d_n)
        dh, through = np.zeros_like(self.scratch), self.scratch
        for t in reversed(range(len(x))):
            dh += dy[t]
            np.multiply(dh, to_n[t], out=d_n[t])
            np.multiply(dh, to_z[t], out=d_z[t])
            np.multiply(d_n[t], to_r[t], out=d_r[t])
            np.multiply(d_n[t], r[t], out=d_inner[t])
            np.multiply(dh, z[t], out=through)
            np.matmul(d[t], self.p.weight_hh, out=dh)
            dh += through
            self._before(t, dh)
        outer = self._kept(
            "slope", self.gates
        )  # the slopes have been used: room for the gates as the input sees them
        outer[..., : 2 * H] = d[..., : 2 * H]
        outer[..., 2 * H :] = d_n
        return self._products(x, outer, d)


class Rnn(Cell):
    """h = tanh of the gates."""

    def _step(self, t: int) -> None:
        np.matmul(self._entering(self.h, t), self.p.weight_hh.T, out=self.product)
        self.product += self.gates[t]
        np.tanh(self.product, out=self.h[t + 1])

    def backward(self, x: np.ndarray, dy: np.ndarray) -> Gradients:
        """See `Cell`."""
        y, dh = self.h[1:], np.zeros_like(self.scratch)
        slope, d = self._kept("slope", y), self._kept("d", y)
        np.multiply(y, y, out=slope)
        np.subtract(1, slope, out=slope)
        for t in reversed(range(len(x))):
            dh += dy[t]
            np.multiply(dh, slope[t], out=d[t])
            np.matmul(d[t], self.p.weight_hh, out=dh)
            self._before(t, dh)
        return self._products(x, d, d)


CELLS = {"lstm": Lstm, "lstm_peephole": LstmPeephole, "gru": Gru, "rnn_tanh": Rnn}
