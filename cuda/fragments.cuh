// SPDX-License-Identifier: MIT
// mma.sync m16n8k16 and the lane maps around it, for weights that stay in registers: Operands of float, bfloat16,
// float16.
//
//   D (16 rows, 8 batch columns) += A (16,16) B (16,8)          lane = 4 g + q
//   A  registers 0..3: rows g, g+8, g, g+8    k = 2q+{0,1} in 0 and 1, 2q+8+{0,1} in 2 and 3
//   B  registers 0,1:  column g               k = 2q+{0,1}, 2q+8+{0,1}
//   D  sums 0..3:      row g columns 2q,2q+1; row g+8 columns 2q,2q+1
//
// Two permutations, both free because they only rename what the registers of the weights hold:
//   Rows. A lane owns rows g and g+8 of every m-tile: row s = 2m + half of its kRows. They are those of whole units,
//   all rows of a unit together (s = u * rows_per_unit + row), so that a lane ends with whole units for batch columns
//   2q and 2q+1. kRows must be even: an odd number of gates takes two units a lane.
//   K. A sum does not care about order, so in each chunk of 32 columns lane q takes columns 8q ... 8q+7 (two k-tiles)
//   instead of scattered pairs. Then A and B are read from plain row-major memory, 16 bytes a load: no fragment order
//   exists outside this file, and what blocks exchange is an ordinary matrix.
//
// Operands<Scalar>: kWords (registers of a row and chunk), kPadding (elements after a row in shared memory, against
// bank conflicts), Weights<kRows, kChunks> with load(row) and multiply(sums, rows in shared memory).
#pragma once
#include "ptx.cuh"
#ifndef FR_UNROLL
#define FR_UNROLL _Pragma("unroll")
#endif
FR_NAMESPACE_BEGIN
namespace persistent {

constexpr int kThreads = 256, kWarps = kThreads / 32, kTileRows = 8, kChunk = 32;

FR_DEVICE int lane_g() { return threadIdx.x % 32 / 4; }
FR_DEVICE int lane_q() { return threadIdx.x % 4; }

// Exchanged numbers go by L2, which is coherent; single ones, which nobody writes during the launch, by L1
FR_DEVICE void copy_float_async(float* to, const float* from) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(shared_address(to)), "l"(from) : "memory");
}
FR_DEVICE void copy_line_async(void* to, const void* from) { copy_async(to, from, 16); }

FR_DEVICE void mma(__nv_bfloat16, float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) { mma_bf16(d, a, b); }
FR_DEVICE void mma(__half, float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) { mma_f16(d, a, b); }

// 16 bits, on tensor cores
template <class Scalar_>
struct Operands {
  using Scalar = Scalar_;
  static constexpr int kWords = 4;
  static constexpr int kPadding = 32;  // rows 64 bytes apart modulo 128: a quarter-warp of 16-byte loads hits all banks

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
    FR_DEVICE void multiply(float (&sums)[kRows][2], const Scalar* rows, int ld) const {
      float even[kRows / 2][4] = {}, odd[kRows / 2][4] = {};
      const Scalar* const mine = rows + lane_g() * ld + 8 * lane_q();
      FR_UNROLL for (int c = 0; c < kChunks; ++c) {
        const uint4 v = *reinterpret_cast<const uint4*>(mine + c * kChunk);
        const unsigned first[2] = {v.x, v.y}, second[2] = {v.z, v.w};
        FR_UNROLL for (int m = 0; m < kRows / 2; ++m) mma(Scalar(), even[m], a[2 * c][m], first);
        FR_UNROLL for (int m = 0; m < kRows / 2; ++m) mma(Scalar(), odd[m], a[2 * c + 1][m], second);
      }
      FR_UNROLL for (int s = 0; s < kRows; ++s)
        FR_UNROLL for (int c = 0; c < 2; ++c) sums[s][c] = even[s / 2][s % 2 * 2 + c] + odd[s / 2][s % 2 * 2 + c];
    }
  };
};

// float32 with FFMA. A lane holds the same rows and columns as above, multiplies them with all 8 batch columns, and the
// four lanes of a row then add up so that each keeps columns 2q and 2q+1: sums come out in the same lane map.
template <>
struct Operands<float> {
  using Scalar = float;
  static constexpr int kWords = 8;
  static constexpr int kPadding = 0;  // eight lanes read one address, four addresses lie in different banks

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

    FR_DEVICE void multiply(float (&sums)[kRows][2], const Scalar* rows, int ld) const {
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
