// SPDX-License-Identifier: MIT
// THE file compiled once per arithmetic, with -DFR_ARITHMETIC=f32, tf32, bf16, f16 or f64: every cell of cells.def.
#define FR_STRING2(s) #s
#define FR_STRING(s) FR_STRING2(s)
#define FR_JOIN2(a, b) a##b
#define FR_JOIN(a, b) FR_JOIN2(a, b)
#define FR_ISA FR_JOIN(cuda_, FR_ARITHMETIC)
#include "backward.cuh"
#include "cells/cells.h"
#include "explain.h"
#include "read_tape.cuh"
#include "target.h"

FR_NAMESPACE_BEGIN
namespace {
using f32 = Float32;
using f64 = Float64;
using tf32 = Tf32;
using bf16 = Bf16;
using f16 = F16;
using Arithmetic = FR_ARITHMETIC;
using Real = Arithmetic::Real;

template <class Cell, class Math>
struct Entry {
  static_assert(Cell::kState <= kMaxState, "raise kMaxState in api.h");
  using P = Plan<Cell, Math>;
  static cudaStream_t on(Stream stream) { return static_cast<cudaStream_t>(stream); }

  static Index packed_size(Dims d) { return Packed<Cell, Math>(d, P::persistent_packed_size(d), nullptr).carve.used; }
  static Index tape_size(Dims d) { return Tape<Cell, Math>(d, nullptr).carve.used; }
  static Status pack(Dims d, const Weights<const Real>& weights, Real* packed, Stream stream) {
    return pack_weights(d, weights, Packed<Cell, Math>(d, P::persistent_packed_size(d), packed), on(stream));
  }
  static Status forward(const DeviceForward<Real>& call, Stream stream) {
    if (call.args.masks) return kNotSupported;
    return Forward<Cell, Math>::run(call.args, call.host, on(stream));
  }
  static Status backward(const DeviceBackward<Real>& call, Stream stream) {
    if (call.args.masks) return kNotSupported;
    return Backward<Cell, Math>{call.args, call.host, call.packed, on(stream)}.run();
  }
  static Status read_tape(Dims d, Steps steps, Steps, const Real* tape, Real* cells, Real* gates, Stream stream) {
    const Tape<Cell, Arithmetic> at(d, const_cast<Real*>(tape));
    return read_rows<Cell>({d, steps}, at.slots, at.states[Cell::kMemory], at.places, cells, gates, on(stream));
  }

  static constexpr DeviceKernel<Real> kernel(const char* id, const char* name) {
    return {id,
            name,
            Cell::kGates,
            Cell::kState,
            Cell::kUnit,
            Cell::kRecurrent,
            false,
            Math::kDepth,
            packed_size,
            tape_size,
            Forward<Cell, Math>::scratch_size,
            Backward<Cell, Math>::scratch_size,
            explain_plan<Cell, Math>,
            pack,
            forward,
            backward,
            read_tape};
  }
};

#define FR_CELL(name, type) \
  Entry<type, Arithmetic>::kernel(#name "_" FR_STRING(FR_ARITHMETIC) "__cuda", #name),
#define FR_STAGED_CELL(name, type)
constexpr DeviceKernel<Real> kCells[] = {
#include "cells/cells.def"
};
#undef FR_CELL
#undef FR_STAGED_CELL
}  // namespace

DeviceKernels<Real> FR_JOIN(device_kernels_, FR_ARITHMETIC)() {
  return {sizeof kCells / sizeof *kCells, kCells, nullptr};
}
FR_NAMESPACE_END
