# SPDX-License-Identifier: MIT
"""Layers on arrays in the memory of their GPU: the bits of the same calls on NumPy arrays, or one clear error."""

import os
import subprocess
import sys

import fastrnn
import numpy as np
import pytest
from cuda_producers import Dlpack, Interface, needs_cuda
from fastrnn import cuda
from refusal import refused

T, B, I, H = 5, 3, 4, 6  # noqa: E741
LAYERS = {"LSTM": fastrnn.LSTM, "GRU": fastrnn.GRU, "RNN": fastrnn.RNN, "IndRNN": fastrnn.IndRNN}


class Pretended:
    """Says that it is on a GPU."""

    def __dlpack_device__(self):
        return 2, 0


def test_a_net_of_the_cpu_says_where_it_is():
    net, on_gpu, x = fastrnn.LSTM(I, H), Pretended(), np.zeros((T, B, I), "float32")
    words = ["memory of a GPU", "CPU", "device='cuda'"]
    refused(TypeError, ["x", *words], net.forward, on_gpu)
    refused(TypeError, ["x", *words], net, on_gpu)
    refused(TypeError, ["x_t", *words], net.step, on_gpu)
    refused(TypeError, ["state h", *words], net.forward, x, (on_gpu, on_gpu))
    _, _, tape = net.forward(x)
    refused(TypeError, ["dy", *words], net.backward, tape, on_gpu)
    refused(TypeError, ["flat", *words], net.backward, tape, flat=on_gpu)
    assert not tape.used


def test_objects_of_other_libraries_that_are_no_arrays_of_a_gpu():
    class OfCpu(Pretended):
        def __dlpack_device__(self):
            return 1, 0

    refused(TypeError, ["x", "OfCpu", "NumPy"], fastrnn.LSTM(I, H), OfCpu())


# ---------------------------------------------------------------- with CUDA


@pytest.fixture(autouse=True)
def no_report(capfd):
    """The emulator has nothing to report."""
    yield
    if cuda.is_available():
        cuda.synchronize()
        assert "[ptxemu]" not in capfd.readouterr().err


def normal(seed, *shape, dtype="float32"):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def on_gpu(value):
    if isinstance(value, tuple):
        return tuple(None if item is None else cuda.asarray(item) for item in value)
    return None if value is None else cuda.asarray(value)


def same(on_device, on_host):
    """Bit for bit, in type and shape; of tuples and None too."""
    if isinstance(on_host, tuple):
        assert len(on_device) == len(on_host)
        for a, b in zip(on_device, on_host):
            same(a, b)
    elif on_host is None:
        assert on_device is None
    else:
        assert type(on_device) is cuda.Array
        assert (on_device.dtype, on_device.shape) == (on_host.dtype, on_host.shape)
        assert on_device.numpy().tobytes() == np.ascontiguousarray(on_host).tobytes()


def same_gradients(g, h):
    for name in ("x", "state", "flat", "constant"):
        same(getattr(g, name), getattr(h, name))
    assert list(g.params) == list(h.params)
    for name, values in h.params.items():
        same(g.params[name], values)
    for name, value in h.stats.to_dict().items():
        np.testing.assert_array_equal(g.stats.to_dict()[name], value)


def states_of(net, seed, unbatched=False):
    shapes = net._state_shapes(B, unbatched)
    found = tuple(normal(seed + k, *shape, dtype=net.dtype) for k, shape in enumerate(shapes))
    return found if len(found) > 1 else found[0]


def both(net, x, state=None, dy=None, dstate=None, backward=None, **options):
    """forward and backward on both kinds of arrays, which must agree; the results of the device."""
    y, after, tape = net.forward(x, state, **options)
    z, z_after, z_tape = net.forward(on_gpu(x), on_gpu(state), **options)
    same(z, y)
    same(z_after, after)
    dy = normal(9, *y.shape, dtype=net.dtype) if dy is None else dy
    g = net.backward(tape, dy, dstate, **backward or {})
    h = net.backward(z_tape, on_gpu(dy), on_gpu(dstate), **backward or {})
    same_gradients(h, g)
    assert z_tape.used
    return z, z_after, h


@needs_cuda
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
@pytest.mark.parametrize("cell", LAYERS)
def test_whole_sequences(cell, dtype):
    net = LAYERS[cell](I, H, num_layers=2, bidirectional=True, dtype=dtype, device="cuda", seed=1)
    x = normal(1, T, B, I, dtype=net.dtype)
    both(net, x, states_of(net, 2), dstate=states_of(net, 4), lengths=[2, 5, 0])
    same(net(on_gpu(x)), net(x))


