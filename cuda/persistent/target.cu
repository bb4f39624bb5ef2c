// SPDX-License-Identifier: MIT
// Compiled once for each arithmetic: FR_PERSISTENT is f32, bf16 or f16.
#include "cells/cells.h"
#include "launch.cuh"
namespace fastrnn {
namespace {
namespace arithmetic {
using f32 = persistent::F32;
using bf16 = persistent::Bf16;
using f16 = persistent::F16;
}  // namespace arithmetic
using Math = arithmetic::FR_PERSISTENT;

constexpr PersistentKernel<Math::Storage> kCells[] = {
#define FR_CELL(name, type) persistent::Persistent<type, Math>::kernel(#name),
#define FR_STAGED_CELL(name, type)
#include "cells/cells.def"
#undef FR_CELL
#undef FR_STAGED_CELL
};
}  // namespace

#define FR_JOIN(a, b) a##b
#define FR_FUNCTION(arithmetic) FR_JOIN(persistent_, arithmetic)
PersistentKernels<Math::Storage> FR_FUNCTION(FR_PERSISTENT)() { return {sizeof kCells / sizeof *kCells, kCells}; }
}  // namespace fastrnn
