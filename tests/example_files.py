# SPDX-License-Identifier: MIT
"""What the tests of examples share."""

import importlib
import sys
from pathlib import Path

EXAMPLES = str(Path(__file__).parents[1] / "examples")


def load_example(name):
    """An example, or what examples share, as a module that finds those beside it."""
    sys.path.insert(0, EXAMPLES)
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(EXAMPLES)


def is_png(path):
    return path.read_bytes().startswith(b"\x89PNG")
