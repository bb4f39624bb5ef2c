# SPDX-License-Identifier: MIT
"""In what order calls on arrays of a GPU stand: after what makes their arguments, before what uses their results.

The emulator runs streams late and in random order, and reports what only happens to come in the right one; on a GPU
these tests see wrong numbers at most.
"""

import gc
import os
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import fastrnn
import numpy as np
import pytest
from cuda_producers import Dlpack, Interface, Runtime, give_back, needs_cuda, take
from fastrnn import cuda
from refusal import refused

pytestmark = needs_cuda
EMULATED = "ptxemu" in os.environ.get("LD_LIBRARY_PATH", "")
T, B, I, H = 4, 3, 5, 6  # noqa: E741
ROUNDS = 6


@pytest.fixture(autouse=True)
def no_report(capfd):
    yield
    cuda.synchronize()
    assert "[ptxemu]" not in capfd.readouterr().err


@pytest.fixture(scope="module")
def runtime():
    return Runtime()


@pytest.fixture
def streams(runtime):
    made = [runtime.stream() for _ in range(3)]
    yield made
    cuda.synchronize()
    for stream in made:
        runtime.destroy(stream)


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def nan(*shape):
    """Memory that holds no numbers yet."""
    return cuda.asarray(np.full(shape, np.nan, "float32"))


def make_net(**options):
    return fastrnn.LSTM(I, H, num_layers=2, device="cuda", seed=1, **options)


def by_interface(array, stream, runtime):
    return Interface(array, stream)


def by_dlpack(array, stream, runtime):
    return Dlpack(array, stream, runtime)


@pytest.mark.parametrize("kind", [by_interface, by_dlpack])
def test_calls_wait_for_what_makes_their_arguments(kind, runtime, streams):
    net = make_net()
    for seed in range(ROUNDS):
        x, dy = normal(seed, T, B, I), normal(seed + 9, T, B, H)
        state = normal(seed, 2, B, H), normal(seed + 1, 2, B, H)
        y, after, tape = net.forward(x, state)
        g = net.backward(tape, dy, after)
        arguments = []
        for source, stream in zip((x, dy, *state, *after), (*streams, *streams)):
            memory, made = nan(*source.shape), cuda.asarray(source)
            runtime.copy(memory, made, stream)
            arguments.append((kind(memory, stream, runtime), made))
        x, dy, h, c, dh, dc = (argument for argument, _ in arguments)
        z, _, tape = net.forward(x, (h, c))
        back = net.backward(tape, dy, (dh, dc))
        for a, b in ((z, y), (back.x, g.x), (back.flat, g.flat), (back.state[1], g.state[1])):
            np.testing.assert_array_equal(a.numpy(), b)
        cuda.synchronize()


def test_those_who_read_results_come_after_the_call(runtime, streams):
    net = make_net()
    for seed in range(ROUNDS):
        x = normal(seed, T, B, I)
        y, (h, _) = net(x)
        z, (device_h, _) = net(cuda.asarray(x))
        for a, want, stream in ((z, y, streams[0]), (device_h, h, streams[1])):
            managed = take(a.__dlpack__(stream=stream, max_version=(1, 0)))
            seen, host = nan(*a.shape), np.empty_like(want)
            runtime.copy(seen, a, stream)
            runtime.copy(host, seen, stream)
            runtime.synchronize(stream)
            give_back(managed)
            np.testing.assert_array_equal(host, want)
        told = z.__cuda_array_interface__
        runtime.follow(streams[2], told["stream"])
        runtime.copy(seen := nan(*y.shape), z, streams[2])
        np.testing.assert_array_equal(cuda.asarray(Interface(seen, streams[2])).numpy(), y)


@pytest.mark.parametrize("kind", ["handle", "pytorch", "cupy", "protocol"])
def test_a_stream_of_the_caller(kind, runtime, streams):
    """Nothing but its order makes the input before the call, and the output's copy after it."""
    s = streams[0]
    given = {
        "handle": s,
        "pytorch": type("Stream", (), {"cuda_stream": s}),
        "cupy": type("Stream", (), {"ptr": s}),
        "protocol": type("Stream", (), {"__cuda_stream__": lambda: (0, s)}),
    }[kind]
    net = make_net()
    for seed in range(ROUNDS):
        source = normal(seed, T, B, I)
        y, _, tape = net.forward(source)
        g = net.backward(tape, y)
        x, made, seen, dx = nan(T, B, I), cuda.asarray(source), nan(T, B, H), nan(T, B, I)
        runtime.copy(x, made, s)
        with cuda.stream(given):
            z, _, tape = net.forward(Interface(x))  # tells of no stream
            back = net.backward(tape, z)
            runtime.copy(seen, z, s)
            runtime.copy(dx, back.x, s)
            assert z.__cuda_array_interface__["stream"] == s
        np.testing.assert_array_equal(cuda.asarray(Interface(seen, s)).numpy(), y)
        np.testing.assert_array_equal(cuda.asarray(Interface(dx, s)).numpy(), g.x)
        np.testing.assert_array_equal(z.numpy(), y)
        runtime.synchronize(s)


