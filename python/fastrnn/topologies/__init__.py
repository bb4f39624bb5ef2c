# SPDX-License-Identifier: MIT
"""The topologies of the theory: a recurrent cell h_i = f(U x_i + W h_{i-1}) between inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from .model import Model
from .n_to_m import NToM
from .n_to_n import NToN
from .n_to_one import NToOne
from .one_to_n import OneToN

# Every class that a file may name (see io.py), by its name.
MODELS: Mapping[str, type[Model]] = MappingProxyType(
    {"NToM": NToM, "NToN": NToN, "NToOne": NToOne, "OneToN": OneToN}
)

__all__ = ["MODELS", "Model", "NToM", "NToN", "NToOne", "OneToN"]
