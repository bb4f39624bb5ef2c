// SPDX-License-Identifier: MIT
// The binary interface of DLPack 1: dlpack.h of github.com/dmlc/dlpack, as far as arrays of a GPU need it.
#pragma once
#include <cstdint>
namespace fastrnn::dlpack {

enum DeviceType : int32_t { kCuda = 2, kCudaManaged = 13 };
enum TypeCode : uint8_t { kInt = 0, kUInt = 1, kFloat = 2, kBool = 6 };
constexpr uint64_t kReadOnly = 1, kCopied = 2;  // flags
constexpr uint32_t kMajor = 1, kMinor = 0;

struct Device {
  int32_t type, id;
};

struct DataType {
  uint8_t code, bits;
  uint16_t lanes;
};

struct Tensor {
  void* data;
  Device device;
  int32_t ndim;
  DataType dtype;
  int64_t *shape, *strides;  // in elements; strides null: C-contiguous
  uint64_t byte_offset;
};

struct Managed {
  static constexpr const char *kName = "dltensor", *kUsed = "used_dltensor";
  Tensor tensor;
  void* context;
  void (*deleter)(Managed*);
};

struct Version {
  uint32_t major, minor;
};

struct ManagedVersioned {
  static constexpr const char *kName = "dltensor_versioned", *kUsed = "used_dltensor_versioned";
  Version version;
  void* context;
  void (*deleter)(ManagedVersioned*);
  uint64_t flags;
  Tensor tensor;
};

}  // namespace fastrnn::dlpack
