// SPDX-License-Identifier: MIT
// cooperative_groups (grid.sync, reduce), warp intrinsics, atomics, packed half math, __constant__
// and
// __device__ variables, struct parameters, wmma with bf16 and tf32.

#include <cooperative_groups.h>
#include <cooperative_groups/reduce.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <mma.h>

#include "test_support.h"

namespace cg = cooperative_groups;
using namespace nvcuda;

__constant__ float scale[4];
__device__ float factor = 2.0f;

struct Parameters {
  float* values;
  int n;
  short divisor;
};

__device__ float Function(int mode, float x) {
  switch (mode) {
    case 0:
      return x + 1;
    case 1:
      return x * 3;
    case 2:
      return x - 4;
    case 3:
      return sqrtf(x);
    case 4:
      return sinf(x);
    case 5:
      return tanhf(x);
  }
  return x;
}

// Writes Function(table[mode] / divisor) + (scaled value of the right neighbour), in place.
__global__ void GridSync(Parameters p, const float* __restrict__ table, int mode, int* positive) {
  extern __shared__ float4 dynamic[];
  auto* scaled = reinterpret_cast<float*>(dynamic);
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  scaled[threadIdx.x] = p.values[i] * scale[p.n & 3] * factor;
  cg::this_grid().sync();
  float local[8];
  for (int j = 0; j < 8; ++j) local[j] = table[j];
  const float s = Function(mode, local[mode & 7] / static_cast<float>(p.divisor));
  p.values[i] = s + scaled[(threadIdx.x + 1) % blockDim.x];
  const int count = __syncthreads_count(s > 0);
  if (threadIdx.x == 0) positive[blockIdx.x] = count;
}

void TestGridSync() {
  const int blocks = 4, threads = 64, n = blocks * threads;
  std::vector<float> values(n), table(8);
  for (int i = 0; i < n; ++i) values[i] = static_cast<float>(i % 17) * 0.1f - 0.5f;
  for (int i = 0; i < 8; ++i) table[i] = 0.3f * static_cast<float>(i);
  const float host_scale[4] = {1, 2, 3, 4}, host_factor = 3;
  CUDA_CHECK(cudaMemcpyToSymbol(scale, host_scale, sizeof(host_scale)));
  CUDA_CHECK(cudaMemcpyToSymbol(factor, &host_factor, sizeof(host_factor)));
  double error = 0;
  for (int mode = 0; mode < 6; ++mode) {
    test::DeviceArray<float> device_values(values), device_table(table);
    test::DeviceArray<int> positive(blocks);
    Parameters parameters{device_values.get(), 2, 7};
    const float* table_pointer = device_table.get();
    int* positive_pointer = positive.get();
    void* arguments[] = {&parameters, &table_pointer, &mode, &positive_pointer};
    CUDA_CHECK(cudaLaunchCooperativeKernel(reinterpret_cast<void*>(GridSync), dim3(blocks), dim3(threads), arguments,
                                           threads * sizeof(float), nullptr));
    const auto result = device_values.ToHost();
    const float x = table[mode] / 7.0f;
    const float functions[] = {x + 1, x * 3, x - 4, std::sqrt(x), std::sin(x), std::tanh(x)};
    for (int i = 0; i < n; ++i) {
      const float neighbour = values[i / threads * threads + (i + 1) % threads] * 3.0f * 3.0f;
      error = test::LargerError(error, functions[mode] + neighbour, result[i]);
    }
    const int expected = functions[mode] > 0 ? threads : 0;
    test::Expect("syncthreads_count", positive.ToHost() == std::vector<int>(blocks, expected));
  }
  test::ExpectBelow("grid.sync", error, 1e-6);
}

struct MiscResult {
  float warp_sum;
  int tile_max, redux_add, match_count;
  float half_fma, bf16_fma, shuffled;
};

__global__ void Misc(MiscResult* results, float* float_sum, double* double_sum, int* maximum, unsigned* swapped,
                     const float4* vectors) {
  const auto block = cg::this_thread_block();
  const auto warp = cg::tiled_partition<32>(block);
  const auto tile = cg::tiled_partition<8>(block);
  const int i = threadIdx.x;
  MiscResult r;
  r.warp_sum = cg::reduce(warp, static_cast<float>(i), cg::plus<float>());
  r.tile_max = cg::reduce(tile, i, cg::greater<int>());
  r.redux_add = static_cast<int>(__reduce_add_sync(0xffffffffu, static_cast<unsigned>(i & 3)));
  r.match_count = __popc(__match_any_sync(0xffffffffu, static_cast<unsigned>(i / 4)));
  const float4 v = __ldg(vectors + i);
  atomicAdd(float_sum, v.x + v.w);
  atomicAdd(double_sum, static_cast<double>(v.y));
  atomicMax(maximum, i);
  atomicCAS(swapped, 0u, 7u);
  const __half2 h = __hfma2(__float2half2_rn(0.5f), __float2half2_rn(3.0f), __float2half2_rn(1.0f));
  const __nv_bfloat162 b = __hfma2(__float2bfloat162_rn(0.5f), __float2bfloat162_rn(3.0f), __float2bfloat162_rn(1.0f));
  r.half_fma = __low2float(h) + __high2float(h);
  r.bf16_fma = __low2float(b) + __high2float(b);
  r.shuffled = 0;
  if (__syncthreads_or(i == 63)) {
    r.shuffled = __shfl_down_sync(0xffffffffu, static_cast<float>(i), 3, 16) +
                 static_cast<float>(__shfl_up_sync(0xffffffffu, static_cast<double>(i), 1));
  }
  results[i] = r;
}

