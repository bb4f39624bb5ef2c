# SPDX-License-Identifier: MIT
"""`python -m fastrnn info`: what runs here.  `python -m fastrnn selftest`: every kernel against the reference."""

from __future__ import annotations

import argparse
import platform
import sys

import numpy as np

import fastrnn
from fastrnn import _core, selftest


def info() -> int:
    """Prints versions, targets, threads and cells."""
    rows = {
        "fastrnn": fastrnn.__version__,
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "numpy": np.__version__,
        "compiler": _core.compiler,
        "targets": ", ".join(fastrnn.available()),
        "active": fastrnn.active(),
        "threads": str(fastrnn.get_num_threads()),
        "cells": ", ".join(_core.cells()),
    }
    for name, value in rows.items():
        print(f"{name:8s} {value}")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Runs one of the commands; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m fastrnn", description=__doc__)
    commands = {"info": info, "selftest": selftest.main}
    parser.add_argument("command", choices=commands)
    return commands[parser.parse_args(arguments).command]()


if __name__ == "__main__":
    sys.exit(main())
