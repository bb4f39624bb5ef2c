# SPDX-License-Identifier: MIT
"""The layers as objects: parameters, state_dict, step, tapes."""

import copy
import pickle

import fastrnn
import numpy as np
import oracle
import pytest
from fastrnn import _core
from runner import CLASSES, as_state, build, compare_bits, forward, parts
from shapes import make_case, parameter_shapes


def make(cell, *sizes, **options):
    return CLASSES[cell](*sizes, **options)


def widths(cell, H):
    """Of h, which is that of y, and of c if there is one."""
    facts = oracle.CELLS[cell]
    return [facts.width(q, H) for q in range(facts.states)]


def test_every_cell_has_a_layer_and_an_oracle():
    facts = {name: (cell.gates, cell.states, cell.units) for name, cell in oracle.CELLS.items()}
    compiled = {name: (c["gates"], c["states"], c["unit_parameters"]) for name, c in _core.cells().items()}
    assert facts == compiled
    assert facts.keys() == CLASSES.keys()


@pytest.mark.parametrize(
    "how", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))], ids=["copy", "pickle"]
)
def test_copies(target, dtype, cell, how):
    case = make_case(cell, 4, 3, 5, 9, seed=1, num_layers=2, bidirectional=True)
    net = build(case, target, dtype, batch_first=True)
    twin = how(net)
    assert repr(twin) == repr(net)
    assert not np.shares_memory(twin.flat, net.flat)
    x = case.x.astype(dtype)
    compare_bits({"y": twin(x)[0]}, {"y": net(x)[0]})
    twin.flat[:] = 0
    assert net.flat.any()


def test_attributes(target, dtype, cell):
    net = make(cell, 3, 5, 2, bias=False, batch_first=True, bidirectional=True, dtype=dtype)
    assert net.cell == cell
    assert (net.input_size, net.hidden_size, net.num_layers, net.num_directions) == (3, 5, 2, 2)
    assert (net.bias, net.batch_first, net.bidirectional) == (False, True, True)
    assert net.dtype == np.dtype(dtype)
    assert isinstance(net.dtype, np.dtype)
    assert net.isa == target
    assert "5" in repr(net)


def test_defaults(cell):
    net = make(cell, 3, 5)
    assert (net.num_layers, net.num_directions, net.bias, net.batch_first) == (1, 1, True, False)
    assert net.dtype == np.float32
    assert net.isa == fastrnn.active()
    assert make("rnn_tanh", 3, 5).cell == fastrnn.RNN(3, 5).cell == "rnn_tanh"


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("num_layers", [1, 3])
def test_names_and_shapes_of_parameters(cell, num_layers, bidirectional, bias):
    options = {"num_layers": num_layers, "bidirectional": bidirectional, "bias": bias}
    net = make(cell, 3, 5, **options)
    want = parameter_shapes(cell, 3, 5, **options)
    assert {name: value.shape for name, value in net.parameters().items()} == want
    assert list(net.parameters()) == list(want)
    assert list(net.state_dict()) == list(want)
    assert net.flat.ndim == 1
    assert net.flat.size == sum(value.size for value in net.parameters().values())
    assert net.flat.dtype == net.dtype
    if num_layers == 1 and not bidirectional:
        assert net.parameters()["weight_ih_l0"].shape == (oracle.CELLS[cell].gates * 5, 3)


def test_parameters_are_views_of_flat(target, dtype, cell):
    net = make(cell, 3, 5, 2, bidirectional=True, dtype=dtype)
    net.flat[:] = np.arange(net.flat.size)
    values = np.concatenate([value.ravel() for value in net.parameters().values()])
    np.testing.assert_array_equal(np.sort(values), np.arange(net.flat.size))
    for value in net.parameters().values():
        assert np.shares_memory(value, net.flat)
        assert value.flags.writeable
        assert value.flags.c_contiguous
        value[...] = 7
    assert (net.flat == 7).all()


def test_a_written_parameter_is_used_by_the_next_call(target, dtype, cell):
    """What is kept packed inside follows the parameters, written through a view, through flat, or loaded."""
    case = make_case(cell, 4, 3, 5, 9, seed=1, num_layers=2)
    net = build(case, target, dtype)
    want = forward(net, case)
    state, x0 = as_state(case.state, dtype), case.x[0].astype(dtype)
    first, _ = net.step(x0, state)
    kept = net.flat.copy()
    for name, value in net.parameters().items():
        value[...] *= -1
        assert not np.array_equal(forward(net, case)["y"], want["y"]), f"{name} was written and not used"
        assert not np.array_equal(net.step(x0, state)[0], first), f"{name} was written and not used by step"
        value[...] *= -1
    net.flat[:] = 0
    net.flat[:] = kept
    compare_bits(forward(net, case), want)
    compare_bits({"y": net.step(x0, state)[0]}, {"y": first})
    assert not np.array_equal(
        forward(build(make_case(cell, 4, 3, 5, 9, seed=2, num_layers=2), target, dtype), case)["y"], want["y"]
    )


