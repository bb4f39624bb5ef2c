// SPDX-License-Identifier: MIT
// The parts of the library, one object each.
#pragma once
#include "device/api.h"
namespace fastrnn {

template <class T> DeviceOperations<T> device_operations();

namespace f32 {
DeviceKernels<float> device_kernels();
}
namespace tf32 {
DeviceKernels<float> device_kernels();
}
namespace bf16 {
DeviceKernels<float> device_kernels();
}
namespace f16 {
DeviceKernels<float> device_kernels();
}
namespace f64 {
DeviceKernels<double> device_kernels();
}

}  // namespace fastrnn
