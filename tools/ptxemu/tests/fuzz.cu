// SPDX-License-Identifier: MIT
// Differential test: the same functions compiled by the host compiler and by nvcc to PTX, on random
// inputs. Integer results must be equal; float results may differ by what the math library differs.

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <cstring>
#include <random>

#include "test_support.h"

#define BOTH __host__ __device__ inline

constexpr int kIntegers = 32, kFloats = 32;

struct Input {
  uint32_t a, b;
  uint64_t wide_a, wide_b;
  float x, y;
};

struct Output {
  uint64_t integers[kIntegers];
  float floats[kFloats];
  int integer_count = 0, float_count = 0;
  BOTH void Add(uint64_t value) { integers[integer_count++] = value; }
  BOTH void AddFloat(float value) { floats[float_count++] = value; }
};

BOTH int CountOnes(uint32_t x) {
#ifdef __CUDA_ARCH__
  return __popc(x);
#else
  return __builtin_popcount(x);
#endif
}

BOTH int LeadingZeros(uint32_t x) {
#ifdef __CUDA_ARCH__
  return __clz(x);
#else
  return x != 0 ? __builtin_clz(x) : 32;
#endif
}

BOTH uint32_t ReverseBits(uint32_t x) {
#ifdef __CUDA_ARCH__
  return __brev(x);
#else
  uint32_t result = 0;
  for (int i = 0; i < 32; ++i) result |= (x >> i & 1) << (31 - i);
  return result;
#endif
}

BOTH uint32_t Bits(float x) {
#ifdef __CUDA_ARCH__
  return __float_as_uint(x);
#else
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  return bits;
#endif
}

BOTH void Arithmetic(const Input& in, Output* out) {
  const uint32_t a = in.a, b = in.b, odd_b = in.b | 1;
  const auto sa = static_cast<int32_t>(a), sb = static_cast<int32_t>(b);
  const uint64_t wa = in.wide_a, wb = in.wide_b;
  out->Add(a + b);
  out->Add(a * b);
  out->Add(uint64_t{a} * b);
  out->Add(static_cast<uint64_t>(int64_t{sa} * sb));
  out->Add(a / odd_b);
  out->Add(a % odd_b);
  out->Add(static_cast<uint32_t>(sa / static_cast<int32_t>(odd_b & 0x7fffffff)));
  out->Add(static_cast<uint32_t>(sa % static_cast<int32_t>((odd_b & 0xffff) | 1)));
  out->Add(wa / (wb | 1));
  out->Add(wa % ((wb >> 40) | 1));
}

BOTH void BitOperations(const Input& in, Output* out) {
  const uint32_t a = in.a, b = in.b;
  const auto sa = static_cast<int32_t>(a), sb = static_cast<int32_t>(b);
  const auto swa = static_cast<int64_t>(in.wide_a), swb = static_cast<int64_t>(in.wide_b);
  out->Add(static_cast<uint32_t>(sa >> (b & 31)));
  out->Add(a >> (b & 31));
  out->Add(a << (b & 31));
  out->Add(in.wide_a << (b & 63));
  out->Add(static_cast<uint64_t>(swa >> (b & 63)));
  out->Add(static_cast<uint64_t>(CountOnes(a) + 100 * LeadingZeros(a >> (b & 31))));
  out->Add(ReverseBits(a));
  out->Add((a & b) | ((~a & static_cast<uint32_t>(in.wide_a)) ^ (b >> 3)));
  out->Add(static_cast<uint64_t>(swa < swb ? swa : swb));
  out->Add(sa > sb ? a : b);
  out->Add(static_cast<uint64_t>(static_cast<uint8_t>(a) + static_cast<int8_t>(b)));
  out->Add(static_cast<uint64_t>(static_cast<uint16_t>(a * 3) + static_cast<int16_t>(b * 5)));
}

BOTH void ControlFlow(const Input& in, Output* out) {
  int values[8];
  for (int i = 0; i < 8; ++i) values[i] = static_cast<int>(in.a >> i) ^ i;
  uint32_t sum = 0;
  for (uint32_t i = 0; i < (in.b & 15); ++i) {
    sum += static_cast<uint32_t>(values[(i + in.a) & 7]);
    if ((sum & 7) == 3) break;
  }
  out->Add(sum);
  switch (in.a % 9) {
    case 0:
      sum = 5;
      break;
    case 1:
      sum ^= 77;
      break;
    case 2:
      sum *= 3;
      break;
    case 3:
      sum -= in.b;
      break;
    case 4:
      sum = static_cast<uint32_t>(CountOnes(in.b));
      break;
    case 5:
      sum = ~sum;
      break;
    case 6:
      sum <<= 2;
      break;
    case 7:
      sum >>= 1;
      break;
    default:
      sum = in.b;
      break;
  }
  out->Add(sum);
}

