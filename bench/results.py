# SPDX-License-Identifier: MIT
"""Result files, read and checked for what their readers need."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

CELLS = {"lstm": "LSTM", "gru": "GRU", "rnn_tanh": "RNN"}
PEERS = {
    "torch": "PyTorch",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "jax": "JAX",
    "numpy": "NumPy",
    "flashrnn": "FlashRNN",
    "haste": "haste",
    "fastrnn": "fastrnn",
}
VARIANTS = {"bidirectional": "both ways", "peepholes": "peepholes", "resets": "resets", "strided": "strided"}
NEEDED = ("case", "cell", "mode", "microseconds", "peak_gflops", "ratio", "best", "best_ratio")


class Unusable(Exception):
    """The file is none that run.py wrote."""


def read(path: Path) -> dict[str, Any]:
    """A report of run.py.

    Raises:
        Unusable: it is none, or has no results.
    """
    try:
        report = json.loads(path.read_text())
        results = report["results"]
        complete = all(name in result for result in results for name in NEEDED)
        usable = complete and all(result["microseconds"]["fastrnn"] > 0 for result in results)
    except (OSError, ValueError) as error:
        raise Unusable(f"{path}: {type(error).__name__}: {error}") from error
    except (KeyError, TypeError):
        results, usable = [], False
    if not results or not usable:
        raise Unusable(f"{path} has no complete results of run.py")
    return dict(report)


def geometric_mean(values: Iterable[float]) -> float:
    """exp of the mean logarithm; nan of nothing."""
    logarithms = [math.log(value) for value in values]
    return math.exp(sum(logarithms) / len(logarithms)) if logarithms else math.nan


def shape(result: dict[str, Any]) -> str:
    """T, B, I, H and what else the net has, after the client's name."""
    sizes = ", ".join(str(result[letter]) for letter in "TBIH")
    extra = [f"{result['layers']} layers"] if result["layers"] > 1 else []
    extra += [text for word, text in VARIANTS.items() if result[word]]
    return " ".join([*([result["label"]] if result["label"] else []), ", ".join([sizes, *extra])])
