// SPDX-License-Identifier: MIT
// What the processor and the operating system support, and the rounding mode of a kernel call.
#pragma once
namespace fastrnn {

// AVX-512 F, or AVX2 with FMA: the instructions, and registers that the system saves
bool cpu_has_avx512();
bool cpu_has_avx512_bf16();  // products of bfloat16, beside AVX-512 F and BW
bool cpu_has_avx2();

int cpu_count();  // processors this process may run on

// While it lives, numbers below the normal range are 0 in this thread: a vanishing gradient would otherwise cost a
// hundred cycles an operation
class FlushDenormals {
 public:
  FlushDenormals();
  ~FlushDenormals();
  FlushDenormals(const FlushDenormals&) = delete;

 private:
  unsigned long long before_;
};

}  // namespace fastrnn
