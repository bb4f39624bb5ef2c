// SPDX-License-Identifier: MIT
// An instruction that the emulator does not know fails the launch that reaches it, and only that
// one.

#include "test_support.h"

__global__ void Unsupported(int* out, bool reach) {
  out[0] = 1;
  if (reach) asm volatile("add.cc.u32 %0, %0, 1;" : "+r"(out[1]));
}

int main() {
  test::DeviceArray<int> out(2);
  Unsupported<<<1, 1>>>(out.get(), false);
  CUDA_CHECK(cudaDeviceSynchronize());
  test::Expect("instruction not reached", out.ToHost()[0] == 1);
  Unsupported<<<1, 1>>>(out.get(), true);
  test::Expect("instruction reached", cudaDeviceSynchronize() == cudaErrorLaunchFailure);
  return test::Finish();
}
