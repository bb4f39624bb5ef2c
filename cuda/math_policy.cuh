// SPDX-License-Identifier: MIT
// How a warp multiplies two tiles that lie in shared memory: one policy per arithmetic, one owner map for all.
//
//   TileLayout  a tile lies in shared memory as in global memory, so that it is copied 16 bytes at a time: lines
//               along k (kKFast) or lines along m or n. The padding makes every fragment load free of bank conflicts:
//               pitch = 4 words mod 32 for ldmatrix, 8 words mod 32 for the 4 x 8 single words of 32-bit lines.
//   fragments   in 32-bit words a fragment of m16n8k16 (16-bit) and of m16n8k8 (tf32) look the same, so k is counted
//               in steps of 32 bytes and ldmatrix serves both; only 32-bit lines along m or n need single loads.
//   ownership   lane 4 g + t owns rows g, g + 8 and columns 2 t, 2 t + 1 of each 16 x 8 tile: sums[2 half + e].
//               FmaMath keeps to it too, and so an epilogue serves every policy.
//
// A policy names what it multiplies (Scalar), what it sums in (Real), its tile for large products, and kDepth: how many
// k are summed in an order of the hardware's own. From one kDepth to the next, all of them sum in the order of k.
#pragma once
#include <type_traits>
#include "ptx.cuh"

FR_NAMESPACE_BEGIN
// A block works on kM x kN sums (kN counts gates), its warps in a grid kWarpsM x kWarpsN; kKBytes of k a tile
template <int kM_, int kN_, int kWarpsM_, int kWarpsN_, int kKBytes_, int kStages_>
struct Tile {
  static constexpr int kM = kM_, kN = kN_, kWarpsM = kWarpsM_, kWarpsN = kWarpsN_;
  static constexpr int kKBytes = kKBytes_, kStages = kStages_, kThreads = 32 * kWarpsM * kWarpsN;
  static constexpr int kMTiles = kM / kWarpsM / 16, kNTiles = kN / kWarpsN / 8;
  static_assert(kM % (16 * kWarpsM) == 0 && kN % (8 * kWarpsN) == 0, "a warp works on whole 16 x 8 tiles");
  static_assert(kKBytes % 32 == 0 && kStages >= 2, "k goes by 32 bytes, and a tile travels while another is read");
};

template <class T_, int kExtent, int kKBytes, bool kKFast_>
struct TileLayout {
  using T = T_;
  static constexpr bool kKFast = kKFast_;
  static constexpr int kVector = 16 / sizeof(T), kK = kKBytes / sizeof(T);
  static constexpr int kLines = kKFast ? kExtent : kK, kLength = kKFast ? kK : kExtent;
  static constexpr int kPitch = kLength + (!kKFast && sizeof(T) == 4 ? 8 : kVector);
  static constexpr int kSize = kLines * kPitch;  // elements
  static FR_DEVICE int at(int extent, int k) { return kKFast ? extent * kPitch + k : k * kPitch + extent; }
};

// 16 rows from m, 32 bytes of k
template <class L>
FR_DEVICE void load_a(unsigned (&a)[4], const typename L::T* tile, int m, int k) {
  const int lane = threadIdx.x % 32;
  if constexpr (L::kKFast) {
    load_matrices<false>(a, tile + L::at(m + lane % 16, k + lane / 16 * L::kVector));
  } else if constexpr (sizeof(typename L::T) == 2) {
    load_matrices<true>(a, tile + L::at(m + lane / 8 % 2 * 8, k + lane % 8 + lane / 16 * 8));
  } else {
#pragma unroll
    for (int q = 0; q < 4; ++q) a[q] = __float_as_uint(tile[L::at(m + lane / 4 + q % 2 * 8, k + lane % 4 + q / 2 * 4)]);
  }
}

// 8 columns from n, 32 bytes of k
template <class L>
FR_DEVICE void load_b(unsigned (&b)[2], const typename L::T* tile, int n, int k) {
  const int lane = threadIdx.x % 32;
  if constexpr (L::kKFast) {
    load_matrices<false>(b, tile + L::at(n + lane % 8, k + lane / 8 % 2 * L::kVector));
  } else if constexpr (sizeof(typename L::T) == 2) {
    load_matrices<true>(b, tile + L::at(n, k + lane % 16));
  } else {
#pragma unroll
    for (int q = 0; q < 2; ++q) b[q] = __float_as_uint(tile[L::at(n + lane / 4, k + lane % 4 + q * 4)]);
  }
}

// Tensor cores; Fragment is what a policy makes of the loaded words, once per load
template <class Policy>
struct TensorMath {
  using Real = float;
  using LargeTile = Tile<128, 128, 2, 4, 64, 3>;  // 64 x 32 a warp, 60 KiB: two blocks a multiprocessor

