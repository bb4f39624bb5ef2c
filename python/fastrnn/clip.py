# SPDX-License-Identifier: MIT
"""Gradient clipping: what is clipped and how far.

Clipped gradients are not the gradient of the loss any more: exactness is traded for steps of bounded length
where the gradient explodes (Pascanu, Mikolov and Bengio 2013).
"""

from __future__ import annotations

from dataclasses import dataclass

from . import _check

# Keeps the scale finite where the norm is 0; as in torch.nn.utils.clip_grad_norm_, so that runs can be
# compared.
_NORM_GUARD = 1e-6


@dataclass(frozen=True)
class Clip:
    """How to clip gradients. A limit that is None does not apply.

    Args:
        norm: largest global L2 norm n, over all parameters of the model at once. Every gradient is multiplied
            by min(1, n / (norm + 1e-6)) inside the optimizer's update, so that it costs no pass over the
            gradients.

    Raises:
        TypeError: a limit is no real number.
        ValueError: a limit is not positive and finite.

    >>> Clip(norm=5.0)
    Clip(norm=5.0)
    """

    norm: float | None = None

    def __post_init__(self) -> None:
        _check.clip_limit("norm", self.norm)

    def scale(self, norm: float) -> float:
        """The factor for every gradient when `norm` is the L2 norm over all of them."""
        if self.norm is None:
            return 1.0
        return min(1.0, self.norm / (norm + _NORM_GUARD))
