// SPDX-License-Identifier: MIT
// What networks do around their kernels (DeviceOperations, device/api.h): one thread a number, nothing shared.
#include "library.h"
#include "mask.h"
#include "status.h"
namespace fastrnn {
namespace {
constexpr int kThreads = 256;

unsigned blocks_of(Index n) { return static_cast<unsigned>((n + kThreads - 1) / kThreads); }
__device__ Index thread_index() { return Index(blockIdx.x) * kThreads + threadIdx.x; }

template <class T>
__global__ void __launch_bounds__(kThreads)
    mask_kernel(Rows<T> rows, Index count, Index B, Index n, const Index* lengths, RowMasks masks, MaskLevel level) {
  const Index i = thread_index();
  if (i >= count) return;
  const Index t = i / n / B, b = i / n % B, k = i % n;
  if (lengths && t >= lengths[b]) return;
  const Masked what = masks.of_outputs ? Masked::kOutputs : Masked::kInputs;
  const uint64_t row = mask_row(masks.seed, what, masks.layer, masks.whole ? 0 : t + 1, b);
  rows.p[t * rows.step + b * rows.row + k] *= mask_factor(row, uint32_t(k), level.least, T(level.scale));
}

template <class T>
Status mask_rows(Rows<T> rows, Index T_, Index B, Index n, const Index* lengths, RowMasks masks, Stream stream) {
  const Index count = T_ * B * n;
  if (count == 0) return 0;
  mask_kernel<<<blocks_of(count), kThreads, 0, as_stream(stream)>>>(rows, count, B, n, lengths, masks,
                                                                    mask_level(masks.p));
  return launched();
}

template <class T>
__global__ void __launch_bounds__(kThreads) broadcast_kernel(const T* from, Index count, Index B, Index n, T* to) {
  const Index i = thread_index();
  if (i < count) to[i] = from[i / (B * n) * n + i % n];
}

template <class T>
Status broadcast(const T* from, Index parts, Index B, Index n, T* to, Stream stream) {
  const Index count = parts * B * n;
  if (count == 0) return 0;
  broadcast_kernel<<<blocks_of(count), kThreads, 0, as_stream(stream)>>>(from, count, B, n, to);
  return launched();
}

// One block, so that the order of all sums is fixed: thread i takes numbers i, i + 256, ..., and their squares are added
// by halves
template <class T>
__global__ void __launch_bounds__(kThreads)
    add_states_kernel(const T* dstates, Index count, Index B, Index n, bool fresh, T value, T* to, double* sums) {
  __shared__ double shared[3][kThreads];
  double before = 0, after = 0, clamped = 0;
  for (Index i = threadIdx.x; i < count; i += kThreads) {
    double sum = fresh ? 0 : double(to[i]);
    for (Index b = 0; dstates && b < B; ++b) sum += double(dstates[(i / n * B + b) * n + i % n]);
    const T stored = T(sum);
    to[i] = stored > value ? value : stored < -value ? -value : stored;  // NaN stays NaN
    before += double(stored) * double(stored), after += double(to[i]) * double(to[i]);
    clamped += to[i] != stored && stored == stored;
  }
  shared[0][threadIdx.x] = before, shared[1][threadIdx.x] = after, shared[2][threadIdx.x] = clamped;
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half)
      for (auto& part : shared) part[threadIdx.x] += part[threadIdx.x + half];
  }
  __syncthreads();
  if (threadIdx.x < 3) sums[threadIdx.x] = shared[threadIdx.x][0];
}

template <class T>
Status add_states(const T* dstates, Index parts, Index B, Index n, bool fresh, T value, T* to, double* sums,
                  Stream stream) {
  add_states_kernel<<<1, kThreads, 0, as_stream(stream)>>>(dstates, parts * n, B, n, fresh, value, to, sums);
  return launched();
}
}  // namespace

template <class T>
DeviceOperations<T> device_operations() {
  return {mask_rows<T>, broadcast<T>, add_states<T>};
}
template DeviceOperations<float> device_operations<float>();
template DeviceOperations<double> device_operations<double>();
}  // namespace fastrnn
