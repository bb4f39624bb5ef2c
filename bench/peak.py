# SPDX-License-Identifier: MIT
"""The processor's peak of fused multiply-adds, measured beside every case: the clock of a machine wanders."""

from __future__ import annotations

import ctypes
import os
import subprocess
import tempfile
import threading
import time
from pathlib import Path

SECONDS = 0.01  # of one measurement by one thread
SEVERAL_SECONDS = (
    0.08  # by several, which start some milliseconds apart where the interpreter's lock is handed on
)
FIRST = 1_000_000  # times round the loop, to learn how many fill SECONDS


class Peak:
    """GFLOP/s of some threads at once; compiles `peak.c` when it is made.

    Raises:
        OSError: there is no C compiler, or it fails.
    """

    def __init__(self, threads: int, target: str = "") -> None:
        self.threads = threads
        flags = ["-O3", "-march=native", "-ffp-contract=fast", "-shared", "-fPIC"]
        flags += ["-mno-avx512f"] if target == "avx2" else []
        with tempfile.TemporaryDirectory() as folder:
            library = Path(folder) / "peak.so"
            command = [
                os.environ.get("CC", "cc"),
                *flags,
                str(Path(__file__).with_suffix(".c")),
                "-o",
                str(library),
            ]
            run = subprocess.run(command, capture_output=True, text=True)
            if run.returncode:
                raise OSError(f"{' '.join(command)} failed:\n{run.stderr}")
            self._run = ctypes.CDLL(str(library)).fma_chains
        self._run.restype = ctypes.c_double
        self._run.argtypes = [ctypes.c_long, ctypes.POINTER(ctypes.c_float)]
        self._times = FIRST
        wanted = SECONDS if threads == 1 else SEVERAL_SECONDS
        self._times = max(1, int(FIRST * wanted / self._once()[0]))

    def gflops(self) -> float:
        """Of all threads together: operations over the time from the first start to the last end."""
        seconds, operations = self._once()
        return operations / seconds / 1e9

    def _once(self) -> tuple[float, float]:
        starts, ends, operations = ([0.0] * self.threads for _ in range(3))
        together = threading.Barrier(self.threads)

        def work(k: int) -> None:
            sink = ctypes.c_float()
            together.wait()
            starts[k] = time.perf_counter()
            operations[k] = self._run(self._times, ctypes.byref(sink))
            ends[k] = time.perf_counter()

        workers = [threading.Thread(target=work, args=(k,)) for k in range(1, self.threads)]
        for worker in workers:
            worker.start()
        work(0)
        for worker in workers:
            worker.join()
        return max(ends) - min(starts), sum(operations)
