// SPDX-License-Identifier: MIT
// Runtime API, part 5: errors, the device and its limits, function attributes, occupancy.

#include <algorithm>
#include <climits>
#include <cstdio>
#include <cstring>

#include "runtime.h"

namespace ptxemu {
namespace {

thread_local cudaError_t last_error = cudaSuccess;

constexpr int kThreadsPerMultiprocessor = 2048;
constexpr int kBlocksPerMultiprocessor = 32;
constexpr int kRegistersPerMultiprocessor = 65536;
constexpr int kRegisterGranule = 256;       // registers are given to warps in such units
constexpr int kReservedSharedBytes = 1024;  // per block
constexpr int kCacheBytes = 50 << 20;

int ComputeCapability() { return Options::FromEnvironment().compute_capability; }

// Value of a device attribute; unknown ones are 0.
int AttributeValue(cudaDeviceAttr attribute) {
  switch (attribute) {
    case cudaDevAttrMultiProcessorCount:
      return Options::FromEnvironment().resident_blocks;
    case cudaDevAttrMaxThreadsPerBlock:
    case cudaDevAttrMaxBlockDimX:
    case cudaDevAttrMaxBlockDimY:
      return kMaxThreadsPerBlock;
    case cudaDevAttrMaxBlockDimZ:
      return 64;
    case cudaDevAttrMaxGridDimX:
      return INT_MAX;
    case cudaDevAttrMaxGridDimY:
    case cudaDevAttrMaxGridDimZ:
      return 65535;
    case cudaDevAttrWarpSize:
      return kWarpSize;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      return 48 * 1024;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      return MaxSharedPerBlockOptIn();
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      return MaxSharedPerMultiprocessor();
    case cudaDevAttrReservedSharedMemoryPerBlock:
      return kReservedSharedBytes;
    case cudaDevAttrComputeCapabilityMajor:
      return ComputeCapability() / 10;
    case cudaDevAttrComputeCapabilityMinor:
      return ComputeCapability() % 10;
    case cudaDevAttrMaxThreadsPerMultiProcessor:
      return kThreadsPerMultiprocessor;
    case cudaDevAttrMaxBlocksPerMultiprocessor:
      return kBlocksPerMultiprocessor;
    case cudaDevAttrMaxRegistersPerBlock:
    case cudaDevAttrMaxRegistersPerMultiprocessor:
      return kRegistersPerMultiprocessor;
    case cudaDevAttrTotalConstantMemory:
      return 65536;
    case cudaDevAttrL2CacheSize:
      return kCacheBytes;
    case cudaDevAttrClockRate:
    case cudaDevAttrMemoryClockRate:
      return 1000000;
    case cudaDevAttrGlobalMemoryBusWidth:
      return 5120;
    case cudaDevAttrMaxPitch:
      return INT_MAX;
    case cudaDevAttrTextureAlignment:
      return 512;
    case cudaDevAttrAsyncEngineCount:
    case cudaDevAttrConcurrentKernels:
    case cudaDevAttrCooperativeLaunch:
    case cudaDevAttrUnifiedAddressing:
    case cudaDevAttrManagedMemory:
    case cudaDevAttrStreamPrioritiesSupported:
    case cudaDevAttrGlobalL1CacheSupported:
    case cudaDevAttrLocalL1CacheSupported:
    case cudaDevAttrComputePreemptionSupported:
    case cudaDevAttrMemoryPoolsSupported:
    case cudaDevAttrHostRegisterSupported:
      return 1;
    case cudaDevAttrClusterLaunch:
      return ComputeCapability() >= 90;
    default:
      return 0;
  }
}

struct ErrorText {
  cudaError_t error;
  const char *name, *text;
};
constexpr ErrorText kErrorTexts[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration", "invalid configuration argument"},
    {cudaErrorInvalidPitchValue, "cudaErrorInvalidPitchValue", "invalid pitch argument"},
    {cudaErrorInvalidSymbol, "cudaErrorInvalidSymbol", "invalid device symbol"},
    {cudaErrorInvalidDeviceFunction, "cudaErrorInvalidDeviceFunction", "invalid device function"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorInvalidKernelImage, "cudaErrorInvalidKernelImage", "device kernel image is invalid"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure"},
    {cudaErrorCooperativeLaunchTooLarge, "cudaErrorCooperativeLaunchTooLarge", "too many blocks in cooperative launch"},
    {cudaErrorNotSupported, "cudaErrorNotSupported", "operation not supported"},
    {cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported",
     "operation not permitted when stream is capturing"},
};

int RoundUp(int value, int unit) { return (value + unit - 1) / unit * unit; }

// Resident blocks on one multiprocessor, by each of its limits.
int BlocksPerMultiprocessor(const Kernel& kernel, int threads, size_t dynamic_shared) {
  if (threads <= 0 || threads > kernel.max_threads) return 0;
  const int warps = (threads + kWarpSize - 1) / kWarpSize;
  const int by_threads = kThreadsPerMultiprocessor / (warps * kWarpSize);
  const int warp_registers = RoundUp(EstimatedRegisters(kernel) * kWarpSize, kRegisterGranule);
  const int by_registers = kRegistersPerMultiprocessor / (warp_registers * warps);
  const size_t shared = kernel.shared_bytes + dynamic_shared + kReservedSharedBytes;
  const int by_shared = static_cast<int>(MaxSharedPerMultiprocessor() / shared);
  return std::min({by_threads, by_registers, by_shared, kBlocksPerMultiprocessor});
}

}  // namespace

cudaError_t SetError(cudaError_t error) {
  if (error != cudaSuccess) last_error = error;
  return error;
}

cudaError_t AsynchronousError() {
  return WorkQueue::Get().TakeFailure() ? SetError(cudaErrorLaunchFailure) : cudaSuccess;
}

bool HasDevice() { return Options::FromEnvironment().device_count > 0; }

int MaxSharedPerBlockOptIn() { return ComputeCapability() >= 90 ? 232448 : 166912; }
int MaxSharedPerMultiprocessor() { return ComputeCapability() >= 90 ? 233472 : 167936; }

// ptxas is not run, so this is a guess within what the launch bounds allow.
int EstimatedRegisters(const Kernel& kernel) {
  constexpr int kTypical = 64;
  return std::min(kTypical, kRegistersPerMultiprocessor / RoundUp(kernel.max_threads, kWarpSize));
}

}  // namespace ptxemu

using ptxemu::AttributeValue;
using ptxemu::FindFunction;
using ptxemu::HasDevice;
using ptxemu::Kernel;
using ptxemu::SetError;

extern "C" {

// --- Errors ---------------------------------------------------------------------------

cudaError_t cudaGetLastError() {
  const cudaError_t error = ptxemu::last_error;
  ptxemu::last_error = cudaSuccess;
  return error;
}

cudaError_t cudaPeekAtLastError() { return ptxemu::last_error; }

const char* cudaGetErrorString(cudaError_t error) {
  for (const auto& entry : ptxemu::kErrorTexts) {
    if (entry.error == error) return entry.text;
  }
  return "CUDA error without a text in ptxemu";
}

const char* cudaGetErrorName(cudaError_t error) {
  for (const auto& entry : ptxemu::kErrorTexts) {
    if (entry.error == error) return entry.name;
  }
  return "cudaErrorUnknown";
}

// --- Device ---------------------------------------------------------------------------

cudaError_t cudaGetDeviceCount(int* count) {
  *count = HasDevice() ? ptxemu::Options::FromEnvironment().device_count : 0;
  return HasDevice() ? cudaSuccess : SetError(cudaErrorNoDevice);
}

cudaError_t cudaGetDevice(int* device) {
  if (!HasDevice()) return SetError(cudaErrorNoDevice);
  *device = 0;
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
  if (!HasDevice()) return SetError(cudaErrorNoDevice);
  return device == 0 ? cudaSuccess : SetError(cudaErrorInvalidDevice);
}

cudaError_t cudaDeviceReset() { return cudaSuccess; }
cudaError_t cudaDeviceSetLimit(cudaLimit, size_t) { return cudaSuccess; }
cudaError_t cudaCtxResetPersistingL2Cache() { return cudaSuccess; }

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int* version) {
  *version = HasDevice() ? CUDART_VERSION : 0;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  if (!HasDevice()) return SetError(cudaErrorNoDevice);
  if (device != 0) return SetError(cudaErrorInvalidDevice);
  *value = AttributeValue(attribute);
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (!HasDevice()) return SetError(cudaErrorNoDevice);
  if (device != 0) return SetError(cudaErrorInvalidDevice);
  cudaDeviceProp p;
  std::memset(&p, 0, sizeof(p));
  std::snprintf(p.name, sizeof(p.name), "ptxemu (CPU)");
  p.totalGlobalMem = size_t{8} << 30;
  p.sharedMemPerBlock = AttributeValue(cudaDevAttrMaxSharedMemoryPerBlock);
  p.sharedMemPerBlockOptin = AttributeValue(cudaDevAttrMaxSharedMemoryPerBlockOptin);
  p.sharedMemPerMultiprocessor = AttributeValue(cudaDevAttrMaxSharedMemoryPerMultiprocessor);
  p.reservedSharedMemPerBlock = AttributeValue(cudaDevAttrReservedSharedMemoryPerBlock);
  p.regsPerBlock = AttributeValue(cudaDevAttrMaxRegistersPerBlock);
  p.regsPerMultiprocessor = AttributeValue(cudaDevAttrMaxRegistersPerMultiprocessor);
  p.warpSize = AttributeValue(cudaDevAttrWarpSize);
  p.maxThreadsPerBlock = AttributeValue(cudaDevAttrMaxThreadsPerBlock);
  p.maxThreadsDim[0] = AttributeValue(cudaDevAttrMaxBlockDimX);
  p.maxThreadsDim[1] = AttributeValue(cudaDevAttrMaxBlockDimY);
  p.maxThreadsDim[2] = AttributeValue(cudaDevAttrMaxBlockDimZ);
  p.maxGridSize[0] = AttributeValue(cudaDevAttrMaxGridDimX);
  p.maxGridSize[1] = AttributeValue(cudaDevAttrMaxGridDimY);
  p.maxGridSize[2] = AttributeValue(cudaDevAttrMaxGridDimZ);
  p.totalConstMem = AttributeValue(cudaDevAttrTotalConstantMemory);
  p.major = AttributeValue(cudaDevAttrComputeCapabilityMajor);
  p.minor = AttributeValue(cudaDevAttrComputeCapabilityMinor);
  p.multiProcessorCount = AttributeValue(cudaDevAttrMultiProcessorCount);
  p.maxThreadsPerMultiProcessor = AttributeValue(cudaDevAttrMaxThreadsPerMultiProcessor);
  p.maxBlocksPerMultiProcessor = AttributeValue(cudaDevAttrMaxBlocksPerMultiprocessor);
  p.l2CacheSize = AttributeValue(cudaDevAttrL2CacheSize);
  p.memoryBusWidth = AttributeValue(cudaDevAttrGlobalMemoryBusWidth);
  p.concurrentKernels = p.cooperativeLaunch = p.unifiedAddressing = p.managedMemory = 1;
  p.asyncEngineCount = p.memoryPoolsSupported = p.hostRegisterSupported = 1;
  p.clusterLaunch = AttributeValue(cudaDevAttrClusterLaunch);
  *properties = p;
  return cudaSuccess;
}

// --- Functions ------------------------------------------------------------------------

cudaError_t cudaFuncSetAttribute(const void* host_stub, cudaFuncAttribute attribute, int value) {
  ptxemu::Function* function = FindFunction(host_stub);
  if (function == nullptr) return SetError(cudaErrorInvalidDeviceFunction);
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
  const std::shared_ptr<Kernel> kernel = function->FindKernel();
  const int fixed = kernel == nullptr ? 0 : static_cast<int>(kernel->shared_bytes);
  if (value < 0 || value + fixed > ptxemu::MaxSharedPerBlockOptIn()) { return SetError(cudaErrorInvalidValue); }
  function->max_dynamic_shared = value;
  return cudaSuccess;
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void* host_stub) {
  const ptxemu::Function* function = FindFunction(host_stub);
  const std::shared_ptr<Kernel> kernel = function == nullptr ? nullptr : function->FindKernel();
  if (kernel == nullptr) return SetError(cudaErrorInvalidDeviceFunction);
  *attributes = cudaFuncAttributes();
  attributes->sharedSizeBytes = kernel->shared_bytes;
  attributes->localSizeBytes = kernel->local_bytes;
  attributes->maxThreadsPerBlock = kernel->max_threads;
  attributes->numRegs = ptxemu::EstimatedRegisters(*kernel);
  attributes->maxDynamicSharedSizeBytes = function->max_dynamic_shared;
  attributes->ptxVersion = attributes->binaryVersion = ptxemu::ComputeCapability();
  return cudaSuccess;
}

cudaError_t cudaFuncSetCacheConfig(const void*, cudaFuncCache) { return cudaSuccess; }

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, const void* host_stub, int threads,
                                                                   size_t dynamic_shared, unsigned) {
  if (!HasDevice()) return SetError(cudaErrorNoDevice);
  const ptxemu::Function* function = FindFunction(host_stub);
  const std::shared_ptr<Kernel> kernel = function == nullptr ? nullptr : function->FindKernel();
  if (kernel == nullptr) return SetError(cudaErrorInvalidDeviceFunction);
  *blocks = ptxemu::BlocksPerMultiprocessor(*kernel, threads, dynamic_shared);
  return cudaSuccess;
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, const void* host_stub, int threads,
                                                          size_t dynamic_shared) {
  return cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, host_stub, threads, dynamic_shared, 0);
}

// Clusters of the given shape that fit on the device at a time.
cudaError_t cudaOccupancyMaxActiveClusters(int* clusters, const void* host_stub, const cudaLaunchConfig_t* config) {
  int blocks = 0;
  const int threads = static_cast<int>(config->blockDim.x * config->blockDim.y * config->blockDim.z);
  const cudaError_t error =
      cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, host_stub, threads, config->dynamicSmemBytes);
  if (error != cudaSuccess) return error;
  unsigned cluster = 1;
  for (unsigned i = 0; i < config->numAttrs; ++i) {
    if (config->attrs[i].id != cudaLaunchAttributeClusterDimension) continue;
    const auto& shape = config->attrs[i].val.clusterDim;
    cluster = shape.x * shape.y * shape.z;
  }
  *clusters = blocks * AttributeValue(cudaDevAttrMultiProcessorCount) / static_cast<int>(cluster);
  return cudaSuccess;
}

}  // extern "C"
