// SPDX-License-Identifier: MIT
// What the objects of target.cpp and reference.cpp offer the others: the kernels of one target.
#pragma once
#include "api.h"
#define FR_DECLARE_TARGET(name)       \
  namespace fastrnn {                 \
  inline namespace name {             \
  Kernels<float> kernels_f32();       \
  Kernels<double> kernels_f64();      \
  Kernels<float> kernels_bf16();      \
  }                                   \
  }
FR_DECLARE_TARGET(avx512)
FR_DECLARE_TARGET(avx512bf16)
FR_DECLARE_TARGET(avx2)
FR_DECLARE_TARGET(neon)
FR_DECLARE_TARGET(portable)
FR_DECLARE_TARGET(reference)
