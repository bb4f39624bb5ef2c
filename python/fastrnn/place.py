# SPDX-License-Identifier: MIT
"""How far a training run has come: all of it that is neither in the model nor in the optimizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy.typing as npt

from . import _check
from .history import Record, Score, Sum


@dataclass
class Place:
    """Where a run is, after an update or an epoch.

    Attributes:
        epoch: the one under way, from 1.
        batch: batches of it that are done.
        updates: of the whole run.
        epoch_updates: of the epoch under way.
        total: scores of its batches.
        norms: sum of its norms of gradients.
        rate: learning rate of the last update.
        seconds: time spent in it.
        records: of the epochs that are done.
        best: parameters after the best of them, None without early stopping.
        masks: states of the model's random generators by name.
    """

    epoch: int = 1
    batch: int = 0
    updates: int = 0
    epoch_updates: int = 0
    total: Sum = field(default_factory=Sum)
    norms: float = 0.0
    rate: float = 0.0
    seconds: float = 0.0
    records: list[Record] = field(default_factory=list)
    best: dict[str, npt.NDArray[Any]] | None = None
    masks: dict[str, Any] = field(default_factory=dict)

    def next_epoch(self, record: Record) -> None:
        """The epoch under way is done."""
        self.records.append(record)
        self.epoch, self.batch, self.epoch_updates = self.epoch + 1, 0, 0
        self.total, self.norms, self.seconds = Sum(), 0.0, 0.0

    def plain(self) -> dict[str, Any]:
        """All but `best`, as JSON says it: its numbers come back bit for bit."""
        values = {name: value for name, value in vars(self).items() if name != "best"}
        records = [
            {
                **record._asdict(),
                "training": asdict(record.training),
                "validation": None if record.validation is None else asdict(record.validation),
            }
            for record in self.records
        ]
        return {**values, "total": asdict(self.total), "records": records}

    @classmethod
    def of_plain(cls, plain: Mapping[str, Any]) -> Place:
        """The inverse of `plain`; TypeError or ValueError where a count or a sum is none."""
        for name in ("epoch", "batch", "updates", "epoch_updates"):
            _check.size(name, plain[name], 0)
        for name in ("norms", "rate", "seconds"):
            _check.number(name, plain[name])
        _numbers("total", plain["total"], ("hits",))
        for number, record in enumerate(plain["records"]):
            _numbers(f"records[{number}]", record, ("hits", "weight", "validation"))
        records = [
            Record(
                **{
                    **record,
                    "training": Score(**record["training"]),
                    "validation": None if record["validation"] is None else Score(**record["validation"]),
                }
            )
            for record in plain["records"]
        ]
        return cls(**{**plain, "total": Sum(**plain["total"]), "records": records})


def _numbers(name: str, values: Mapping[str, Any], absent: tuple[str, ...]) -> None:
    """Numbers by name, NaN too, and scores; those `absent` may be None."""
    for key, value in values.items():
        if key in ("training", "validation") and isinstance(value, Mapping):
            _numbers(f"{name}.{key}", value, absent)
        elif not (value is None and key in absent) and type(value) not in (int, float):
            raise TypeError(f"{name}.{key} is {value!r:.40}, not a number")