@needs_cuda
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_layouts(cell, batch_first):
    net = LAYERS[cell](I, H, batch_first=batch_first, learn_state=True, device="cuda", seed=1)
    shape = (B, T) if batch_first else (T, B)
    both(net, normal(1, *shape, I), reset=normal(3, *shape) > 0.5, lengths=[1, 5, 3])
    both(net, normal(1, T, I), states_of(net, 2, True), dstate=states_of(net, 5, True))
    for empty in ((0, B), (T, 0), (0, 0)):
        both(net, np.zeros((*empty, I), "float32"))


@needs_cuda
@pytest.mark.parametrize("batch_first", [False, True])
def test_options(batch_first):
    net = fastrnn.LSTM(
        I, H, num_layers=2, dropout=0.3, input_dropout=0.4, batch_first=batch_first, device="cuda", seed=1
    )
    shape = (B, T) if batch_first else (T, B)
    both(net, normal(1, *shape, I), dropout_seed=5, constant=None)
    plain = fastrnn.LSTM(I, H, batch_first=batch_first, device="cuda", seed=1)
    x, constant = normal(1, *shape, I), normal(2, B, 4 * H)
    for steps in (None, 2):
        on_host = plain.forward(x, constant=constant, constant_steps=steps)
        on_device = plain.forward(on_gpu(x), constant=on_gpu(constant), constant_steps=steps)
        same(on_device[:2], on_host[:2])
        same_gradients(plain.backward(on_device[2]), plain.backward(on_host[2]))


@needs_cuda
def test_masks_of_inputs_do_not_depend_on_the_layout():
    nets = [fastrnn.GRU(I, H, input_dropout=0.5, batch_first=b, device="cuda", seed=3) for b in (False, True)]
    x, dy = normal(1, T, B, I), normal(2, T, B, H)
    found = []
    for net, turn in zip(nets, (np.asarray, lambda a: np.ascontiguousarray(a.swapaxes(0, 1)))):
        for kind in (np.asarray, on_gpu):
            y, _, tape = net.forward(kind(turn(x)), dropout_seed=4)
            g = net.backward(tape, kind(turn(dy)))
            found.append([turn(np.asarray(a)) for a in (y, g.x)] + [np.asarray(g.flat)])
    for others in found[1:]:
        for a, b in zip(found[0], others):
            np.testing.assert_array_equal(a, b)


@needs_cuda
def test_masks_are_drawn_as_for_numpy_arrays():
    x = normal(1, T, B, I)
    first, second = (fastrnn.GRU(I, H, num_layers=2, dropout=0.5, device="cuda", seed=3) for _ in range(2))
    for _ in range(2):
        same(second.forward(on_gpu(x))[0], first.forward(x)[0])


@needs_cuda
@pytest.mark.parametrize("batch_first", [False, True])
def test_internals(batch_first):
    net = fastrnn.LSTM(I, H, num_layers=2, batch_first=batch_first, device="cuda", seed=1)
    for x in (normal(1, T, B, I), normal(1, T, I)):
        want = net.forward(x, return_cells=True, return_gates=True)[3]
        got = net.forward(on_gpu(x), return_cells=True, return_gates=True, training=False)[3]
        same((got.cells, got.gates), (want.cells, want.gates))


@needs_cuda
def test_limits_and_measurements():
    net = fastrnn.LSTM(I, H, num_layers=2, bidirectional=True, device="cuda", seed=1)
    clip = fastrnn.Clip(norm=0.1, value=0.05, step_value=0.1, step_norm=0.5)
    _, _, g = both(
        net,
        normal(1, T, B, I),
        dy=normal(2, T, B, 2 * H),
        lengths=[5, 2, 0],
        backward={"clip": clip, "trace": True},
    )
    assert 0 < g.stats.scale < 1
    assert g.stats.dh.shape == (2, 2, T)
    assert "clamped" in repr(g.stats)


@needs_cuda
def test_what_is_not_wanted_and_what_is_none():
    net = fastrnn.LSTM(I, H, device="cuda", seed=1)
    x = normal(1, T, B, I)
    both(net, x, dstate=(states_of(net, 3)[0], None), backward={"x_gradient": False})
    tapes = [net.forward(values)[2] for values in (on_gpu(x), x)]
    same_gradients(*(net.backward(tape) for tape in tapes))  # all None: arrays are where x was


