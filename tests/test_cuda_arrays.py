# SPDX-License-Identifier: MIT
"""Arrays in the memory of a GPU: what they are, and how they come from and go to NumPy and other libraries."""

import gc
import weakref

import fastrnn
import numpy as np
import pytest
from cuda_producers import Dlpack, Interface, give_back, inside, name_of, needs_cuda, take
from fastrnn import cuda
from refusal import refused

pytestmark = needs_cuda


@pytest.fixture(autouse=True)
def no_report(capfd):
    """The emulator has nothing to report: no access out of order, out of bounds or to freed memory."""
    yield
    cuda.synchronize()
    assert "[ptxemu]" not in capfd.readouterr().err


@pytest.fixture
def a():
    return np.arange(24, dtype="float32").reshape(2, 3, 4)


def test_what_an_array_tells(a):
    b = cuda.asarray(a)
    assert (b.shape, b.strides, b.dtype, b.ndim) == (a.shape, a.strides, a.dtype, 3)
    assert (b.size, b.nbytes, b.device) == (24, 96, "cuda:0")
    assert repr(b) == "fastrnn.cuda.Array(shape=(2, 3, 4), dtype=float32, device='cuda:0')"
    assert type(b) is cuda.Array
    assert weakref.ref(b)() is b


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int32", "int64", "uint8", "bool"])
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (5,), (2, 3)])
def test_there_and_back(dtype, shape):
    a = np.random.default_rng(1).integers(0, 2, shape).astype(dtype)
    b = cuda.asarray(a)
    back = b.numpy()
    assert back.dtype == a.dtype
    np.testing.assert_array_equal(back, a)
    assert back.flags.writeable
    for other in (Dlpack(b), Dlpack(b, versions=False), Interface(b)):
        again = cuda.asarray(other)
        assert (again.dtype, again.shape) == (b.dtype, b.shape)
        np.testing.assert_array_equal(again.numpy(), a)


def test_numpy_gets_copies(a):
    b = cuda.asarray(a)
    a[:] = 0
    assert np.asarray(b).sum() == 276
    assert np.asarray(b, "float64").dtype == np.float64
    b.numpy()[:] = 0
    assert b.numpy().sum() == 276
    refused(ValueError, ["copy", "False"], b.__array__, copy=False)


def test_a_copy_of_any_strides(a):
    np.testing.assert_array_equal(
        cuda.asarray(a.transpose(2, 0, 1)[::-1]).numpy(), a.transpose(2, 0, 1)[::-1]
    )


@pytest.mark.parametrize("bad", [np.zeros(2, "complex64"), np.zeros(2, ">f4"), np.array(["a"])])
def test_types_that_there_are_not(bad):
    refused(TypeError, [bad.dtype], cuda.asarray, bad)


def test_what_is_no_array():
    refused(TypeError, ["list", "NumPy"], cuda.asarray, [1.0])
    refused(ValueError, ["cpu", "cuda:N"], cuda.asarray, np.zeros(2), "cpu")
    refused(
        ValueError,
        ["cuda:3", "cuda:0"],
        cuda.asarray,
        Dlpack(cuda.asarray(np.zeros(2)), device=(2, 3)),
        "cuda:0",
    )


def test_a_device_that_there_is_not():
    with pytest.raises(cuda.DeviceError, match="device 99"):
        cuda.asarray(np.zeros(2), "cuda:99")
    assert cuda.asarray(np.ones(2)).numpy().sum() == 2


# ---------------------------------------------------------------- DLPack


@pytest.mark.parametrize(
    ("version", "name"), [(None, "dltensor"), ((0, 8), "dltensor"), ((1, 0), "dltensor_versioned")]
)
def test_what_a_capsule_holds(a, version, name):
    b = cuda.asarray(a)
    assert b.__dlpack_device__() == (2, 0)
    capsule = b.__dlpack__(stream=1, max_version=version)
    assert name_of(capsule) == name
    managed = inside(capsule)
    tensor = managed.tensor
    assert tensor.data + tensor.byte_offset == b.__cuda_array_interface__["data"][0]
    assert (tensor.device_type, tensor.device_id, tensor.ndim) == (2, 0, 3)
    assert (tensor.code, tensor.bits, tensor.lanes) == (2, 32, 1)
    assert (tensor.shape[:3], tensor.strides[:3]) == ([2, 3, 4], [12, 4, 1])
    if version == (1, 0):
        assert (managed.major, managed.minor, managed.flags) == (1, 0, 0)


@pytest.mark.parametrize(
    ("dtype", "code", "bits"), [("int64", 0, 64), ("uint8", 1, 8), ("float64", 2, 64), ("bool", 6, 8)]
)
def test_type_codes(dtype, code, bits):
    tensor = inside(cuda.asarray(np.zeros(3, dtype)).__dlpack__()).tensor
    assert (tensor.code, tensor.bits, tensor.lanes) == (code, bits, 1)


