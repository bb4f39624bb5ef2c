// SPDX-License-Identifier: MIT
// Rows of a step, each by a block of its own, with sums over its numbers in a fixed order; and the norm of a row.
#pragma once
#include "gemm.cuh"
#include "launch.cuh"
FR_NAMESPACE_BEGIN
template <class F>
__global__ void __launch_bounds__(kThreads) rows_kernel(const F f) {
  f(static_cast<Index>(blockIdx.x));
}

// f(row) for each row, by all threads of a block. Unless `whole`, because sums are made over the row, several blocks
// share its n numbers.
template <class F>
Status each_row(Index rows, Index n, bool whole, const F& f, cudaStream_t stream) {
  if (rows <= 0) return cudaSuccess;
  constexpr Index most = 1 << 15;
  const Index blocks = whole || n <= kThreads ? 1 : ceil_div(n, kThreads);
  const dim3 grid(static_cast<unsigned>(rows), static_cast<unsigned>(blocks < most ? blocks : most));
  rows_kernel<<<grid, kThreads, 0, stream>>>(f);
  return cudaGetLastError();
}

// f(j) for the numbers of a row that are this thread's, always the same ones of n
template <class F>
FR_DEVICE void each_unit(Index n, F f) {
  for (Index j = static_cast<Index>(blockIdx.y) * kThreads + threadIdx.x; j < n;
       j += static_cast<Index>(gridDim.y) * kThreads)
    f(j);
}

// Sums over the threads of a block, which all of them get: in a warp by pairs at a distance of 16, 8, ... 1, then in
// the order of the warps
template <int n>
FR_DEVICE void row_sums(double (&values)[n]) {
  constexpr int kWarps = kThreads / 32;
  __shared__ double shared[n * kWarps];
#pragma unroll
  for (int k = 0; k < n; ++k) {
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) values[k] += __shfl_xor_sync(0xffffffffu, values[k], distance);
  }
  __syncthreads();  // what was summed before has been read
  if (threadIdx.x % 32 == 0) {
#pragma unroll
    for (int k = 0; k < n; ++k) shared[k * kWarps + threadIdx.x / 32] = values[k];
  }
  __syncthreads();
#pragma unroll
  for (int k = 0; k < n; ++k) {
    values[k] = 0;
#pragma unroll
    for (int warp = 0; warp < kWarps; ++warp) values[k] += shared[k * kWarps + warp];
  }
}

// a^ = (a - mean a) / sqrt(variance a + 1e-5) of n numbers, in place. Returns 1 / sqrt(variance + 1e-5).
template <class Real>
FR_DEVICE Real normalise(Real* a, Index n) {
  double sum[1] = {0}, squares[1] = {0};
  each_unit(n, [&](Index k) { sum[0] += static_cast<double>(a[k]); });
  row_sums(sum);
  const Real mean = static_cast<Real>(sum[0] / static_cast<double>(n));
  each_unit(n, [&](Index k) {
    const double centred = static_cast<double>(a[k] - mean);
    squares[0] += centred * centred;
  });
  row_sums(squares);
  const Real scale = static_cast<Real>(1 / sqrt(squares[0] / static_cast<double>(n) + 1e-5));
  each_unit(n, [&](Index k) { a[k] = (a[k] - mean) * scale; });
  return scale;
}

// From g, the gradient of a^, to that of a: scale (g - mean g - a^ mean(g a^))
template <class Real>
struct NormBackward {
  Real scale, mean, slope;
  FR_DEVICE NormBackward(Real scale_, double sum, double weighted, Index n)
      : scale(scale_), mean(static_cast<Real>(sum / static_cast<double>(n))),
        slope(static_cast<Real>(weighted / static_cast<double>(n))) {}
  FR_DEVICE Real operator()(Real g, Real a) const { return scale * (g - mean - a * slope); }
};
FR_NAMESPACE_END
