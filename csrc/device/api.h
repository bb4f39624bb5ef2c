// SPDX-License-Identifier: MIT
// The plain data between the core and libfastrnn_cuda.so, which is opened on first use: nothing else crosses. The core
// needs neither CUDA's headers nor a driver; the library knows no network, no Python and no file.
//
// Arguments are those of the CPU's kernels (api.h), with every array in the memory of the device: weights, states, rows
// of the user, tape, scratch, and the arrays inside Steps. Structs that they point to (StepControl, StateMasks) are of the
// host. Work is put on a stream and not waited for. Sizes of buffers are counted in elements of T, as there.
#pragma once
#include "../api.h"
namespace fastrnn {

using Stream = void*;  // a cudaStream_t; null: the default stream of the device
using Event = void*;  // a cudaEvent_t
using Status = int;  // a cudaError_t, or one of those below; 0: no error

enum LibraryStatus : Status {
  kNotSupported = 1000000,  // the kernel has no such form; describe() says more
  kDeadlock = 1000001,  // the watchdog of a persistent kernel: a block waited for another one in vain
};

template <class T>
struct DeviceForward {
  ForwardArgs<T> args;
  Steps host;  // args.steps with its arrays in the memory of the host
};

template <class T>
struct DeviceBackward {
  BackwardArgs<T> args;  // sums: 3 doubles of the device; the rows of gradients are cleared by nobody where `fresh`
  Steps host;
  const T* packed;  // of the weights that forward had
};

// Which numbers of rows are multiplied by what (mask.h): dropout of x or of what a layer below gives
struct RowMasks {
  double p;
  uint64_t seed;
  bool of_outputs;  // Masked::kOutputs instead of kInputs
  Index layer;
  bool whole;  // one mask for all steps of a sequence
};

// How a call runs and why not otherwise. Microseconds are of a step of the loop, as the model of the library has them;
// 0: it has no model of that
struct PlanReport {
  char engine[16];  // persistent: all steps in one launch; streaming: one a step; phases: several a step
  char why_not[192];  // why persistent kernels do not run, or what keeps a faster engine from it; empty: nothing does
  double microseconds, other_microseconds;  // other: persistent for streaming and the reverse, where it can run
  char limit[48];  // what most of the microseconds is
  int blocks, groups;  // of a persistent launch: blocks that own the units, groups that divide the batch; else 0
};

// One cell in one arithmetic, like Kernel of api.h. Everything a call needs to choose how it runs follows from its
// dimensions and the device, so that sizes asked for before a call are right for it.
template <class T>
struct DeviceKernel {
  const char* id;  // lstm_f32__cuda
  const char* cell;  // lstm
  int gates, states, unit_parameters;
  bool recurrent, projects;
  int row_multiple;
  Index (*packed_size)(Dims);  // of I, H, P alone
  Index (*tape_size)(Dims);
  Index (*forward_scratch_size)(Dims, bool training);
  Index (*backward_scratch_size)(Dims);
  // control: whether backward clips or measures the gradients of each step
  Status (*explain)(Dims, bool backward, bool control, PlanReport*);
  Status (*pack)(Dims, const Weights<const T>&, T* packed, Stream);
  Status (*forward)(const DeviceForward<T>&, Stream);
  Status (*backward)(const DeviceBackward<T>&, Stream);
  Status (*read_tape)(Dims, Steps, Steps host, const T* tape, T* cells, T* gates, Stream);
};

template <class T>
struct DeviceKernels {
  int count;
  const DeviceKernel<T>* cells;
  const DeviceKernel<T>* masked;  // the same cells, for calls with StateMasks; null of 16 bits
};

// What networks do around their kernels
template <class T>
struct DeviceOperations {
  // Multiplies each number of rows (T,B,n) within `lengths` (B) (null: all) by its mask (mask.h)
  Status (*mask_rows)(Rows<T>, Index T_, Index B, Index n, const Index* lengths, RowMasks, Stream);
  // (parts,n) -> (parts,B,n)
  Status (*broadcast)(const T* from, Index parts, Index B, Index n, T* to, Stream);
  // add_state_gradients (initial_state.h); sums: 3 doubles of the device, written
  Status (*add_states)(const T* dstates, Index parts, Index B, Index n, bool fresh, T value, T* to, double* sums,
                       Stream);
};

// How products multiply; sums, states and all that callers see are T
struct DeviceArithmetics {
  DeviceKernels<float> f32;  // FFMA
  DeviceKernels<float> tf32;  // tensor cores, operands rounded to 11 bits
  DeviceKernels<float> bf16, f16;
  DeviceKernels<double> f64;
};

struct DeviceProperties {
  char name[256];
  int major, minor;  // compute capability
  int multiprocessors;
  size_t memory;  // bytes
};

constexpr int kDeviceLibraryVersion = 4;  // of all structs of this file

// What the library exports, by the function fastrnn_cuda_library. Functions act on the device that the calling thread
// uses.
struct DeviceLibrary {
  int version;  // first: a library of another version is refused before anything else is read
  const char* (*describe)(Status);
  Status (*versions)(int* runtime, int* driver);  // 13000 for CUDA 13.0; driver 0: there is none
  Status (*count)(int* devices);
  Status (*properties)(int device, DeviceProperties*);
  Status (*use)(int device);
  Status (*last_error)();  // of earlier calls of this thread, whoever made them
  Status (*stream)(Stream*);  // of this thread and its device, made once
  Status (*companion)(Stream of, Stream*);  // for work in the order of a caller's stream, which it outlasts; made once
  Status (*follow)(Stream, Stream earlier);  // its work from now on waits for what is on the other stream now
  Status (*synchronize)(Stream);  // waits; what failed on the way, kDeadlock too
  Status (*synchronize_device)();  // all streams of the device, whoever made them
  Status (*record)(Event*, Stream);  // a new event behind what is on the stream now
  Status (*passed)(Event, bool*);  // whether that is done
  Status (*release_event)(Event);
  Status (*device_of)(const void* memory, int* device);  // -1: the memory is of no device
  Status (*allocate)(size_t bytes, void** memory, Stream);
  Status (*release)(void* memory, Stream);
  Status (*copy)(void* to, const void* from, size_t bytes, Stream);  // between host and device, or on either
  Status (*zero)(void* to, size_t bytes, Stream);
  DeviceOperations<float> operations_f32;
  DeviceOperations<double> operations_f64;
  DeviceArithmetics arithmetics;
};

}  // namespace fastrnn
