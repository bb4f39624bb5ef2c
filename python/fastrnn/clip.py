# SPDX-License-Identifier: MIT
"""Gradient clipping: what is clipped and how far.

Clipped gradients are not the gradient of the loss any more: exactness is traded for steps of bounded length
where the gradient explodes (Pascanu, Mikolov and Bengio 2013).

All of it happens in the kernels of back-propagation, where the numbers are in registers or just stored.
"""

from __future__ import annotations

from dataclasses import dataclass

from . import _check

# Keeps the scale finite where the norm is 0; as in torch.nn.utils.clip_grad_norm_, so that runs can be
# compared.
_NORM_GUARD = 1e-6


@dataclass(frozen=True, kw_only=True)
class Clip:
    """How to clip gradients. A limit that is None does not apply.

    Args:
        step_value: v. At every step each number of dL/dh_t and dL/dc_t is clamped to [-v, v] before it flows on to step
            t-1 (Graves 2013, arXiv:1308.0850, section 4).
        step_norm: n. At every step each sample's row [dL/dh_t ; dL/dc_t] longer than n is scaled to length n; after
            step_value. dL/dc_t holds what dL/dh_t gives to it through the output of the step.
            (In float64 a row longer than 1e154, whose square is beyond double, becomes zero.)
        value: v. Every gradient of a parameter is clamped to [-v, v] where it is stored.
        norm: largest global L2 norm n, over all parameters of the model at once. Every gradient is multiplied
            by min(1, n / (norm + 1e-6)) inside the optimizer's update, so that it costs no pass over the
            gradients.

    Raises:
        TypeError: a limit is no real number.
        ValueError: a limit is not positive and finite.

    >>> Clip(norm=5.0)
    Clip(norm=5.0)
    """

    step_value: float | None = None
    step_norm: float | None = None
    value: float | None = None
    norm: float | None = None

    def __post_init__(self) -> None:
        for name, limit in vars(self).items():
            _check.clip_limit(name, limit)

    def __repr__(self) -> str:
        limits = (f"{name}={limit!r}" for name, limit in vars(self).items() if limit is not None)
        return f"Clip({', '.join(limits)})"

    def scale(self, norm: float) -> float:
        """The factor for every gradient when `norm` is the L2 norm over all of them."""
        if self.norm is None:
            return 1.0
        factor = self.norm / (norm + _NORM_GUARD)
        return 1.0 if factor > 1.0 else factor  # a norm of NaN gives NaN, as in torch
