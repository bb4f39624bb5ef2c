# SPDX-License-Identifier: MIT
"""Number of threads and instruction sets of the peers: environment variables that they read as they start."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "FASTRNN_NUM_THREADS", "NPROC")
AVX2 = {
    "FASTRNN_ISA": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",  # torch, openvino
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",  # torch
    "ATEN_CPU_CAPABILITY": "avx2",  # torch
    "OPENBLAS_CORETYPE": "Haswell",  # numpy
    "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",  # jax
}
NUMPY_FEATURES = ("X86_V4 AVX512_ICL AVX512_SPR", "X86_V4 AVX512_ICL", "X86_V4", "AVX512F AVX512_SKX", "")
UNLIMITED = {
    "onnxruntime": "MLAS chooses its kernels by CPUID and has no setting for it",
}


@cache
def numpy_features() -> str:
    """What of AVX-512 this NumPy can be told to leave out: the names differ from version to version."""
    for features in NUMPY_FEATURES:
        command = [sys.executable, "-W", "error", "-c", "import numpy"]
        run = subprocess.run(
            command, env=os.environ | {"NPY_DISABLE_CPU_FEATURES": features}, capture_output=True
        )
        if run.returncode == 0:
            return features
    return ""


def variables(threads: int, target: str = "") -> dict[str, str]:
    """The environment of a peer."""
    chosen = dict.fromkeys(THREADS, str(threads))
    if target == "avx2":
        chosen |= AVX2 | {"NPY_DISABLE_CPU_FEATURES": numpy_features()}
    return chosen


@contextmanager
def limited(threads: int, target: str = "") -> Iterator[None]:
    """Processes started inside have that environment."""
    before = dict(os.environ)
    os.environ.update(variables(threads, target))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def pin(threads: int) -> None:
    """Keeps this process on as many processors as it has threads, all peers on the same ones.

    It is the only limit that XLA obeys, and so that it is no handicap it holds for all.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
