// SPDX-License-Identifier: MIT
// What the objects of one arithmetic offer the library: its kernels. Each lives in an inline namespace of its own, so
// that no two objects share a symbol.
#pragma once
#include "device/api.h"
namespace fastrnn {

// Of an object of its own: cells of several phases a step, and all cells of cells.def for calls with StateMasks
template <class T>
struct StagedKernels {
  int count;
  const DeviceKernel<T>* cells;
  const DeviceKernel<T>* masked;  // in the order of cells.def, where cells of one phase come first
};

}  // namespace fastrnn
#define FR_DECLARE_ARITHMETIC(name, Real)   \
  namespace fastrnn {                       \
  inline namespace cuda_##name {            \
  DeviceKernels<Real> device_kernels_##name(); \
  }                                         \
  }
FR_DECLARE_ARITHMETIC(f32, float)
FR_DECLARE_ARITHMETIC(tf32, float)
FR_DECLARE_ARITHMETIC(bf16, float)
FR_DECLARE_ARITHMETIC(f16, float)
FR_DECLARE_ARITHMETIC(f64, double)
#define FR_DECLARE_STAGED(name, Real)          \
  namespace fastrnn {                          \
  inline namespace cuda_staged_##name {        \
  StagedKernels<Real> staged_kernels_##name(); \
  }                                            \
  }
FR_DECLARE_STAGED(f32, float)
FR_DECLARE_STAGED(f64, double)
