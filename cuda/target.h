// SPDX-License-Identifier: MIT
// What the objects of one arithmetic offer the library: its kernels. Each lives in an inline namespace of its own, so
// that no two objects share a symbol.
#pragma once
#include "device/api.h"
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