void TestMisc() {
  const int n = 64;
  std::vector<float4> vectors(n);
  for (int i = 0; i < n; ++i) vectors[i] = make_float4(float(i), 2.0f * float(i), 3.0f * float(i), 1.0f);
  test::DeviceArray<float4> device_vectors(vectors);
  test::DeviceArray<MiscResult> results(n);
  test::DeviceArray<float> float_sum(1);
  test::DeviceArray<double> double_sum(1);
  test::DeviceArray<int> maximum(1);
  test::DeviceArray<unsigned> swapped(1);
  Misc<<<1, n>>>(results.get(), float_sum.get(), double_sum.get(), maximum.get(), swapped.get(), device_vectors.get());
  CUDA_CHECK(cudaDeviceSynchronize());
  bool ok = true;
  const auto got = results.ToHost();
  for (int i = 0; i < n; ++i) {
    const int lane = i % 32;
    const int down = lane % 16 + 3 < 16 ? i + 3 : i, up = lane > 0 ? i - 1 : i;
    ok &= got[i].warp_sum == (i < 32 ? 496 : 1520) && got[i].tile_max == i / 8 * 8 + 7;
    ok &= got[i].redux_add == 48 && got[i].match_count == 4;
    ok &= got[i].half_fma == 5 && got[i].bf16_fma == 5 && got[i].shuffled == float(down + up);
  }
  test::Expect("warp intrinsics", ok);
  test::Expect("atomics", float_sum.ToHost()[0] == 2080 && double_sum.ToHost()[0] == 4032 &&
                              maximum.ToHost()[0] == 63 && swapped.ToHost()[0] == 7);
}

__global__ void WmmaTypes(const __nv_bfloat16* a, const __nv_bfloat16* b, float* c, const float* tf_a,
                          const float* tf_b, float* tf_c) {
  __shared__ __nv_bfloat16 shared_a[256];
  for (int i = threadIdx.x; i < 256; i += 32) shared_a[i] = a[i];
  __syncwarp();
  wmma::fragment<wmma::matrix_a, 16, 16, 16, __nv_bfloat16, wmma::row_major> fa;
  wmma::fragment<wmma::matrix_b, 16, 16, 16, __nv_bfloat16, wmma::row_major> fb;
  wmma::fragment<wmma::accumulator, 16, 16, 16, float> sum;
  wmma::fill_fragment(sum, 1.0f);
  wmma::load_matrix_sync(fa, shared_a, 16);
  wmma::load_matrix_sync(fb, b, 16);
  wmma::mma_sync(sum, fa, fb, sum);
  for (int i = 0; i < sum.num_elements; ++i) sum.x[i] *= 2.0f;
  wmma::store_matrix_sync(c, sum, 16, wmma::mem_col_major);

  wmma::fragment<wmma::matrix_a, 16, 16, 8, wmma::precision::tf32, wmma::row_major> ta;
  wmma::fragment<wmma::matrix_b, 16, 16, 8, wmma::precision::tf32, wmma::col_major> tb;
  wmma::fragment<wmma::accumulator, 16, 16, 8, float> tc;
  wmma::fill_fragment(tc, 0.0f);
  wmma::load_matrix_sync(ta, tf_a, 8);
  wmma::load_matrix_sync(tb, tf_b, 8);
  for (int i = 0; i < ta.num_elements; ++i) ta.x[i] = wmma::__float_to_tf32(ta.x[i]);
  for (int i = 0; i < tb.num_elements; ++i) tb.x[i] = wmma::__float_to_tf32(tb.x[i]);
  wmma::mma_sync(tc, ta, tb, tc);
  wmma::store_matrix_sync(tf_c, tc, 16, wmma::mem_row_major);
}

void TestWmmaTypes() {
  std::vector<__nv_bfloat16> a(256), b(256);
  std::vector<float> tf_a(128), tf_b(128);
  for (int i = 0; i < 256; ++i) {
    a[i] = __float2bfloat16(static_cast<float>(i * 7 % 23 - 11) * 0.125f);
    b[i] = __float2bfloat16(static_cast<float>(i * 5 % 19 - 9) * 0.25f);
  }
  for (int i = 0; i < 128; ++i) {
    tf_a[i] = static_cast<float>(i * 7 % 29 - 14) * 0.5f;
    tf_b[i] = static_cast<float>(i * 3 % 17 - 8) * 0.25f;
  }
  test::DeviceArray<__nv_bfloat16> device_a(a), device_b(b);
  test::DeviceArray<float> c(256), device_tf_a(tf_a), device_tf_b(tf_b), tf_c(256);
  WmmaTypes<<<1, 32>>>(device_a.get(), device_b.get(), c.get(), device_tf_a.get(), device_tf_b.get(), tf_c.get());
  CUDA_CHECK(cudaDeviceSynchronize());
  const auto got = c.ToHost(), tf_got = tf_c.ToHost();
  double error = 0, tf_error = 0;
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < 16; ++j) {
      double sum = 1, tf_sum = 0;
      for (int p = 0; p < 16; ++p) { sum += double(__bfloat162float(a[i * 16 + p])) * __bfloat162float(b[p * 16 + j]); }
      for (int p = 0; p < 8; ++p) tf_sum += double(tf_a[i * 8 + p]) * tf_b[j * 8 + p];
      error = test::LargerError(error, 2 * sum, got[j * 16 + i]);
      tf_error = test::LargerError(tf_error, tf_sum, tf_got[i * 16 + j]);
    }
  }
  test::ExpectBelow("wmma bf16", error, 0);
  test::ExpectBelow("wmma tf32", tf_error, 0);
}

int main() {
  TestGridSync();
  TestMisc();
  TestWmmaTypes();
  return test::Finish();
}
