// SPDX-License-Identifier: MIT
// Devices, streams, memory and errors, and the one symbol that the library exports.
#include "library.h"
#include <cuda_runtime_api.h>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include "deadlock.h"
#include "status.h"
namespace fastrnn {
namespace {
const char* describe(Status status) {
  switch (status) {
    case kNotSupported:
      return "the kernel has no such form";
    case kDeadlock:
      return "a block of a persistent kernel waited for another one in vain";
    default:
      return cudaGetErrorString(cudaError_t(status));
  }
}

Status versions(int* runtime, int* driver) {
  FR_TRY(cudaRuntimeGetVersion(runtime));
  return Status(cudaDriverGetVersion(driver));
}

// An error of a question about devices is its answer, and not one that the next launch should report.
Status answered(cudaError_t status) {
  if (status != cudaSuccess) cudaGetLastError();
  return Status(status);
}

Status count(int* devices) { return answered(cudaGetDeviceCount(devices)); }

Status properties(int device, DeviceProperties* to) {
  cudaDeviceProp found;
  FR_TRY(answered(cudaGetDeviceProperties(&found, device)));
  std::strncpy(to->name, found.name, sizeof to->name - 1);
  to->name[sizeof to->name - 1] = 0;
  to->major = found.major, to->minor = found.minor;
  to->multiprocessors = found.multiProcessorCount;
  to->memory = found.totalGlobalMem;
  return 0;
}

// Freed memory stays in the pool of the device instead of going back to the system at each synchronisation.
Status keep_memory(int device) {
  static std::mutex mutex;
  static std::set<int> done;
  const std::lock_guard<std::mutex> lock(mutex);
  if (!done.insert(device).second) return 0;
  cudaMemPool_t pool;
  FR_TRY(cudaDeviceGetDefaultMemPool(&pool, device));
  uint64_t kept = UINT64_MAX;
  return Status(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &kept));
}

Status use(int device) {
  FR_TRY(answered(cudaSetDevice(device)));
  return keep_memory(device);
}

Status last_error() { return Status(cudaGetLastError()); }

// Streams live as long as the process: buffers that were used on one may be freed on it by another thread later.
Status stream(Stream* to) {
  thread_local std::map<int, cudaStream_t> streams;
  int device;
  FR_TRY(cudaGetDevice(&device));
  cudaStream_t& found = streams[device];
  if (!found) FR_TRY(cudaStreamCreateWithFlags(&found, cudaStreamNonBlocking));
  *to = found;
  return 0;
}

Status synchronize(Stream stream) { return synchronize_and_look(as_stream(stream)); }
Status allocate(size_t bytes, void** memory, Stream stream) {
  return Status(cudaMallocAsync(memory, bytes, as_stream(stream)));
}
Status release(void* memory, Stream stream) { return Status(cudaFreeAsync(memory, as_stream(stream))); }
Status copy(void* to, const void* from, size_t bytes, Stream stream) {
  return bytes ? Status(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, as_stream(stream))) : 0;
}
Status zero(void* to, size_t bytes, Stream stream) {
  return bytes ? Status(cudaMemsetAsync(to, 0, bytes, as_stream(stream))) : 0;
}
}  // namespace
}  // namespace fastrnn

extern "C" __attribute__((visibility("default"))) const fastrnn::DeviceLibrary* fastrnn_cuda_library() {
  using namespace fastrnn;
  static const DeviceLibrary library = {
      kDeviceLibraryVersion,
      describe,
      versions,
      count,
      properties,
      use,
      last_error,
      stream,
      synchronize,
      allocate,
      release,
      copy,
      zero,
      device_operations<float>(),
      device_operations<double>(),
      {device_kernels_f32(), device_kernels_tf32(), device_kernels_bf16(), device_kernels_f16(), device_kernels_f64()},
  };
  return &library;
}
