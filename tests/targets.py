# SPDX-License-Identifier: MIT
"""The targets of this run, and nets on each of them."""

import contextlib

import fastrnn
from fastrnn import options

CUDA = "cuda"  # of nets on a GPU, or on what stands in for it


@contextlib.contextmanager
def using(target):
    """Nets created inside run on the target, one of fastrnn.available() or CUDA."""
    before = options.DEFAULTS["device"]
    with contextlib.nullcontext() if target == CUDA else fastrnn.using(target):
        options.DEFAULTS["device"] = CUDA if target == CUDA else "cpu"
        try:
            yield
        finally:
            options.DEFAULTS["device"] = before