  template <class A, class B, int kMTiles, int kNTiles>
  static FR_DEVICE void accumulate(float (&sums)[kMTiles][kNTiles][4], const typename A::T* a, const typename B::T* b,
                                   int m, int n) {
    constexpr int kStep = 2 * A::kVector;
#pragma unroll
    for (int k = 0; k < A::kK; k += kStep) {
      typename Policy::template Fragment<2> columns[kNTiles];
#pragma unroll
      for (int j = 0; j < kNTiles; ++j) {
        load_b<B>(columns[j].words, b, n + 8 * j, k);
        columns[j].prepare();
      }
#pragma unroll
      for (int i = 0; i < kMTiles; ++i) {
        typename Policy::template Fragment<4> rows;
        load_a<A>(rows.words, a, m + 16 * i, k);
        rows.prepare();
#pragma unroll
        for (int j = 0; j < kNTiles; ++j) Policy::multiply(sums[i][j], rows, columns[j]);
      }
    }
  }
};

template <int n>
struct RawFragment {
  unsigned words[n];
  FR_DEVICE void prepare() {}
};

struct Bf16 : TensorMath<Bf16> {
  using Scalar = __nv_bfloat16;
  static constexpr int kDepth = 16;
  template <int n>
  using Fragment = RawFragment<n>;
  static FR_DEVICE void multiply(float (&d)[4], const Fragment<4>& a, const Fragment<2>& b) {
    mma_bf16(d, a.words, b.words);
  }
};

struct F16 : TensorMath<F16> {
  using Scalar = __half;
  static constexpr int kDepth = 16;
  template <int n>
  using Fragment = RawFragment<n>;
  static FR_DEVICE void multiply(float (&d)[4], const Fragment<4>& a, const Fragment<2>& b) {
    mma_f16(d, a.words, b.words);
  }
};

struct Tf32 : TensorMath<Tf32> {
  using Scalar = float;
  static constexpr int kDepth = 8;
  template <int n>
  struct Fragment {
    unsigned words[n];
    FR_DEVICE void prepare() {
#pragma unroll
      for (unsigned& w : words) w = to_tf32(__uint_as_float(w));
    }
  };
  static FR_DEVICE void multiply(float (&d)[4], const Fragment<4>& a, const Fragment<2>& b) {
    mma_tf32(d, a.words, b.words);
  }
};

// Neighbours in shared memory, read at once
template <class T, int n>
struct Vector {
  T v[n];
  FR_DEVICE void load(const T* p) {
    static_assert(n * sizeof(T) == 8 || n * sizeof(T) == 16, "a thread reads 8 or 16 bytes at once");
    if constexpr (n == 4) {
      const float4 all = *reinterpret_cast<const float4*>(p);
      v[0] = all.x, v[1] = all.y, v[2] = all.z, v[3] = all.w;
    } else if constexpr (n == 1) {
      v[0] = *p;
    } else {
      using Pair = std::conditional_t<sizeof(T) == 4, float2, double2>;
      const Pair all = *reinterpret_cast<const Pair*>(p);
      v[0] = all.x, v[1] = all.y;
    }
  }
};

// Fused multiply-add, one k after the other
template <class T, class LargeTile_>
struct FmaMath {
  using Real = T;
  using Scalar = T;
  using LargeTile = LargeTile_;
  static constexpr int kDepth = 1;

  template <class L, int n>
  static FR_DEVICE Vector<T, n> several(const T* tile, int extent, int k) {
    Vector<T, n> line;
    if constexpr (L::kKFast) {
      line.load(tile + L::at(extent, k));
    } else {
#pragma unroll
      for (int e = 0; e < n; ++e) line.v[e] = tile[L::at(extent, k + e)];
    }
    return line;
  }

  template <class A, class B, int kMTiles, int kNTiles>
  static FR_DEVICE void accumulate(T (&sums)[kMTiles][kNTiles][4], const T* a, const T* b, int m, int n) {
    // Half the bytes where the sums leave too few registers
    constexpr int kStep = (kMTiles * kNTiles >= 16 ? 8 : 16) / sizeof(T);
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll 1
    for (int k = 0; k < A::kK; k += kStep) {
      Vector<T, kStep> columns[kNTiles][2];
#pragma unroll
      for (int j = 0; j < 2 * kNTiles; ++j)
        columns[j / 2][j % 2] = several<B, kStep>(b, n + 8 * (j / 2) + 2 * t + j % 2, k);
#pragma unroll
      for (int i = 0; i < 2 * kMTiles; ++i) {
        const Vector<T, kStep> row = several<A, kStep>(a, m + 8 * i + g, k);
#pragma unroll
        for (int j = 0; j < 2 * kNTiles; ++j) {
          T& sum = sums[i / 2][j / 2][i % 2 * 2 + j % 2];
#pragma unroll
          for (int e = 0; e < kStep; ++e) sum = fma(row.v[e], columns[j / 2][j % 2].v[e], sum);
        }
      }
    }
  }
};

using Float32 = FmaMath<float, Tile<128, 128, 2, 4, 64, 3>>;
using Float64 = FmaMath<double, Tile<64, 64, 2, 4, 64, 3>>;  // 32 x 16 a warp: a double takes two registers
FR_NAMESPACE_END
