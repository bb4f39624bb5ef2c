// SPDX-License-Identifier: MIT
// A kernel of the device as one of the host (csrc/api.h), so that it runs what tests run with any kernel: each call
// copies its arrays to memory of the device, of exactly their size, runs, and copies back. Fences between the rows of the user
// travel with them; packed weights and tapes hold no address, so that their bytes may lie at the host in between.
#pragma once
#include <cuda_runtime_api.h>
#include <memory>
#include <vector>
#include "check.h"
#include "device/api.h"

namespace device {
using fastrnn::BackwardArgs;
using fastrnn::DeviceKernel;
using fastrnn::Dims;
using fastrnn::ForwardArgs;
using fastrnn::Index;
using fastrnn::Kernel;
using fastrnn::kMaxState;
using fastrnn::Rows;
using fastrnn::Status;
using fastrnn::Steps;
using fastrnn::Team;
using fastrnn::Weights;

inline void expect_success(Status status, const char* what) {
  CHECK(status == 0, "%s: status %d, %s", what, status,
        status < fastrnn::kNotSupported ? cudaGetErrorString(static_cast<cudaError_t>(status)) : "not of CUDA");
}

// Copies of arrays of the host that live as long as a call
class Memory {
 public:
  Memory() = default;
  Memory(const Memory&) = delete;
  ~Memory() {
    for (const Block& block : blocks_) cudaFree(block.device);
  }
  template <class T>
  T* in(const T* host, Index n) {
    if (!host) return nullptr;
    void* device = nullptr;
    const size_t bytes = static_cast<size_t>(n > 0 ? n : 0) * sizeof(T);
    expect_success(cudaMalloc(&device, bytes ? bytes : 1), "cudaMalloc");
    expect_success(cudaMemcpy(device, host, bytes, cudaMemcpyHostToDevice), "cudaMemcpy");
    blocks_.push_back({device, nullptr, bytes});
    return static_cast<T*>(device);
  }
  template <class T>
  T* inout(T* host, Index n) {
    T* const device = in<T>(host, n);
    if (host) blocks_.back().host = host;
    return device;
  }
  // The memory that a matrix (steps,B,n) covers
  template <class T>
  Rows<T> rows(const Rows<T>& host, Index steps, Index B, Index n, bool back) {
    const Index size = steps && B && n ? (steps - 1) * host.step + (B - 1) * host.row + n : 0;
    return {back ? inout(const_cast<std::remove_const_t<T>*>(host.p), size) : in<std::remove_const_t<T>>(host.p, size),
            host.step, host.row};
  }
  Steps steps(const Steps& host, Index B) {
    Steps device = host;
    device.first = in(host.first, host.total + 1);
    device.order = in(host.order, B);
    device.lengths = in(host.lengths, B);
    device.reset = in(host.reset, host.total * B);
    return device;
  }
  void copy_back() {
    expect_success(cudaDeviceSynchronize(), "the work of a call");
    for (const Block& block : blocks_)
      if (block.host)
        expect_success(cudaMemcpy(block.host, block.device, block.bytes, cudaMemcpyDeviceToHost), "cudaMemcpy");
  }

 private:
  struct Block {
    void *device, *host;
    size_t bytes;
  };
  std::vector<Block> blocks_;
};

// Kernel<T> holds plain functions, so the kernel that they call stands beside them: one at a time.
template <class T>
struct Adapter {
  inline static const DeviceKernel<T>* kernel = nullptr;

  static Index width(Dims d, int q) { return q ? d.H : d.P; }
  static Weights<T> weights(Memory& memory, Dims d, const Weights<const T>& host, bool back) {
    const Index rows = kernel->gates * d.H;
    const Index sizes[6] = {rows * d.I, rows * d.P, rows, rows, kernel->unit_parameters * d.H, d.P * d.H};
    const T* const from[6] = {host.W_ih, host.W_hh, host.b_ih, host.b_hh, host.unit, host.W_hr};
    T* to[6];
    for (int k = 0; k < 6; ++k)
      to[k] = back ? memory.inout(const_cast<T*>(from[k]), sizes[k]) : memory.in(from[k], sizes[k]);
    return {to[0], to[1], to[2], to[3], to[4], to[5]};
  }
  static Weights<const T> constant(const Weights<T>& w) { return {w.W_ih, w.W_hh, w.b_ih, w.b_hh, w.unit, w.W_hr}; }