@pytest.mark.parametrize("versions", [True, False])
def test_a_capsule_is_taken_once(a, versions):
    b = cuda.asarray(a)
    producer = Dlpack(b, versions=versions)
    capsules = []
    original = producer.__class__.__dlpack__

    class Once(Dlpack):
        def __dlpack__(self, **more):
            capsules.append(capsules[0] if capsules else original(self, **more))
            return capsules[0]

    once = Once(b, versions=True)
    c = cuda.asarray(once)
    assert name_of(capsules[0]).startswith("used_dltensor")
    np.testing.assert_array_equal(c.numpy(), a)
    with pytest.raises(ValueError, match="PyCapsule_GetPointer"):
        cuda.asarray(once)


@pytest.mark.parametrize("version", [None, (1, 0)])
def test_a_consumer_keeps_the_memory(a, version):
    b = cuda.asarray(a)
    managed = take(b.__dlpack__(stream=1, max_version=version))
    del b
    gc.collect()
    cuda.asarray(np.full((2, 3, 4), 7, "float32"))  # would lie where the other one did
    seen = Interface(cuda.asarray(a))
    seen.__cuda_array_interface__["data"] = managed.tensor.data, True
    np.testing.assert_array_equal(cuda.asarray(seen).numpy(), a)
    give_back(managed)


def test_a_copy_by_dlpack(a):
    b = cuda.asarray(a)
    capsule = b.__dlpack__(max_version=(1, 0), copy=True)
    assert inside(capsule).flags == 2
    assert inside(capsule).tensor.data != b._address


def test_what_dlpack_refuses(a):
    b = cuda.asarray(a)
    refused(ValueError, ["stream", 0], b.__dlpack__, stream=0)
    refused(BufferError, ["cuda:0", "numpy"], b.__dlpack__, dl_device=(1, 0))
    fixed = cuda.asarray(Interface(b, data=(b._address, True)))
    refused(BufferError, ["written"], fixed.__dlpack__)
    capsule = fixed.__dlpack__(max_version=(1, 0))
    assert inside(capsule).flags == 1
    assert cuda.asarray(Dlpack(fixed))._readonly


def test_an_error_of_the_producer_is_told():
    class Refusing(Dlpack):
        def __dlpack__(self, **more):
            raise BufferError("requires grad")

    with pytest.raises(BufferError, match="requires grad"):
        cuda.asarray(Refusing(cuda.asarray(np.zeros(3))))


def test_wrapped_owners_live_as_long_as_they_are_needed(a):
    for kind in (Dlpack, Interface):
        producer = kind(cuda.asarray(a))
        memory = weakref.ref(producer if kind is Interface else producer.array)
        b = cuda.asarray(producer)
        del producer
        gc.collect()
        if kind is Interface:
            assert memory() is not None
        np.testing.assert_array_equal(b.numpy(), a)
        del b
        cuda.synchronize()
        gc.collect()
        assert memory() is None


# ---------------------------------------------------------------- __cuda_array_interface__


def test_what_the_interface_tells(a):
    b = cuda.asarray(a)
    told = b.__cuda_array_interface__
    assert {key: told[key] for key in ("version", "shape", "typestr", "strides")} == {
        "version": 3, "shape": (2, 3, 4), "typestr": "<f4", "strides": None,
    }  # fmt: skip
    assert told["data"] == (b._address, False)
    assert told["stream"] > 2


def test_strides_of_others(a):
    b = cuda.asarray(a)
    turned = cuda.asarray(Interface(b, strides=(16, 48, 4), shape=(3, 2, 4)))
    assert turned.strides == (16, 48, 4)
    np.testing.assert_array_equal(turned.numpy(), a.transpose(1, 0, 2))
    assert cuda.asarray(Dlpack(turned)).strides == (16, 48, 4)
    assert turned.__cuda_array_interface__["strides"] == (16, 48, 4)
    back = Interface(b, strides=(-48, 16, 4), data=(b._address + 48, False))
    np.testing.assert_array_equal(cuda.asarray(back).numpy(), a[::-1])


def test_what_the_interface_refuses(a):
    b = cuda.asarray(a)
    refused(ValueError, ["stream", 0, 1, 2], cuda.asarray, Interface(b, stream=0))
    refused(TypeError, ["mask"], cuda.asarray, Interface(b, mask=b))
    refused(TypeError, ["complex64"], cuda.asarray, Interface(b, typestr="<c8"))
    refused(ValueError, ["a", "memory"], cuda.asarray, Interface(b, data=(a.ctypes.data, False)))


def test_nets_are_copied_and_pickled_as_before():
    import copy
    import pickle

    net = fastrnn.GRU(3, 4, device="cuda", seed=1)
    x = cuda.asarray(np.ones((2, 1, 3), "float32"))
    y = net(x)[0].numpy()
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        np.testing.assert_array_equal(other(x)[0].numpy(), y)
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(x)
