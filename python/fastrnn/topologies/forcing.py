# SPDX-License-Identifier: MIT
"""Teacher forcing: how many of the tokens that a decoder reads while it learns are the true ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .. import _check
from ..callbacks import Callback, TrainingState

FORCINGS = ("token", "batch")


class Forcing(NamedTuple):
    """With the probability `ratio` a token is the true one, decided by "token" or for all of a batch."""

    ratio: float = 1.0
    by: str = "token"


class Forced(Callback):
    """Sets the forcing of a model for each epoch, and asks for no epoch that is not to come.

    Args:
        ratio: of the epoch, from 1.
        by: one of `FORCINGS`.
    """

    def __init__(self, ratio: Callable[[int], float], by: str) -> None:
        self._ratio, self._by = ratio, by

    def on_fit_begin(self, state: TrainingState) -> None:
        """For the first epoch, or the one in which a run is resumed."""
        self._set(state)

    def on_epoch_end(self, state: TrainingState) -> None:
        """For the next one."""
        self._set(state)

    def _set(self, state: TrainingState) -> None:
        epoch = len(state.history.loss) + 1
        if epoch <= state.epochs:
            name = f"teacher_forcing({epoch})"
            state.model._forcing = Forcing(_check.number(name, self._ratio(epoch), 0.0, 1.0), self._by)
