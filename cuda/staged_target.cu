// SPDX-License-Identifier: MIT
// Compiled with -DFR_ARITHMETIC=f32 or f64: the cells of several phases a step, and all cells for calls with
// StateMasks.
#define FR_STRING2(s) #s
#define FR_STRING(s) FR_STRING2(s)
#define FR_JOIN2(a, b) a##b
#define FR_JOIN(a, b) FR_JOIN2(a, b)
#define FR_ISA FR_JOIN(cuda_staged_, FR_ARITHMETIC)
#include <stdio.h>
#include "cells/cells.h"
#include "read_tape.cuh"
#include "staged_backward.cuh"
#include "target.h"

FR_NAMESPACE_BEGIN
namespace {
using f32 = Float32;
using f64 = Float64;
using Math = FR_ARITHMETIC;
using Real = Math::Real;

// kMasked: every call has StateMasks, or none has
template <class Cell, bool kMasked>
struct Entry {
  static_assert(Cell::kState <= kMaxState, "raise kMaxState in api.h");
  using Tape = StagedTape<Cell, Real>;
  static cudaStream_t on(Stream stream) { return static_cast<cudaStream_t>(stream); }

  static Index packed_size(Dims d) { return StagedPacked<Cell, Real>(d, nullptr).carve.used; }
  static Index tape_size(Dims d) { return Tape(d, kMasked, nullptr).carve.used; }
  static Index forward_scratch_size(Dims d, bool training) {
    return StagedForward<Cell, Math>::scratch_size(d, kMasked, training);
  }
  static Status explain(Dims, bool, bool, PlanReport* to) {
    *to = {};
    snprintf(to->engine, sizeof to->engine, "phases");
    snprintf(to->why_not, sizeof to->why_not, "%s",
             kMasked ? "noise in the recurrence runs as phases of a step, each a launch"
                     : "a step of this cell has several phases, each a launch");
    return 0;
  }
  static Status pack(Dims d, const Weights<const Real>& weights, Real* packed, Stream stream) {
    return staged_pack<Cell, Math>(d, weights, packed, on(stream));
  }
  static Status forward(const DeviceForward<Real>& call, Stream stream) {
    if (!call.args.masks == kMasked) return kNotSupported;
    return StagedForward<Cell, Math>::run(call.args, call.host, on(stream));
  }
  static Status backward(const DeviceBackward<Real>& call, Stream stream) {
    if (!call.args.masks == kMasked) return kNotSupported;
    return StagedBackward<Cell, Math>{call.args, call.host, call.packed, on(stream)}.run();
  }
  static Status read_tape(Dims d, Steps steps, Steps, const Real* from, Real* cells, Real* gates, Stream stream) {
    const Tape tape(d, kMasked, const_cast<Real*>(from));
    return read_rows<Cell>({d, steps}, tape.slots, tape.states[Cell::kMemory], tape.places, cells, gates, on(stream));
  }

  static constexpr DeviceKernel<Real> kernel(const char* id, const char* name) {
    return {id,
            name,
            Cell::kGates,
            Cell::kState,
            kUnitParameters<Cell>,
            Cell::kRecurrent,
            Cell::kProjected,
            Math::kDepth,
            packed_size,
            tape_size,
            forward_scratch_size,
            StagedBackward<Cell, Math>::scratch_size,
            explain,
            pack,
            forward,
            backward,
            read_tape};
  }
};

#define FR_KERNEL(name, type, kind, masked) \
  Entry<type, masked>::kernel(#name kind "_" FR_STRING(FR_ARITHMETIC) "__cuda", #name),

#define FR_CELL(name, type)
#define FR_STAGED_CELL(name, type) FR_KERNEL(name, type, "", false)
constexpr DeviceKernel<Real> kCells[] = {
#include "cells/cells.def"
};
#undef FR_CELL
#undef FR_STAGED_CELL

#define FR_CELL(name, type) FR_KERNEL(name, type, "_masked", true)
#define FR_STAGED_CELL FR_CELL
constexpr DeviceKernel<Real> kMaskedCells[] = {
#include "cells/cells.def"
};
#undef FR_CELL
#undef FR_STAGED_CELL
}  // namespace

StagedKernels<Real> FR_JOIN(staged_kernels_, FR_ARITHMETIC)() {
  return {sizeof kCells / sizeof *kCells, kCells, kMaskedCells};
}
FR_NAMESPACE_END
