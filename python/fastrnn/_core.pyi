# SPDX-License-Identifier: MIT
from typing import Any

import numpy as np
import numpy.typing as npt

_Array = npt.NDArray[Any]

compiler: str

def cells() -> dict[str, dict[str, int]]: ...
def available() -> list[str]: ...

least_work_of_threads: float

def targets() -> dict[str, bool]: ...
def has_bfloat16() -> bool: ...
def find_target(isa: str) -> str: ...
def get_num_threads() -> int: ...
def set_num_threads(n: int) -> None: ...
def force_split(split: str | None) -> None: ...
def release_memory() -> None: ...
def empty(shape: tuple[int, ...], wide: bool) -> _Array: ...
def adam(
    param: _Array,
    grad: _Array,
    m: _Array,
    v: _Array,
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
    scale: float,
) -> None: ...
def sgd(
    param: _Array,
    grad: _Array,
    momentum_buffer: _Array | None,
    first: bool,
    lr: float,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
    scale: float,
) -> None: ...
def rmsprop(
    param: _Array,
    grad: _Array,
    square_avg: _Array,
    grad_avg: _Array | None,
    momentum_buffer: _Array | None,
    lr: float,
    alpha: float,
    eps: float,
    weight_decay: float,
    momentum: float,
    scale: float,
) -> None: ...
def square_sum(array: _Array) -> float: ...
def crf_values(
    z: _Array,
    lengths: npt.NDArray[np.int64],
    tags: npt.NDArray[np.int64] | None,
    start: _Array,
    transition: _Array,
    end: _Array,
    value: npt.NDArray[np.float64],
    dz: _Array | None,
    d_transition: _Array | None,
    scale: float,
) -> None: ...
def crf_viterbi(
    z: _Array,
    lengths: npt.NDArray[np.int64],
    start: _Array,
    transition: _Array,
    end: _Array,
    path: npt.NDArray[np.int64],
    value: npt.NDArray[np.float64],
) -> None: ...
def linear(
    x: _Array, weight: _Array, transposed: bool, bias: _Array | None, tanh: bool, out: _Array
) -> None: ...
def embedding_gather(table: _Array, ids: npt.NDArray[np.int64], out: _Array) -> None: ...
def embedding_scatter_add(dtable: _Array, ids: npt.NDArray[np.int64], dout: _Array) -> None: ...
def decode_tokens(
    parts: dict[str, Any],
    start: npt.NDArray[np.int64],
    end: int,
    max_length: int,
    temperature: float,
    top_k: int,
    top_p: float,
    seed: int,
) -> list[tuple[npt.NDArray[np.int64], float, bool]]: ...
def decode_beam(
    parts: dict[str, Any],
    start: npt.NDArray[np.int64],
    end: int,
    max_length: int,
    width: int,
    best: int,
    alpha: float,
) -> list[list[tuple[npt.NDArray[np.int64], float, bool]]]: ...
def decode_numbers(
    parts: dict[str, Any], start: _Array | None, sigmoid: bool, temperature: float, seed: int, y: _Array
) -> npt.NDArray[np.float64]: ...

class _Tape:
    @property
    def used(self) -> bool: ...
    @property
    def steps(self) -> int: ...
    @property
    def batch(self) -> int: ...
    @property
    def segments(self) -> int: ...
    def output(self, layer: int) -> _Array: ...

class TapeF32(_Tape): ...
class TapeF64(_Tape): ...

