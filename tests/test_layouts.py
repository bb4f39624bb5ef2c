# SPDX-License-Identifier: MIT
"""However an array lies in memory, the result has the same bits, and the array is left as it was."""

import numpy as np
import pytest
from layouts import LAYOUTS
from runner import as_state, backward, build, compare_bits, forward, parts
from shapes import make_case


@pytest.fixture(params=list(LAYOUTS))
def layout(request):
    return LAYOUTS[request.param]


def test_of_every_argument(target, dtype, cell, layout):
    case = make_case(cell, 5, 3, 6, 9, seed=1, num_layers=2, bidirectional=True, lengths=True, reset=True)
    net = build(case, target, dtype)
    want = backward(net, case)
    x, dy = layout(case.x.astype(dtype)), layout(case.dy.astype(dtype))
    state, dstate = (tuple(layout(s.astype(dtype)) for s in group) for group in (case.state, case.dstate))
    masks = {"lengths": layout(case.lengths), "reset": layout(case.reset)}
    given = [x, dy, *state, *dstate, *masks.values()]
    before = [a.copy() for a in given]
    one = len(state) == 1
    y, final, tape = net.forward(x, state[0] if one else state, **masks)
    grads = net.backward(tape, dy, dstate[0] if one else dstate)
    got = {
        "y": y,
        **parts(final),
        "dx": grads.x,
        **parts(grads.state, "dstate"),
        **{"d" + name: value for name, value in grads.params.items()},
    }
    compare_bits(got, want)
    for a, b in zip(given, before):
        np.testing.assert_array_equal(a, b)


def test_of_parameters(target, dtype, cell, layout):
    case = make_case(cell, 4, 3, 5, 9, seed=2)
    net = build(case, target, dtype)
    want = forward(net, case)
    net.flat[:] = 0
    net.load_state_dict({name: layout(value.astype(dtype)) for name, value in case.parameters.items()})
    compare_bits(forward(net, case), want)


def test_a_row_repeated_without_memory(target, dtype, cell):
    case = make_case(cell, 4, 1, 5, 9, seed=3)
    net = build(case, target, dtype)
    x = case.x.astype(dtype)
    want, _ = net(np.repeat(x, 3, axis=1))
    got, _ = net(np.broadcast_to(x, (4, 3, 5)))
    compare_bits({"y": got}, {"y": want})


@pytest.mark.parametrize("given", ["float16", "float32", "float64"])
def test_other_float_types_are_converted_once(target, dtype, cell, given):
    case = make_case(cell, 4, 3, 5, 9, seed=4)
    net = build(case, target, dtype)
    x = case.x.astype(given)
    y, _ = net(x)
    assert y.dtype == dtype
    compare_bits({"y": y}, {"y": net(x.astype(dtype))[0]})


@pytest.mark.parametrize("masked", [False, True])
def test_batch_first(target, dtype, cell, masked):
    case = make_case(cell, 5, 3, 6, 9, seed=5, num_layers=2, bidirectional=True, lengths=masked, reset=masked)
    want = backward(build(case, target, dtype), case)
    net = build(case, target, dtype, batch_first=True)
    x, dy = (np.ascontiguousarray(a.astype(dtype).swapaxes(0, 1)) for a in (case.x, case.dy))
    reset = case.reset.T.copy() if masked else None
    y, final, tape = net.forward(x, as_state(case.state, dtype), lengths=case.lengths, reset=reset)
    grads = net.backward(tape, dy, as_state(case.dstate, dtype))
    assert y.shape == (3, 5, 2 * case.P)
    assert grads.x.shape == x.shape
    got = {
        "y": y.swapaxes(0, 1),
        **parts(final),
        "dx": grads.x.swapaxes(0, 1),
        **parts(grads.state, "dstate"),
        **{"d" + name: value for name, value in grads.params.items()},
    }
    compare_bits(got, want)
    y, final = net(x, as_state(case.state, dtype), lengths=case.lengths, reset=reset)
    compare_bits({"y": y.swapaxes(0, 1), **parts(final)}, {n: want[n] for n in ("y", *parts(final))})


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_unbatched(target, dtype, cell, masked, batch_first):
    case = make_case(cell, 5, 1, 6, 9, seed=6, num_layers=2, bidirectional=True, reset=masked)
    want = backward(build(case, target, dtype), case)
    net = build(case, target, dtype, batch_first=batch_first)
    state, dstate = (as_state([s[:, 0] for s in group], dtype) for group in (case.state, case.dstate))
    reset = case.reset[:, 0] if masked else None
    y, final, tape = net.forward(case.x[:, 0].astype(dtype), state, reset=reset)
    grads = net.backward(tape, case.dy[:, 0].astype(dtype), dstate)
    got = {"y": y, **parts(final), "dx": grads.x, **parts(grads.state, "dstate")}
    for name, value in got.items():
        got[name] = np.expand_dims(value, 1)
        assert got[name].ndim == 3
    got.update({"d" + name: value for name, value in grads.params.items()})
    compare_bits(got, want)
