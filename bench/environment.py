# SPDX-License-Identifier: MIT
"""Where numbers come from: machine, compiler, versions, commit, load."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any


def processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_model() -> str:
    """As the system names it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor()


def load() -> list[float]:
    """Load averages of 1, 5 and 15 minutes; none where the system has no such thing."""
    return [round(x, 2) for x in os.getloadavg()] if hasattr(os, "getloadavg") else []


def commit() -> str:
    """Of this checkout; -dirty where files differ."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(git, capture_output=True, text=True).stdout.strip()
    except OSError:
        return ""


def environment() -> dict[str, Any]:
    """All that but the versions of the peers, which they tell themselves."""
    from fastrnn import _core

    return {
        "cpu": cpu_model(),
        "processors": processors(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "compiler": _core.compiler,
        "commit": commit(),
        "load": load(),
    }
