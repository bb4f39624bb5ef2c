# SPDX-License-Identifier: MIT
"""Measures one case on a GPU: results agree with the CPU backend first, then every round times every peer in turn."""

from __future__ import annotations

import contextlib
import importlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from cases import data
from cuda_peers.clock import TorchClock, best_clock
from device_cases import DeviceCase, row_lengths
from measure import Disagreement, agree, compared
from peers import CannotRun, Work
from peers.process import Child, Commands, results_of

ROUND_SECONDS = 0.05  # each peer works that long in a round, or for one call
ROUNDS, QUICK_ROUNDS = 15, 3
SINGLE_CALLS = 50  # each from an idle device to an idle device
# Shares of the largest element, against float32 on the CPU. Ours keeps states in float32; peers round them as well, and
# sum biases in 16 bits: PyTorch's GRU in bfloat16 is 0.04 off on the CPU, ours 0.005.
TOLERANCES = {"float32": 1e-4, "tf32": 1e-2, "float16": 1e-2, "bfloat16": 2e-2}
PEER_TOLERANCES = {"float32": 1e-4, "tf32": 1e-2, "float16": 2e-2, "bfloat16": 8e-2}


class DevicePeer(Child):
    """A peer in its process."""

    def __init__(self, name: str, threads: int) -> None:
        super().__init__(_peer, (name,), threads, pinned=False)
        self.name = name
        self.version, self.clock = self.ask("version")

    def prepare(self, case: DeviceCase) -> dict[str, np.ndarray]:
        """Sets the case up, runs it once and returns its results.

        Raises:
            CannotRun: the peer has no such net or mode.
        """
        results: dict[str, np.ndarray] = self.ask("prepare", case)
        return results


class Reference(Child):
    """The CPU backend in its process, float32."""

    def __init__(self, threads: int) -> None:
        super().__init__(_reference, (threads,), threads, pinned=False)

    def results(self, case: DeviceCase) -> dict[str, np.ndarray]:
        """What a case computes."""
        found: dict[str, np.ndarray] = self.ask("prepare", case)
        return found


def check(
    case: DeviceCase, reference: Reference, peers: list[DevicePeer]
) -> tuple[list[DevicePeer], dict[str, str], dict[str, str]]:
    """The peers whose results are right, why others cannot run the case, and what is wrong with the rest."""
    right, cannot, wrong = [], {}, {}
    expected = reference.results(case)
    for peer in peers:
        ours = peer.name == "fastrnn"
        tolerance = (TOLERANCES if ours else PEER_TOLERANCES)[case.dtype]
        try:
            agree(case, expected, peer.prepare(case), "fastrnn on the GPU" if ours else peer.name, tolerance)
            right.append(peer)
        except CannotRun as reason:
            cannot[peer.name] = str(reason)
        except Disagreement as error:
            wrong[peer.name] = str(error)
        except RuntimeError as error:
            wrong[peer.name] = str(error).strip().splitlines()[-1]
    return right, cannot, wrong


def times(peers: list[DevicePeer], rounds: int) -> dict[str, list[float]]:
    """Seconds of a call of every peer in every round."""
    once = {peer.name: min(peer.ask("seconds", 1) for _ in range(3)) for peer in peers}
    repeats = {name: max(1, int(ROUND_SECONDS / max(seconds, 1e-7))) for name, seconds in once.items()}
    seconds: dict[str, list[float]] = {peer.name: [] for peer in peers}
    for _ in range(rounds):
        for peer in peers:
            seconds[peer.name].append(peer.ask("seconds", repeats[peer.name]))
    return seconds


def measure(
    case: DeviceCase, reference: Reference, peers: list[DevicePeer], rounds: int, timed: bool = True
) -> dict[str, Any]:
    """All about one case, as a result file has it; without times where ours is wrong."""
    right, cannot, wrong = check(case, reference, peers)
    result = case.record() | {"cannot": cannot, "wrong": wrong, "right": [peer.name for peer in right]}
    if not timed or "fastrnn" not in result["right"]:
        return result
    ours = next(peer for peer in right if peer.name == "fastrnn")
    result |= compared(case, times(right, rounds)) | {"plan": ours.ask("plan", case)}
    steps = {name: us / case.T for name, us in result["microseconds"].items()}
    alone = {peer.name: 1e6 * peer.ask("single", SINGLE_CALLS) for peer in right}
    return result | {"microseconds_per_step": steps, "single_call_microseconds": alone}


# ---- what runs in the process of a peer ----


def _peer(name: str) -> Commands:
    module = importlib.import_module(f"cuda_peers.{name}_peer")
    clock = best_clock() if name == "fastrnn" else TorchClock()
    work: Any = None

    def prepare(case: DeviceCase) -> dict[str, np.ndarray]:
        nonlocal work
        work = None
        work = module.make(case, data(case), row_lengths(case))
        return results_of(work, case)

    def single(repeats: int) -> float:
        return statistics.median(_single(work, clock) for _ in range(repeats))

    def on_stream(command: Callable[..., Any]) -> Callable[..., Any]:
        def run(*values: Any) -> Any:
            with clock.on_stream(), _streams(name, clock):
                return command(*values)

        return run

    return {
        "version": lambda: (module.version(), clock.name),
        "prepare": on_stream(prepare),
        "seconds": on_stream(lambda repeats: clock.seconds(work.run, repeats)),
        "single": on_stream(single),
        "plan": lambda case: module.plan(case),
    }


def _streams(name: str, clock: Any) -> contextlib.AbstractContextManager[Any]:
    """Calls of ours inside are queued on the stream of the clock; those of PyTorch are by `on_stream`."""
    if name != "fastrnn":
        return contextlib.nullcontext()
    import fastrnn

    return fastrnn.cuda.stream(clock.stream)


def _single(work: Work, clock: Any) -> float:
    clock.synchronize()
    start = time.perf_counter()
    work.run()
    clock.synchronize()
    return time.perf_counter() - start


def _reference(threads: int) -> Commands:
    import fastrnn
    from cuda_peers import fastrnn_peer

    fastrnn.set_num_threads(threads)

    def prepare(case: DeviceCase) -> dict[str, np.ndarray]:
        return results_of(fastrnn_peer.make(case, data(case), row_lengths(case), "cpu"), case)

    return {"prepare": prepare}