  static Index packed_size(Dims d) { return kernel->packed_size(d); }
  static Index tape_size(Dims d) { return kernel->tape_size(d); }
  static Index forward_scratch_size(Dims d, int, bool training) { return kernel->forward_scratch_size(d, training); }
  static Index backward_scratch_size(Dims d, int) { return kernel->backward_scratch_size(d); }

  static void pack(Dims d, const Weights<const T>& w, T* packed, const Team&) {
    Memory memory;
    const Weights<const T> from = constant(weights(memory, d, w, false));
    expect_success(kernel->pack(d, from, memory.inout(packed, packed_size(d)), nullptr), "pack");
    memory.copy_back();
  }

  static void forward(const ForwardArgs<T>& a, const Team&) {
    Memory memory;
    const Dims d = a.dims;
    fastrnn::DeviceForward<T> call{a, a.steps};
    call.args.steps = memory.steps(a.steps, d.B);
    call.args.packed = memory.in(a.packed, packed_size(d));
    call.args.x = memory.rows(a.x, a.steps.total, d.B, d.I, false);
    call.args.y = memory.rows(a.y, a.steps.total, d.B, d.P, true);
    for (int q = 0; q < kMaxState; ++q) {
      call.args.s0[q] = memory.in(a.s0[q], d.B * width(d, q));
      call.args.sT[q] = memory.inout(a.sT[q], d.B * width(d, q));
    }
    call.args.tape = memory.inout(a.tape, tape_size(d));
    call.args.scratch = memory.inout(a.scratch, forward_scratch_size(d, 1, a.tape != nullptr));
    call.args.constant = memory.in(a.constant, d.B * kernel->gates * d.H);
    expect_success(kernel->forward(call, nullptr), "forward");
    memory.copy_back();
  }

  static void backward(const BackwardArgs<T>& a, const Team& team) {
    Memory memory;
    const Dims d = a.dims;
    std::vector<T> packed(static_cast<size_t>(packed_size(d)));
    pack(d, a.weights, packed.data(), team);
    fastrnn::DeviceBackward<T> call{a, a.steps, memory.in(packed.data(), packed_size(d))};
    call.args.steps = memory.steps(a.steps, d.B);
    call.args.weights = constant(weights(memory, d, a.weights, false));
    call.args.x = memory.rows(a.x, a.steps.total, d.B, d.I, false);
    call.args.dy = memory.rows(a.dy, a.steps.total, d.B, d.P, false);
    call.args.dx = memory.rows(a.dx, a.steps.total, d.B, d.I, true);
    for (int q = 0; q < kMaxState; ++q) {
      call.args.dsT[q] = memory.in(a.dsT[q], d.B * width(d, q));
      call.args.ds0[q] = memory.inout(a.ds0[q], d.B * width(d, q));
    }
    call.args.tape = memory.inout(a.tape, tape_size(d));
    call.args.scratch = memory.inout(a.scratch, backward_scratch_size(d, 1));
    call.args.gradients = weights(memory, d, constant(a.gradients), true);
    call.args.sums = memory.inout(a.sums, 1);
    call.args.constant = memory.in(a.constant, d.B * kernel->gates * d.H);
    call.args.d_constant = memory.inout(a.d_constant, d.B * kernel->gates * d.H);
    fastrnn::StepControl<T> control{};
    if (a.control) {
      control = *a.control;
      control.norms = memory.inout(a.control->norms, a.steps.total * d.B);
      call.args.control = &control;
    }
    expect_success(kernel->backward(call, nullptr), "backward");
    memory.copy_back();
  }

  static void read_tape(Dims d, Steps steps, const T* tape, T* cells, T* gates) {
    Memory memory;
    T* const to_cells = memory.inout(cells, d.T * d.B * d.H);
    T* const to_gates = memory.inout(gates, d.T * d.B * kernel->gates * d.H);
    expect_success(kernel->read_tape(d, memory.steps(steps, d.B), steps, memory.in(tape, tape_size(d)), to_cells,
                                     to_gates, nullptr),
                   "read_tape");
    memory.copy_back();
  }

  static Kernel<T> adapt(const DeviceKernel<T>& of) {
    kernel = &of;
    return {of.id,   of.cell,         of.gates,    of.states, of.unit_parameters,   of.recurrent,          of.projects,
            false,   of.row_multiple, packed_size, tape_size, forward_scratch_size, backward_scratch_size, pack,
            forward, backward,        read_tape};
  }
};
}  // namespace device