def test_state_dict_is_a_copy_and_loads_back(target, dtype, cell):
    net = make(cell, 3, 5, 2, bidirectional=True, dtype=dtype, seed=1)
    other = make(cell, 3, 5, 2, bidirectional=True, dtype=dtype, seed=2)
    kept = net.state_dict()
    assert not any(np.shares_memory(value, net.flat) for value in kept.values())
    other.load_state_dict(kept)
    np.testing.assert_array_equal(other.flat, net.flat)
    other.flat[:] = 0
    assert all(value.any() for name, value in kept.items() if not name.startswith("norm_cell_bias"))
    other.load_state_dict(dict(reversed(kept.items())))
    np.testing.assert_array_equal(other.flat, net.flat)


def test_state_dict_of_another_float_type_is_converted(cell):
    wide, narrow = make(cell, 3, 5, dtype="float64", seed=1), make(cell, 3, 5, dtype="float32", seed=2)
    narrow.load_state_dict(wide.state_dict())
    np.testing.assert_array_equal(narrow.flat, wide.flat.astype(np.float32))


def test_start_values(dtype, cell):
    net = make(cell, 30, 16, 2, dtype=dtype, seed=3)
    np.testing.assert_array_equal(net.flat, make(cell, 30, 16, 2, dtype=dtype, seed=3).flat)
    assert not np.array_equal(net.flat, make(cell, 30, 16, 2, dtype=dtype, seed=4).flat)
    assert not np.array_equal(make(cell, 30, 16).flat, make(cell, 30, 16).flat)
    bound = 16**-0.5
    for name, value in net.parameters().items():
        if name.startswith("norm_"):
            assert (value == (0 if "_bias_" in name else 1)).all(), name
            continue
        assert np.abs(value).max() <= bound, name
        assert np.abs(value).max() > 0.8 * bound, name
        assert abs(value.mean()) < 4 * bound / (3 * value.size) ** 0.5, name


@pytest.mark.parametrize("bidirectional", [True, False])
def test_shapes_of_results(target, dtype, cell, bidirectional):
    D = 1 + bidirectional
    net = make(cell, 3, 5, 2, bidirectional=bidirectional, dtype=dtype)
    each = widths(cell, 5)
    y, state = net(np.zeros((4, 6, 3), dtype))
    assert net.output_size == D * each[0]
    assert (y.shape, y.dtype) == ((4, 6, D * each[0]), net.dtype)
    assert isinstance(state, tuple) == (oracle.CELLS[cell].states == 2)
    assert [(s.shape, s.dtype) for s in parts(state).values()] == [((2 * D, 6, n), net.dtype) for n in each]
    y, state, tape = net.forward(np.zeros((4, 3), dtype))
    assert y.shape == (4, D * each[0])
    assert [s.shape for s in parts(state).values()] == [(2 * D, n) for n in each]
    grads = net.backward(tape, np.zeros_like(y))
    assert grads.x.shape == (4, 3)
    assert [s.shape for s in parts(grads.state).values()] == [(2 * D, n) for n in each]
    assert grads.flat.shape == net.flat.shape
    assert {n: g.shape for n, g in grads.params.items()} == {n: p.shape for n, p in net.parameters().items()}
    assert all(np.shares_memory(g, grads.flat) for g in grads.params.values())


def test_no_state_is_the_zero_state(target, dtype, cell):
    case = make_case(cell, 4, 3, 5, 9, seed=5, num_layers=2, bidirectional=True)
    net = build(case, target, dtype)
    case.state = tuple(np.zeros_like(s) for s in case.state)
    y, state = net(case.x.astype(dtype))
    compare_bits({"y": y, **parts(state)}, forward(net, case))


def test_the_caller_s_arrays_are_left_alone(target, dtype, cell):
    case = make_case(cell, 4, 3, 5, 9, seed=6, lengths=True, reset=True)
    net = build(case, target, dtype)
    x, state, dstate = case.x.astype(dtype), as_state(case.state, dtype), as_state(case.dstate, dtype)
    dy = case.dy.astype(dtype)
    given = [x, dy, case.lengths, case.reset, net.flat, *parts(state).values(), *parts(dstate).values()]
    before = [a.copy() for a in given]
    y, final, tape = net.forward(x, state, **case.masks)
    results = [y.copy(), *(s.copy() for s in parts(final).values())]
    net.backward(tape, dy, dstate)
    net.step(x[0], state)
    for a, b in zip(given, before):
        np.testing.assert_array_equal(a, b)
    for a, b in zip([y, *parts(final).values()], results):
        np.testing.assert_array_equal(a, b)
    assert not any(np.shares_memory(a, b) for a in parts(final).values() for b in (*parts(state).values(), y))


