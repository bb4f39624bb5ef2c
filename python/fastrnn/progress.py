# SPDX-License-Identifier: MIT
"""The progress of training on a terminal or in a notebook, where tqdm is installed."""

from __future__ import annotations

import importlib
from types import TracebackType
from typing import Any

from .history import Record, Score


class Progress:
    """A tqdm bar over the time steps of one epoch; nothing where tqdm is not installed or not wanted.

    Args:
        title: what stands before it.
        total: time steps of the epoch; None where nobody knows.
        done: of them, before a run that was resumed.
        wanted: whether to show it.
    """

    def __init__(self, title: str, total: int | None, done: int, wanted: bool) -> None:
        self._bar: Any = None
        if wanted and (tqdm := _tqdm()) is not None:
            self._bar = tqdm(total=total, initial=done, desc=title, unit="tok", unit_scale=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self, steps: int, mean: Score) -> None:
        """Shows that `steps` more are done, and the means so far."""
        if self._bar is not None:
            self._bar.set_postfix_str(_means(mean), refresh=False)
            self._bar.update(steps)

    def close(self, record: Record) -> None:
        """Shows the epoch's final means."""
        if self._bar is not None:
            text = _means(record.training)
            if record.validation is not None:
                text += ", " + _means(record.validation, "val_")
            self._bar.set_postfix_str(text, refresh=False)


def _means(score: Score, prefix: str = "") -> str:
    text = f"{prefix}loss={score.loss:.4f}"
    return text if score.accuracy is None else f"{text}, {prefix}accuracy={score.accuracy:.4f}"


def _tqdm() -> Any:
    """The class of progress bars for a terminal or a notebook, None where tqdm is not installed."""
    try:
        return importlib.import_module("tqdm.auto").tqdm
    except ImportError:
        return None
