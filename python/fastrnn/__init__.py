# SPDX-License-Identifier: MIT
"""Recurrent networks trained and run on NumPy arrays by fused kernels.

    net = fastrnn.LSTM(input_size=64, hidden_size=128)
    y, (h, c) = net(x)                                    # x (T,B,64) -> y (T,B,128)
"""

from .layers import GRU, LSTM, RNN, Gradients, Stats, Tape
from .runtime import active, available, get_num_threads, set_num_threads, threads, using

__version__ = "0.1.0"
__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Gradients",
    "Stats",
    "Tape",
    "active",
    "available",
    "get_num_threads",
    "set_num_threads",
    "threads",
    "using",
]

active()  # an unknown FASTRNN_ISA is an error here, not at the first net
