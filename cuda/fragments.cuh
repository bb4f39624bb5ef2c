// SPDX-License-Identifier: MIT
// mma.sync m16n8k16 and the lane maps around it; cp.async; what a product multiplies: Bf16, F16 and F32.
//
//   D (16 rows, 8 batch columns) += A (16,16) B (16,8)          lane = 4 g + q
//   A  registers 0..3: rows g, g+8, g, g+8    k = 2q+{0,1} in 0 and 1, 2q+8+{0,1} in 2 and 3
//   B  registers 0,1:  column g               k = 2q+{0,1}, 2q+8+{0,1}
//   D  sums 0..3:      row g columns 2q,2q+1; row g+8 columns 2q,2q+1
//
// Two permutations, both free because they only rename what the registers of the weights hold:
//   Rows. A lane owns rows g and g+8 of every m-tile: row s = 2m + half of its kRows. They are those of whole units, all
//   rows of a unit together (s = u * rows_per_unit + row), so that a lane ends with whole units for batch columns 2q and
//   2q+1. kRows must be even: an odd number of gates takes two units a lane.
//   K. A sum does not care about order, so in each chunk of 32 columns lane q takes columns 8q ... 8q+7 (two k-tiles)
//   instead of scattered pairs. Then A and B are read from plain row-major memory, 16 bytes a load: no fragment order
//   exists outside this file, and what blocks exchange is an ordinary matrix.
//
// Such a policy has: Storage (what is exchanged), store(float), kWords (registers of a row and chunk), kPadding (elements
// after a row in shared memory, against bank conflicts), Weights<kRows, kChunks> with load(row) and
// multiply(sums, rows in shared memory).
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include "cells/cell.h"
#ifndef FR_DEVICE
#define FR_DEVICE __device__ __forceinline__
#endif
#ifndef FR_UNROLL
#define FR_UNROLL _Pragma("unroll")
#endif
FR_NAMESPACE_BEGIN
namespace persistent {

constexpr int kThreads = 256, kWarps = kThreads / 32, kTileRows = 8, kChunk = 32;

FR_DEVICE int lane_g() { return threadIdx.x % 32 / 4; }
FR_DEVICE int lane_q() { return threadIdx.x % 4; }

// 16 bytes go by L2, which is coherent; 4 bytes by L1, of what nobody writes during the launch
template <int kBytes>
FR_DEVICE void cp_async(void* shared, const void* global) {
  static_assert(kBytes == 16 || kBytes == 4, "");
  const unsigned to = unsigned(__cvta_generic_to_shared(shared));
  if constexpr (kBytes == 16)
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(global) : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(to), "l"(global) : "memory");
}
FR_DEVICE void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int kPending>
FR_DEVICE void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

