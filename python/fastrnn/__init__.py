# SPDX-License-Identifier: MIT
"""Recurrent networks trained and run on NumPy arrays by fused kernels.

    net = fastrnn.LSTM(input_size=64, hidden_size=128)
    y, (h, c) = net(x)                                    # x (T,B,64) -> y (T,B,128)

Layers with the semantics of torch.nn: `RNN`, `LSTM`, `GRU`, and `IndRNN`. Models that are trained and saved: `NToN`,
`NToOne`.
"""

from typing import TYPE_CHECKING

from .layers import GRU, LSTM, RNN, IndRNN
from .results import Gradients, Internals, Stats, Tape
from .runtime import active, available, get_num_threads, set_num_threads, threads, using

if TYPE_CHECKING:
    from .clip import Clip
    from .diagnostics import GradientFlow, gradient_flow
    from .embedding import Embedding
    from .io import load
    from .losses import BinaryCrossEntropy, CrossEntropy
    from .nonfinite import NonFiniteError
    from .optim import SGD, Adam, AdamW
    from .stream import Stream
    from .topologies import NToN, NToOne
    from .training import History
    from .truncated import TruncatedTape

__version__ = "0.1.0"
__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "SGD",
    "Adam",
    "AdamW",
    "BinaryCrossEntropy",
    "Clip",
    "CrossEntropy",
    "Embedding",
    "GradientFlow",
    "Gradients",
    "History",
    "IndRNN",
    "Internals",
    "NToN",
    "NToOne",
    "NonFiniteError",
    "Stats",
    "Stream",
    "Tape",
    "TruncatedTape",
    "active",
    "available",
    "get_num_threads",
    "gradient_flow",
    "load",
    "set_num_threads",
    "threads",
    "using",
]

# What trains and saves models: imported at its first use, so that programs that only run layers start fast.
_LATER = {
    "SGD": "optim",
    "Adam": "optim",
    "AdamW": "optim",
    "BinaryCrossEntropy": "losses",
    "Clip": "clip",
    "CrossEntropy": "losses",
    "Embedding": "embedding",
    "GradientFlow": "diagnostics",
    "gradient_flow": "diagnostics",
    "History": "training",
    "NToN": "topologies",
    "NToOne": "topologies",
    "NonFiniteError": "nonfinite",
    "Stream": "stream",
    "TruncatedTape": "truncated",
    "load": "io",
}
_MODULES_LATER = {
    "batching",
    "decoding",
    "gradients",
    "init",
    "internals",
    "products",
    "readout",
    "row_losses",
    *_LATER.values(),
}

if not TYPE_CHECKING:  # to a type checker every name would be there

    def __getattr__(name: str) -> object:
        """A name of `_LATER`, or one of the modules."""
        import importlib

        if name in _MODULES_LATER:
            return importlib.import_module(f"{__name__}.{name}")
        if name not in _LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(globals().keys() | _LATER.keys() | _MODULES_LATER)


active()  # an unknown FASTRNN_ISA is an error here, not at the first net
