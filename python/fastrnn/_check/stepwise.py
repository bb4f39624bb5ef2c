# SPDX-License-Identifier: MIT
"""Checks of decoders that run step by step, and of their attention."""

from __future__ import annotations

from typing import Any

from .layers import gradient_buffer
from .values import Array


def dot_widths(score: str, hidden: int, memory: int) -> None:
    """Dot products are of vectors of one width."""
    if score == "dot" and hidden != memory:
        raise ValueError(f"score is 'dot', but the decoder has {hidden} units and the memory {memory}")


def memory_rows(memory: Array, rows: int) -> None:
    """The memory (S,B,M) has a row for each of x."""
    if memory.shape[1] != rows:
        raise ValueError(f"memory has {memory.shape[1]} rows, but x has {rows}")


def with_attention(name: str, value: Any) -> Any:
    """What a decoder with attention needs."""
    if value is None:
        raise ValueError(f"{name} is None, but the decoder has an attention")
    return value


def with_weights(kind: object) -> None:
    """A model whose decoder has an attention."""
    if kind is None:
        raise ValueError(
            "attention_weights is for models made with attention='luong' or 'bahdanau', but it is None"
        )


def attention_flat(flat: object, attention: Any, dtype: Any) -> None:
    """What gradients of the attention, where there is one, are added to."""
    if attention is not None:
        gradient_buffer(with_attention("attention_flat", flat), attention.flat.size, dtype)


def unused_steps(used: bool) -> None:
    """A tape that no backward pass has used."""
    if used:
        raise ValueError("tape was used by a backward pass")


def own_tokens(weight: Array, table: Array, ids: Any, shape: tuple[int, ...], width: int) -> None:
    """The readout, table and given tokens of scheduled sampling, for x of a shape and h~ of a width."""
    if ids is None or ids.shape != shape[:2]:
        raise ValueError(f"ids has shape {getattr(ids, 'shape', None)}, but x {shape} needs {shape[:2]}")
    if weight.ndim != 2 or weight.shape[1] != width:
        raise ValueError(f"weight has shape {weight.shape}, but (K,{width}) is needed")
    if len(table) < len(weight) or table.shape[1] > shape[2]:
        needed = f"at least {len(weight)} rows of at most {shape[2]}"
        raise ValueError(f"table has shape {table.shape}, but {needed} are needed")
