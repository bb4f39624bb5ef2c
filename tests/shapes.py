# SPDX-License-Identifier: MIT
"""The shapes of the ladder, and a seeded maker of cases: everything one call of a net is given."""

import dataclasses
import itertools

import numpy as np
import oracle

CELLS = list(oracle.CELLS)
# Of several phases a step
STAGED = ["gru_reset_before", "gru_layer_norm", "lstm_projected", "lstm_layer_norm"]
IN_BFLOAT16 = [cell for cell in CELLS if cell not in STAGED]
VECTOR_BYTES = {"reference": 8, "portable": 16, "neon": 16, "avx2": 32, "avx512": 64, "cuda": 32}


def lanes(target, dtype):
    """How many units a vector of the target holds: where tails begin."""
    return max(1, VECTOR_BYTES[target] // np.dtype(dtype).itemsize)


def unit_sizes(L):
    """Sizes around a vector of L lanes: less than one, one, one and a tail, several and a tail, many."""
    return sorted({1, max(1, L - 1), L, L + 1, 3 * L + 5, 128})


def ladder(L):
    """All (T, B, I, H) of the ladder for L lanes."""
    steps_and_rows = itertools.product((1, 2, 7), repeat=2)
    sizes = itertools.product(unit_sizes(L), repeat=2)
    return [(*small, *large) for small, large in itertools.product(steps_and_rows, sizes)]


EMPTY = [(0, 3, 5, 4), (4, 0, 5, 4), (0, 0, 5, 4), (0, 1, 1, 1), (1, 0, 1, 1)]


@dataclasses.dataclass
class Case:
    """Arguments of one net and one call, in float64 but exact in float32; x (T,B,I), states (L*D,B,H)."""

    cell: str
    T: int
    B: int
    I: int  # noqa: E741
    H: int
    num_layers: int
    bidirectional: bool
    bias: bool
    seed: int
    parameters: dict
    x: np.ndarray
    state: tuple
    lengths: np.ndarray | None
    reset: np.ndarray | None
    dy: np.ndarray
    dstate: tuple

    @property
    def P(self):
        """Width of h, and of y in one direction."""
        return oracle.CELLS[self.cell].width(0, self.H)

    @property
    def sizes(self):
        """What the tolerance depends on."""
        wide = self.P * (1 + self.bidirectional) if self.num_layers > 1 else 0
        return {
            "steps": self.T * self.num_layers,
            "inputs": max(self.I, wide),
            "hidden": self.H,
            "magnified": oracle.CELLS[self.cell].magnified,
        }

    @property
    def stacking(self):
        return {"num_layers": self.num_layers, "bidirectional": self.bidirectional}

    @property
    def masks(self):
        return {"lengths": self.lengths, "reset": self.reset}

    def __str__(self):
        """Enough to make the case again."""
        return (
            f"{self.cell} T={self.T} B={self.B} I={self.I} H={self.H} num_layers={self.num_layers} "
            f"bidirectional={self.bidirectional} bias={self.bias} lengths={self.lengths is not None} "
            f"reset={self.reset is not None} seed={self.seed}"
        )


def parameter_shapes(cell, I, H, *, num_layers=1, bidirectional=False, bias=True):  # noqa: E741
    """torch's names and shapes, in torch's order."""
    shapes = {}
    facts, D = oracle.CELLS[cell], 1 + bidirectional
    rows, P = facts.gates * H, facts.width(0, H)
    for k, suffix in itertools.product(range(num_layers), ["", "_reverse"][:D]):
        shapes[f"weight_ih_l{k}{suffix}"] = (rows, I if k == 0 else D * P)
        if facts.recurrent:
            shapes[f"weight_hh_l{k}{suffix}"] = (rows, P)
        if bias:
            shapes[f"bias_ih_l{k}{suffix}"] = (rows,)
            shapes[f"bias_hh_l{k}{suffix}"] = (rows,)
        for role, count in facts.unit_roles:
            shapes[f"{role}_l{k}{suffix}"] = (count * H,)
        if facts.projected:
            shapes[f"weight_hr_l{k}{suffix}"] = (P, H)
    return shapes


def make_case(
    cell,
    T,
    B,
    I,  # noqa: E741
    H,
    *,
    seed,
    num_layers=1,
    bidirectional=False,
    bias=True,
    lengths=False,
    reset=False,
):
    """A random case.

    Numbers are uniform and weights scaled by their fan-in: no unit saturates so far that its derivative would
    have no digits left, and nothing grows over the steps. H of a cell with a projection is at least 2.
    """
    facts = oracle.CELLS[cell]
    H = max(H, 1 + facts.projected)
    random = np.random.default_rng([seed, T, B, I, H])

    def uniform(*shape, bound=1.7):
        return random.uniform(-bound, bound, shape).astype(np.float32).astype(np.float64)

    rows = num_layers * (1 + bidirectional)
    stacking = {"num_layers": num_layers, "bidirectional": bidirectional, "bias": bias}
    parameters = {}
    for name, shape in parameter_shapes(cell, I, H, **stacking).items():
        parameters[name] = uniform(*shape, bound=0.9 * shape[-1] ** -0.5 if len(shape) == 2 else 0.5)
    return Case(
        cell=cell,
        T=T,
        B=B,
        I=I,
        H=H,
        **stacking,
        seed=seed,
        parameters=parameters,
        x=uniform(T, B, I),
        state=tuple(uniform(rows, B, facts.width(q, H), bound=1.0) for q in range(facts.states)),
        lengths=make_lengths(random, T, B) if lengths else None,
        reset=random.random((T, B)) < 0.3 if reset else None,
        dy=uniform(T, B, facts.width(0, H) * (1 + bidirectional)),
        dstate=tuple(uniform(rows, B, facts.width(q, H)) for q in range(facts.states)),
    )


def make_lengths(random, T, B):
    """Unsorted lengths in 0..T; where there is room, one sequence is empty and one is whole."""
    lengths = random.integers(0, T + 1, B)
    if B >= 2:
        empty, whole = random.permutation(B)[:2]
        lengths[empty], lengths[whole] = 0, T
    return lengths
