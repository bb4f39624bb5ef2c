// SPDX-License-Identifier: MIT
// A linear map over many rows, z = f(x W^T + b), by the product of ../gemm.h.
//
//   packed   bias [block][lane], then the panels of W [panel][k][block of the panel][lane], padded with zeros
//
// The bits of a row depend on nothing but the row: every sum runs over k in order, whatever the number of rows.
#pragma once
#include "../pack.h"
#include "api.h"
FR_NAMESPACE_BEGIN
// Starts from the bias or from what z holds
template <class Vec, class T = typename Vec::Scalar>
struct LinearEpilogue {
  const T* bias;
  T* z;
  Index z_ld, H;
  bool add, tanh;

  template <int kRows, int kColumns>
  FR_FN void begin(Vec (&sums)[kRows][kColumns], Index row, Index block) const {
    FR_UNROLL for (int c = 0; c < kColumns; ++c) {
      const Index j = (block + c) * Vec::kLanes;
      FR_UNROLL for (int r = 0; r < kRows; ++r)
        sums[r][c] = add ? load_first(z + (row + r) * z_ld + j, H - j) : Vec::load(bias + j);
    }
  }
  template <int kRows, int kColumns>
  FR_FN void end(Vec (&sums)[kRows][kColumns], Index row, Index block) const {
    Vec copy[kRows][kColumns];
    copy_to_memory(sums, copy);
    FR_LOOP for (int r = 0; r < kRows; ++r) FR_LOOP for (int c = 0; c < kColumns; ++c) {
      const Index j = (block + c) * Vec::kLanes;
      store_first(z + (row + r) * z_ld + j, tanh ? tanh_(copy[r][c]) : copy[r][c], H - j);
    }
  }
};

template <class Vec, class T = typename Vec::Scalar>
struct Linear {
  static constexpr int L = Vec::kLanes, kPanel = 4;
  static constexpr Index kRowsAtOnce = 96;  // whose pointers are kept; they share what is in the cache of W

  static FR_FN Index blocks(Index H) { return (H + L - 1) / L; }
  static Index packed_size(Index H, Index K) { return blocks(H) * L * (K + 1); }

  // W (H,K), or (K,H) where transposed, rows W_ld apart
  static void pack(const LinearWeights<T>& w, T* packed) {
    const Index all = blocks(w.H), panels = panel_count<kPanel>(all);
    for (Index j = 0; j < w.H; j += L) (w.bias ? load_first(w.bias + j, w.H - j) : Vec(0)).store(packed + j);
    packed += all * L;
    for (Index panel = 0; panel < panels; ++panel) {
      const Range range = part(all, panel, panels);
      const Index ld = (range.end - range.begin) * L;
      for (Index block = range.begin; block < range.end; ++block) {
        T* const to = packed + range.begin * L * w.K + (block - range.begin) * L;
        const Index j = block * L;
        if (w.transposed)
          for (Index k = 0; k < w.K; ++k) load_first(w.W + k * w.W_ld + j, w.H - j).store(to + k * ld);
        else
          for (Index k = 0; k < w.K; k += L)
            copy_transposed<Vec>(w.W + j * w.W_ld + k, w.W_ld, w.H - j, w.K - k < L ? w.K - k : L, to + k * ld, ld);
      }
    }
  }

  static void run(const LinearArgs<T>& a) {
    const T* rows[kRowsAtOnce];
    const Index all = blocks(a.H);
    for (Index begin = 0; begin < a.N; begin += kRowsAtOnce) {
      const Index n = a.N - begin < kRowsAtOnce ? a.N - begin : kRowsAtOnce;
      for (Index r = 0; r < n; ++r) rows[r] = a.x + (begin + r) * a.x_ld;
      const LinearEpilogue<Vec> epilogue{a.packed, a.z + begin * a.z_ld, a.z_ld, a.H, a.add, a.tanh};
      product<Vec, kPanel, 1>(RowOperand<T>{rows, a.K}, Packed<T>{a.packed + all * L, all, a.K}, {0, n},
                              {0, panel_count<kPanel>(all)}, epilogue);
    }
  }
};
FR_NAMESPACE_END