BOTH void Conversions(const Input& in, Output* out) {
  out->Add(static_cast<uint64_t>(int64_t{static_cast<int32_t>(in.x * 1000.0f)}));
  out->Add(static_cast<uint32_t>(fabsf(in.y * 1e3f)));
  out->Add(static_cast<uint64_t>(static_cast<long long>(rintf(in.x * 77.0f))));
  out->Add(Bits(in.x) ^ Bits(in.y));
  out->AddFloat(static_cast<float>(double(in.x) * double(in.y) + 0.1));
  out->AddFloat(static_cast<float>(static_cast<int32_t>(in.a)) + static_cast<float>(in.b));
  out->AddFloat(static_cast<float>(static_cast<int64_t>(in.wide_a) >> 7));
  out->AddFloat(__half2float(__float2half(in.x)));
  out->AddFloat(__bfloat162float(__float2bfloat16(in.y)));
}

BOTH void FloatArithmetic(const Input& in, Output* out) {
  const float x = in.x, y = in.y;
  out->AddFloat(x + y);
  out->AddFloat(x * y);
  out->AddFloat(fmaf(x, y, 1.5f));
  out->AddFloat(x / y);
  out->AddFloat(sqrtf(fabsf(x)));
  out->AddFloat(fminf(x, y));
  out->AddFloat(fmaxf(x, -y));
  out->AddFloat(floorf(x) + ceilf(y) + truncf(x) + roundf(y));
  out->AddFloat(x < y ? 1.0f : x == y ? 2.0f : 3.0f);
  out->AddFloat(copysignf(x, y));
  const __half2 h = __floats2half2_rn(x, y);
  const __half2 scaled = __hadd2(__hmul2(h, __floats2half2_rn(0.5f, 0.25f)), h);
  out->AddFloat(__low2float(scaled));
  out->AddFloat(__high2float(scaled));
  const __nv_bfloat162 q = __floats2bfloat162_rn(x, y), square = __hmul2(q, q);
  out->AddFloat(__low2float(square));
  out->AddFloat(__high2float(__hadd2(q, square)));
}

BOTH void Functions(const Input& in, Output* out) {
  const float x = in.x, y = in.y;
  out->AddFloat(1.0f / (1.0f + expf(-x)));
  out->AddFloat(tanhf(y));
  out->AddFloat(expf(x * 0.1f));
  out->AddFloat(logf(fabsf(y) + 0.01f));
  out->AddFloat(sinf(x));
  out->AddFloat(cosf(y));
  out->AddFloat(powf(fabsf(x) + 0.1f, 0.3f));
  out->AddFloat(expm1f(x * 0.01f));
  out->AddFloat(log1pf(fabsf(x)));
  out->AddFloat(fmodf(fabsf(x) + 1.0f, 0.7f));
  out->AddFloat(rsqrtf(fabsf(y) + 0.1f));
}

BOTH void ComputeAll(const Input& in, Output* out) {
  Arithmetic(in, out);
  BitOperations(in, out);
  ControlFlow(in, out);
  Conversions(in, out);
  FloatArithmetic(in, out);
  Functions(in, out);
}

__global__ void ComputeOnDevice(const Input* in, Output* out, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  Output result;
  ComputeAll(in[i], &result);
  out[i] = result;
}

std::vector<Input> RandomInputs(int n) {
  std::mt19937_64 random(3);
  const auto number = [&] { return static_cast<float>(static_cast<int>(random() % 200001) - 100000) / 5000.0f; };
  std::vector<Input> inputs(n);
  for (Input& in : inputs) {
    in.a = static_cast<uint32_t>(random() >> random() % 33);
    in.b = static_cast<uint32_t>(random() >> random() % 33);
    in.wide_a = random() >> random() % 60;
    in.wide_b = random() >> random() % 60;
    in.x = number();
    in.y = number();
    if (in.y == 0) in.y = 1;
  }
  return inputs;
}

int main() {
  const int n = 20000, threads = 128;
  const std::vector<Input> inputs = RandomInputs(n);
  test::DeviceArray<Input> device_inputs(inputs);
  test::DeviceArray<Output> device_outputs(n);
  ComputeOnDevice<<<(n + threads - 1) / threads, threads>>>(device_inputs.get(), device_outputs.get(), n);
  CUDA_CHECK(cudaDeviceSynchronize());
  const std::vector<Output> outputs = device_outputs.ToHost();
  long mismatches = 0;
  double error = 0;
  for (int i = 0; i < n; ++i) {
    Output expected;
    ComputeAll(inputs[i], &expected);
    for (int j = 0; j < expected.integer_count; ++j) {
      if (expected.integers[j] == outputs[i].integers[j]) continue;
      if (mismatches++ < 5) std::printf("input %d, integer result %d differs\n", i, j);
    }
    for (int j = 0; j < expected.float_count; ++j) {
      const double want = expected.floats[j], scale = std::fabs(want) + 1e-3;
      error = test::LargerError(error, want / scale, outputs[i].floats[j] / scale);
    }
  }
  test::Expect("integer results", mismatches == 0);
  test::ExpectBelow("float results, relative", error, 3e-7);
  return test::Finish();
}
