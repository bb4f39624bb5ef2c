// SPDX-License-Identifier: MIT
// Sums whose order depends on shapes alone, never on the device, on timing or on the segments of a call.
//
//   block_sum      over the threads of a block, by pairs
//   column chains  sums over the rows of the recurrence: row number n from the end, counted over all segments, belongs
//                  to chain n % kChains. Chains go on from segment to segment, whose ends change no bit
//   finish         a gradient takes the sum of its chains (or parts of a product) in order, is clamped, and adds its
//                  squares to GradientSums, in double
#pragma once
#include "ptx.cuh"

FR_NAMESPACE_BEGIN
// Thread 0 gets the sum of all, pairs at a distance of n/2, n/4, ... 1; shared: kThreads numbers
template <int kThreads, class T>
FR_DEVICE T block_sum(T value, T* shared) {
  shared[threadIdx.x] = value;
#pragma unroll
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) shared[threadIdx.x] += shared[threadIdx.x + half];
  }
  return shared[threadIdx.x];
}

constexpr int kChains = 64, kChainRows = 8, kChainColumns = 32;  // of a block: 8 chains of 32 columns

// chains (kChains,Row::kValues,columns) += row(r, column, values[kValues]) over the R rows, the last one first.
// `offset` rows are in them already.
template <class Real, class Row>
__global__ void __launch_bounds__(kChainRows* kChainColumns)
    column_chains_kernel(Index R, Index offset, Index columns, Real* chains, const Row row) {
  constexpr int n = Row::kValues;
  const Index column = static_cast<Index>(blockIdx.x) * kChainColumns + threadIdx.x % kChainColumns;
  const int chain = blockIdx.y * kChainRows + threadIdx.x / kChainColumns;
  if (column >= columns) return;
  Real* const to = chains + chain * n * columns + column;
  Real sums[n];
#pragma unroll
  for (int k = 0; k < n; ++k) sums[k] = offset ? to[k * columns] : 0;
  for (Index i = (chain + kChains - offset % kChains) % kChains; i < R; i += kChains) {
    Real values[n];
    row(R - 1 - i, column, values);
#pragma unroll
    for (int k = 0; k < n; ++k) sums[k] += values[k];
  }
#pragma unroll
  for (int k = 0; k < n; ++k) to[k * columns] = sums[k];
}

template <class Real, class Row>
cudaError_t column_chains(Index R, Index offset, Index columns, Real* chains, const Row& row, cudaStream_t stream) {
  if (columns == 0) return cudaSuccess;
  const dim3 grid(static_cast<unsigned>((columns + kChainColumns - 1) / kChainColumns), kChains / kChainRows);
  column_chains_kernel<<<grid, kChainRows * kChainColumns, 0, stream>>>(R, offset, columns, chains, row);
  return cudaGetLastError();
}

constexpr int kFinishThreads = 256, kFinishBlocks = 128;  // at most, a parameter
inline int finish_blocks(Index n) {
  const Index blocks = (n + kFinishThreads - 1) / kFinishThreads;
  return static_cast<int>(blocks < kFinishBlocks ? blocks : kFinishBlocks);
}

// NaN stays NaN
template <class Real>
FR_DEVICE Real clamp_to(Real number, Real limit) {
  return number > limit ? limit : number < -limit ? -limit : number;
}

// gradient[k] += sum(k), or = where fresh, clamped; one GradientSums a block
template <class Real, class Sum>
__global__ void __launch_bounds__(kFinishThreads)
    finish_kernel(Real* gradient, Index n, bool fresh, Real limit, const Sum sum, GradientSums* squares) {
  __shared__ double shared[kFinishThreads];
  GradientSums own = {0, 0, 0};
  for (Index k = static_cast<Index>(blockIdx.x) * kFinishThreads + threadIdx.x; k < n;
       k += static_cast<Index>(gridDim.x) * kFinishThreads) {
    const Real all = (fresh ? Real(0) : gradient[k]) + sum(k), kept = clamp_to(all, limit);
    gradient[k] = kept;
    own.before += static_cast<double>(all) * static_cast<double>(all);
    own.after += static_cast<double>(kept) * static_cast<double>(kept);
    own.clamped += kept != all && all == all;
  }
  const double before = block_sum<kFinishThreads>(own.before, shared);
  __syncthreads();
  const double after = block_sum<kFinishThreads>(own.after, shared);
  __syncthreads();
  const double clamped = block_sum<kFinishThreads>(own.clamped, shared);
  if (threadIdx.x == 0) squares[blockIdx.x] = {before, after, clamped};
}

// Finishes parameters one after the other, then their sums. squares: kFinishBlocks for each of them
template <class Real>
struct Finish {
  bool fresh;
  Real limit;
  GradientSums* squares;
  cudaStream_t stream;
  int used = 0;

  template <class Sum>
  cudaError_t add(Real* gradient, Index n, const Sum& sum) {
    if (!gradient || n == 0) return cudaSuccess;
    const int blocks = finish_blocks(n);
    finish_kernel<<<blocks, kFinishThreads, 0, stream>>>(gradient, n, fresh, limit, sum, squares + used);
    used += blocks;
    return cudaGetLastError();
  }
  cudaError_t total(GradientSums* to) const;
};

static __global__ void __launch_bounds__(kFinishThreads)
    total_kernel(const GradientSums* squares, int count, GradientSums* to) {
  __shared__ double shared[kFinishThreads];
  GradientSums own = {0, 0, 0};
  for (int k = threadIdx.x; k < count; k += kFinishThreads)
    own.before += squares[k].before, own.after += squares[k].after, own.clamped += squares[k].clamped;
  const double before = block_sum<kFinishThreads>(own.before, shared);
  __syncthreads();
  const double after = block_sum<kFinishThreads>(own.after, shared);
  __syncthreads();
  const double clamped = block_sum<kFinishThreads>(own.clamped, shared);
  if (threadIdx.x == 0) *to = {before, after, clamped};
}

template <class Real>
cudaError_t Finish<Real>::total(GradientSums* to) const {
  total_kernel<<<1, kFinishThreads, 0, stream>>>(squares, used, to);
  return cudaGetLastError();
}
FR_NAMESPACE_END