@needs_cuda
@pytest.mark.parametrize("kind", [Dlpack, Interface, cuda.asarray])
def test_gradients_are_added_to_an_array(kind):
    net = fastrnn.GRU(I, H, device="cuda", seed=1)
    x, dy = normal(1, T, B, I), normal(2, T, B, H)
    host = np.ones_like(net.flat)
    memory = cuda.asarray(host)
    for _ in range(2):
        net.backward(net.forward(x)[2], dy, flat=host)
        g = net.backward(net.forward(on_gpu(x))[2], on_gpu(dy), flat=kind(memory))
        assert g.flat._address == memory._address
        same(g.params["weight_ih_l0"], host[: 3 * H * I].reshape(3 * H, I))
        cuda.synchronize()
    same(memory, host)


@needs_cuda
@pytest.mark.parametrize("kind", [Dlpack, Interface])
def test_arrays_of_others_are_taken_where_they_are(kind):
    net = fastrnn.LSTM(I, H, device="cuda", seed=1)
    x, state, dy = normal(1, T, B, I), states_of(net, 2), normal(3, T, B, H)
    y, after, tape = net.forward(x, state)
    z, z_after, z_tape = net.forward(kind(on_gpu(x)), tuple(kind(s) for s in on_gpu(state)))
    same((z, *z_after), (y, *after))
    same_gradients(net.backward(z_tape, kind(on_gpu(dy))), net.backward(tape, dy))


@needs_cuda
def test_strides():
    net = fastrnn.LSTM(I, H, device="cuda", seed=1)
    wide = normal(1, B, T + 1, I + 2)
    x = wide.transpose(1, 0, 2)[:T, ::-1, :I]
    memory = on_gpu(wide)
    item, last = 4, 4 * (B - 1) * (T + 1) * (I + 2)
    seen = Interface(
        memory, shape=(T, B, I), strides=((I + 2) * item, -(T + 1) * (I + 2) * item, item),
        data=(memory._address + last, True),
    )  # fmt: skip
    same(net(seen), net(x))
    swapped = Interface(memory, shape=(T, B, I), strides=(item, (T + 1) * (I + 2) * item, (I + 2) * item))
    refused(ValueError, ["x", "strides", "contiguous"], net, swapped)
    off = Interface(memory, shape=(T, B, I), data=(memory._address + 2, True))
    refused(ValueError, ["x", "aligned"], net, off)
    h = Interface(on_gpu(normal(2, 1, H, B)), shape=(1, B, H), strides=(H * B * item, item, B * item))
    refused(ValueError, ["state h", "C-contiguous"], net, on_gpu(np.ascontiguousarray(x)), (h, h))
    dropping = fastrnn.LSTM(I, H, input_dropout=0.5, device="cuda", seed=1)
    refused(ValueError, ["x", "input_dropout", "C-contiguous"], dropping.forward, seen)


@needs_cuda
@pytest.mark.parametrize("shape", [(I,), (B, I)])
@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_steps(cell, shape):
    net = LAYERS[cell](I, H, num_layers=2, device="cuda", seed=1)
    state, device_state = None, None
    out, out_state = on_gpu(np.zeros((*shape[:-1], H), "float32")), None
    for t in range(3):
        x = normal(t, *shape)
        y, state = net.step(x, state)
        z, device_state = net.step(on_gpu(x), device_state)
        same((z, device_state), (y, state))
        given = out_state
        w, out_state = net.step(on_gpu(x), out_state, out)
        assert w is out
        assert given is None or out_state is given
        same((out, out_state), (y, state))


@needs_cuda
def test_steps_in_place_refuse():
    net = fastrnn.GRU(I, I, device="cuda", seed=1)
    x, h = on_gpu(normal(1, B, I)), on_gpu(normal(2, 1, B, I))
    refused(ValueError, ["out", "x_t", "share"], net.step, x, h, x)
    fixed = Interface(h, data=(h._address, True))
    refused(ValueError, ["state h", "read-only"], net.step, x, fixed, on_gpu(normal(1, B, I)))
    refused(ValueError, ["out", "shape"], net.step, x, h, on_gpu(normal(1, B, I + 1)))


