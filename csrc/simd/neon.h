// SPDX-License-Identifier: MIT
// AArch64: 16-byte vectors, 32 registers. 24 sums leave 8 registers for the operands. All but the fused
// multiply-add is what the vector extension compiles to by itself.
#pragma once
#include <arm_neon.h>
#include "../cells/cell.h"
FR_NAMESPACE_BEGIN
constexpr int kVectorBytes = 16, kAccumulators = 24;
FR_NAMESPACE_END
#include "generic.h"
FR_NAMESPACE_BEGIN
FR_FN Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) {
  return (Vec<float>::Native)vfmaq_f32((float32x4_t)c.v, (float32x4_t)a.v, (float32x4_t)b.v);
}
FR_FN Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) {
  return (Vec<double>::Native)vfmaq_f64((float64x2_t)c.v, (float64x2_t)a.v, (float64x2_t)b.v);
}
FR_NAMESPACE_END
