// SPDX-License-Identifier: MIT
// Kernels of the usual kinds against a host reference: shared-memory GEMM, warp reduction with
// atomics, a hand-written grid barrier, wmma, and cp.async + ldmatrix + mma.sync. Jumps by tables of targets.

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <mma.h>

#include "grid_barrier.cuh"
#include "test_support.h"

using namespace nvcuda;

constexpr int kTile = 16;

__global__ void Gemm(const float* a, const float* b, float* c, int m, int n, int k) {
  __shared__ float tile_a[kTile][kTile + 1], tile_b[kTile][kTile + 1];
  const int x = threadIdx.x, y = threadIdx.y;
  const int row = blockIdx.y * kTile + y, column = blockIdx.x * kTile + x;
  float sum = 0;
  for (int k0 = 0; k0 < k; k0 += kTile) {
    tile_a[y][x] = row < m && k0 + x < k ? a[row * k + k0 + x] : 0.0f;
    tile_b[y][x] = column < n && k0 + y < k ? b[(k0 + y) * n + column] : 0.0f;
    __syncthreads();
    for (int i = 0; i < kTile; ++i) sum = fmaf(tile_a[y][i], tile_b[i][x], sum);
    __syncthreads();
  }
  if (row < m && column < n) c[row * n + column] = sum;
}

// next[i] = next[i + 1] / 2 + next[i] / 4, `steps` times; each step keeps its own copy.
__global__ void Ring(float* values, int n, int steps, unsigned* counter) {
  unsigned phase = 0;
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  for (int t = 0; t < steps; ++t) {
    const volatile float* current = values + t * n;
    if (i < n) values[(t + 1) * n + i] = 0.5f * current[(i + 1) % n] + 0.25f * current[i];
    GridBarrier(counter, &phase);
  }
}

// sums[row] and functions[row] = tanh(s) + exp(-s * s) + exp(-1); total = all sums.
__global__ void RowSums(const float* values, float* sums, float* functions, float* total, int n) {
  extern __shared__ float dynamic[];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int row = blockIdx.x * (blockDim.x / 32) + warp;
  float sum = 0;
  for (int i = lane; i < n; i += 32) sum += values[row * n + i];
  for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, offset);
  const unsigned ballot = __ballot_sync(0xffffffffu, lane % 3 == 0);
  if (lane == 0) {
    sums[row] = sum;
    atomicAdd(total, sum + static_cast<float>(__popc(ballot) - 11));
  }
  dynamic[threadIdx.x] = tanhf(sum) + expf(-sum * sum) + __expf(-1.0f);
  __syncwarp();
  if (lane == 1) functions[row] = dynamic[threadIdx.x - 1];
}

__global__ void WmmaGemm(const half* a, const half* b, float* c, int n, int k) {
  wmma::fragment<wmma::matrix_a, 16, 16, 16, half, wmma::row_major> fragment_a;
  wmma::fragment<wmma::matrix_b, 16, 16, 16, half, wmma::col_major> fragment_b;
  wmma::fragment<wmma::accumulator, 16, 16, 16, float> sum;
  wmma::fill_fragment(sum, 0.0f);
  const int row = blockIdx.y * 16, column = blockIdx.x * 16;
  for (int i = 0; i < k; i += 16) {
    wmma::load_matrix_sync(fragment_a, a + row * k + i, k);
    wmma::load_matrix_sync(fragment_b, b + column * k + i, k);
    wmma::mma_sync(sum, fragment_a, fragment_b, sum);
  }
  wmma::store_matrix_sync(c + row * n + column, sum, n, wmma::mem_row_major);
}

__device__ unsigned SharedAddress(const void* pointer) {
  return static_cast<unsigned>(__cvta_generic_to_shared(pointer));
}

