// SPDX-License-Identifier: MIT
// The target "reference", which the others are tested against: the same cells with scalars in double and naive loops
// (reference_forward.h, reference_backward.h).
#define FR_ISA reference
#include "reference_backward.h"
#include "target.h"
FR_NAMESPACE_BEGIN
namespace {
#define FR_STAGED_CELL FR_CELL
#define FR_CELL(name, type) Reference<type, float>::kernel(#name "_f32__reference", #name),
constexpr Kernel<float> kFloat[] = {
#include "cells/cells.def"
};
#undef FR_CELL
#define FR_CELL(name, type) Reference<type, float>::kernel(#name "_masked_f32__reference", #name),
constexpr Kernel<float> kFloatMasked[] = {
#include "cells/cells.def"
};
#undef FR_CELL
#define FR_CELL(name, type) Reference<type, double>::kernel(#name "_f64__reference", #name),
constexpr Kernel<double> kDouble[] = {
#include "cells/cells.def"
};
#undef FR_CELL
#define FR_CELL(name, type) Reference<type, double>::kernel(#name "_masked_f64__reference", #name),
constexpr Kernel<double> kDoubleMasked[] = {
#include "cells/cells.def"
};
#undef FR_CELL
#undef FR_STAGED_CELL
#define FR_CELL(name, type) Reference<type, float, 8>::kernel(#name "_bf16__reference", #name),
#define FR_STAGED_CELL(name, type)
constexpr Kernel<float> kHalf[] = {
#include "cells/cells.def"
};
#undef FR_CELL
#undef FR_STAGED_CELL
}  // namespace

Kernels<float> kernels_f32() { return {sizeof kFloat / sizeof *kFloat, kFloat, kFloatMasked}; }
Kernels<float> kernels_bf16() { return {sizeof kHalf / sizeof *kHalf, kHalf, nullptr}; }
Kernels<double> kernels_f64() { return {sizeof kDouble / sizeof *kDouble, kDouble, kDoubleMasked}; }
FR_NAMESPACE_END
