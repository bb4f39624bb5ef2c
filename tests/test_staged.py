# SPDX-License-Identifier: MIT
"""What the driver of cells of several phases does beside the recurrence itself, for all of them: limits of gradients
inside of it, and gradients in less memory.
"""

import fastrnn
import numpy as np
import pytest
from fastrnn import _core
from runner import as_state, build, compare, compare_bits, parts
from shapes import STAGED, make_case


@pytest.fixture(params=STAGED)
def cell(request):
    return request.param


def gradients(net, case, *, clip=None, **options):
    """All of them, and what was measured on the way."""
    x, state = case.x.astype(net.dtype), as_state(case.state, net.dtype)
    _, _, tape = net.forward(x, state, **case.masks, **options)
    dy, dstate = case.dy.astype(net.dtype), as_state(case.dstate, net.dtype)
    grads = net.backward(tape, dy, dstate, clip=clip, trace=True)
    measured = {name: getattr(grads.stats, name) for name in ("dh", "dc", "step_clamped", "step_scaled")}
    values = {"dx": grads.x, **parts(grads.state, "dstate"), **{"d" + n: g for n, g in grads.params.items()}}
    return values, {name: value for name, value in measured.items() if value is not None}


CLIPS = [
    fastrnn.Clip(step_value=0.3),
    fastrnn.Clip(step_norm=0.7),
    fastrnn.Clip(step_value=0.5, step_norm=1.0),
    fastrnn.Clip(value=0.01),
]


@pytest.mark.parametrize("clip", CLIPS, ids=str)
@pytest.mark.parametrize("masked", [False, True])
def test_limits_against_the_reference(fast_target, dtype, cell, masked, clip):
    case = make_case(cell, 6, 5, 4, 19, seed=1, bidirectional=True, lengths=masked, reset=masked)
    want, measured = gradients(build(case, "reference", "float64"), case, clip=clip)
    free, _ = gradients(build(case, "reference", "float64"), case)
    got, found = gradients(build(case, fast_target, dtype), case, clip=clip)
    compare(got, want, case, dtype)
    moved = "dx" if clip.value is None else "dweight_ih_l0"
    assert np.abs(want[moved] - free[moved]).max() > 0.01, "the limits do nothing"
    assert found.keys() == measured.keys()
    for name, value in measured.items():
        if name.startswith("step"):  # counts of rows and numbers: one at the limit may fall to either side
            np.testing.assert_allclose(found[name], value, rtol=0, atol=0.05)
        else:
            np.testing.assert_allclose(found[name], value, rtol=1e-3 if dtype == "float32" else 1e-9)


@pytest.mark.parametrize("clip", [None, CLIPS[2]], ids=str)
@pytest.mark.parametrize("masked", [False, True])
def test_gradients_in_less_memory_have_the_same_bits(target, dtype, cell, masked, clip):
    case = make_case(
        cell, 23, 5, 4, 19, seed=2, num_layers=2, bidirectional=True, lengths=masked, reset=masked
    )
    net = build(case, target, dtype)
    want = gradients(net, case, clip=clip)
    with pytest.raises(ValueError, match="at least") as refused:
        net.forward(case.x.astype(dtype), max_workspace=1)
    least = int(str(refused.value).split()[-1])
    for budget in (least, 2 * least):
        got = gradients(net, case, clip=clip, max_workspace=budget)
        for n in range(2):
            compare_bits(got[n], want[n], f"in {budget} bytes")


@pytest.mark.parametrize("split", ["batch", "units", "alone"])
def test_limits_have_the_bits_of_one_thread(fast_target, cell, split):
    case = make_case(cell, 9, 7, 4, 35, seed=3, lengths=True, reset=True)
    net = build(case, fast_target, "float32")
    with fastrnn.threads(1):
        want = gradients(net, case, clip=CLIPS[2])
    _core.force_split(split)
    try:
        for n in (2, 7):
            with fastrnn.threads(n):
                for part, other in zip(gradients(net, case, clip=CLIPS[2]), want):
                    compare_bits(part, other, f"with {n} threads by {split}")
    finally:
        _core.force_split(None)
