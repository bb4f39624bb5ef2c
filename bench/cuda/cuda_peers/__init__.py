# SPDX-License-Identifier: MIT
"""Peers on a GPU: one module each, `NAME_peer`, with `version()` and `make(case, data, lengths) -> Work`.

As in `peers`, but inputs, outputs, parameters and gradients are in the memory of the GPU before anything is timed, and
`run` only queues work. A module that cannot be imported is a peer that is not installed.
"""

NAMES = ("fastrnn", "torch", "flashrnn", "haste")