def test_one_stream_after_another(runtime, streams):
    """Tape, weights, states and an array that gradients are added to go from stream to stream."""
    net = make_net()
    xs = [normal(seed, T, B, I) for seed in range(ROUNDS)]
    host, state, memory, device_state = np.zeros_like(net.flat), None, None, None
    for x in xs:
        y, state, tape = net.forward(x, state)
        net.backward(tape, y, flat=host)
    memory = cuda.asarray(np.zeros_like(net.flat))
    choices = [*streams, None]
    for k, x in enumerate(xs):
        with cuda.stream(choices[k % 4]):
            z, device_state, tape = net.forward(cuda.asarray(x), device_state)
        with cuda.stream(choices[(k + 1) % 4]):
            net.backward(tape, z, flat=memory)
        del tape, z
    np.testing.assert_array_equal(memory.numpy(), host)
    np.testing.assert_array_equal(device_state[0].numpy(), state[0])


def test_parameters_that_change_between_calls(runtime, streams):
    net = make_net()
    x = normal(1, T, B, I)
    device_x, found, wanted = cuda.asarray(x), [], []
    for k in range(ROUNDS):
        net.flat[:] = normal(k, net.flat.size)
        with cuda.stream(streams[k % 3]):
            found.append(net(device_x)[0])
    for k in range(ROUNDS):
        net.flat[:] = normal(k, net.flat.size)
        wanted.append(net(x)[0])
    for a, b in zip(found, wanted):
        np.testing.assert_array_equal(a.numpy(), b)


def test_packed_parameters_serve_several_streams(runtime, streams):
    net, x, found, wanted = make_net(), normal(1, T, B, I), [], []
    device_x = cuda.asarray(x)
    for k in range(ROUNDS):
        net.flat[:] = normal(k, net.flat.size)
        for stream in streams:
            with cuda.stream(stream):
                found.append(net(device_x)[0])
    for k in range(ROUNDS):
        net.flat[:] = normal(k, net.flat.size)
        wanted += [net(x)[0]] * 3
    for a, b in zip(found, wanted):
        np.testing.assert_array_equal(a.numpy(), b)


@pytest.mark.skipif(EMULATED, reason="the emulator has no time in which a call could go on")
def test_calls_do_not_wait(runtime, streams):
    net, x = make_net(), cuda.asarray(normal(1, T, B, I))
    net(x)  # lays the parameters out
    go, gone = threading.Event(), threading.Event()
    hold = runtime.host_function(lambda: (go.wait(60), gone.set()))
    with cuda.stream(streams[0]):
        runtime.launch(hold, streams[0])
        y, _, tape = net.forward(x)
        g = net.backward(tape, y)
        net.step(x._view((B, I)))
    assert not gone.is_set()
    go.set()
    assert g.stats.norm > 0
    assert gone.is_set()


def test_streams_are_chosen_by_thread_and_nest(streams):
    from fastrnn import _core

    with cuda.stream(streams[0]):
        with cuda.stream(None):
            assert _core.set_stream(None) is None
        others = []
        thread = threading.Thread(target=lambda: others.append(_core.set_stream(None)))
        thread.start()
        thread.join()
        assert others == [None]
        with pytest.raises(KeyError), cuda.stream(streams[1]):
            raise KeyError
        assert _core.set_stream(streams[0]) == streams[0]
    assert _core.set_stream(None) is None


@pytest.mark.parametrize("bad", ["s", 1.5, True, -1, object()])
def test_what_is_no_stream(bad):
    with pytest.raises(TypeError, match=r"stream is .* must be the handle"), cuda.stream(bad):
        pass


def test_the_default_stream_has_the_handle_0(runtime):
    net, source = make_net(), normal(1, T, B, I)
    x, made = nan(T, B, I), cuda.asarray(source)
    runtime.copy(x, made, 0)
    with cuda.stream(0):
        y = net(Interface(x))[0]
        assert y.__cuda_array_interface__["stream"] == 1
    np.testing.assert_array_equal(y.numpy(), net(source)[0])


def test_threads_share_a_net(runtime):
    net = make_net()
    sources = [normal(seed, T, B, I) for seed in range(4)]
    wanted = [net(x)[0] for x in sources]
    arrays = [cuda.asarray(x) for x in sources]
    found = [None] * 4

    def work(k):
        y, _, tape = net.forward(arrays[k])
        found[k] = y, net.backward(tape, y).x

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for (y, _), want in zip(found, wanted):
        np.testing.assert_array_equal(y.numpy(), want)


