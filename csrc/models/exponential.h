// SPDX-License-Identifier: MIT
// e^x of x <= 0 on Vec, as softmaxes need it: below the normal range it stays at the least normal number.
#pragma once
#include "../simd/math.h"
FR_NAMESPACE_BEGIN
template <class T>
FR_FN Vec<T> exponential(Vec<T> x) {
  Vec<T> scale, p;
  exp_parts(max(Vec<T>(-ExpConstants<T>::kSigmoidLimit), x), scale, p);
  return fma(scale, p, scale);
}
FR_NAMESPACE_END