// One warp computes 16 x 8 of c = a * b^T.
__global__ void MmaGemm(const __nv_bfloat16* a, const __nv_bfloat16* b, float* c, int n, int k) {
  __shared__ __align__(16) __nv_bfloat16 tile_a[16 * 16], tile_b[8 * 16];
  const int lane = threadIdx.x, row0 = blockIdx.y * 16, column0 = blockIdx.x * 8;
  const int copy_row = lane / 2, copy_half = lane % 2 * 8;
  float sum[4] = {};
  for (int k0 = 0; k0 < k; k0 += 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(SharedAddress(tile_a + copy_row * 16 + copy_half)),
                 "l"(a + (row0 + copy_row) * k + k0 + copy_half)
                 : "memory");
    if (lane < 16) {
      asm volatile("cp.async.ca.shared.global [%0], [%1], 16;" ::"r"(SharedAddress(tile_b + copy_row * 16 + copy_half)),
                   "l"(b + (column0 + copy_row) * k + k0 + copy_half)
                   : "memory");
    }
    asm volatile("cp.async.commit_group;");
    asm volatile("cp.async.wait_group 0;" ::: "memory");
    __syncthreads();
    unsigned fa[4], fb[2];
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(fa[0]), "=r"(fa[1]), "=r"(fa[2]), "=r"(fa[3])
                 : "r"(SharedAddress(tile_a + lane % 16 * 16 + lane / 16 * 8))
                 : "memory");
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                 : "=r"(fb[0]), "=r"(fb[1])
                 : "r"(SharedAddress(tile_b + lane % 8 * 16 + lane / 8 % 2 * 8))
                 : "memory");
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(fa[0]), "r"(fa[1]), "r"(fa[2]), "r"(fa[3]), "r"(fb[0]), "r"(fb[1]));
    __syncthreads();
  }
  for (int i = 0; i < 4; ++i) { c[(row0 + lane / 4 + i / 2 * 8) * n + column0 + lane % 4 * 2 + i % 2] = sum[i]; }
}

// Two scopes with the same names for other labels, and a table that stands before its targets.
__global__ void JumpByTables(int* results) {
  const int thread = threadIdx.x;
  int first, second;
  asm volatile(
      "{ table: .branchtargets zero, one, two;\n brx.idx %1, table;\n"
      "zero: mov.u32 %0, 10;\n bra end;\n one: mov.u32 %0, 11;\n bra end;\n two: mov.u32 %0, 12;\n end: }"
      : "=r"(first)
      : "r"(thread % 3));
  asm volatile(
      "{ table: .branchtargets one, zero;\n brx.idx %1, table;\n"
      "zero: mov.u32 %0, 20;\n bra end;\n one: mov.u32 %0, 21;\n end: }"
      : "=r"(second)
      : "r"(thread % 2));
  results[thread] = 100 * first + second;
}

// Largest error of c = a * b with b stored by columns.
template <typename T, typename ToFloat>
double ProductError(const std::vector<T>& a, const std::vector<T>& b, const std::vector<float>& c, int m, int n, int k,
                    ToFloat to_float) {
  double error = 0;
  for (int i = 0; i < m; ++i) {
    for (int j = 0; j < n; ++j) {
      double sum = 0;
      for (int p = 0; p < k; ++p) sum += double(to_float(a[i * k + p])) * to_float(b[j * k + p]);
      error = test::LargerError(error, sum, c[i * n + j]);
    }
  }
  return error;
}

void TestGemm() {
  const int m = 37, n = 29, k = 45;
  const auto a = test::RandomFloats(m * k), b = test::RandomFloats(n * k);
  std::vector<float> b_rows(k * n);
  for (int i = 0; i < n; ++i) {
    for (int p = 0; p < k; ++p) b_rows[p * n + i] = b[i * k + p];
  }
  test::DeviceArray<float> device_a(a), device_b(b_rows), c(m * n, -9.0f);
  Gemm<<<dim3(2, 3), dim3(kTile, kTile)>>>(device_a.get(), device_b.get(), c.get(), m, n, k);
  CUDA_CHECK(cudaDeviceSynchronize());
  const auto identity = [](float x) { return x; };
  test::ExpectBelow("gemm", ProductError(a, b, c.ToHost(), m, n, k, identity), 1e-4);
}

