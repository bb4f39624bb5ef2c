// SPDX-License-Identifier: MIT
// With PTXEMU_DEVICES=0 the program must see that there is no device, and nothing may crash.

#include "test_support.h"

__global__ void Nothing() {}

int main() {
  int count = -1;
  const cudaError_t error = cudaGetDeviceCount(&count);
  test::Expect("device count", error == cudaErrorNoDevice && count == 0);
  void* memory = nullptr;
  test::Expect("cudaMalloc", cudaMalloc(&memory, 16) == cudaErrorNoDevice);
  Nothing<<<1, 1>>>();
  test::Expect("launch", cudaGetLastError() == cudaErrorNoDevice);
  test::Expect("synchronise", cudaDeviceSynchronize() == cudaErrorNoDevice);
  cudaDeviceProp properties;
  test::Expect("properties", cudaGetDeviceProperties(&properties, 0) == cudaErrorNoDevice);
  return test::Finish();
}
