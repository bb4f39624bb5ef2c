# SPDX-License-Identifier: MIT
"""How the gradient flows through time: where it vanishes and where it explodes (Bengio, Simard & Frasconi 1994).

    dL/dh_{t-1} = J_t^T dL/dh_t + (what enters at t-1)        J_t = dh_t / dh_{t-1}

Over many steps its norm therefore falls or grows like a product of Jacobians: like r^n if their spectral radius is r.
"""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import _check, control
from .recurrent import Recurrent
from .results import Gradients, State, Stats, Tape

_Array = npt.NDArray[Any]
_FIRST_STEPS = 128  # of power iteration, before its first estimate: with 16, two of them agree by chance


class _Run(NamedTuple):
    """What went into a net: x (T,B,I), states (L*D,B,H) or None, lengths (B,)."""

    net: Recurrent
    x: _Array
    states: tuple[_Array, ...] | None
    lengths: npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False, repr=False)
class GradientFlow:
    """What `gradient_flow` measured.

    Arrays are (L,D,T) of float64: layer, direction (where a net has both: 0 forward, 1 reverse, NaN in a layer that has
    it not), time. Norms are L2, over units and batch.

    Attributes:
        dh: norms of dL/dh_t.
        dc: norms of dL/dc_t; None for cells without c.
        h: norms of h_t.
    """

    dh: _Array
    dc: _Array | None
    h: _Array
    _run: _Run = field(repr=False)

    @property
    def rate(self) -> _Array:
        """(L,D) of float64: the factor by which the norm of dL/dh changes with each step back, as a geometric mean.

        Below 1 the gradient vanishes, above 1 it explodes. Over the steps of the longest row; NaN for less than two
        steps, and where all is zero.
        """
        steps = int(self._run.lengths.max(initial=0)) - 1  # of the longest row
        reverse = np.array(_directions(self._run.net))[:, None] == 1
        if steps < 1:
            return np.full(self.dh.shape[:2], np.nan)
        first, last = self.dh[..., :1], self.dh[..., steps : steps + 1]
        with np.errstate(all="ignore"):  # 0 / 0 where no gradient comes
            ratio: _Array = np.where(reverse, last / first, first / last)[..., 0]
        return ratio ** (1 / steps)

    def spectral_radius(
        self,
        t: int | None = None,
        *,
        layer: int | None = None,
        row: int = 0,
        steps: int = 1024,
        tolerance: float = 1e-3,
    ) -> float:
        """Largest modulus of the eigenvalues of the Jacobian of step t: dh_t/dh_{t-1}, for LSTM d[h;c]_t/d[h;c]_{t-1}.

        By power iteration on one step and its backward pass, at the state that the net really has there:

            v <- J^T v / |J^T v|        radius = exp(mean of log |J^T v|), over the second half of n iterations

        for n = 128, 256, ... until two estimates agree. The mean is a geometric one, because with a complex dominant
        pair of eigenvalues |J^T v| swings around the modulus and does not settle; its error then falls like 1/n.

        Args:
            t: time, the last step unless given.
            layer: of one layer; None of all, which is the largest of the layers.
            row: of the batch.
            steps: most iterations.
            tolerance: relative change between two estimates at which to stop.

        The parameters, x and the state must still be those of the `gradient_flow` call.

        Raises:
            ValueError: t, layer or row is out of range, the row has no steps, or the net does not run forward alone.
            TypeError: an argument is of a wrong type.
        """
        net, x, states, lengths = self._run
        _check.forward_only("spectral_radius", net.directions)
        _check.some_rows("spectral_radius", x.shape[1])
        row = _check.size("row", row, 0, x.shape[1] - 1)
        _check.some_steps_of("spectral_radius", row, int(lengths[row]))
        t = _check.size("t", int(lengths[row]) - 1 if t is None else t, 0, int(lengths[row]) - 1)
        chosen = slice(None) if layer is None else _check.size("layer", layer, 0, net.num_layers - 1)
        most = _check.size("steps", steps)
        tolerance = _check.number("tolerance", tolerance, 0.0)
        start = None if states is None else _form(net, [a[:, row] for a in states])
        _, before = net(x[:t, row], start)

        def step(v: list[_Array]) -> list[_Array]:
            _, _, tape = net.forward(x[t : t + 1, row], before)
            assert tape is not None  # forward leaves one by default
            after = net.backward(tape, None, _form(net, v), x_gradient=False).state
            return _of_layer(_parts(after), chosen)

        rng = np.random.default_rng(0)
        v = [rng.standard_normal(shape).astype(net.dtype) for shape in net._state_shapes(1, True)]
        return _power_iteration(step, _of_layer(v, chosen), most, tolerance)

    def to_dict(self) -> dict[str, Any]:
        """Lists and numbers, as JSON takes them; None for what is not finite."""
        arrays = {"dh": self.dh, "dc": self.dc, "h": self.h, "rate": self.rate}
        lists = {name: None if a is None else _finite(a) for name, a in arrays.items()}
        return {"net": repr(self._run.net), **lists}

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Draws dL/dh_t, and dL/dc_t dashed, over time on a logarithmic scale.

        Args:
            path: file to write, its format by its name.

        Returns:
            The matplotlib Figure, which notebooks show.

        Raises:
            ImportError: matplotlib is not installed (pip install fastrnn[plot]).
        """
        figure = _figure()(figsize=(7, 4), layout="constrained")
        axes = figure.add_subplot()
        gradients = {"h": self.dh} | ({} if self.dc is None else {"c": self.dc})
        for name, values in gradients.items():
            for layer, column in np.ndindex(*values.shape[:2]):
                if np.isnan(values[layer, column]).all():  # a direction that the layer has not
                    continue
                label = f"|dL/d{name}_t|" + f", layer {layer}" * (len(self.dh) > 1)
                label += ", reverse" * (_directions(self._run.net)[column] == 1)
                axes.plot(values[layer, column], label=label, linestyle="-" if name == "h" else "--")
        axes.set_yscale("log")
        axes.set(xlabel="time t, steps", ylabel="L2 norm of the gradient", title=repr(self._run.net))
        axes.grid(alpha=0.3)
        axes.legend()
        if path is not None:
            figure.savefig(_check.path(path), dpi=150)
        return figure

    def __repr__(self) -> str:
        T = self.dh.shape[2]
        ends = f"{self.dh[-1, 0, 0]:.2g} at t=0, {self.dh[-1, 0, -1]:.2g} at t={T - 1}" if T else "no steps"
        return f"GradientFlow({self._run.net!r}: |dL/dh_t| of the last layer {ends})"


def gradient_flow(
    net: Any, x: Any, dy: Any = None, *, state: State = None, lengths: Any = None
) -> GradientFlow:
    """Norms of the gradients of a loss to h_t, and c_t, at every step.

    Args:
        net: a layer, or a model such as `NToN`.
        x: as in `net.forward`, or as in `model.fit`. All sequences make one batch.
        dy: for a layer the gradient of y, in its shape; None is 1 for each unit at the step that its direction computes
            last, and 0 elsewhere: the curve of dh then tells how much of it is left after so many steps. For a model y,
            the targets.
        state: initial state of a layer.
        lengths: as in `net.forward` or `model.fit`.

    Gradients that vanish leave float32 at 1e-38: measure a net of dtype float64 to follow them further.

    Raises:
        TypeError, ValueError: an argument does not fit, as in forward or fit, or the net has dropout or zoneout.
        NonFiniteError: an h is NaN or infinite, which would stop gradients as if they vanished.

    >>> net = fastrnn.RNN(1, 8, seed=0)
    >>> flow = gradient_flow(net, np.ones((50, 4, 1), np.float32))
    >>> bool(flow.dh[0, 0, 0] < 1e-6 * flow.dh[0, 0, -1])
    True
    """
    layer = _Recorder(_layer_of(net))
    _check.no_dropout("gradient_flow", vars(layer.net), "compares steps with one another")
    if isinstance(net, Recurrent):
        y, _, tape = layer.forward(x, state, lengths=lengths)
        layer.backward(tape, _last_steps(layer.run, y) if dy is None else dy, x_gradient=False)
        return layer.flow()
    if state is not None:
        raise ValueError(
            f"state goes with a layer, but {type(net).__name__} is a model, which starts from zeros"
        )
    data = net._training_data(x, dy, lengths)
    twin = copy.copy(net)
    twin.rnn = layer
    twin.learn(data.batch(np.flatnonzero(data.lengths)), twin.gradient_buffers())
    return layer.flow()


class _Recorder:
    """A layer that notes what passes through it."""

    def __init__(self, net: Recurrent) -> None:
        self.net = net

    def forward(self, x: _Array, state: State = None, **options: Any) -> tuple[_Array, State, Tape]:
        net = self.net
        y, after, tape = net.forward(x, state, error_if_nonfinite=True, **options)
        assert isinstance(tape, Tape)
        rows, unbatched = _check.sequence(x, net.input_size, net.dtype, net.batch_first, "")
        T, B, _ = rows.shape
        lengths = options.get("lengths")
        given = None if state is None else tuple(a[:, None] if unbatched else a for a in _parts(state))
        self.run = _Run(net, rows, given, np.full(B, T) if lengths is None else np.array(lengths, np.int64))
        self.h = _norms(net, tape, _time_major(net, y))
        return y, after, tape

    def backward(self, tape: Tape, dy: _Array, **options: Any) -> Gradients:
        gradients = self.net.backward(tape, dy, **options, trace=True)
        self.stats: Stats = gradients.stats
        return gradients

    def flow(self) -> GradientFlow:
        assert self.stats.dh is not None, "traced"
        return GradientFlow(self.stats.dh, self.stats.dc, self.h, self.run)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.net, name)


def _layer_of(net: Any) -> Recurrent:
    if hasattr(net, "decoder"):
        raise TypeError(
            f"net is of type {type(net).__name__}, which has a decoder: give gradient_flow one of its layers"
        )
    layer = net if isinstance(net, Recurrent) else getattr(net, "rnn", None)
    if not isinstance(layer, Recurrent) or not (layer is net or hasattr(net, "learn")):
        raise TypeError(
            f"net is of type {type(net).__name__}, not a layer such as fastrnn.LSTM or a model with one"
        )
    return layer


def _last_steps(run: _Run, y: _Array) -> _Array:
    """1 where a direction ends: the forward one at the end of each row, the reverse one at its start."""
    net, _, _, lengths = run
    dy = np.zeros_like(y)
    rows = _time_major(net, dy)
    some = np.flatnonzero(lengths)
    words = {"forward": ("forward",), "reverse": ("reverse",), "both": ("forward", "reverse")}[
        net.directions[-1]
    ]
    for word, part in zip(words, np.split(rows, len(words), axis=2)):
        part[lengths[some] - 1 if word == "forward" else 0, some] = 1
    return dy


def _norms(net: Recurrent, tape: Tape, y: _Array) -> _Array:
    """Norms of h_t, (L,D,T)."""
    found = []
    for layer in range(net.num_layers):
        h = y if layer == net.num_layers - 1 else tape._core.output(layer)
        directions = sum(at == layer for at, _ in net._places)
        found += [
            np.linalg.norm(part.astype(np.float64), axis=(1, 2)) for part in np.split(h, directions, axis=2)
        ]
    return control.by_place(np.array(found), net._places)


def _time_major(net: Recurrent, a: _Array) -> _Array:
    """A view (T,B,n) of an array in the layout of x."""
    return a[:, None] if a.ndim == 2 else a.transpose(1, 0, 2) if net.batch_first else a


def _power_iteration(
    step: Callable[[list[_Array]], list[_Array]], v: list[_Array], most: int, tolerance: float
) -> float:
    """See `GradientFlow.spectral_radius`."""
    logarithms: list[float] = []
    count, last = min(_FIRST_STEPS, most), math.inf
    while True:
        while len(logarithms) < count:
            norm = math.sqrt(sum(float(np.vdot(a, a)) for a in v))
            v = step([a / norm for a in v])
            length = math.sqrt(sum(float(np.vdot(a, a)) for a in v))
            if length == 0:
                return 0.0
            logarithms.append(math.log(length))
        radius = math.exp(sum(logarithms[count // 2 :]) / (count - count // 2))
        if abs(radius - last) <= tolerance * radius or count == most:
            return radius
        count, last = min(2 * count, most), radius


def _directions(net: Recurrent) -> list[int]:
    """What the second axis of (L,D,T) stands for."""
    return sorted({direction for _, direction in net._places})


def _finite(a: _Array) -> list[Any]:
    """Nested lists of numbers, None for what is not finite."""
    return np.where(np.isfinite(a), a.astype(object), np.array(None)).tolist()  # type: ignore[no-any-return]


def _parts(state: State) -> list[_Array]:
    return list(state) if isinstance(state, (tuple, list)) else [state]


def _form(net: Recurrent, arrays: list[_Array]) -> State:
    return tuple(arrays) if len(net._STATES) > 1 else arrays[0]


def _of_layer(arrays: list[_Array], layer: int | slice) -> list[_Array]:
    """Zeros but for one layer."""
    kept = [np.zeros_like(a) for a in arrays]
    for to, a in zip(kept, arrays):
        to[layer] = a[layer]
    return kept


def _figure() -> Any:
    """matplotlib's class of figures: without a window, and without a list of all that were ever made."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("plot needs matplotlib: pip install fastrnn[plot]") from None
    return Figure
