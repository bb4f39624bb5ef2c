# SPDX-License-Identifier: MIT
"""What recurrent layers share: parameters, forward, backward, streaming; with the semantics of torch.nn.

Shapes: T steps, B batch, I input, H hidden, L layers, D directions (2 if bidirectional), G gates. Where layers differ
in their directions, L*D is the number of all of them, from the first layer up, forward before reverse. Layer l reads
the y of layer l-1, of both directions; a reverse direction runs from the end of each row to its start.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, overload

import numpy as np
import numpy.typing as npt

from . import _check, _core, control, options
from .results import Gradients, State, Tape, empty
from .runtime import active
from .streaming import Streaming

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .clip import Clip
    from .options import ForwardOptions
    from .results import Internals
    from .truncated import TruncatedTape

_Array = npt.NDArray[Any]


class Recurrent(Streaming):
    """What RNN, LSTM, GRU and IndRNN share; not created by itself."""

    _STATES: ClassVar[tuple[str, ...]] = ("h",)
    #: What the parameters of single units of a cell are called, and how many of them a unit has
    _UNIT_ROLES: ClassVar[Mapping[str, tuple[tuple[str, int], ...]]] = {}

    def __init__(
        self,
        cell: str,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        given: Mapping[str, Any],
        *,
        proj_size: int = 0,
        not_in_bfloat16: str | None = None,
    ) -> None:
        chosen = options.complete(type(self).__name__, given)
        self.cell = cell
        self.input_size = _check.size("input_size", input_size, 0)
        self.hidden_size = _check.size("hidden_size", hidden_size)
        self._h_size = proj_size or self.hidden_size
        self.num_layers = _check.size("num_layers", num_layers, most=10_000)
        self._biases = options.biases(chosen["bias"])
        self.bias: bool | str = chosen["bias"] if isinstance(chosen["bias"], str) else bool(chosen["bias"])
        self.batch_first = _check.flag("batch_first", chosen["batch_first"])
        self.directions = options.directions(chosen["direction"], chosen["bidirectional"], self.num_layers)
        self._dropout = options.dropout(chosen, self.num_layers, cell, self._STATES)
        self.dropout, self.variational, self.input_dropout, noise = self._dropout
        self.recurrent_dropout = noise[0]
        self.zoneout: float | tuple[float, float] = (
            noise[1:] if isinstance(chosen["zoneout"], (tuple, list)) else noise[1]
        )
        self.learn_state = _check.flag("learn_state", chosen["learn_state"])
        start = options.start(chosen, cell)
        self.init, self.t_max, self.forget_bias = start
        self.dtype: np.dtype[Any]
        self.dtype, self._kind = _check.layer_dtype(chosen["dtype"])
        self.device: str = chosen["device"]
        self.allow_tf32 = _check.flag("allow_tf32", chosen["allow_tf32"])
        self._arithmetic = _check.on_device(self._kind, self.allow_tf32, _check.device(self.device))
        noisy = "recurrent_dropout" if noise[0] else "zoneout" if any(noise) else None
        if self._kind in ("bfloat16", "float16") and (not_in_bfloat16 or noisy):
            _check.one_of(f"dtype={self._kind!r}", str(not_in_bfloat16 or noisy))
        self._rng = np.random.default_rng(_check.seed(chosen["seed"]))  # later of masks
        self._create(active())
        self._begin(start, self._rng)

    def _create(self, isa: str) -> None:
        """Makes the network of the kernels, its parameters not yet set."""
        self._gates: int = _core.cells()[self.cell]["gates"]
        sides = 2 if "both" in self.directions else 1
        widest = max(self.input_size, sides * self.hidden_size) + self.hidden_size + 2
        _check.product(
            layers=self.num_layers, directions=sides, gates=self._gates, hidden_size=self.hidden_size,
            columns=widest,
        )  # fmt: skip
        arguments = (
            self.cell, self.input_size, self.hidden_size, self._h_size,
            [options.DIRECTIONS[word] for word in self.directions], self._biases, self.learn_state,
            self._dropout.noise,
        )  # fmt: skip
        single, device = self.dtype == np.float32, _check.device(self.device)
        self._net: Any
        self._tapes: type
        if device is None:
            network = _core.NetworkF32 if single else _core.NetworkF64
            self._net = network(*arguments, self.bfloat16, isa)
            self._tapes = _core.TapeF32 if single else _core.TapeF64
        else:
            on_device = _core.DeviceNetworkF32 if single else _core.DeviceNetworkF64
            self._net = on_device(*arguments, self._arithmetic, device)
            self._tapes = _core.DeviceTapeF32 if single else _core.DeviceTapeF64
        self._layout: dict[str, tuple[tuple[int, ...], int]] = {}  # shape and offset of each parameter
        for layer, direction, role, shape, offset in self._net.layout():
            suffix = "" if layer < 0 else f"_l{layer}" + "_reverse" * direction  # < 0: learned states
            if role != "unit":
                self._layout[role + suffix] = shape, offset
                continue
            for unit_role, count in self._UNIT_ROLES[self.cell]:
                self._layout[unit_role + suffix] = (count * self.hidden_size,), offset
                offset += count * self.hidden_size
        # What each call needs, found once. Of places: layer and direction (1: reverse) of each part, as states have it
        order = {"forward": (0,), "reverse": (1,), "both": (0, 1)}
        self._places = [(layer, d) for layer, word in enumerate(self.directions) for d in order[word]]
        self._state_widths = (self._h_size, *(self.hidden_size,) * (len(self._STATES) - 1))
        self._count = sum(math.prod(shape) for shape, _ in self._layout.values())
        self._drops = bool(self._dropout)
        self._y_width = self.output_size
        self._widest = max(self._y_width, self.input_size, 2 * self._gates * (self.hidden_size + 64))

    @property
    def bfloat16(self) -> bool:
        """Whether products multiply numbers rounded to bfloat16."""
        return self._kind == "bfloat16"

    @property
    def num_directions(self) -> int:
        """Of the last layer: 2 if it runs both ways, else 1."""
        return 2 if self.directions[-1] == "both" else 1

    @property
    def bidirectional(self) -> bool:
        """Whether all layers run both ways."""
        return set(self.directions) == {"both"}

    @property
    def output_size(self) -> int:
        """Width of y: num_directions * hidden_size, or num_directions * proj_size where there is a projection."""
        return self.num_directions * self._h_size

    @property
    def isa(self) -> str:
        """The target whose kernels run this net, one of `fastrnn.available()`, or "cuda"."""
        return str(self._net.isa)

    @property
    def kernel(self) -> str:
        """The kernel of that target, such as lstm_f32__avx512."""
        return str(self._net.kernel)

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and hasattr(self, name):
            raise AttributeError(f"{name} of a {type(self).__name__} is fixed when it is created")
        super().__setattr__(name, value)

    # ------------------------------------------------------------------ whole sequences

    def __call__(
        self, x: _Array, state: State = None, *, lengths: Any = None, reset: _Array | None = None
    ) -> tuple[_Array, State]:
        """Inference: `forward` without a tape. Returns (y, state)."""
        y, after, _ = self.forward(x, state, lengths=lengths, reset=reset, training=False)
        return y, after

    @overload
    def forward(
        self, x: _Array, state: State = None, **options: Unpack[ForwardOptions]
    ) -> tuple[_Array, State, Tape | None]: ...
    @overload
    def forward(
        self, x: _Array, state: State = None, *, bptt: tuple[int, int], **options: Unpack[ForwardOptions]
    ) -> tuple[_Array, State, TruncatedTape]: ...
    @overload
    def forward(
        self, x: _Array, state: State = None, *, return_cells: Literal[True], return_gates: bool = ...,
        **options: Unpack[ForwardOptions],
    ) -> tuple[_Array, State, Tape | None, Internals]: ...  # fmt: skip
    @overload
    def forward(
        self,
        x: _Array,
        state: State = None,
        *,
        return_gates: Literal[True],
        **options: Unpack[ForwardOptions],
    ) -> tuple[_Array, State, Tape | None, Internals]: ...
    def forward(
        self,
        x: _Array,
        state: State = None,
        *,
        lengths: Any = None,
        reset: _Array | None = None,
        training: bool = True,
        max_workspace: int | None = None,
        bptt: tuple[int, int] | None = None,
        dropout_seed: int | None = None,
        constant: _Array | None = None,
        constant_steps: int | None = None,
        return_cells: bool = False,
        return_gates: bool = False,
        error_if_nonfinite: bool = False,
    ) -> Any:
        """Runs the sequences, and records what backward needs.

        Args:
            x: (T,B,I), or (B,T,I) with batch_first, or (T,I) for one sequence. Any strides; floating-point dtypes other
                than the net's are converted. T and B may be 0.
            state: initial state (L*D,B,H), or (L*D,H) for one sequence; for LSTM the tuple (h, c). None is zeros, or
                what was learned.
            lengths: (B,) integers from 0 to T, in any order. y is 0 past the end of a row, the final state is the
                one at its end, the reverse direction starts there, and what x holds beyond is not read.
            reset: bool in the layout of x without I. True at t: no state passes between t-1 and t. The state that
                enters step t of the forward direction is zero, and so is the one that enters t-1 of the reverse one.
            training: False records nothing; the tape is then None.
            max_workspace: most bytes of what is recorded, together with what backward adds to it. Where all of it needs
                more, only the states between segments of steps are kept, and backward runs each segment forward again:
                up to a third more time, and gradients of the same bits.
            bptt: (k1, k2) truncates back-propagation: the losses of every k1 steps go back through at most k2 >= k1
                steps. With k2 > k1 backward runs each window forward again: x and one state a window are kept.
            dropout_seed: the masks of dropout are a function of it alone; None draws one from the net's own generator,
                which `seed` of the constructor began.
            constant: (B,G*H), added to W_ih x of the first layer, which must run forward: what is the same at all
                steps, such as the context of a decoder times its weights, is multiplied once.
            constant_steps: at how many steps, from the first one; None is all.
            return_cells, return_gates: the c_t, or the activations of the gates, of every layer and step as well.
            error_if_nonfinite: look for NaN and infinity in x, the state, the parameters and the y of every layer; with
                training=False too a whole tape is recorded while it looks.

        Returns:
            y (T,B,D*H) in the layout of x, the final state, the tape; with return_cells or return_gates a fourth, the
            `Internals`.

        Raises:
            NonFiniteError: with error_if_nonfinite: it names the first such number.
            ValueError: a shape or value does not fit; nothing is then changed.
            TypeError: an argument is no array, or of a wrong dtype.
            MemoryError: there is not enough memory.
        """
        if not _check.on_host(x, state, constant):
            return _calls().forward(self, x, state, {
                "lengths": lengths, "reset": reset, "training": training, "max_workspace": max_workspace,
                "bptt": bptt, "dropout_seed": dropout_seed, "constant": constant,
                "constant_steps": constant_steps, "return_cells": return_cells, "return_gates": return_gates,
                "error_if_nonfinite": error_if_nonfinite,
            })  # fmt: skip
        if bptt is not None:
            from .truncated import forward

            _check.alone(
                "bptt", dropout_seed=dropout_seed, constant=constant, return_cells=return_cells,
                return_gates=return_gates,
            )  # fmt: skip
            return forward(
                self, x, state, bptt, lengths=lengths, reset=reset, training=training,
                max_workspace=max_workspace, error_if_nonfinite=error_if_nonfinite,
            )  # fmt: skip
        rows, unbatched = _check.sequence(
            x, self.input_size, self.dtype, self.batch_first, self._weight("weight_ih_l0")
        )
        T, B, _ = rows.shape
        before = None if state is None else _check.states(
            "state", state, self.cell, self._STATES, self._state_shapes(B, unbatched), self.dtype
        )  # fmt: skip
        row_lengths = _check.lengths(lengths, T, B, unbatched)
        cuts = _check.reset(reset, T, B, self.batch_first, unbatched)
        added = self._constant(constant, constant_steps, B)
        training = _check.flag("training", training)
        budget = _check.workspace(max_workspace, training)
        asked = _check.flag("return_cells", return_cells), _check.flag("return_gates", return_gates)
        telling = asked[0] or asked[1]
        if telling:
            _internals().check(self, *asked, budget)
        look = _check.flag("error_if_nonfinite", error_if_nonfinite)
        if look:
            _nonfinite().check_inputs(self, rows, before, row_lengths)
        _check.product(T=T, B=B, width=self._widest)
        y, y_rows = self._new(T, B, self._y_width, unbatched)
        record = training or look or telling
        masks = began = None
        if (self._drops and training) or dropout_seed is not None:
            began = self._rng.bit_generator.state
            masks = self._dropout.draw(dropout_seed, training, self._rng)
        try:
            after, tape = self._net.forward(
                rows, before, row_lengths, cuts, y_rows, record, budget, masks, added
            )
        except (ValueError, MemoryError):
            if began is not None:  # nothing is changed: the next call draws what this one would have
                self._rng.bit_generator.state = began
            raise
        if look:
            _nonfinite().check_outputs(self, tape, y_rows, row_lengths)
        results = (
            y,
            self._state_of(after, unbatched),
            Tape(tape, unbatched, None if row_lengths is None else row_lengths.copy(), added is not None)
            if training
            else None,
        )
        return (*results, _internals().read(self, tape, *asked, unbatched)) if telling else results

    def _of_ids(self, ids: npt.NDArray[np.int64], table: _Array, lengths: Any) -> tuple[_Array, State]:
        """Inference of rows of a table (V,I) by their ids (T,B), contiguous: as a call with table[ids], with the same
        bits. Only where `_net.begins`, and for time-major layers."""
        T, B = ids.shape
        row_lengths = _check.lengths(lengths, T, B)
        _check.product(T=T, B=B, width=self._widest)
        y, y_rows = self._new(T, B, self._y_width, False)
        return y, self._state_of(_core.forward_ids(self._net, table, ids, row_lengths, y_rows), False)

    def backward(
        self,
        tape: Tape | TruncatedTape,
        dy: _Array | None = None,
        dstate: State = None,
        *,
        flat: _Array | None = None,
        x_gradient: bool = True,
        clip: Clip | None = None,
        trace: bool = False,
        error_if_nonfinite: bool = False,
    ) -> Gradients:
        """Back-propagation through time, over all steps, layers and directions.

        Clipped gradients are not the gradient of the loss any more: see `Clip`. Of a tape of forward(bptt=) they are
        sums over its windows (grads.state over those that reach step 0). The gradient of a final state enters the
        window in which its row ends; `Stats` of a step are those of the window whose losses it belongs to.

        The parameters must still be those of the forward call. It is not checked; gradients would be wrong.

        Args:
            tape: of a forward call of this net; it can be used once.
            dy: gradient of y, in its shape; None is zeros. Any strides.
            dstate: gradient of the final state, in its form; None, also for one of several states, is zeros.
            flat: an array like `net.flat` that the gradients of the parameters are ADDED to; else they are fresh.
            x_gradient: False leaves out the gradient of x.
            clip: limits that the kernels apply; all of `Clip` but `norm`, which is the optimizer's to apply
                (`Stats.scale`).
            trace: measure the norms of dL/dh_t and dL/dc_t of every layer, direction and step.
            error_if_nonfinite: look for NaN and infinity in dy, dstate, in dL/dh_t and dL/dc_t of every step, and in
                the gradients returned. Where there are any, nothing is added to `flat`.

        Raises:
            NonFiniteError: with error_if_nonfinite: it names the first such number. Unless that is one of dy or dstate,
                the tape is used up.
            ValueError: the tape was used or belongs to another net, or a shape does not fit; nothing is then changed.
            TypeError: an argument is no array, or of a wrong dtype.
            MemoryError: there is not enough memory.
        """
        if not isinstance(tape, Tape):
            if type(tape).__name__ != "TruncatedTape":  # whose module is imported where one is made
                raise TypeError(
                    f"tape is of type {type(tape).__name__}, not a tape of forward(training=True)"
                )
            return tape.backward(
                self, dy, dstate, flat=flat, x_gradient=x_gradient, clip=clip, trace=trace,
                error_if_nonfinite=error_if_nonfinite,
            )  # fmt: skip
        _check.fresh_tape(isinstance(tape._core, self._tapes) and self._net.owns(tape._core), tape.used, self)
        if tape._of_arrays or not _check.on_host(dy, dstate, flat):
            given = {"clip": clip, "trace": trace, "error_if_nonfinite": error_if_nonfinite}
            return _calls().backward(self, tape, dy, dstate, flat, x_gradient, given)  # type: ignore[no-any-return]
        T, B, unbatched = tape._core.steps, tape._core.batch, tape._unbatched
        dy_rows = _check.output_gradient(dy, T, B, self._y_width, self.dtype, self.batch_first, unbatched)
        dafter = None if dstate is None else _check.states(
            "dstate", dstate, self.cell, self._STATES, self._state_shapes(B, unbatched), self.dtype, True
        )  # fmt: skip
        count = self._count
        gradients = (
            empty((count,), self.dtype) if flat is None else _check.gradient_buffer(flat, count, self.dtype)
        )
        dx, dx_rows = (
            self._new(T, B, self.input_size, unbatched)
            if _check.flag("x_gradient", x_gradient)
            else (None, None)
        )
        look = _check.flag("error_if_nonfinite", error_if_nonfinite)
        limits = control.limits(clip, _check.flag("trace", trace), look)
        norms = control.room(limits, len(self._places), T, B, tape._lengths is not None)
        if look:
            _nonfinite().check_gradients(self, dy_rows, dafter, tape._lengths)
        target = gradients.copy() if look and flat is not None else gradients
        added = empty((B, self._gates * self.hidden_size), self.dtype) if tape._constant else None
        before, sums = self._net.backward(
            tape._core, dy_rows, dafter, dx_rows, target, flat is None,
            limits.step_value, limits.step_norm, limits.value, limits.trace or look, norms, added,
        )  # fmt: skip
        if look:
            _nonfinite().check_steps(self, norms, tape._lengths)
            _nonfinite().check_results(self, target, dx_rows, before)
            if target is not gradients:
                gradients[:] = target
        stats = control.stats(limits, sums, norms, self._places, count, tape._lengths, self._state_widths)
        state = self._state_of(before, unbatched)
        return Gradients(dx, state, self._views(gradients), gradients, stats, added)

    def _options(self) -> dict[str, Any]:
        """Arguments of the constructor that differ from their defaults, for repr."""
        return options.shown(self)

    def __repr__(self) -> str:
        chosen = "".join(f", {name}={value!r}" for name, value in self._options().items())
        return f"{type(self).__name__}({self.input_size}, {self.hidden_size}{chosen})"


def _calls() -> Any:
    """The module of calls on arrays in the memory of a GPU, imported where it is wanted."""
    from .cuda import calls

    return calls


def _nonfinite() -> Any:
    """The module that looks for NaN and infinity, imported where it is wanted."""
    from . import nonfinite

    return nonfinite


def _internals() -> Any:
    """The module that reads what cells have computed, imported where it is wanted."""
    from . import internals

    return internals