@needs_cuda
def test_what_is_not_in_one_place():
    net = fastrnn.LSTM(I, H, device="cuda", seed=1)
    x = normal(1, T, B, I)
    device_x, state = on_gpu(x), states_of(net, 2)
    refused(TypeError, ["state h", "NumPy", "x", "fastrnn.cuda.asarray"], net.forward, device_x, state)
    refused(TypeError, ["x", "NumPy", "state h"], net.forward, x, on_gpu(state))
    refused(TypeError, ["state c", "NumPy", "x"], net.forward, device_x, (on_gpu(state[0]), state[1]))
    refused(TypeError, ["state h", "list", "x"], net.forward, device_x, ([1.0], on_gpu(state[1])))
    refused(ValueError, ["x", "cuda:1", "cuda:0"], net.forward, Dlpack(device_x, device=(2, 1)))
    tape, host_tape = net.forward(device_x)[2], net.forward(x)[2]
    dy = normal(2, T, B, H)
    refused(TypeError, ["dy", "NumPy", "x", "fastrnn.cuda.asarray"], net.backward, tape, dy)
    refused(TypeError, ["flat", "NumPy", "x"], net.backward, tape, flat=np.zeros_like(net.flat))
    refused(TypeError, ["dy", "GPU", "x", "NumPy"], net.backward, host_tape, on_gpu(dy))
    refused(
        TypeError,
        ["flat", "NumPy", "dy", "GPU"],
        net.backward,
        tape,
        on_gpu(dy),
        flat=np.zeros_like(net.flat),
    )
    assert not tape.used
    same_gradients(net.backward(tape, on_gpu(dy)), net.backward(host_tape, dy))
    refused(ValueError, ["used"], net.backward, tape, on_gpu(dy))


@needs_cuda
def test_what_does_not_fit():
    net = fastrnn.LSTM(I, H, device="cuda", seed=1)
    x = on_gpu(normal(1, T, B, I))
    h = on_gpu(normal(1, 1, B, H))
    refused(
        TypeError, ["x", "float64", "float32", "converted"], net, on_gpu(normal(1, T, B, I, dtype="float64"))
    )
    refused(ValueError, ["x", "I=3", "I=4"], net, on_gpu(normal(1, T, B, 3)))
    refused(ValueError, ["x", "(2,)"], net, on_gpu(normal(1, 2)))
    refused(ValueError, ["state", "one array", "(h, c)"], net, x, h)
    refused(ValueError, ["state h", "(1, 2, 6)", "(1, 3, 6)"], net, x, (on_gpu(normal(1, 1, 2, H)), h))
    refused(ValueError, ["lengths", "B=3"], net, x, lengths=[1])
    refused(ValueError, ["max_workspace", "NumPy"], net.forward, x, max_workspace=1000)
    refused(ValueError, ["bptt", "NumPy"], net.forward, x, bptt=(2, 2))
    refused(ValueError, ["error_if_nonfinite", "NumPy"], net.forward, x, error_if_nonfinite=True)
    _, _, tape = net.forward(x)
    dy, flat = on_gpu(normal(1, T, B, H)), on_gpu(np.zeros_like(net.flat))
    refused(ValueError, ["error_if_nonfinite"], net.backward, tape, dy, error_if_nonfinite=True)
    refused(ValueError, ["dy", "(3, 6)"], net.backward, tape, on_gpu(normal(1, B, H)))
    refused(
        ValueError,
        ["flat", "read-only"],
        net.backward,
        tape,
        flat=Interface(flat, data=(flat._address, True)),
    )
    refused(TypeError, ["flat", "float64"], net.backward, tape, flat=on_gpu(np.zeros(net.flat.size)))
    assert not tape.used
    both_ways = fastrnn.LSTM(I, H, bidirectional=True, device="cuda")
    refused(ValueError, ["step", "bidirectional"], both_ways.step, on_gpu(normal(1, B, I)))


SHARED_KERNEL = """
import threading
import numpy as np
import os
import subprocess
import sys

import fastrnn

nets = [fastrnn.LSTM(1, 8, dtype="bfloat16", device="cuda", seed=seed) for seed in (0, 1)]
failed = []


def run(net, B, times):
    x = np.ones((1, B, 1), np.float32)
    try:
        want, _ = net(x)
        for _ in range(times):
            assert np.array_equal(net(x)[0], want)
    except Exception as error:
        failed.append(error)


threads = [threading.Thread(target=run, args=given) for given in ((nets[0], 200, 25), (nets[1], 1, 100))]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert not failed, failed
"""


@needs_cuda
def test_threads_share_a_kernel_at_different_batch_sizes():
    """Groups that take many tiles by turns need much shared memory, others little: a state of the kernel in CUDA."""
    environment = {**os.environ, "FASTRNN_CUDA_ENGINE": "persistent", "PTXEMU_RESIDENT": "1"}
    run = subprocess.run(
        [sys.executable, "-c", SHARED_KERNEL], capture_output=True, text=True, env=environment
    )
    assert run.returncode == 0, run.stderr


@needs_cuda
def test_a_state_of_which_a_part_is_missing_is_refused():
    net = fastrnn.LSTM(3, 4, device="cuda", learn_state=True)
    x, h = cuda.asarray(np.zeros((2, 1, 3), np.float32)), cuda.asarray(np.zeros((1, 1, 4), np.float32))
    for state in ((None, h), (h, None)):
        with pytest.raises(TypeError, match="is None, but the other one is given"):
            net.forward(x, state)
