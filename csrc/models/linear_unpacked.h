// SPDX-License-Identifier: MIT
// The linear map of linear.h for a few rows: laying W out would take longer than the product, so blocks of W are
// transposed in registers and multiplied there. Sums run in the same order, and have the same bits.
#pragma once
#include "../pack.h"
#include "api.h"
FR_NAMESPACE_BEGIN
template <class Vec, class T = typename Vec::Scalar>
struct LinearUnpacked {
  static constexpr int L = Vec::kLanes;

  static void run(const LinearWeights<T>& w, const LinearArgs<T>& a) {
    for (Index row = 0; row < a.N; row += kFewRows)
      with_constant<int(kFewRows)>(a.N - row < kFewRows ? a.N - row : kFewRows, [&](auto rows) {
        for (Index j = 0; j < w.H; j += L) outputs<decltype(rows)::value>(w, a, row, j);
      });
  }

 private:
  // z of the rows from `row` on and the outputs [j, j + L)
  template <int kRows>
  static FR_TILE void outputs(const LinearWeights<T>& w, const LinearArgs<T>& a, Index row, Index j) {
    const Index n = w.H - j;
    const T* const x = a.x + row * a.x_ld;
    T* const z = a.z + row * a.z_ld + j;
    Vec sums[kRows];
    FR_UNROLL for (int r = 0; r < kRows; ++r)
      sums[r] = a.add ? load_first(z + r * a.z_ld, n) : w.bias ? load_first(w.bias + j, n) : Vec(0);
    Index k = 0;
    for (; n >= L && k + L <= w.K; k += L) {
      Vec block[L];
      FR_UNROLL for (int i = 0; i < L; ++i) block[i] = Vec::load(w.W + (j + i) * w.W_ld + k);
      multiply(sums, block, x + k, a.x_ld, L);
    }
    for (; k < w.K; k += L) {
      Vec block[L];
      FR_UNROLL for (int i = 0; i < L; ++i)
        block[i] = i < n ? load_first(w.W + (j + i) * w.W_ld + k, w.K - k) : Vec(0);
      multiply(sums, block, x + k, a.x_ld, w.K - k);
    }
    FR_LOOP for (int r = 0; r < kRows; ++r) store_first(z + r * a.z_ld, a.tanh ? tanh_(sums[r]) : sums[r], n);
  }

  // sums += x W^T over the first `columns` of L columns of W, whose rows are in `block`
  template <int kRows>
  static FR_FN void multiply(Vec (&sums)[kRows], Vec (&block)[L], const T* x, Index x_ld, Index columns) {
    transpose<T>(block);
    FR_UNROLL for (int c = 0; c < L; ++c)
      if (c < columns)
        FR_UNROLL for (int r = 0; r < kRows; ++r) sums[r] = fma(Vec(x[r * x_ld + c]), block[c], sums[r]);
  }
};
FR_NAMESPACE_END
