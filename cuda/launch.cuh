// SPDX-License-Identifier: MIT
// What every launch shares.
#pragma once
#include "ptx.cuh"
// Returns the first error of the calls of a function
#define FR_TRY(...)                                      \
  do {                                                   \
    const cudaError_t tried = (__VA_ARGS__);             \
    if (tried != cudaSuccess) return tried;              \
  } while (false)

FR_NAMESPACE_BEGIN
constexpr int kThreads = 256;  // of kernels that do something to every element

struct Quotient {
  Index whole, rest;
};
// In 32 bits where both fit: a division of 64 bits takes many times as long
FR_DEVICE Quotient divide(Index k, Index n) {
  if (((k | n) >> 32) == 0) {
    const unsigned whole = static_cast<unsigned>(k) / static_cast<unsigned>(n);
    return {whole, static_cast<unsigned>(k) - whole * static_cast<unsigned>(n)};
  }
  return {k / n, k % n};
}

// f(k) for every k of n
template <class F>
__global__ void __launch_bounds__(kThreads) each_kernel(Index n, const F f) {
  for (Index k = static_cast<Index>(blockIdx.x) * kThreads + threadIdx.x; k < n;
       k += static_cast<Index>(gridDim.x) * kThreads)
    f(k);
}

// f: a struct with a device operator(), whose calls neither read nor write what others write
template <class F>
cudaError_t each(Index n, const F& f, cudaStream_t stream) {
  if (n <= 0) return cudaSuccess;
  constexpr Index most = 1 << 20;
  const Index blocks = (n + kThreads - 1) / kThreads;
  each_kernel<<<static_cast<unsigned>(blocks < most ? blocks : most), kThreads, 0, stream>>>(n, f);
  return cudaGetLastError();
}
FR_NAMESPACE_END
