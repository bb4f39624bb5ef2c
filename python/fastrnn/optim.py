# SPDX-License-Identifier: MIT
"""Optimizers over flat parameter buffers, with the equations of torch.optim.

An update is one fused pass in C++ over each buffer: it scales the gradient (for clipping by global norm),
adds weight decay, updates the optimizer's state and the parameters. State is made at the first update, and
the optimizer then belongs to those buffers: using it for others would mix up their states, and is an error.
"""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from . import _check, _core

_Array = npt.NDArray[Any]


def _memory(array: _Array) -> Any:
    """What owns the memory of an array: the same object however often an array on it is made."""
    owner: Any = array
    while isinstance(owner, np.ndarray) and owner.base is not None:
        owner = owner.base
    return owner


class Optimizer(ABC):
    """What all optimizers share: the buffers they belong to and the number of updates.

    An optimizer can be copied and pickled with its state; the copy then belongs to the buffers of its first update.
    Its repr shows the learning rate as it is now, and of the other settings those that are not the default.

    Attributes:
        steps: updates made so far.
    """

    #: Arguments of the constructor, and lists of the state with an array, or None, for each buffer
    _SETTINGS: ClassVar[tuple[str, ...]] = ("lr",)
    _SLOTS: ClassVar[tuple[str, ...]] = ()

    def __init__(self, lr: float) -> None:
        self.lr = lr
        self.steps = 0
        # Weak, because a layer packs its weights for every call while anybody holds its buffer.
        self._owners: list[weakref.ref[Any]] = []
        self._sizes: list[int] = []

    @property
    def lr(self) -> float:
        """Learning rate, at least 0; set it between updates for a schedule."""
        return self._lr

    @lr.setter
    def lr(self, lr: float) -> None:
        self._lr = _check.number("lr", lr, 0.0)

    def __repr__(self) -> str:
        plain = {name: p.default for name, p in signature(type(self)).parameters.items() if name != "lr"}
        shown = (
            f"{name}={value!r}" for name, value in self.settings().items() if plain.get(name, self) != value
        )
        return f"{type(self).__name__}({', '.join(shown)})"

    def __getstate__(self) -> dict[str, Any]:
        """All but whom it belongs to."""
        return vars(self) | {"_owners": []}

    def update(self, parameters: Sequence[_Array], gradients: Sequence[_Array], scale: float = 1.0) -> None:
        """One step down the gradient, in place.

        Args:
            parameters: the buffers to update, each 1-D, C-contiguous, float32 or float64; the same ones at
                every call.
            gradients: one buffer for each of the parameters, of the same size and dtype; not changed.
            scale: finite factor for all gradients (see `Clip.scale`).

        Raises:
            TypeError: a buffer is no array, or of another dtype.
            ValueError: sizes do not fit, or the buffers are not those of the first call.
        """
        _check.buffers(parameters, gradients)
        scale = _check.number("scale", scale, 0.0)
        if self._sizes:
            self.check_owner(parameters)
        else:
            self._make_state(parameters)
            self._sizes = [array.size for array in parameters]
        if not self._owners:
            self._owners = [weakref.ref(_memory(array)) for array in parameters]
        self.steps += 1
        for number, (parameter, gradient) in enumerate(zip(parameters, gradients)):
            self._update_one(number, parameter, gradient, scale)

    def check_owner(self, parameters: Sequence[_Array]) -> None:
        """Raises ValueError where the optimizer belongs to other buffers than these."""
        if self._sizes:
            same = [array.size for array in parameters] == self._sizes
            same = same and all(owner() is _memory(array) for owner, array in zip(self._owners, parameters))
            _check.owned_buffers(parameters, self._sizes, same)

    def settings(self) -> dict[str, Any]:
        """The arguments that make an optimizer like this one, with `lr` as it is now."""
        return {name: getattr(self, name) for name in self._SETTINGS}

    def state(self) -> dict[str, list[_Array | None]]:
        """The arrays of the state by what they are, one for each buffer: not copies. Empty before the first update."""
        return {name: getattr(self, f"_{name}") for name in self._SLOTS} if self._sizes else {}

    def restore(
        self, parameters: Sequence[_Array], steps: int, state: Mapping[str, Sequence[_Array | None]]
    ) -> None:
        """Goes on from `steps` updates of these buffers with a copy of the `state` that they left.

        Raises:
            ValueError: the optimizer belongs to other buffers, or the state is of another form; nothing is changed.
        """
        self.check_owner(parameters)
        fresh = type(self)(**self.settings())
        if steps:
            fresh._make_state(parameters)
            fresh._sizes = [array.size for array in parameters]
            fresh._owners = [weakref.ref(_memory(array)) for array in parameters]
        _check.optimizer_state(fresh.state(), state)
        for name, arrays in fresh.state().items():
            for to, array in zip(arrays, state[name]):
                if to is not None:
                    to[...] = array
        fresh.steps = steps
        vars(self).update(vars(fresh))

    @abstractmethod
    def _make_state(self, parameters: Sequence[_Array]) -> None:
        """Allocates the state for buffers like these."""

    @abstractmethod
    def _update_one(self, number: int, parameter: _Array, gradient: _Array, scale: float) -> None:
        """Updates buffer `number` and its state; `self.steps` already counts this update."""