FR_DEVICE void mma(__nv_bfloat16, float (&row0)[2], float (&row8)[2], const unsigned (&a)[4], unsigned b0,
                   unsigned b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(row0[0]), "+f"(row0[1]), "+f"(row8[0]), "+f"(row8[1])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
FR_DEVICE void mma(__half, float (&row0)[2], float (&row8)[2], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(row0[0]), "+f"(row0[1]), "+f"(row8[0]), "+f"(row8[1])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
FR_DEVICE void round_to(float x, __nv_bfloat16& to) { to = __float2bfloat16_rn(x); }
FR_DEVICE void round_to(float x, __half& to) { to = __float2half_rn(x); }

// Operands of 16 bits and sums of float, on tensor cores
template <class Storage_>
struct TensorCores {
  using Storage = Storage_;
  static constexpr int kWords = 4;
  static constexpr int kPadding = 32;  // rows 64 bytes apart modulo 128: a quarter-warp of 16-byte loads hits all banks
  static FR_DEVICE Storage store(float x) {
    Storage rounded;
    round_to(x, rounded);
    return rounded;
  }

  template <int kRows, int kChunks>
  struct Weights {
    unsigned a[2 * kChunks][kRows / 2][4];

    // row(s): row s of this lane in packed memory, at the first column of this warp's share
    template <class Row>
    FR_DEVICE void load(Row row) {
      FR_UNROLL for (int c = 0; c < kChunks; ++c)
        FR_UNROLL for (int s = 0; s < kRows; ++s) {
          const uint4 v = *reinterpret_cast<const uint4*>(row(s) + c * kChunk + 8 * lane_q());
          a[2 * c][s / 2][s % 2] = v.x, a[2 * c][s / 2][2 + s % 2] = v.y;
          a[2 * c + 1][s / 2][s % 2] = v.z, a[2 * c + 1][s / 2][2 + s % 2] = v.w;
        }
    }

    // sums[s][c] = row s times batch column 2q + c. Two sets of sums: the latency of mma is longer than its issue.
    FR_DEVICE void multiply(float (&sums)[kRows][2], const Storage* rows, int ld) const {
      float odd[kRows][2] = {};
      FR_UNROLL for (int s = 0; s < kRows; ++s) sums[s][0] = sums[s][1] = 0;
      const Storage* const mine = rows + lane_g() * ld + 8 * lane_q();
      FR_UNROLL for (int c = 0; c < kChunks; ++c) {
        const uint4 b = *reinterpret_cast<const uint4*>(mine + c * kChunk);
        FR_UNROLL for (int m = 0; m < kRows / 2; ++m)
          mma(Storage(), sums[2 * m], sums[2 * m + 1], a[2 * c][m], b.x, b.y);
        FR_UNROLL for (int m = 0; m < kRows / 2; ++m)
          mma(Storage(), odd[2 * m], odd[2 * m + 1], a[2 * c + 1][m], b.z, b.w);
      }
      FR_UNROLL for (int s = 0; s < kRows; ++s) sums[s][0] += odd[s][0], sums[s][1] += odd[s][1];
    }
  };
};
using Bf16 = TensorCores<__nv_bfloat16>;
using F16 = TensorCores<__half>;

// float32 with FFMA. A lane holds the same rows and columns as above, multiplies them with all 8 batch columns, and the
// four lanes of a row then add up so that each keeps columns 2q and 2q+1: sums come out in the same lane map.
struct F32 {
  using Storage = float;
  static constexpr int kWords = 8;
  static constexpr int kPadding = 0;  // eight lanes read one address, four addresses lie in different banks
  static FR_DEVICE Storage store(float x) { return x; }

  template <int kRows, int kChunks>
  struct Weights {
    float a[kChunks][kRows][8];

    template <class Row>
    FR_DEVICE void load(Row row) {
      FR_UNROLL for (int c = 0; c < kChunks; ++c)
        FR_UNROLL for (int s = 0; s < kRows; ++s)
          FR_UNROLL for (int i = 0; i < 8; i += 4) {
            const float4 v = *reinterpret_cast<const float4*>(row(s) + c * kChunk + 8 * lane_q() + i);
            a[c][s][i] = v.x, a[c][s][i + 1] = v.y, a[c][s][i + 2] = v.z, a[c][s][i + 3] = v.w;
          }
    }

    FR_DEVICE void multiply(float (&sums)[kRows][2], const Storage* rows, int ld) const {
      float all[kRows][kTileRows] = {};
      FR_UNROLL for (int c = 0; c < kChunks; ++c)
        FR_UNROLL for (int n = 0; n < kTileRows; ++n) {
          const float* const p = rows + n * ld + c * kChunk + 8 * lane_q();
          const float4 low = *reinterpret_cast<const float4*>(p), high = *reinterpret_cast<const float4*>(p + 4);
          const float b[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
          FR_UNROLL for (int s = 0; s < kRows; ++s)
            FR_UNROLL for (int i = 0; i < 8; ++i) all[s][n] += a[c][s][i] * b[i];
        }
      FR_UNROLL for (int s = 0; s < kRows; ++s) {
        float four[4];
        scatter<2>(all[s], four);
        scatter<1>(four, sums[s]);
      }
    }

   private:
    // Of 2N columns, a lane keeps the half that its bit of q names, added to the other lane's
    template <int kBit, int N>
    static FR_DEVICE void scatter(const float (&from)[2 * N], float (&to)[N]) {
      const bool upper = lane_q() & kBit;
      FR_UNROLL for (int i = 0; i < N; ++i)
        to[i] = (upper ? from[N + i] : from[i]) + __shfl_xor_sync(~0u, upper ? from[i] : from[N + i], kBit);
    }
  };
};

}  // namespace persistent
FR_NAMESPACE_END
