// SPDX-License-Identifier: MIT
// The parts of the library, one object each.
#pragma once
#include "device/api.h"
#include "target.h"
namespace fastrnn {

template <class T> DeviceOperations<T> device_operations();

}  // namespace fastrnn