void TestRing() {
  const int n = 96, steps = 6;
  std::vector<float> expected((steps + 1) * n, 0.0f);
  const auto start = test::RandomFloats(n);
  std::copy(start.begin(), start.end(), expected.begin());
  test::DeviceArray<float> values(expected);
  test::DeviceArray<unsigned> counter(1);
  Ring<<<3, 32>>>(values.get(), n, steps, counter.get());
  CUDA_CHECK(cudaDeviceSynchronize());
  const auto result = values.ToHost();
  double error = 0;
  for (int t = 0; t < steps; ++t) {
    for (int i = 0; i < n; ++i) {
      float& next = expected[(t + 1) * n + i];
      next = 0.5f * expected[t * n + (i + 1) % n] + 0.25f * expected[t * n + i];
      error = test::LargerError(error, next, result[(t + 1) * n + i]);
    }
  }
  test::ExpectBelow("grid barrier", error, 1e-6);
}

void TestRowSums() {
  const int rows = 8, n = 100;
  const auto values = test::RandomFloats(rows * n);
  test::DeviceArray<float> device_values(values), sums(rows), functions(rows), total(1);
  RowSums<<<2, 128, 128 * sizeof(float)>>>(device_values.get(), sums.get(), functions.get(), total.get(), n);
  CUDA_CHECK(cudaDeviceSynchronize());
  const auto got_sums = sums.ToHost(), got_functions = functions.ToHost();
  double error = 0, all = 0;
  for (int row = 0; row < rows; ++row) {
    double sum = 0;
    for (int i = 0; i < n; ++i) sum += values[row * n + i];
    all += sum;
    error = test::LargerError(error, sum, got_sums[row]);
    const double function = std::tanh(sum) + std::exp(-sum * sum) + std::exp(-1.0);
    error = test::LargerError(error, function, got_functions[row]);
  }
  test::ExpectBelow("row sums", test::LargerError(error, all, total.ToHost()[0]), 1e-4);
}

void TestTensorCores() {
  const int m = 32, n = 16, k = 48;
  const auto a = test::RandomFloats(m * k), b = test::RandomFloats(n * k);
  std::vector<half> half_a(a.begin(), a.end()), half_b(b.begin(), b.end());
  test::DeviceArray<half> device_half_a(half_a), device_half_b(half_b);
  test::DeviceArray<float> c(m * n, -9.0f);
  WmmaGemm<<<dim3(1, 2), 32>>>(device_half_a.get(), device_half_b.get(), c.get(), n, k);
  CUDA_CHECK(cudaDeviceSynchronize());
  const auto from_half = [](half x) { return __half2float(x); };
  test::ExpectBelow("wmma f16", ProductError(half_a, half_b, c.ToHost(), m, n, k, from_half), 1e-3);

  std::vector<__nv_bfloat16> bf_a(a.begin(), a.end()), bf_b(b.begin(), b.end());
  test::DeviceArray<__nv_bfloat16> device_bf_a(bf_a), device_bf_b(bf_b);
  test::DeviceArray<float> d(m * n, -9.0f);
  MmaGemm<<<dim3(2, 2), 32>>>(device_bf_a.get(), device_bf_b.get(), d.get(), n, k);
  CUDA_CHECK(cudaDeviceSynchronize());
  const auto from_bf16 = [](__nv_bfloat16 x) { return __bfloat162float(x); };
  test::ExpectBelow("mma.sync bf16", ProductError(bf_a, bf_b, d.ToHost(), m, n, k, from_bf16), 1e-3);
}

void TestJumpByTables() {
  const int n = 48;
  test::DeviceArray<int> results(n);
  JumpByTables<<<1, n>>>(results.get());
  CUDA_CHECK(cudaDeviceSynchronize());
  const auto got = results.ToHost();
  bool right = true;
  for (int i = 0; i < n; ++i) right &= got[i] == 100 * (10 + i % 3) + 21 - i % 2;
  test::Expect("jumps by tables", right);
}

int main() {
  TestGemm();
  TestRing();
  TestRowSums();
  TestTensorCores();
  TestJumpByTables();
  return test::Finish();
}
