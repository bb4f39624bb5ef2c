// SPDX-License-Identifier: MIT
// printf and assert in kernels. With the argument "assert" an assertion fails.

#include <cassert>
#include <cstring>

#include "test_support.h"

__global__ void Print(float number, bool fail) {
  if (threadIdx.x == 3) {
    printf("thread %d of %u: %5.2f %s %llx\n", threadIdx.x, blockDim.x, number, "text", 1ull << 40);
  }
  assert(!fail || threadIdx.x != 7);
}

int main(int argc, char** argv) {
  const bool fail = argc > 1 && std::strcmp(argv[1], "assert") == 0;
  Print<<<1, 32>>>(1.5f, fail);
  const cudaError_t error = cudaDeviceSynchronize();
  std::printf("status: %s\n", cudaGetErrorString(error));
  return error == cudaSuccess ? 0 : 1;
}
