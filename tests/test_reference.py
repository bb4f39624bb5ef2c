# SPDX-License-Identifier: MIT
"""The target "reference" in float64 against the oracle: forward within 1e-12, every gradient within 1e-10."""

import itertools

import numpy as np
import oracle
import pytest
from runner import backward, build, forward, is_gradient, parts
from shapes import EMPTY, make_case

FORWARD, GRADIENT = 1e-12, 1e-10


def from_oracle(case):
    y, final = oracle.stack(case.cell, case.x, case.state, case.parameters, **case.stacking, **case.masks)
    slopes = oracle.gradients(
        case.cell, case.x, case.state, case.parameters, case.dy, case.dstate, **case.stacking, **case.masks
    )
    renamed = {("dstate" + n[-1] if n.startswith("state") else "d" + n): slope for n, slope in slopes.items()}
    return {"y": y, **parts(final), **renamed}


def check(case):
    net = build(case, "reference", "float64")
    got, want = backward(net, case), from_oracle(case)
    assert got.keys() == want.keys()
    for name in want:
        bound = GRADIENT if is_gradient(name) else FORWARD
        np.testing.assert_allclose(got[name], want[name], rtol=0, atol=bound, err_msg=f"{name} of {case}")
    for name, value in forward(net, case).items():
        np.testing.assert_array_equal(value, got[name], err_msg=f"{name} of inference, {case}")


@pytest.mark.parametrize(("lengths", "reset"), list(itertools.product([False, True], repeat=2)))
def test_one_layer(cell, lengths, reset):
    for seed, shape in enumerate([(1, 1, 1, 1), (1, 3, 4, 5), (6, 1, 2, 7), (7, 5, 5, 4)]):
        check(make_case(cell, *shape, seed=seed, lengths=lengths, reset=reset))


@pytest.mark.parametrize(("lengths", "reset"), list(itertools.product([False, True], repeat=2)))
@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_layers_and_directions(cell, num_layers, lengths, reset):
    for bidirectional in [False, True] if num_layers > 1 else [True]:
        check(
            make_case(
                cell,
                5,
                4,
                3,
                4,
                seed=10,
                num_layers=num_layers,
                bidirectional=bidirectional,
                lengths=lengths,
                reset=reset,
            )
        )


@pytest.mark.parametrize("bidirectional", [False, True])
def test_without_bias(cell, bidirectional):
    check(
        make_case(
            cell, 4, 3, 3, 5, seed=20, num_layers=2, bidirectional=bidirectional, bias=False, lengths=True
        )
    )


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("shape", EMPTY)
def test_no_steps_or_no_rows(cell, shape, bidirectional):
    check(make_case(cell, *shape, seed=30, num_layers=2, bidirectional=bidirectional))


def test_a_reset_in_every_step_and_all_sequences_empty(cell):
    case = make_case(cell, 5, 3, 2, 4, seed=40, bidirectional=True, lengths=True, reset=True)
    case.reset[:] = True
    check(case)
    case.lengths[:] = 0
    check(case)


def test_it_would_see_wrong_gates(cell):
    """A cell whose gate rows were exchanged must not pass: the check has teeth."""
    case = make_case(cell, 3, 2, 3, 4, seed=50)
    other = make_case(cell, 3, 2, 3, 4, seed=50)
    other.parameters["weight_ih_l0"] = np.roll(
        other.parameters["weight_ih_l0"], 4 if case.cell in ("lstm", "gru") else 1, 0
    )
    got, want = forward(build(case, "reference", "float64"), case), from_oracle(other)
    assert np.abs(got["y"] - want["y"]).max() > 1e-3
