# SPDX-License-Identifier: MIT
"""max_workspace: the same bits in less memory, down to the least that the message of the error names."""

import json
import os
import subprocess
import sys

import fastrnn
import numpy as np
import pytest
from clip_cases import build, make_problem, net_of, run
from fastrnn import _core
from runner import compare_bits
from shapes import CELLS, IN_BFLOAT16
from targets import CUDA, using
from workspace import least_workspace

# directions, T, B, I, H and what else
SETTINGS = {
    "one layer": (["forward"], 23, 3, 4, 9, {}),
    "one row": (["reverse"], 40, 1, 2, 17, {"reset": True}),
    "lengths": (["reverse"], 21, 5, 3, 4, {"lengths": True, "bias": False}),
    "resets": (["both"], 17, 4, 5, 11, {"reset": True}),
    "two layers": (["both", "both"], 19, 5, 4, 6, {"lengths": True, "reset": True}),
    "mixed": (["reverse", "both", "forward"], 16, 4, 3, 8, {"lengths": True, "reset": True}),
    "many rows": (["both"], 90, 13, 2, 5, {"lengths": True}),
    "a wide input": (["forward", "forward"], 12, 2, 70, 3, {}),
}
# Large enough that the work is shared among threads without being forced to
LARGE = [(40, 64, 40, 96), (24, 3, 64, 600)]
# Every setting in one type; how segments are cut depends on sizes, which other types change alike
KINDS = [
    *((cell, setting, "float32") for cell in CELLS for setting in SETTINGS),
    *((cell, setting, "float64") for cell in CELLS for setting in ("lengths", "mixed")),
    *((cell, setting, "bfloat16") for cell in IN_BFLOAT16 for setting in ("lengths", "mixed", "many rows")),
]


@pytest.fixture(params=KINDS, ids="-".join)
def kind(request):
    """A cell, a setting and a type."""
    return request.param


def problem(cell, setting):
    directions, T, B, I, H, options = SETTINGS[setting]  # noqa: E741
    return make_problem(cell, directions, T, B, I, H, seed=1, **options)


def masks(problem):
    return {
        "lengths": None if (problem.lengths == len(problem.x)).all() else problem.lengths,
        "reset": problem.reset if problem.reset.any() else None,
    }


def segments(net, problem, budget):
    _, _, tape = net.forward(problem.x.astype(net.dtype), max_workspace=budget, **masks(problem))
    return tape.segments


def budgets(net, problem):
    """From the least to one that holds the whole tape."""
    found = [least_workspace(net, problem.x.astype(net.dtype), **masks(problem))]
    while segments(net, problem, found[-1]) > 1:
        found.append(int(found[-1] * 1.5) + 1)
    return found


def whole_at_least(kind, target):
    """Whether no budget divides the whole: x and y are most of it (IndRNN records one number a unit and step), or a GPU
    that sums 16 rows at a time does not cut so few."""
    cell, setting, dtype = kind
    if target == CUDA and (setting, dtype) == ("mixed", "bfloat16"):
        return True
    return cell.startswith("indrnn") and (setting, dtype) == ("mixed", "bfloat16")


def test_the_same_bits(target, kind):
    cell, setting, dtype = kind
    case = problem(cell, setting)
    net = net_of(case, target, dtype)
    want, stats = run(net, case)
    tried = budgets(net, case)
    assert len(tried) > 1 or whole_at_least(kind, target)
    for budget in tried:
        got, told = run(net, case, max_workspace=budget)
        compare_bits(got, want, f"within {budget} bytes")
        assert (told["norm"], told["stored_norm"]) == (stats["norm"], stats["stored_norm"])


@pytest.mark.parametrize("way", ["batch", "units", "alone"])
def test_any_number_of_threads(target, cell, way):
    for setting in ["mixed"] if way == "batch" else ["one row", "mixed"]:
        case = problem(cell, setting)
        net = net_of(case, target, "float32")
        with fastrnn.threads(1):
            want, _ = run(net, case)
        least = least_workspace(net, case.x.astype(net.dtype), **masks(case))
        _core.force_split(way)
        try:
            for n, budget in ((2, int(1.3 * least)), (7, least)):
                with fastrnn.threads(n):
                    got, _ = run(net, case, max_workspace=budget)
                compare_bits(got, want, f"{setting} within {budget} bytes, {n} threads by {way}")
        finally:
            _core.force_split(None)


@pytest.mark.parametrize("shape", LARGE)
def test_threads_where_they_are_wanted(fast_target, cell, shape):
    masked = shape == LARGE[0]
    case = make_problem(cell, ["forward"], *shape, seed=2, lengths=masked, reset=masked)
    net = net_of(case, fast_target, "float32")
    want, _ = run(net, case)
    least = least_workspace(net, case.x.astype(net.dtype), **masks(case))
    with fastrnn.threads(2):
        got, _ = run(net, case, max_workspace=int(1.4 * least))
    compare_bits(got, want)


