// SPDX-License-Identifier: MIT
// Arrays of a device between this library, NumPy and other libraries.
#pragma once
#include "device/array.h"
#include "device/call.h"
#include "register.h"
namespace fastrnn {

// NumPy's type of an array; of such a type
py::dtype dtype_of(Dtype dtype);
Dtype read_dtype(const py::dtype& dtype);

// An array of the device that has __dlpack__ or __cuda_array_interface__, without a copy, ready for the calls of this
// thread; one of this library itself is returned as it is.
DeviceArray import_array(const py::object& given, int device);

// To other libraries
py::capsule to_dlpack(const DeviceArray& array, const py::object& stream, const py::object& max_version,
                      const py::object& dl_device, const py::object& copy);
py::dict to_interface(const DeviceArray& array);

// The bytes that an array lies in, gaps between its elements too
struct Span {
  char* begin;
  size_t bytes;
};
Span span_of(const DeviceArray& array);
DeviceArray clone(const DeviceSession& session, const DeviceArray& array);  // in the same strides

}  // namespace fastrnn
