# SPDX-License-Identifier: MIT
"""What installing and importing costs: python bench/footprint.py

Processes that import NumPy and such that import this library after it take turns; the difference of their medians is
what this library adds. The size is that of all files of the package but caches.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from pathlib import Path

ROUNDS = 21
CLOCK = "import time; start = time.perf_counter(); {}; print(time.perf_counter() - start)"
NUMPY, BOTH = "import numpy", "import numpy, fastrnn"


def import_seconds(statement: str) -> float:
    """Of a fresh process, without the interpreter's own start."""
    command = [sys.executable, "-c", CLOCK.format(statement)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def package_bytes() -> int:
    """Of the installed package."""
    import fastrnn

    folder = Path(fastrnn.__file__).parent
    return sum(
        path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    )


def footprint(rounds: int = ROUNDS) -> dict[str, float]:
    """Milliseconds of the imports and MB of the package; printed."""
    numpy, both = [], []
    for _ in range(rounds):
        numpy.append(import_seconds(NUMPY))
        both.append(import_seconds(BOTH))
    result = {
        "import_numpy_ms": 1e3 * statistics.median(numpy),
        "import_added_ms": 1e3 * statistics.median(b - n for b, n in zip(both, numpy)),
        "package_mb": package_bytes() / 2**20,
    }
    print(
        f"import fastrnn: {result['import_added_ms']:.1f} ms beyond the {result['import_numpy_ms']:.0f} ms of NumPy; "
        f"the package is {result['package_mb']:.1f} MB"
    )
    return result


if __name__ == "__main__":
    footprint()
