// SPDX-License-Identifier: MIT
// libfastrnn_cuda.so, opened on first use.
#pragma once
#include <stdexcept>
#include <string>
#include "api.h"
namespace fastrnn {

// What a device, its driver or the library says of a call that failed. Not of memory, which is std::bad_alloc.
struct DeviceError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// What keeps this process from running kernels of CUDA, in words; empty where nothing does
const std::string& why_no_device();

// DeviceError with why_no_device() where there is something
const DeviceLibrary& device_library();

template <class T> const DeviceOperations<T>& operations_of(const DeviceLibrary& library);
template <> inline const DeviceOperations<float>& operations_of<float>(const DeviceLibrary& library) {
  return library.operations_f32;
}
template <> inline const DeviceOperations<double>& operations_of<double>(const DeviceLibrary& library) {
  return library.operations_f64;
}

}  // namespace fastrnn
