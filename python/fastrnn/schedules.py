# SPDX-License-Identifier: MIT
"""Learning rates that change while a model trains, with the equations of torch.optim.lr_scheduler.

    model.fit(x, y, epochs=20, optimizer=fastrnn.Adam(1e-3), schedule=fastrnn.schedules.Cosine(T_max=20, warmup=2))

A schedule is a function of the optimizer's own rate, called base, of how much is done, and of what was measured. It
holds no state: the same object serves any number of runs, and a resumed run needs nothing but its history. `per`
says what is counted: "epoch" changes the rate between epochs, as scheduler.step() after each of them, "update"
between updates. The count n is that of this run of `fit`: 0 in the first epoch, or at the first update. After `fit`
the optimizer has its own rate again.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from . import _check


class Schedule(ABC):
    """Base of all schedules, and of your own: `rate`, and `per` as an attribute.

    Attributes:
        per: "epoch" or "update".
        monitor: what of the history `rate` reads, one of "loss", "accuracy", "validation_loss",
            "validation_accuracy"; None reads nothing.
    """

    per: str = "epoch"
    monitor: str | None = None

    @abstractmethod
    def rate(self, base: float, n: int, measured: Sequence[float]) -> float:
        """The learning rate.

        Args:
            base: the optimizer's own rate.
            n: epochs, or updates, that are done.
            measured: `monitor` after each epoch that is done; empty without a monitor.
        """


@dataclass(frozen=True)
class Step(Schedule):
    """lr = base * gamma^(n // step_size), as StepLR.

    Raises:
        TypeError, ValueError: step_size is no integer of at least 1, gamma no number of at least 0, or per unknown.

    >>> [Step(2, gamma=0.5).rate(1.0, n, ()) for n in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    step_size: int
    gamma: float = 0.1
    per: str = "epoch"

    def __post_init__(self) -> None:
        _check.size("step_size", self.step_size)
        _check.number("gamma", self.gamma, 0.0)
        _check.per(self.per)

    def rate(self, base: float, n: int, measured: Sequence[float]) -> float:
        """See `Schedule.rate`."""
        return base * self.gamma ** (n // self.step_size)


@dataclass(frozen=True)
class Exponential(Schedule):
    """lr = base * gamma^n, as ExponentialLR.

    Raises:
        TypeError, ValueError: gamma is no number of at least 0, or per unknown.

    >>> [Exponential(0.5).rate(1.0, n, ()) for n in range(3)]
    [1.0, 0.5, 0.25]
    """

    gamma: float
    per: str = "epoch"

    def __post_init__(self) -> None:
        _check.number("gamma", self.gamma, 0.0)
        _check.per(self.per)

    def rate(self, base: float, n: int, measured: Sequence[float]) -> float:
        """See `Schedule.rate`."""
        return base * self.gamma**n


@dataclass(frozen=True)
class Linear(Schedule):
    """Warm-up, as LinearLR: lr = base * (start_factor + (end_factor - start_factor) * min(1, n / total_iters)).

    Raises:
        TypeError, ValueError: total_iters is no integer of at least 1, a factor no number of at least 0, or per
            unknown.

    >>> [Linear(4, start_factor=0.5).rate(1.0, n, ()) for n in range(6)]
    [0.5, 0.625, 0.75, 0.875, 1.0, 1.0]
    """

    total_iters: int
    start_factor: float = 1.0 / 3
    end_factor: float = 1.0
    per: str = "update"

    def __post_init__(self) -> None:
        _check.size("total_iters", self.total_iters)
        _check.number("start_factor", self.start_factor, 0.0)
        _check.number("end_factor", self.end_factor, 0.0)
        _check.per(self.per)

    def rate(self, base: float, n: int, measured: Sequence[float]) -> float:
        """See `Schedule.rate`."""
        done = min(1.0, n / self.total_iters)
        return base * (self.start_factor + (self.end_factor - self.start_factor) * done)


@dataclass(frozen=True)
class Cosine(Schedule):
    """Warm-up to base, then half a period of a cosine down to eta_min, where it stays.

        n < warmup      lr = base * (start_factor + (1 - start_factor) * n / warmup)
        n >= warmup     lr = eta_min + (base - eta_min) * (1 + cos(pi * min(1, (n - warmup) / (T_max - warmup)))) / 2

    As LinearLR followed by CosineAnnealingLR(T_max - warmup), which would rise again after T_max.

    Args:
        T_max: n at which the rate is eta_min.
        warmup: n at which it is base; below T_max.
        start_factor: of the first rate of a warm-up.
        eta_min: the last rate.
        per: "epoch" or "update": what T_max and warmup count.

    Raises:
        TypeError, ValueError: an argument is of another type, or out of its range.

    >>> [round(Cosine(4, warmup=2, start_factor=0.5).rate(1.0, n, ()), 3) for n in range(6)]
    [0.5, 0.75, 1.0, 0.5, 0.0, 0.0]
    """

    T_max: int
    warmup: int = 0
    start_factor: float = 1.0 / 3
    eta_min: float = 0.0
    per: str = "epoch"

    def __post_init__(self) -> None:
        _check.warmup(self.warmup, self.T_max)
        _check.number("start_factor", self.start_factor, 0.0)
        _check.number("eta_min", self.eta_min, 0.0)
        _check.per(self.per)

    def rate(self, base: float, n: int, measured: Sequence[float]) -> float:
        """See `Schedule.rate`."""
        if n < self.warmup:
            return base * (self.start_factor + (1 - self.start_factor) * n / self.warmup)
        done = min(1.0, (n - self.warmup) / (self.T_max - self.warmup))
        return self.eta_min + (base - self.eta_min) * (1 + math.cos(math.pi * done)) / 2


@dataclass(frozen=True)
class ReduceOnPlateau(Schedule):
    """lr = max(lr * factor, min_lr) whenever `monitor` has not got better for more than `patience` epochs.

    As ReduceLROnPlateau with threshold_mode="rel". Better is below best * (1 - threshold), for accuracies above
    best * (1 + threshold).

    Args:
        factor: at least 0 and below 1.
        patience: epochs in a row without a better value that change nothing.
        threshold: smallest relative gain that counts.
        cooldown: epochs after a reduction in which none counts as without gain.
        min_lr: the least rate.
        monitor: "validation_loss", "loss", "validation_accuracy" or "accuracy".

    Raises:
        TypeError, ValueError: an argument is of another type, or out of its range.

    >>> [ReduceOnPlateau(0.5, patience=1).rate(1.0, n, [3.0, 2.0, 2.0, 2.0, 1.0][:n]) for n in range(6)]
    [1.0, 1.0, 1.0, 1.0, 0.5, 0.5]
    """

    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    cooldown: int = 0
    min_lr: float = 0.0
    monitor: str = "validation_loss"

    def __post_init__(self) -> None:
        _check.probability("factor", self.factor)
        _check.size("patience", self.patience, 0)
        _check.number("threshold", self.threshold, 0.0)
        _check.size("cooldown", self.cooldown, 0)
        _check.number("min_lr", self.min_lr, 0.0)
        _check.monitor(self.monitor)

    def rate(self, base: float, n: int, measured: Sequence[float]) -> float:
        """See `Schedule.rate`."""
        sign = -1 if self.monitor.endswith("accuracy") else 1
        rate, best, without, cooling = base, math.inf * sign, 0, 0
        for value in measured:
            if sign * value < sign * best * (1 - sign * self.threshold):
                best, without = value, 0
            else:
                without += 1
            if cooling:
                cooling, without = cooling - 1, 0
            if without > self.patience:
                reduced = max(rate * self.factor, self.min_lr)
                rate = reduced if rate - reduced > _LEAST_CHANGE else rate
                cooling, without = self.cooldown, 0
        return rate


_LEAST_CHANGE = 1e-8  # of a rate, as torch's eps: a smaller one is none