class _Network:
    def __init__(
        self,
        cell: str,
        input_size: int,
        hidden_size: int,
        output_size: int,
        directions: list[int],
        biases: int,
        learn_state: bool,
        noise: tuple[float, float, float],
        bfloat16: bool,
        isa: str,
    ) -> None: ...
    @property
    def isa(self) -> str: ...
    @property
    def kernel(self) -> str: ...
    @property
    def flat(self) -> _Array: ...
    def layout(self) -> list[tuple[int, int, str, tuple[int, ...], int]]: ...
    def owns(self, tape: Any) -> bool: ...
    def read_tape(self, tape: Any, cells: _Array | None, gates: _Array | None) -> None: ...
    def explain(self, T: int, B: int, part: int, backward: bool) -> dict[str, Any]: ...
    def forward(
        self,
        x: _Array,
        states: tuple[_Array | None, ...] | None,
        lengths: npt.NDArray[np.int64] | None,
        reset: npt.NDArray[np.uint8] | None,
        y: _Array,
        training: bool,
        workspace: float | None,
        dropout: tuple[float, bool, float, int] | None,
    ) -> tuple[tuple[_Array, ...], Any]: ...
    def backward(
        self,
        tape: Any,
        dy: _Array,
        dstates: tuple[_Array | None, ...] | None,
        dx: _Array | None,
        gradients: _Array,
        fresh: bool,
        step_value: float,
        step_norm: float,
        value: float,
        trace: bool,
        norms: _Array | None,
    ) -> tuple[tuple[_Array, ...], tuple[float, float, float]]: ...
    def step(self, x: Any, state: Any, out: Any) -> tuple[_Array, Any] | None: ...

class Array:
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def strides(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def ndim(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def device(self) -> str: ...
    def numpy(self) -> _Array: ...
    def __array__(self, dtype: Any = None, copy: bool | None = None) -> _Array: ...
    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any: ...
    def __dlpack_device__(self) -> tuple[int, int]: ...
    @property
    def __cuda_array_interface__(self) -> dict[str, Any]: ...
    @property
    def _readonly(self) -> bool: ...
    @property
    def _dense(self) -> bool: ...
    @property
    def _address(self) -> int: ...
    def _view(self, shape: tuple[int, ...], first: int = 0) -> Array: ...
    def _expanded(self, axis: int) -> Array: ...
    def _swapped(self, a: int, b: int) -> Array: ...

def import_array(given: Any, device: int) -> Array: ...
def copy_to_device(given: _Array, device: int) -> Array: ...
def set_stream(stream: int | None) -> int | None: ...
def synchronize(device: int) -> None: ...
def device_of(address: int) -> int: ...

class _DeviceTape(_Tape):
    @property
    def of_arrays(self) -> bool: ...

class DeviceTapeF32(_DeviceTape): ...
class DeviceTapeF64(_DeviceTape): ...

class _DeviceNetwork(_Network):
    def __init__(
        self,
        cell: str,
        input_size: int,
        hidden_size: int,
        output_size: int,
        directions: list[int],
        biases: int,
        learn_state: bool,
        noise: tuple[float, float, float],
        arithmetic: str,
        device: int,
    ) -> None: ...
    @property
    def device(self) -> int: ...
    def explain(  # type: ignore[override]
        self, T: int, B: int, part: int, backward: bool, control: bool
    ) -> dict[str, Any]: ...
    def forward_arrays(
        self,
        x: Array,
        states: list[Array | None],
        lengths: npt.NDArray[np.int64] | None,
        reset: npt.NDArray[np.uint8] | None,
        training: bool,
        dropout: tuple[float, bool, float, int] | None,
        constant: tuple[Array, int] | None,
        batch_first: bool,
        out: Array | None,
    ) -> tuple[Array, list[Array], Any]: ...
    def backward_arrays(
        self,
        tape: Any,
        dy: Array | None,
        dstates: list[Array | None],
        x_gradient: bool,
        flat: Array | None,
        step_value: float,
        step_norm: float,
        value: float,
        trace: bool,
        measure: bool,
        batch_first: bool,
    ) -> tuple[Array | None, list[Array], Array, Array, Array | None, Array | None]: ...
    def read_tape_arrays(self, tape: Any, cells: bool, gates: bool) -> tuple[Array | None, Array | None]: ...

class DeviceNetworkF32(_DeviceNetwork): ...
class DeviceNetworkF64(_DeviceNetwork): ...
class DeviceError(RuntimeError): ...

def why_no_device() -> str: ...
def devices() -> list[dict[str, Any]]: ...

class NetworkF32(_Network): ...
class NetworkF64(_Network): ...
