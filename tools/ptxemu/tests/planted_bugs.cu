// SPDX-License-Identifier: MIT
// Kernels with one planted bug each; the name of the bug is the argument. The test driver expects
// the report that belongs to the bug (see CMakeLists.txt). "good_ring" has none and must give no
// report.

#include <cstring>

#include "grid_barrier.cuh"
#include "test_support.h"

__global__ void MissingSync(const float* in, float* out, int n) {
  __shared__ float values[128];
  values[threadIdx.x] = in[threadIdx.x];
  out[threadIdx.x] = values[(threadIdx.x + 33) % n];
}

__global__ void GlobalOutOfBounds(const float* in, float* out) { out[threadIdx.x] = in[threadIdx.x + 1]; }

__global__ void SharedOutOfBounds(float* out) {
  extern __shared__ float dynamic[];
  dynamic[threadIdx.x + 1] = 1.0f;
  __syncthreads();
  out[threadIdx.x] = dynamic[threadIdx.x];
}

template <bool kFences>
__global__ void Ring(float* values, int n, int steps, unsigned* counter) {
  unsigned phase = 0;
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  for (int t = 0; t < steps; ++t) {
    const float* current = values + t * n;
    values[(t + 1) * n + i] = 0.5f * current[(i + 40) % n] + 0.25f * current[i];
    GridBarrier<kFences>(counter, &phase);
  }
}

// __ldg reads through a cache that is not coherent with writes of the same launch.
__global__ void NonCoherentRead(const float* __restrict__ in, float* out, int n, unsigned* counter) {
  unsigned phase = 0;
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  out[i] = static_cast<float>(i);
  GridBarrier(counter, &phase);
  out[i + n] = __ldg(in + (i + 40) % n);
}

// The new state overwrites the old one while other blocks still read it.
__global__ void NoDoubleBuffer(float* state, int n, int steps, unsigned* counter) {
  unsigned phase = 0;
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  for (int t = 0; t < steps; ++t) {
    const float value = state[(i + 40) % n];
    state[i] = value * 0.5f;
    GridBarrier(counter, &phase);
  }
}

__global__ void CopyNotAwaited(const float* in, float* out) {
  __shared__ __align__(16) float values[128];
  if (threadIdx.x < 32) {
    const auto to = static_cast<unsigned>(__cvta_generic_to_shared(values + threadIdx.x * 4));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(in + threadIdx.x * 4) : "memory");
    asm volatile("cp.async.commit_group;");
    asm volatile("cp.async.wait_group 1;" ::: "memory");  // one group may still be on its way
  }
  __syncthreads();
  out[threadIdx.x] = values[threadIdx.x];
}

__global__ void DivergentBarrier(float* out) {
  if (threadIdx.x < 64) {
    out[threadIdx.x] = 1;
    __syncthreads();
    out[threadIdx.x] += 2;
  } else {
    out[threadIdx.x] = 3;
    __syncthreads();
    out[threadIdx.x] *= 5;
  }
}

__global__ void AbsentLane(float* out) {
  if (threadIdx.x >= 16) out[threadIdx.x] = __shfl_sync(0xffffffffu, 1.0f, 0);
}

// Warp 0 waits for a partial barrier that warp 1 never reaches.
__global__ void Deadlock(float* out) {
  if (threadIdx.x < 32) asm volatile("bar.sync 1, 64;" ::: "memory");
  out[threadIdx.x] = 1;
}

struct Buffers {
  test::DeviceArray<float> in{128, 1.0f}, out{1024, 1.0f};
  test::DeviceArray<unsigned> counter{1};
};

bool Launch(const char* name, const Buffers& buffers) {
  const float* in = buffers.in.get();
  float* out = buffers.out.get();
  unsigned* counter = buffers.counter.get();
  const int n = 128, steps = 6;
  const auto is = [name](const char* other) { return std::strcmp(name, other) == 0; };
  if (is("missing_sync")) MissingSync<<<1, n>>>(in, out, n);
  else if (is("global_out_of_bounds")) GlobalOutOfBounds<<<1, n>>>(in, out);
  else if (is("shared_out_of_bounds")) SharedOutOfBounds<<<1, n, n * sizeof(float)>>>(out);
  else if (is("good_ring")) Ring<true><<<4, 32>>>(out, n, steps, counter);
  else if (is("missing_fence")) Ring<false><<<4, 32>>>(out, n, steps, counter);
  else if (is("non_coherent_read")) NonCoherentRead<<<4, 32>>>(out, out, n, counter);
  else if (is("no_double_buffer")) NoDoubleBuffer<<<4, 32>>>(out, n, 3, counter);
  else if (is("copy_not_awaited")) CopyNotAwaited<<<1, n>>>(in, out);
  else if (is("divergent_barrier")) DivergentBarrier<<<1, n>>>(out);
  else if (is("absent_lane")) AbsentLane<<<1, 32>>>(out);
  else if (is("deadlock")) Deadlock<<<1, 64>>>(out);
  else if (is("too_many_blocks")) Ring<true><<<8, 16>>>(out, n, steps, counter);
  else return false;
  return true;
}

// Elements of the ring that differ from what the host computes.
int CountWrong(const std::vector<float>& got, int n, int steps) {
  std::vector<float> expected(got.begin(), got.begin() + n);
  int wrong = 0;
  for (int t = 0; t < steps; ++t) {
    const std::vector<float> current = expected;
    for (int i = 0; i < n; ++i) {
      expected[i] = 0.5f * current[(i + 40) % n] + 0.25f * current[i];
      if (!(std::fabs(expected[i] - got[(t + 1) * n + i]) <= 1e-6f)) ++wrong;
    }
  }
  return wrong;
}

int main(int argc, char** argv) {
  const char* name = argc > 1 ? argv[1] : "";
  Buffers buffers;
  if (!Launch(name, buffers)) {
    std::printf("unknown bug \"%s\"\n", name);
    return 2;
  }
  std::printf("cuda status: %s\n", cudaGetErrorString(cudaDeviceSynchronize()));
  const bool is_ring = std::strcmp(name, "good_ring") == 0 || std::strcmp(name, "missing_fence") == 0;
  if (is_ring) std::printf("wrong elements: %d\n", CountWrong(buffers.out.ToHost(), 128, 6));
  return 0;
}
