// SPDX-License-Identifier: MIT
// The kernel of the device's library that a network of Python asks for.
#pragma once
#include <stdexcept>
#include <string>
#include "device/library.h"
namespace fastrnn {

template <class T>
const DeviceKernels<T>& kernels_in(const DeviceArithmetics& all, const std::string& arithmetic) {
  if constexpr (sizeof(T) == sizeof(double)) {
    if (arithmetic == "f64") return all.f64;
  } else {
    if (arithmetic == "f32") return all.f32;
    if (arithmetic == "tf32") return all.tf32;
    if (arithmetic == "bf16") return all.bf16;
    if (arithmetic == "f16") return all.f16;
  }
  throw std::invalid_argument("no arithmetic " + arithmetic);
}

template <class T>
const DeviceKernel<T>& find_kernel(const std::string& cell, const std::string& arithmetic, bool masked) {
  const DeviceKernels<T>& found = kernels_in<T>(device_library().arithmetics, arithmetic);
  const DeviceKernel<T>* const kernels = masked ? found.masked : found.cells;
  for (int k = 0; kernels && k < found.count; ++k)
    if (cell == kernels[k].cell) return kernels[k];
  throw std::invalid_argument("no cell " + cell + " on CUDA in " + arithmetic + (masked ? " with StateMasks" : ""));
}

}  // namespace fastrnn
