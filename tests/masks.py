# SPDX-License-Identifier: MIT
"""The hash of csrc/mask.h once more, in NumPy."""

import numpy as np
import oracle

OUTPUTS, INPUTS, RECURRENT, STATE, MEMORY = range(5)


def splitmix(z):
    z = z + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return z ^ z >> np.uint64(31)


def kept(p, seed, what, place, steps, B, width):
    """(len(steps),B,width) of bool: what is not dropped with the probability p. steps: t + 1, or 0 for all t."""
    with np.errstate(over="ignore"):
        of_place = splitmix(splitmix(np.uint64(seed)) ^ np.uint64(place) << np.uint64(8) ^ np.uint64(what))
        of_steps = splitmix(of_place ^ np.asarray(steps, np.uint64))
        row = splitmix(of_steps[:, None] ^ np.arange(B, dtype=np.uint64))[..., None]
        low, high = row.astype(np.uint32), (row >> np.uint64(32)).astype(np.uint32)
        z = low + np.arange(width, dtype=np.uint32)
        z = (z ^ z >> np.uint32(16)) * np.uint32(0x21F0AAAD) ^ high
        z = (z ^ z >> np.uint32(15)) * np.uint32(0xD35A2D97)
        z = z ^ z >> np.uint32(15)
    return z >> np.uint32(1) >= int(p * 2**31)


def noise(case, seed, recurrent_dropout=0.0, zoneout=0.0):
    """The Noise of every row of a state of a case, as training draws it; inference where the seed is None."""
    facts, T, B = oracle.CELLS[case.cell], case.T, case.B
    each = zoneout if isinstance(zoneout, tuple) else (zoneout, zoneout)
    widths = [facts.width(q, case.H) for q in range(facts.states)]
    if seed is None:
        fresh = tuple(np.full((T, B, n), 1 - p) for p, n in zip(each, widths))
        return [oracle.Noise(np.ones((B, case.P)), fresh)] * len(case.state[0])
    all_rows = []
    for part in range(len(case.state[0])):
        factor = kept(recurrent_dropout, seed, RECURRENT, part, [0], B, case.P)[0] / (1 - recurrent_dropout)
        steps = np.arange(1, T + 1)
        masks = (
            kept(p, seed, (STATE, MEMORY)[q], part, steps, B, n) for q, (p, n) in enumerate(zip(each, widths))
        )
        all_rows.append(oracle.Noise(factor, tuple(m.astype(float) for m in masks)))
    return all_rows
