// SPDX-License-Identifier: MIT
// What the objects of one target offer the others: its kernels.
#pragma once
#include "api.h"
#define FR_DECLARE_TARGET(name)       \
  namespace fastrnn {                 \
  inline namespace name {             \
  Kernels<float> kernels_f32();       \
  Kernels<double> kernels_f64();      \
  Kernels<float> kernels_bf16();      \
  const ModelKernels<float>* models_f32();  \
  const ModelKernels<double>* models_f64(); \
  }                                   \
  }
FR_DECLARE_TARGET(avx512)
FR_DECLARE_TARGET(avx512bf16)
FR_DECLARE_TARGET(avx2)
FR_DECLARE_TARGET(neon)
FR_DECLARE_TARGET(portable)
FR_DECLARE_TARGET(reference)