def test_the_least_is_the_least(target, kind):
    cell, setting, dtype = kind
    case = problem(cell, setting)
    net = net_of(case, target, dtype)
    x = case.x.astype(net.dtype)
    least = least_workspace(net, x, **masks(case))
    _, _, tape = net.forward(x, max_workspace=least, **masks(case))
    assert tape.segments > 1 or whole_at_least(kind, target)
    for budget in (least - 1, least // 2, 1):
        with pytest.raises(ValueError, match=rf"max_workspace is {budget} bytes\D+{least}( bytes)?$"):
            net.forward(x, max_workspace=budget, **masks(case))
    assert least > x.nbytes, "x is part of it"


def test_less_memory_means_more_segments(target, kind):
    cell, setting, dtype = kind
    case = problem(cell, setting)
    net = net_of(case, target, dtype)
    counts = [segments(net, case, budget) for budget in budgets(net, case)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1] == 1 or whole_at_least(kind, target)
    assert segments(net, case, None) == segments(net, case, 2**40) == 1
    assert counts[0] <= len(case.x)


@pytest.mark.parametrize("T", [1, 2, 3])
def test_hardly_any_step(target, dtype, cell, T):
    case = make_problem(cell, ["both", "reverse"], T, 2, 3, 5, seed=3)
    net = net_of(case, target, dtype)
    want, _ = run(net, case)
    got, _ = run(net, case, max_workspace=least_workspace(net, case.x.astype(dtype)))
    compare_bits(got, want)


@pytest.mark.parametrize("lengths", [[0, 0, 0], [0, 6, 0], [1, 1, 1], [6, 1, 0]])
def test_rows_that_end_early(target, dtype, cell, lengths):
    case = make_problem(cell, ["both"], 6, 3, 4, 5, seed=4, reset=True)
    case.lengths[:] = lengths
    net = net_of(case, target, dtype)
    want, _ = run(net, case)
    least = least_workspace(net, case.x.astype(dtype), **masks(case))
    for budget in (least, 2 * least, 2**30):
        got, _ = run(net, case, max_workspace=budget)
        compare_bits(got, want, f"within {budget} bytes")


@pytest.mark.parametrize("shape", [(0, 3), (4, 0), (0, 0)])
def test_nothing_to_keep(target, cell, shape):
    net = build(cell, ["both", "both"], 3, 5, target, "float32")
    y, _, tape = net.forward(np.zeros((*shape, 3), np.float32), max_workspace=1 << 20)
    grads = net.backward(tape, np.zeros_like(y))
    assert not grads.flat.any()


def test_other_layouts(target, dtype, cell):
    case = problem(cell, "resets")
    want, _ = run(net_of(case, target, dtype), case)
    with using(target):
        net = fastrnn.layers.CELLS[cell](5, 11, bidirectional=True, batch_first=True, dtype=dtype)
    net.load_state_dict({name: a.astype(dtype) for name, a in case.parameters.items()})
    x, dy, reset = (np.asfortranarray(a.swapaxes(0, 1)) for a in (case.x, case.dy, case.reset))
    state, dstate = (tuple(s.astype(dtype) for s in group) for group in (case.state, case.dstate))
    one = len(state) == 1
    x = x.astype(dtype)
    least = least_workspace(net, x, reset=reset)
    y, _, tape = net.forward(x, state[0] if one else state, reset=reset, max_workspace=least)
    assert tape.segments > 1
    x[:] = np.nan  # the tape has a copy
    for s in state:
        s[:] = np.nan
    grads = net.backward(tape, dy.astype(dtype), dstate[0] if one else dstate)
    got = {"y": y.swapaxes(0, 1), "dx": grads.x.swapaxes(0, 1), "dflat": grads.flat}
    compare_bits(got, {name: want[name] for name in got})


@pytest.mark.parametrize("setting", ["one row", "mixed"])
def test_added_gradients(target, dtype, cell, setting):
    case = problem(cell, setting)
    net = net_of(case, target, dtype)
    start = np.random.default_rng(5).uniform(-1, 1, net.flat.size).astype(dtype)
    want, _ = run(net, case, flat=start)
    least = least_workspace(net, case.x.astype(dtype), **masks(case))
    got, _ = run(net, case, flat=start, max_workspace=least)
    compare_bits(got, want)
    assert (start != want["dflat"]).any()


def test_what_is_refused():
    net = fastrnn.GRU(3, 4)
    x = np.zeros((5, 2, 3), np.float32)
    with pytest.raises(ValueError, match="max_workspace"):
        net.forward(x, max_workspace=1 << 20, training=False)
    for wrong in (0, -1):
        with pytest.raises(ValueError, match="max_workspace"):
            net.forward(x, max_workspace=wrong)
    for wrong in (1.5, "1", True, [1]):
        with pytest.raises(TypeError, match="max_workspace"):
            net.forward(x, max_workspace=wrong)


PEAK = """
import json, sys
import numpy as np
import fastrnn

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM"))

budget, T = json.loads(sys.argv[1])
net = fastrnn.LSTM(4, 128, seed=0)
x, dy = np.ones((T, 16, 4), np.float32), np.ones((T, 16, 128), np.float32)
small = net.forward(x[:8], max_workspace=None)[2]
net.backward(small, dy[:8])
before = peak()
y, _, tape = net.forward(x, max_workspace=budget)
segments = tape.segments
net.backward(tape, dy)
print(json.dumps([peak() - before, y.nbytes, x.nbytes, segments]))
"""


@pytest.mark.skipif(
    not os.path.exists("/proc/self/status"), reason="reads its largest size where Linux shows it"
)
def test_memory_is_bounded(fast_target):
    """By the budget, y, dx, and the scratch of a step, which does not grow with T."""

    def measured(budget, T):
        environment = {**os.environ, "FASTRNN_ISA": fast_target, "FASTRNN_NUM_THREADS": "1"}
        script = [sys.executable, "-W", "error", "-c", PEAK, json.dumps([budget, T])]
        result = subprocess.run(script, env=environment, text=True, capture_output=True, timeout=120)
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    T = 1500
    whole, y, _, one = measured(None, T)
    assert one == 1
    tape = T * 16 * 128 * 4 * 5  # no less than the gates and c of every step
    assert whole > tape
    budget = tape // 6
    bounded, y, dx, several = measured(budget, T)
    assert several > 5
    assert bounded < budget + y + dx + (8 << 20)
    assert bounded < whole / 2