# ---------------------------------------------------------------- who lives how long


def test_a_stream_that_was_destroyed(runtime):
    net, x = make_net(), normal(1, T, B, I)
    device_x, want = cuda.asarray(x), net(x)[0]
    s = runtime.stream()
    with cuda.stream(s):
        y, _, tape = net.forward(device_x)
    runtime.destroy(s)
    np.testing.assert_array_equal(y.numpy(), want)
    with cuda.stream(s):
        if EMULATED:  # CUDA may also take it for another one
            refused(
                cuda.DeviceError,
                ["fastrnn.cuda.stream", "invalid resource handle", "device 0"],
                net,
                device_x,
            )
    refused(ValueError, ["used", "another"], net.backward, tape) if tape.used else net.backward(tape, y)
    np.testing.assert_array_equal(net(device_x)[0].numpy(), want)
    del y, tape, device_x


def test_a_consumer_whose_stream_was_destroyed(runtime):
    s = runtime.stream()
    a = cuda.asarray(normal(1, 100))
    managed = take(a.__dlpack__(stream=s))
    seen = nan(100)
    runtime.copy(seen, a, s)
    runtime.destroy(s)
    del a
    if EMULATED:
        give_back(managed)
    cuda.synchronize()
    np.testing.assert_array_equal(seen.numpy(), normal(1, 100))


@pytest.mark.parametrize("kind", [by_interface, by_dlpack])
def test_producers_may_go_before_the_work_is_done(kind, runtime, streams):
    net = make_net()
    for seed in range(ROUNDS):
        source = normal(seed, T, B, I)
        memory, made = nan(T, B, I), cuda.asarray(source)
        runtime.copy(memory, made, streams[0])
        producer = kind(memory, streams[0], runtime)
        alive = weakref.ref(memory)
        with cuda.stream(streams[1]):
            y = net(producer)[0]
        del producer, memory
        gc.collect()
        np.testing.assert_array_equal(y.numpy(), net(source)[0])
        cuda.synchronize()
        assert alive() is None


def test_results_may_go_before_the_work_is_done(runtime, streams):
    net = make_net()
    for seed in range(ROUNDS):
        source = normal(seed, T, B, I)
        with cuda.stream(streams[seed % 3]):
            y, _, tape = net.forward(cuda.asarray(source))
            g = net.backward(tape, y)
            managed = take(y.__dlpack__(stream=streams[(seed + 1) % 3]))
        del y, tape, g
        seen, host = nan(T, B, H), np.empty((T, B, H), "float32")
        runtime.copy_bytes(seen._address, managed.tensor.data, seen.nbytes, streams[(seed + 1) % 3])
        give_back(managed)  # the copy may not have begun
        runtime.copy(host, seen, streams[(seed + 1) % 3])
        runtime.synchronize(streams[(seed + 1) % 3])
        np.testing.assert_array_equal(host, net(source)[0])


def test_a_producer_may_write_to_its_array_after_the_call(runtime, streams):
    """The stream that __cuda_array_interface__ tells of waits for the call."""
    net = make_net()
    for seed in range(ROUNDS):
        source, other = normal(seed, T, B, I), cuda.asarray(normal(seed + 1, T, B, I))
        x, made = nan(T, B, I), cuda.asarray(source)
        runtime.copy(x, made, streams[0])
        y = net(Interface(x, streams[0]))[0]
        runtime.copy(x, other, streams[0])
        np.testing.assert_array_equal(y.numpy(), net(source)[0])
        runtime.synchronize(streams[0])


LYING = """
import numpy as np
import fastrnn
from cuda_producers import Interface, Runtime
from fastrnn import cuda

runtime = Runtime()
s = runtime.stream()
net = fastrnn.LSTM(5, 6, device="cuda", seed=1)
x, made = (cuda.asarray(np.full((4, 3, 5), v, "float32")) for v in (np.nan, 1))
runtime.copy(x, made, s)
y = net(Interface(x))[0]  # tells of no stream, though one has yet to write to it
cuda.synchronize()
"""


@pytest.mark.skipif(not EMULATED, reason="only the emulator sees what happened to be in order")
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_these_tests_would_see_a_missing_wait(seed):
    run = subprocess.run(
        [sys.executable, "-c", LYING], cwd=Path(__file__).parent, capture_output=True, text=True,
        env={**os.environ, "PTXEMU_SEED": str(seed), "PTXEMU_ABORT": "0"},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "[ptxemu]" in run.stderr
    assert "another stream" in run.stderr
