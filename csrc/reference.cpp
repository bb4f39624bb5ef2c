// SPDX-License-Identifier: MIT
// The target "reference", which the others are tested against: the same cells with scalars in double and naive loops
// (reference_forward.h, reference_backward.h), and what a model needs around them.
#define FR_ISA reference
#include "reference_backward.h"
#include "target.h"
FR_NAMESPACE_BEGIN
namespace {
template <class T>
struct ReferencePointwise {
  static void adam(const AdamArgs<T>& a) {
    for (Index k = 0; k < a.n; ++k) {
      double p = double(a.parameter[k]), g = double(a.scale) * double(a.gradient[k]);
      if (a.decoupled) p *= 1 - double(a.lr) * double(a.weight_decay);
      else g += double(a.weight_decay) * p;
      const double m = double(a.beta1) * double(a.m[k]) + (1 - double(a.beta1)) * g;
      const double v = double(a.beta2) * double(a.v[k]) + (1 - double(a.beta2)) * g * g;
      const double denominator = sqrt(v) / double(a.correction2) + double(a.eps);
      a.m[k] = T(m), a.v[k] = T(v);
      a.parameter[k] = T(p - double(a.lr) / double(a.correction1) * m / denominator);
    }
  }

  static void sgd(const SgdArgs<T>& a) {
    for (Index k = 0; k < a.n; ++k) {
      const double p = double(a.parameter[k]);
      double g = double(a.scale) * double(a.gradient[k]) + double(a.weight_decay) * p;
      if (a.momentum_buffer) {
        const double buffer = a.first ? g : double(a.momentum) * double(a.momentum_buffer[k]) + g;
        a.momentum_buffer[k] = T(buffer);
        g = a.nesterov ? g + double(a.momentum) * buffer : buffer;
      }
      a.parameter[k] = T(p - double(a.lr) * g);
    }
  }

  static double square_sum(const T* a, Index n) {
    double sum = 0;
    for (Index k = 0; k < n; ++k) sum += double(a[k]) * double(a[k]);
    return sum;
  }
  static void gather(const T* table, Index width, const Index* ids, Index n, T* out) {
    for (Index k = 0; k < n; ++k)
      for (Index j = 0; j < width; ++j) out[k * width + j] = table[ids[k] * width + j];
  }
  static void scatter_add(const T* rows, Index width, const Index* ids, Index n, T* table) {
    for (Index k = 0; k < n; ++k)
      for (Index j = 0; j < width; ++j) table[ids[k] * width + j] += rows[k * width + j];
  }
};

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
#define FR_CELL(name, type) Reference<type, float, true>::kernel(#name "_bf16__reference", #name),
#define FR_STAGED_CELL(name, type)
constexpr Kernel<float> kHalf[] = {
#include "cells/cells.def"
};
#undef FR_CELL
#undef FR_STAGED_CELL

template <class T>
constexpr PointwiseKernels<T> kPointwise = {ReferencePointwise<T>::adam, ReferencePointwise<T>::sgd,
                                            ReferencePointwise<T>::square_sum, ReferencePointwise<T>::gather,
                                            ReferencePointwise<T>::scatter_add};
}  // namespace

Kernels<float> kernels_f32() { return {sizeof kFloat / sizeof *kFloat, kFloat, kFloatMasked, &kPointwise<float>}; }
Kernels<float> kernels_bf16() { return {sizeof kHalf / sizeof *kHalf, kHalf, nullptr, nullptr}; }
Kernels<double> kernels_f64() {
  return {sizeof kDouble / sizeof *kDouble, kDouble, kDoubleMasked, &kPointwise<double>};
}
FR_NAMESPACE_END
