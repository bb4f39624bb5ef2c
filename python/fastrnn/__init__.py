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
    from .callbacks import Callback, EarlyStopping, StopTraining
    from .clip import Clip
    from .diagnostics import GradientFlow, gradient_flow
    from .embedding import Embedding
    from .explanation import Explanation, explain
    from .history import History
    from .io import load
    from .losses import BinaryCrossEntropy, CrossEntropy
    from .nonfinite import NonFiniteError
    from .optim import SGD, Adam, AdamW, RMSprop
    from .stream import Stream
    from .topologies import NToM, NToN, NToOne, OneToN
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
    "Callback",
    "Clip",
    "CrossEntropy",
    "EarlyStopping",
    "Embedding",
    "Explanation",
    "GradientFlow",
    "Gradients",
    "History",
    "IndRNN",
    "Internals",
    "NToM",
    "NToN",
    "NToOne",
    "NonFiniteError",
    "OneToN",
    "RMSprop",
    "Stats",
    "StopTraining",
    "Stream",
    "Tape",
    "TruncatedTape",
    "active",
    "available",
    "explain",
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
    "Callback": "callbacks",
    "Clip": "clip",
    "CrossEntropy": "losses",
    "EarlyStopping": "callbacks",
    "Embedding": "embedding",
    "Explanation": "explanation",
    "explain": "explanation",
    "GradientFlow": "diagnostics",
    "gradient_flow": "diagnostics",
    "NToM": "topologies",
    "History": "history",
    "NToN": "topologies",
    "OneToN": "topologies",
    "NToOne": "topologies",
    "NonFiniteError": "nonfinite",
    "RMSprop": "optim",
    "StopTraining": "callbacks",
    "Stream": "stream",
    "TruncatedTape": "truncated",
    "load": "io",
}
_MODULES_LATER = {
    "accumulation",
    "batching",
    "decoding",
    "checkpoint",
    "feeds",
    "crf",
    "cuda",
    "gradients",
    "init",
    "internals",
    "interrupts",
    "place",
    "products",
    "progress",
    "readout",
    "row_losses",
    "schedules",
    "training",
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
