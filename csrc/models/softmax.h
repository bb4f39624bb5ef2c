// SPDX-License-Identifier: MIT
// The terms of a softmax, e^(scale (z - max z)), and their sum.
#pragma once
#include "api.h"
#include "exponential.h"
FR_NAMESPACE_BEGIN
template <class Vec, class T = typename Vec::Scalar>
struct Softmax {
  static constexpr int L = Vec::kLanes;

  static SoftmaxSum<T> terms(const T* z, Index n, T scale, T* out) {
    const Vec top(greatest(z, n)), factor(scale);
    Vec sum(0);
    for (Index k = 0; k < n; k += L) {
      store_first(out + k, exponential(factor * (load_first(z + k, n - k) - top)), n - k);
      sum = sum + load_first(out + k, n - k);
    }
    T lanes[L];
    sum.store(lanes);
    double total = 0;
    for (int l = 0; l < L; ++l) total += double(lanes[l]);
    return {top.v[0], total};
  }

 private:
  static T greatest(const T* z, Index n) {
    Vec most(z[0]);
    Index k = 0;
    for (; k + L <= n; k += L) most = max(Vec::load(z + k), most);
    T lanes[L], top = z[0];
    most.store(lanes);
    for (int l = 0; l < L; ++l) top = lanes[l] > top ? lanes[l] : top;
    for (; k < n; ++k) top = z[k] > top ? z[k] : top;
    return top;
  }
};
FR_NAMESPACE_END