class SGD(Optimizer):
    """Stochastic gradient descent, as torch.optim.SGD (dampening 0).

        g = scale * gradient + weight_decay * p
        b = momentum * b + g   (b = g at the first update)
        p -= lr * (g + momentum * b  if nesterov else  b)

    Args:
        lr: learning rate, at least 0.
        momentum: in 0 .. 1; 0 keeps no state.
        nesterov: look ahead along the momentum (Sutskever et al. 2013); needs momentum > 0.
        weight_decay: L2 penalty, at least 0.

    Raises:
        TypeError: an argument is no number (nesterov: no bool).
        ValueError: an argument is out of its range.
    """

    _SETTINGS = ("lr", "momentum", "nesterov", "weight_decay")
    _SLOTS = ("momentum_buffer",)

    def __init__(
        self, lr: float = 1e-3, *, momentum: float = 0.0, nesterov: bool = False, weight_decay: float = 0.0
    ) -> None:
        super().__init__(lr)
        self.momentum = _check.number("momentum", momentum, 0.0, 1.0)
        self.nesterov = _check.nesterov(nesterov, self.momentum)
        self.weight_decay = _check.number("weight_decay", weight_decay, 0.0)
        self._momentum_buffer: list[_Array | None] = []

    def _make_state(self, parameters: Sequence[_Array]) -> None:
        self._momentum_buffer = [np.zeros_like(p) if self.momentum else None for p in parameters]

    def _update_one(self, number: int, parameter: _Array, gradient: _Array, scale: float) -> None:
        first = self.steps == 1
        _core.sgd(
            parameter, gradient, self._momentum_buffer[number], first,
            self.lr, self.momentum, self.nesterov, self.weight_decay, scale,
        )  # fmt: skip


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015), as torch.optim.Adam.

        g = scale * gradient + weight_decay * p
        m = beta1 * m + (1 - beta1) * g          v = beta2 * v + (1 - beta2) * g^2
        p -= lr * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)          at update t = 1, 2, ...

    Args:
        lr: learning rate, at least 0.
        betas: (beta1, beta2), each at least 0 and below 1.
        eps: added to the denominator, at least 0.
        weight_decay: L2 penalty, at least 0.

    Raises:
        TypeError: an argument is no number (betas: no pair).
        ValueError: an argument is out of its range.

    >>> Adam(2e-3, betas=(0.9, 0.98))
    Adam(lr=0.002, betas=(0.9, 0.98))
    """

    _decoupled = False
    _SETTINGS = ("lr", "betas", "eps", "weight_decay")
    _SLOTS = ("m", "v")

    def __init__(
        self,
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(lr)
        self.betas = _check.betas(betas)
        self.eps = _check.number("eps", eps, 0.0)
        self.weight_decay = _check.number("weight_decay", weight_decay, 0.0)
        self._m: list[_Array] = []
        self._v: list[_Array] = []

    def _make_state(self, parameters: Sequence[_Array]) -> None:
        self._m = [np.zeros_like(p) for p in parameters]
        self._v = [np.zeros_like(p) for p in parameters]

    def _update_one(self, number: int, parameter: _Array, gradient: _Array, scale: float) -> None:
        _core.adam(
            parameter, gradient, self._m[number], self._v[number], self.steps,
            self.lr, *self.betas, self.eps, self.weight_decay, self._decoupled, scale,
        )  # fmt: skip


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019), as torch.optim.AdamW.

    The same as `Adam`, but the decay acts on the parameters, not through the gradient:

        p -= lr * weight_decay * p          before the update of Adam with weight_decay 0

    Args:
        lr, betas, eps: as in `Adam`.
        weight_decay: strength of the decay, at least 0.

    Raises:
        TypeError: an argument is no number (betas: no pair).
        ValueError: an argument is out of its range.
    """

    _decoupled = True

    def __init__(
        self,
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(lr, betas=betas, eps=eps, weight_decay=weight_decay)


class RMSprop(Optimizer):
    """RMSprop (Tieleman and Hinton 2012; centered: Graves 2013), as torch.optim.RMSprop.

        g = scale * gradient + weight_decay * p
        v = alpha * v + (1 - alpha) * g^2
        a = alpha * a + (1 - alpha) * g                     if centered, else a = 0
        b = momentum * b + g / (sqrt(v - a^2) + eps)
        p -= lr * b

    Args:
        lr: learning rate, at least 0.
        alpha: how much of the mean square is kept at an update, from 0 to 1.
        eps: added to the denominator, at least 0.
        centered: divide by an estimate of the variance of the gradient, not of its square.
        momentum: in 0 .. 1; 0 keeps no b.
        weight_decay: L2 penalty, at least 0.

    Raises:
        TypeError: an argument is no number (centered: no bool).
        ValueError: an argument is out of its range.
    """

    _SETTINGS = ("lr", "alpha", "eps", "centered", "momentum", "weight_decay")
    _SLOTS = ("square_avg", "grad_avg", "momentum_buffer")

    def __init__(
        self,
        lr: float = 1e-2,
        *,
        alpha: float = 0.99,
        eps: float = 1e-8,
        centered: bool = False,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(lr)
        self.alpha = _check.number("alpha", alpha, 0.0, 1.0)
        self.eps = _check.number("eps", eps, 0.0)
        self.centered = _check.flag("centered", centered)
        self.momentum = _check.number("momentum", momentum, 0.0, 1.0)
        self.weight_decay = _check.number("weight_decay", weight_decay, 0.0)
        self._square_avg: list[_Array | None] = []
        self._grad_avg: list[_Array | None] = []
        self._momentum_buffer: list[_Array | None] = []

    def _make_state(self, parameters: Sequence[_Array]) -> None:
        self._square_avg = [np.zeros_like(p) for p in parameters]
        self._grad_avg = [np.zeros_like(p) if self.centered else None for p in parameters]
        self._momentum_buffer = [np.zeros_like(p) if self.momentum else None for p in parameters]

    def _update_one(self, number: int, parameter: _Array, gradient: _Array, scale: float) -> None:
        square_avg = self._square_avg[number]
        assert square_avg is not None  # of every buffer
        _core.rmsprop(
            parameter, gradient, square_avg, self._grad_avg[number], self._momentum_buffer[number],
            self.lr, self.alpha, self.eps, self.weight_decay, self.momentum, scale,
        )  # fmt: skip
