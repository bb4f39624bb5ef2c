# SPDX-License-Identifier: MIT
"""Recurrent networks trained and run on NumPy arrays by fused kernels.

    net = fastrnn.LSTM(input_size=64, hidden_size=128)
    y, (h, c) = net(x)                                    # x (T,B,64) -> y (T,B,128)

Layers with the semantics of torch.nn: `RNN`, `LSTM`, `GRU`. Models that are trained and saved: `NToN`.
"""

from .clip import Clip
from .embedding import Embedding
from .io import load
from .layers import GRU, LSTM, RNN
from .optim import SGD, Adam, AdamW
from .recurrent import Gradients, Stats, Tape
from .runtime import active, available, get_num_threads, set_num_threads, threads, using
from .topologies import NToN
from .training import History

__version__ = "0.1.0"
__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "SGD",
    "Adam",
    "AdamW",
    "Clip",
    "Embedding",
    "Gradients",
    "History",
    "NToN",
    "Stats",
    "Tape",
    "active",
    "available",
    "get_num_threads",
    "load",
    "set_num_threads",
    "threads",
    "using",
]

active()  # an unknown FASTRNN_ISA is an error here, not at the first net