def test_the_tape_keeps_what_it_needs(target, dtype, cell):
    """Between forward and backward the caller may overwrite all arrays and run the net."""
    case = make_case(cell, 4, 3, 5, 9, seed=7, num_layers=2, bidirectional=True)
    net = build(case, target, dtype)

    def gradients(spoil):
        x, state = case.x.astype(dtype), as_state(case.state, dtype)
        y, final, tape = net.forward(x, state)
        if spoil:
            net.forward(2 * x, state)
            net(3 * x)
            for array in (x, y, *parts(state).values(), *parts(final).values()):
                array[...] = 99
        grads = net.backward(tape, case.dy.astype(dtype), as_state(case.dstate, dtype))
        return {"x": grads.x, "flat": grads.flat, **parts(grads.state)}

    compare_bits(gradients(spoil=True), gradients(spoil=False))


def test_step_forms(target, dtype, cell):
    net = make(cell, 3, 5, 2, dtype=dtype, seed=8)
    x = np.random.default_rng(9).standard_normal((6, 3)).astype(dtype)
    each = widths(cell, 5)
    y, state = net.step(x)
    assert y.shape == (6, each[0])
    assert [s.shape for s in parts(state).values()] == [(2, 6, n) for n in each]
    want_y, want = net(x[None])
    compare_bits({"y": y, **parts(state)}, {"y": want_y[0], **parts(want)})
    y, state = net.step(x[0])
    assert y.shape == (each[0],)
    assert [s.shape for s in parts(state).values()] == [(2, n) for n in each]
    want_y, want = net(x[None, 0])
    compare_bits({"y": y, **parts(state)}, {"y": want_y[0], **parts(want)})


def test_step_without_out_makes_fresh_arrays(target, cell):
    net = make(cell, 3, 5, seed=8)
    x = np.ones((2, 3), np.float32)
    y, state = net.step(x)
    kept = [y.copy(), *(s.copy() for s in parts(state).values())]
    again, new = net.step(x, state)
    for a, b in zip([y, *parts(state).values()], kept):
        np.testing.assert_array_equal(a, b)
    assert not any(
        np.shares_memory(a, b) for a in (again, *parts(new).values()) for b in (y, *parts(state).values())
    )


def test_step_with_out_and_without_a_state_starts_a_stream(target, dtype, cell):
    net = make(cell, 3, 5, dtype=dtype, seed=8)
    x, y = np.ones((2, 3), dtype), np.zeros((2, net.output_size), dtype)
    want, final = net.step(x)
    got, state = net.step(x, out=y)
    assert got is y
    compare_bits({"y": y, **parts(state)}, {"y": want, **parts(final)})


def test_step_into_out_that_is_a_row_of_a_record(target, dtype, cell):
    """out may be a view of a larger array."""
    net = make(cell, 3, 5, dtype=dtype, seed=8)
    x = np.random.default_rng(9).standard_normal((4, 2, 3)).astype(dtype)
    want, final = net(x)
    record = np.full((4, 2, net.output_size), 99, dtype)
    state = as_state([np.zeros((1, 2, n)) for n in widths(cell, 5)], dtype)
    for t in range(4):
        net.step(x[t], state, out=record[t])
    compare_bits({"y": record, **parts(state)}, {"y": want, **parts(final)})


def test_step_with_out_allocates_nothing(target, cell):
    tracemalloc = pytest.importorskip("tracemalloc", reason="counts what Python and NumPy allocate")
    net = make(cell, 30, 200, seed=8)
    x, y = np.ones((40, 30), np.float32), np.zeros((40, net.output_size), np.float32)
    state = as_state([np.zeros((1, 40, n)) for n in widths(cell, 200)], "float32")
    net.step(x, state, out=y)
    tracemalloc.start()
    try:
        for _ in range(3):
            net.step(x, state, out=y)
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        net.step(x, state, out=y)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < y.nbytes / 8, "an array was allocated"


def test_training_false_saves_nothing(target, cell):
    net = make(cell, 3, 5, seed=8)
    result = net.forward(np.ones((4, 2, 3), np.float32), training=False)
    assert len(result) == 3
    with pytest.raises((ValueError, TypeError)):
        net.backward(result[2], np.ones((4, 2, net.output_size), np.float32))


def test_gradients_are_fresh_each_time(target, cell):
    net = make(cell, 3, 5, seed=8)
    x = np.ones((4, 2, 3), np.float32)
    grads = []
    for _ in range(2):
        y, _, tape = net.forward(x)
        grads.append(net.backward(tape, np.ones_like(y)))
    compare_bits({"flat": grads[1].flat}, {"flat": grads[0].flat})
    assert not np.shares_memory(grads[0].flat, grads[1].flat)
    assert grads[0].flat.any()
