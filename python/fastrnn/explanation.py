# SPDX-License-Identifier: MIT
"""Which kernel runs a call, and why no faster one does."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import _check, _core, control
from .recurrent import Recurrent

if TYPE_CHECKING:
    from .clip import Clip
    from .topologies.trainable import Trainable

_WORK = f"{_core.least_work_of_threads / 1e6:.0f} million operations"
_WHOLE_UNITS = "units are not divided: steps are too short, or the cell has no such kernel"
#: Of csrc/split.h: how threads divide a call, and why it is not done by more of them
_SPLITS = {
    "forced": ("by a split that was forced", ""),
    "one allowed": ("", "fastrnn.get_num_threads() is 1"),
    "little work": ("", f"fewer than {_WORK}, below which waking threads costs more than it saves"),
    "rows": ("each with rows of the batch", ""),
    "units": ("each with units of all rows", ""),
    "few rows": ("each with rows of the batch", f"few rows, and {_WHOLE_UNITS}"),
    "one row": ("", f"one row, and {_WHOLE_UNITS}"),
}  # fmt: skip


@dataclass(frozen=True)
class Loop:
    """How the steps of one direction of one layer run, in one pass.

    Attributes:
        part: the part of a model, such as "rnn" or "decoder"; "" of a layer.
        layer: from 0.
        reverse: whether it is the direction from the end to the start.
        backward: whether it is the pass of back-propagation.
        kernel: such as lstm_f32__avx512.
        engine: "threads" on the CPU; on a GPU "persistent" (one launch for all steps), "streaming" (one a step) or
            "phases" (several a step).
        threads: on the CPU, that the call takes where no other call has them; None on a GPU.
        division: what each of the threads owns; "" for one thread.
        blocks, groups: of a persistent launch: blocks among which the units are divided, groups of such blocks among
            which the batch is; None otherwise.
        microseconds: of a step, by the model of floors in cuda/model.h: computed, not measured; None where there is
            no model.
        other_microseconds: the same of the other engine, where it can run.
        limit: what most of `microseconds` is, such as "synchronisation"; "" where it is None.
        why_not: why nothing faster runs; "" where nothing keeps it from that.
    """

    part: str
    layer: int
    reverse: bool
    backward: bool
    kernel: str
    engine: str
    threads: int | None = None
    division: str = ""
    blocks: int | None = None
    groups: int | None = None
    microseconds: float | None = None
    other_microseconds: float | None = None
    limit: str = ""
    why_not: str = ""

    def _columns(self) -> tuple[str, str, str]:
        place = f"{self.part} " * bool(self.part) + f"layer {self.layer}" + " reverse" * self.reverse
        return f"{place} {'backward' if self.backward else 'forward'}", self.kernel, self._how()

    def _how(self) -> str:
        if self.threads is not None:
            how = (
                f"{self.threads} thread{'s' * (self.threads > 1)}{', ' * bool(self.division)}{self.division}"
            )
        elif self.blocks is not None:
            groups, blocks = (
                f"{n} {word}{'s' * (n != 1)}"
                for n, word in ((self.groups or 0, "group"), (self.blocks, "block"))
            )
            how = f"{self.engine}, {groups} of {blocks}"
        else:
            how = self.engine
        if self.microseconds is not None:
            how += f"; modelled {self.microseconds:.2f} us a step, most of it {self.limit}"
        if self.other_microseconds is not None:
            other = "streaming" if self.engine == "persistent" else "persistent"
            how += f" ({other}: modelled {self.other_microseconds:.2f} us)"
        return how + f"; {self.why_not}" * bool(self.why_not)


@dataclass(frozen=True, repr=False)
class Explanation:
    """What `explain` found; as text, a line for each loop.

    Attributes:
        net: the net or model, as it shows itself.
        T, B: of the call.
        isa: the target, such as "avx512", or "cuda".
        loops: of each part of a model, layer, direction and pass.
        target: why no faster kernels were chosen for the whole net; empty where none are faster.
    """

    net: str
    T: int
    B: int
    isa: str
    loops: tuple[Loop, ...]
    target: tuple[str, ...]

    def __repr__(self) -> str:
        rows = [loop._columns() for loop in self.loops]
        places, kernels = (max(len(row[k]) for row in rows) for k in (0, 1))
        lines = [f"{self.net}: T={self.T}, B={self.B}, on {self.isa}"]
        lines += [f"  {place:{places}}  {kernel:{kernels}}  {how}" for place, kernel, how in rows]
        return "\n".join(lines + [f"  {words}" for words in self.target])


def explain(net: Recurrent | Trainable, T: int, B: int, *, clip: Clip | None = None) -> Explanation:
    """Says which kernel runs the steps of a call and why not a faster one; nothing runs, and nothing is measured.

    It tells of the loops over time alone, not of the products before and after them. Times are those of a model, and
    there is one of GPUs only.

    Args:
        net: a layer, or a model: then it tells of its recurrent layers, each run over T steps. Decoders that read what
            came out of the step before run step by step instead, on the same kernels.
        T: steps, at least 0.
        B: rows of the batch, at least 0.
        clip: as in `backward`: limits of each step choose another kernel on a GPU.

    Raises:
        TypeError: net is no layer and no model; T or B is no integer; clip is no Clip.
        ValueError: T or B is negative, or T B rows cannot be addressed.
        DeviceError: the GPU of the net says what is wrong.

    >>> explain(fastrnn.LSTM(3, 4), T=5, B=2).loops[0].threads  # print the whole to read it
    1
    """
    nets = _layers(net)
    T, B = _check.size("T", T, 0), _check.size("B", B, 0)
    _check.product(T=T, B=B, width=max(layer._widest for layer in nets.values()))
    limits = control.limits(clip, False, False)
    loops = tuple(
        _loop(layer, name, part, backward, T, B, limits.measure)
        for name, layer in nets.items()
        for part in range(len(layer._places))
        for backward in (False, True)
    )
    first = next(iter(nets.values()))
    return Explanation(repr(net), T, B, first.isa, loops, () if first.isa == "cuda" else _target(first))


def _layers(net: object) -> dict[str, Recurrent]:
    """The recurrent layers by the name of their part."""
    if isinstance(net, Recurrent):
        return {"": net}
    from .topologies.trainable import Trainable  # which layers do without

    model = _check.instance(
        "net", net, Trainable, "a layer such as fastrnn.LSTM or a model such as fastrnn.NToN"
    )
    return {name: part for name, part in model._parts.items() if isinstance(part, Recurrent)}


def _loop(net: Recurrent, name: str, part: int, backward: bool, T: int, B: int, clipped: bool) -> Loop:
    layer, direction = net._places[part]
    place: dict[str, Any] = {
        "part": name,
        "layer": layer,
        "reverse": direction == 1,
        "backward": backward,
        "kernel": net.kernel,
    }
    if net.isa == "cuda":
        found = net._net.explain(T, B, part, backward, clipped and backward)
        launch: dict[str, Any] = {key: found.pop(key) or None for key in ("blocks", "groups")}
        return Loop(**place, **launch, **found)
    found = net._net.explain(T, B, part, backward)
    division, why_not = _SPLITS[found["reason"]]
    return Loop(**place, engine="threads", threads=found["threads"], division=division, why_not=why_not)


def _target(net: Recurrent) -> tuple[str, ...]:
    """What keeps a net on the CPU from faster kernels."""
    words = []
    targets = _core.targets()
    better = list(targets)[: list(targets).index(net.isa)]
    for name in better:
        if not targets[name]:
            words.append(f"{name} is not available on this processor")
        else:
            forced = os.environ.get("FASTRNN_ISA") == net.isa
            made = f"the net was made for {net.isa}, by fastrnn.using or FASTRNN_ISA"
            words.append(f"{name} is available, but {f'FASTRNN_ISA={net.isa}' if forced else made}")
    if net.bfloat16 and not net.kernel.endswith("avx512bf16"):
        has = "this processor has AVX512_BF16, which it does not use"
        lacks = "AVX512_BF16 is not available on this processor"
        words.append(f"{net.kernel} widens numbers of bfloat16: {has if _core.has_bfloat16() else lacks}")
    return tuple(words)
