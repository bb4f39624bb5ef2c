# SPDX-License-Identifier: MIT
"""Measures one case: results agree first, then every round times every peer in turn."""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np
from cases import Case
from peak import Peak
from peers import CannotRun
from peers.process import Peer

ROUND_SECONDS = 0.05  # each peer works that long in a round, or for one call
IDLE_SECONDS = (
    0.15  # before each turn with several threads: pools of the peer before go on spinning for a while
)
LONG_SECONDS = 0.3  # a call that lasts longer is measured in fewer rounds
ROUNDS, LONG_ROUNDS, QUICK_ROUNDS = 15, 5, 3
SINGLE_CALLS, QUICK_SINGLE_CALLS = 3000, 300  # of a stream, each timed by itself
SINGLE_TURNS = 3  # in so many turns, peer after peer
TOLERANCE = 1e-4  # of the largest element of each result, float32


class Disagreement(Exception):
    """A result of a peer is not ours."""


def agree(
    case: Case,
    ours: dict[str, np.ndarray],
    theirs: dict[str, np.ndarray],
    peer: str,
    tolerance: float = TOLERANCE,
) -> None:
    """Holds the results of a peer against ours; the tolerance is a share of the largest element of each.

    Raises:
        Disagreement: one is missing, or differs by more than the tolerance.
    """
    if ours.keys() != theirs.keys():
        raise Disagreement(f"{case.name}: {peer} and fastrnn differ in {sorted(ours.keys() ^ theirs.keys())}")
    for name, mine in ours.items():
        if mine.shape != theirs[name].shape:
            raise Disagreement(f"{case.name}: {name} of {peer} is {theirs[name].shape}, ours {mine.shape}")
        error, largest = np.abs(mine - theirs[name]).max(), np.abs(mine).max()
        if not error <= tolerance * largest:
            raise Disagreement(
                f"{case.name}: {peer} and fastrnn differ by {error:.1e} in {name}, of {largest:.1e}"
            )


def prepare(case: Case, peers: list[Peer]) -> tuple[list[Peer], dict[str, str]]:
    """The peers that run the case, their results being ours; and why the others do not."""
    able, reasons, results = [], {}, {}
    for peer in peers:
        try:
            results[peer.name] = peer.prepare(case)
            able.append(peer)
        except CannotRun as reason:
            reasons[peer.name] = str(reason)
    for name, result in results.items():
        agree(case, results["fastrnn"], result, name)
    return able, reasons


def rounds_of(seconds: float, quick: bool) -> int:
    """How many rounds, by how long a call of ours lasts."""
    return QUICK_ROUNDS if quick else LONG_ROUNDS if seconds > LONG_SECONDS else ROUNDS


def times(
    peers: list[Peer], peak: Peak, quick: bool, rounds: int | None = None
) -> tuple[dict[str, list[float]], list[float]]:
    """Seconds of a call of every peer in every round, and the peak in every round."""
    once = {peer.name: min(peer.seconds(1), peer.seconds(1)) for peer in peers}
    repeats = {name: max(1, int(ROUND_SECONDS / max(seconds, 1e-7))) for name, seconds in once.items()}
    seconds: dict[str, list[float]] = {peer.name: [] for peer in peers}
    peaks = []
    pause = IDLE_SECONDS if peak.threads > 1 else 0
    for _ in range(rounds or rounds_of(once["fastrnn"], quick)):
        time.sleep(pause)
        peaks.append(peak.gflops())
        for peer in peers:
            time.sleep(pause)
            seconds[peer.name].append(peer.seconds(repeats[peer.name]))
    return seconds, peaks


def single(peers: list[Peer], quick: bool) -> dict[str, dict[str, float]]:
    """Microseconds of single calls: p50 and p99."""
    calls = QUICK_SINGLE_CALLS if quick else SINGLE_CALLS
    each: dict[str, list[int]] = {peer.name: [] for peer in peers}
    for _ in range(SINGLE_TURNS):
        for peer in peers:
            each[peer.name] += peer.each(calls // SINGLE_TURNS)
    return {
        name: dict(zip(("p50", "p99"), (np.percentile(calls, (50, 99)) / 1e3).tolist()))
        for name, calls in each.items()
    }


def compared(case: Case, seconds: dict[str, list[float]]) -> dict[str, Any]:
    """Medians and ratios. The best peer is the one with the least median; its ratio is that of paired rounds."""
    ours = seconds["fastrnn"]
    median = {name: statistics.median(t) for name, t in seconds.items()}
    paired = {
        name: sorted(theirs / mine for theirs, mine in zip(t, ours))
        for name, t in seconds.items()
        if name != "fastrnn"
    }
    best = min(paired, key=lambda name: median[name]) if paired else None
    ratio = {name: statistics.median(ratios) for name, ratios in paired.items()}
    return {
        "rounds": len(ours),
        "microseconds": {name: t * 1e6 for name, t in median.items()},
        "gflops": {name: case.operations / t / 1e9 for name, t in median.items()},
        "ratio": ratio,
        "ratio_range": {name: [ratios[0], ratios[-1]] for name, ratios in paired.items()},
        "best": best,
        "best_ratio": ratio[best] if best else None,
    }


def summary(case: Case, seconds: dict[str, list[float]], peaks: list[float]) -> dict[str, Any]:
    """What was compared, and its share of the peak."""
    result, peak = compared(case, seconds), statistics.median(peaks)
    percent = {name: 100 * gflops / peak for name, gflops in result["gflops"].items()}
    return result | {"peak_gflops": peak, "percent_of_peak": percent}


def measure(
    case: Case, peers: list[Peer], peak: Peak, quick: bool, rounds: int | None = None
) -> dict[str, Any]:
    """All about one case, as a result file has it.

    Raises:
        Disagreement: a peer computes something else.
    """
    able, reasons = prepare(case, peers)
    result = case.record() | {"cannot": reasons} | summary(case, *times(able, peak, quick, rounds))
    if case.mode == "step":
        result["single"] = single(able, quick)
    return result
