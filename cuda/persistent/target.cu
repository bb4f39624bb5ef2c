// SPDX-License-Identifier: MIT
// Compiled once for each arithmetic that persistent kernels have, with -DFR_ARITHMETIC=f32, bf16 or f16.
#define FR_JOIN2(a, b) a##b
#define FR_JOIN(a, b) FR_JOIN2(a, b)
#define FR_ISA FR_JOIN(cuda_, FR_ARITHMETIC)
#include "cells/cells.h"
#include "launch.cuh"

FR_NAMESPACE_BEGIN
namespace {
using f32 = float;
using bf16 = __nv_bfloat16;
using f16 = __half;
using Scalar = FR_ARITHMETIC;

constexpr PersistentKernel<Scalar> kCells[] = {
#define FR_CELL(name, type) persistent::Persistent<type, Scalar>::kernel(#name),
#define FR_STAGED_CELL(name, type)
#include "cells/cells.def"
#undef FR_CELL
#undef FR_STAGED_CELL
};
}  // namespace

PersistentKernels<Scalar> FR_JOIN(persistent_kernels_, FR_ARITHMETIC)() {
  return {sizeof kCells / sizeof *kCells, kCells};
}
FR_NAMESPACE_END
