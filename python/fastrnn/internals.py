# SPDX-License-Identifier: MIT
"""What cells compute on their way, for `return_cells=` and `return_gates=` of `forward`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from .results import Internals, empty

if TYPE_CHECKING:
    from .recurrent import Recurrent

_Array = npt.NDArray[Any]


def check(net: Recurrent, cells: bool, gates: bool, budget: float | None) -> None:
    """Whether this net can tell, in a call with this workspace.

    Raises:
        ValueError: it can not.
    """
    name = "return_cells" if cells else "return_gates"
    if cells and "c" not in net._STATES:
        raise ValueError(f"return_cells is for cells with a state c, but the state of {net.cell} is h")
    if budget is not None:
        raise ValueError(f"{name} reads the whole tape, but max_workspace bounds it")


def read(net: Recurrent, tape: Any, cells: bool, gates: bool, unbatched: bool) -> Internals:
    """The arrays that were asked for, from the tape of the kernels."""
    shape = (len(net._places), tape.steps, tape.batch)
    c = empty((*shape, net.hidden_size), net.dtype) if cells else None
    g = empty((*shape, net._gates * net.hidden_size), net.dtype) if gates else None
    net._net.read_tape(tape, c, g)
    return Internals(_arranged(net, c, unbatched), _arranged(net, g, unbatched))


def _arranged(net: Recurrent, a: _Array | None, unbatched: bool) -> _Array | None:
    if a is None:
        return None
    return a[:, :, 0] if unbatched else a.swapaxes(1, 2) if net.batch_first else a
