# SPDX-License-Identifier: MIT
"""From the h_1 .. h_N of each sequence to one vector p, of which a network of one output reads.

    last      p = h_N; of both directions [h_N forward ; h_1 reverse]
    mean      p = sum_t h_t / N
    max       p_k = max_t h_{t,k}
    learned   p = sum_t a_t h_t         a = softmax_t(v . tanh(W h_t + b))

"learned" is the attention of Yang et al., Hierarchical attention networks for document classification (2016). Padding
takes no part in any: it has the weight 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _check
from ..batching import Batch
from ..gradients import Gradient
from ..products import add_product, product

_Array = npt.NDArray[Any]
_Back = Callable[[_Array, Mapping[str, Gradient]], tuple["_Array | None", "_Array | None"]]
_Pool = Callable[[_Array, _Array, Batch], tuple[_Array, _Back]]

POOLS = ("last", "mean", "max", "learned")


class Pool:
    """One of `POOLS` that has no parameters.

    Args:
        name: which.
    """

    def __init__(self, name: str) -> None:
        self._pool: _Pool = {"last": _last, "mean": _mean, "max": _max}[name]

    def forward(self, h: _Array, final: _Array, batch: Batch) -> tuple[_Array, _Back]:
        """p, and its backward pass.

        Args:
            h: (T,B,P) of the last layer, 0 past the end of a sequence; may be overwritten.
            final: (D,B,P/D) its state at the end of each sequence, where its direction ends.
            batch: whose lengths and valid steps count.

        Returns:
            p (B,P), and a function that makes of dp and the gradients of all parts, to which its own are added, the
            gradients of h and of final; None is zeros.
        """
        return self._pool(h, final, batch)


def _last(h: _Array, final: _Array, batch: Batch) -> tuple[_Array, _Back]:
    D, B, n = final.shape

    def back(dp: _Array, gradients: Mapping[str, Gradient]) -> tuple[_Array | None, _Array | None]:
        return None, dp.reshape(B, D, n).transpose(1, 0, 2)

    return final.transpose(1, 0, 2).reshape(B, D * n), back


def _mean(h: _Array, final: _Array, batch: Batch) -> tuple[_Array, _Back]:
    share = 1 / (np.full(h.shape[1], len(h)) if batch.lengths is None else batch.lengths)
    share = share.astype(h.dtype)[:, None]

    def back(dp: _Array, gradients: Mapping[str, Gradient]) -> tuple[_Array | None, _Array | None]:
        return np.broadcast_to(dp * share, h.shape), None

    return h.sum(axis=0) * share, back


def _max(h: _Array, final: _Array, batch: Batch) -> tuple[_Array, _Back]:
    if batch.lengths is not None:
        h[np.arange(len(h))[:, None] >= batch.lengths] = -np.inf
    at = h.argmax(axis=0)[None]

    def back(dp: _Array, gradients: Mapping[str, Gradient]) -> tuple[_Array | None, _Array | None]:
        dh = np.zeros_like(h)
        np.put_along_axis(dh, at, dp[None], axis=0)
        return dh, None

    return np.take_along_axis(h, at, axis=0)[0], back


class LearnedPool:
    """The weight W (P,P), bias b (P,) and vector v (P,) of learned pooling.

    Args:
        size: P, directions together.
        dtype: float32 or float64.
        rng: source of the initial U(-1/sqrt(P), 1/sqrt(P)); drawn in double and rounded.

    Raises:
        ValueError: the sizes together cannot be addressed.
    """

    def __init__(self, size: int, dtype: np.dtype[Any], rng: np.random.Generator) -> None:
        count = _check.product(size=size, columns=size + 2)
        bound = 1.0 / math.sqrt(size)
        self.flat: _Array = rng.uniform(-bound, bound, count).astype(dtype, copy=False)
        self._size = size

    def parameters(self) -> dict[str, _Array]:
        """{"weight": (P,P), "bias": (P,), "vector": (P,)}, writable views."""
        return self._views(self.flat)

    def _views(self, flat: _Array) -> dict[str, _Array]:
        n = self._size
        return {
            "weight": flat[: n * n].reshape(n, n),
            "bias": flat[n * n : n * n + n],
            "vector": flat[n * n + n :],
        }

    def forward(self, h: _Array, final: _Array, batch: Batch) -> tuple[_Array, _Back]:
        """As `Pool.forward`."""
        weight, bias, vector = self.parameters().values()
        rows = batch.pick(h)
        u = product(rows, weight.T)
        u += bias
        np.tanh(u, out=u)
        a = _softmax_over_steps(product(u, vector[:, None])[:, 0], h.shape[:2], batch)

        def back(dp: _Array, gradients: Mapping[str, Gradient]) -> tuple[_Array | None, _Array | None]:
            da = np.einsum("tbp,bp->tb", h, dp)
            ds = batch.pick(a * (da - (a * da).sum(axis=0)))
            dpre = ds[:, None] * vector * (1 - u * u)
            dweight, dbias, dvector = self._views(gradients["pool"].flat).values()
            add_product(dweight, dpre, rows)
            dbias += dpre.sum(axis=0)
            add_product(dvector[None], ds[:, None], u)
            return a[..., None] * dp + batch.put(product(dpre, weight), h.shape), None

        return (a[..., None] * h).sum(axis=0), back


def _softmax_over_steps(scores: _Array, shape: tuple[int, ...], batch: Batch) -> _Array:
    """(M,) of the valid steps -> (T,B), over the steps of each sequence; exactly 0 at padding."""
    a = np.full(shape, -np.inf, scores.dtype)
    a.reshape(-1)[slice(None) if batch.rows is None else batch.rows] = scores
    np.exp(a - a.max(axis=0), out=a)
    a /= a.sum(axis=0)
    return a
