// SPDX-License-Identifier: MIT
// Devices, streams, memory and errors, and the one symbol that the library exports.
#include "library.h"
#include <cuda_runtime_api.h>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include "deadlock.h"
#include <utility>
#include <vector>
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

// Streams of threads that have ended, for later ones
class UnusedStreams {
 public:
  cudaStream_t take(int device) {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::vector<cudaStream_t>& of = streams_[device];
    if (of.empty()) return nullptr;
    const cudaStream_t found = of.back();
    of.pop_back();
    return found;
  }
  void give(const std::map<int, cudaStream_t>& streams) {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const auto& [device, stream] : streams)
      if (stream) streams_[device].push_back(stream);
  }

 private:
  std::mutex mutex_;
  std::map<int, std::vector<cudaStream_t>> streams_;
};
UnusedStreams& unused_streams() {
  static UnusedStreams* const all = new UnusedStreams;  // outlives the threads that end after main
  return *all;
}
struct OwnStreams {
  std::map<int, cudaStream_t> streams;
  ~OwnStreams() { unused_streams().give(streams); }
};

// Streams live as long as the process: buffers that were used on one may be freed on it by another thread later.
Status stream(Stream* to) {
  thread_local OwnStreams own;
  int device;
  FR_TRY(cudaGetDevice(&device));
  cudaStream_t& found = own.streams[device];
  if (!found) found = unused_streams().take(device);
  if (!found) FR_TRY(cudaStreamCreateWithFlags(&found, cudaStreamNonBlocking));
  *to = found;
  return 0;
}

// The caller may destroy a stream, and CUDA may give its handle to a later one, which then shares the companion.
Status companion(Stream of, Stream* to) {
  static std::mutex mutex;
  static std::map<std::pair<int, Stream>, cudaStream_t> streams;
  int device;
  FR_TRY(cudaGetDevice(&device));
  const std::lock_guard<std::mutex> lock(mutex);
  cudaStream_t& found = streams[{device, of}];
  if (!found) FR_TRY(cudaStreamCreateWithFlags(&found, cudaStreamNonBlocking));
  *to = found;
  return 0;
}

// One event a thread and device does for all: a wait is for what was recorded when it was asked for.
Status follow(Stream stream, Stream earlier) {
  thread_local std::map<int, cudaEvent_t> events;
  int device;
  FR_TRY(cudaGetDevice(&device));
  cudaEvent_t& event = events[device];
  if (!event) FR_TRY(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  FR_TRY(answered(cudaEventRecord(event, as_stream(earlier))));
  return answered(cudaStreamWaitEvent(as_stream(stream), event, 0));
}

Status record(Event* to, Stream stream) {
  cudaEvent_t event;
  FR_TRY(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  *to = event;
  const Status status = answered(cudaEventRecord(event, as_stream(stream)));
  if (status) cudaEventDestroy(event);
  return status;
}

Status passed(Event event, bool* done) {
  const Status status = answered(cudaEventQuery(static_cast<cudaEvent_t>(event)));
  *done = status != Status(cudaErrorNotReady);
  return *done ? status : 0;
}

Status release_event(Event event) { return Status(cudaEventDestroy(static_cast<cudaEvent_t>(event))); }

Status device_of(const void* memory, int* device) {
  cudaPointerAttributes found;
  FR_TRY(answered(cudaPointerGetAttributes(&found, memory)));
  const bool on_device = found.type == cudaMemoryTypeDevice || found.type == cudaMemoryTypeManaged;
  *device = on_device ? found.device : -1;
  return 0;
}

Status synchronize_device() { return Status(cudaDeviceSynchronize()); }
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

// The cells of one phase, then the others
template <class T>
std::vector<DeviceKernel<T>> joined(DeviceKernels<T> one_phase, StagedKernels<T> staged) {
  std::vector<DeviceKernel<T>> all(one_phase.cells, one_phase.cells + one_phase.count);
  all.insert(all.end(), staged.cells, staged.cells + staged.count);
  return all;
}
template <class T>
DeviceKernels<T> table(const std::vector<DeviceKernel<T>>& all, StagedKernels<T> staged) {
  return {int(all.size()), all.data(), staged.masked};
}
}  // namespace
}  // namespace fastrnn

extern "C" __attribute__((visibility("default"))) const fastrnn::DeviceLibrary* fastrnn_cuda_library() {
  using namespace fastrnn;
  // Cells of several phases multiply in full float also where others may round to tf32.
  static const StagedKernels<float> staged_f32 = staged_kernels_f32();
  static const StagedKernels<double> staged_f64 = staged_kernels_f64();
  static const auto f32 = joined(device_kernels_f32(), staged_f32), tf32 = joined(device_kernels_tf32(), staged_f32);
  static const auto f64 = joined(device_kernels_f64(), staged_f64);
  static const DeviceLibrary library = {
      kDeviceLibraryVersion,
      describe,
      versions,
      count,
      properties,
      use,
      last_error,
      stream,
      companion,
      follow,
      synchronize,
      synchronize_device,
      record,
      passed,
      release_event,
      device_of,
      allocate,
      release,
      copy,
      zero,
      device_operations<float>(),
      device_operations<double>(),
      {table(f32, staged_f32), table(tf32, staged_f32), device_kernels_bf16(), device_kernels_f16(),
       table(f64, staged_f64)},
  };
  return &library;
}
