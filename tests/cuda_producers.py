# SPDX-License-Identifier: MIT
"""What tests of arrays on a GPU share: streams by ctypes, producers made by hand, what a capsule of DLPack holds."""

import ctypes

import fastrnn
import numpy as np
import pytest

needs_cuda = pytest.mark.skipif(
    not fastrnn.cuda.is_available(), reason=fastrnn.cuda.why_not() or "CUDA is there"
)


def find_runtime():
    """The runtime library of CUDA: its streams are those of every library of the process."""
    for name in ("libcudart.so.13", "libcudart.so.12", "libcudart.so"):
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    pytest.skip("no libcudart that makes streams")


class Runtime:
    """Streams, and copies on them."""

    def __init__(self):
        self.library = find_runtime()

    def check(self, status):
        assert status == 0, f"CUDA error {status}"

    def stream(self):
        handle = ctypes.c_void_p()
        non_blocking = 1
        self.check(self.library.cudaStreamCreateWithFlags(ctypes.byref(handle), non_blocking))
        return handle.value

    def destroy(self, stream):
        self.check(self.library.cudaStreamDestroy(ctypes.c_void_p(stream)))

    def copy(self, to, source, stream):
        """All bytes of one dense array over another one, of the device or of NumPy, on a stream."""
        self.copy_bytes(address_of(to), address_of(source), source.nbytes, stream)

    def copy_bytes(self, to, source, count, stream):
        """From one address to another one."""
        default = 4  # cudaMemcpyDefault
        to, source, stream = (ctypes.c_void_p(value) for value in (to, source, stream))
        self.check(self.library.cudaMemcpyAsync(to, source, ctypes.c_size_t(count), default, stream))

    @staticmethod
    def host_function(call):
        """A function of Python for `launch`, to be kept until it has run."""
        return ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: call() and None)

    def launch(self, function, stream):
        self.check(self.library.cudaLaunchHostFunc(ctypes.c_void_p(stream), function, None))

    def synchronize(self, stream):
        self.check(self.library.cudaStreamSynchronize(ctypes.c_void_p(stream)))

    def follow(self, stream, earlier):
        event = ctypes.c_void_p()
        self.check(self.library.cudaEventCreate(ctypes.byref(event)))
        self.check(self.library.cudaEventRecord(event, ctypes.c_void_p(earlier)))
        self.check(self.library.cudaStreamWaitEvent(ctypes.c_void_p(stream), event, 0))
        self.check(self.library.cudaEventDestroy(event))


def address_of(a):
    return a.ctypes.data if isinstance(a, np.ndarray) else a._address


class Interface:
    """An array of another library: has nothing but __cuda_array_interface__. stream: on which it was made."""

    def __init__(self, array, stream=None, strides=None, shape=None, **more):
        told = {**array.__cuda_array_interface__, "stream": stream, **more}
        self.array = array
        self.__cuda_array_interface__ = {**told, "strides": strides, "shape": shape or told["shape"]}


class Dlpack:
    """The same with nothing but DLPack, which makes the consumer's stream wait for that on which it was made."""

    def __init__(self, array, stream=None, runtime=None, versions=True, device=None):
        self.array, self.stream, self.runtime, self.versions = array, stream, runtime, versions
        self.device = device or array.__dlpack_device__()
        self.asked = []

    def __dlpack_device__(self):
        return self.device

    def __dlpack__(self, stream=None, **more):
        if more and not self.versions:
            raise TypeError(f"__dlpack__ got unexpected keyword arguments {more}")
        self.asked.append(stream)
        if self.runtime:
            self.runtime.follow(stream, self.stream)
        return self.array.__dlpack__(stream=-1, **more)


class Tensor(ctypes.Structure):
    """DLTensor."""

    _fields_ = (
        ("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32), ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16), ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)), ("byte_offset", ctypes.c_uint64),
    )  # fmt: skip


DELETER = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class Managed(ctypes.Structure):
    """DLManagedTensor."""

    _fields_ = (("tensor", Tensor), ("context", ctypes.c_void_p), ("deleter", DELETER))


class Versioned(ctypes.Structure):
    """DLManagedTensorVersioned."""

    _fields_ = (
        ("major", ctypes.c_uint32), ("minor", ctypes.c_uint32), ("context", ctypes.c_void_p),
        ("deleter", DELETER), ("flags", ctypes.c_uint64), ("tensor", Tensor),
    )  # fmt: skip


def name_of(capsule):
    get = ctypes.pythonapi.PyCapsule_GetName
    get.restype, get.argtypes = ctypes.c_char_p, [ctypes.py_object]
    return get(capsule).decode()


def inside(capsule):
    """What a capsule holds, not taken out of it."""
    name = name_of(capsule).encode()
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    kind = Versioned if b"versioned" in name else Managed
    return kind.from_address(get(capsule, name))


_USED = {
    "dltensor": ctypes.create_string_buffer(b"used_dltensor"),
    "dltensor_versioned": ctypes.create_string_buffer(b"used_dltensor_versioned"),
}


def take(capsule):
    """As a consumer does: it owns what is inside from now on, and must call the deleter."""
    found = inside(capsule)
    rename = ctypes.pythonapi.PyCapsule_SetName
    rename.argtypes = [ctypes.py_object, ctypes.c_char_p]
    rename(capsule, ctypes.cast(_USED[name_of(capsule)], ctypes.c_char_p))
    return found


def give_back(managed):
    managed.deleter(ctypes.addressof(managed))
