// SPDX-License-Identifier: MIT
// Runtime API, part 3: memory. Transfers are operations of a stream like kernels.

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <vector>

#include "memory.h"
#include "runtime.h"

namespace ptxemu {
namespace {

constexpr size_t kAlignment = 512;
constexpr uint8_t kFreshMemory = 0xff;  // NaN as floats

// Page-locked host memory: base -> size.
std::map<uint64_t, size_t>& PinnedRanges() {
  static auto* ranges = new std::map<uint64_t, size_t>;
  return *ranges;
}

bool IsPinned(const void* pointer) {
  const auto address = reinterpret_cast<uint64_t>(pointer);
  auto next = PinnedRanges().upper_bound(address);
  if (next == PinnedRanges().begin()) return false;
  --next;
  return address < next->first + next->second;
}

bool IsDevice(const void* pointer) { return AllocationTable::Get().Knows(reinterpret_cast<uint64_t>(pointer)); }

void* NewDeviceMemory(size_t bytes) {
  void* memory = std::aligned_alloc(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment);
  if (memory != nullptr) std::memset(memory, kFreshMemory, bytes);
  return memory;
}

cudaError_t AllocateNow(void** pointer, size_t bytes, const char* name) {
  if (!HasDevice()) return SetError(cudaErrorNoDevice);
  *pointer = nullptr;
  if (bytes == 0) return cudaSuccess;
  *pointer = NewDeviceMemory(bytes);
  if (*pointer == nullptr) return SetError(cudaErrorMemoryAllocation);
  AllocationTable::Get().Add(*pointer, bytes, name);
  return cudaSuccess;
}

// Which sides of a transfer are on the device.
struct Direction {
  bool from_device, to_device;
};

Direction DirectionOf(cudaMemcpyKind kind, const void* to, const void* from) {
  switch (kind) {
    case cudaMemcpyHostToHost:
      return {false, false};
    case cudaMemcpyHostToDevice:
      return {false, true};
    case cudaMemcpyDeviceToHost:
      return {true, false};
    case cudaMemcpyDeviceToDevice:
      return {true, true};
    default:
      return {IsDevice(from), IsDevice(to)};
  }
}

// A rectangle of bytes; a plain copy is one row.
struct Transfer {
  void* to = nullptr;
  size_t to_pitch = 0;
  const void* from = nullptr;
  size_t from_pitch = 0;
  size_t width = 0, height = 1;
};

void RunTransfer(const Transfer& transfer, Direction direction, const Operation& operation) {
  for (size_t row = 0; row < transfer.height; ++row) {
    char* to = static_cast<char*>(transfer.to) + row * transfer.to_pitch;
    const char* from = static_cast<const char*>(transfer.from) + row * transfer.from_pitch;
    if (direction.from_device) { CheckTransfer(operation, from, transfer.width, false, "cudaMemcpy: source"); }
    if (direction.to_device) { CheckTransfer(operation, to, transfer.width, true, "cudaMemcpy: destination"); }
    std::memmove(to, from, transfer.width);
  }
}

// Pageable memory is copied at submission, as CUDA does with its staging buffer.
Transfer Stage(const Transfer& transfer, std::shared_ptr<std::vector<char>>* staging) {
  *staging = std::make_shared<std::vector<char>>(transfer.width * transfer.height);
  for (size_t row = 0; row < transfer.height; ++row) {
    std::memcpy((*staging)->data() + row * transfer.width,
                static_cast<const char*>(transfer.from) + row * transfer.from_pitch, transfer.width);
  }
  Transfer staged = transfer;
  staged.from = (*staging)->data();
  staged.from_pitch = transfer.width;
  return staged;
}

cudaError_t Copy(Transfer transfer, cudaMemcpyKind kind, cudaStream_t stream_handle, bool wait) {
  if (!HasDevice()) return SetError(cudaErrorNoDevice);
  if (transfer.width == 0 || transfer.height == 0) return cudaSuccess;
  if (transfer.height > 1 && (transfer.width > transfer.to_pitch || transfer.width > transfer.from_pitch)) {
    return SetError(cudaErrorInvalidPitchValue);
  }
  Stream* stream = ToStream(stream_handle);
  const Direction direction = DirectionOf(kind, transfer.to, transfer.from);
  const bool pageable_source = !direction.from_device && !IsPinned(transfer.from);
  const bool pageable_target = !direction.to_device && !IsPinned(transfer.to);
  std::shared_ptr<std::vector<char>> staging;
  if (!wait && pageable_source && stream->capture == nullptr) transfer = Stage(transfer, &staging);
  const auto work = [transfer, direction, staging](const Operation& operation) {
    RunTransfer(transfer, direction, operation);
  };
  const OperationPointer operation = WorkQueue::Get().Submit(stream, work);
  if (wait || pageable_target) {
    WorkQueue::Get().Synchronize(operation);
    return AsynchronousError();
  }
  return cudaSuccess;
}

cudaError_t Fill(void* to, size_t pitch, int value, size_t width, size_t height, cudaStream_t stream_handle) {
  if (!HasDevice()) return SetError(cudaErrorNoDevice);
  if (width == 0 || height == 0) return cudaSuccess;
  WorkQueue::Get().Submit(ToStream(stream_handle), [=](const Operation& operation) {
    for (size_t row = 0; row < height; ++row) {
      char* begin = static_cast<char*>(to) + row * pitch;
      CheckTransfer(operation, begin, width, true, "cudaMemset: destination");
      std::memset(begin, value, width);
    }
  });
  return cudaSuccess;
}

cudaError_t CopySymbol(const void* symbol, size_t offset, const void* from, void* to, size_t bytes, cudaMemcpyKind kind,
                       cudaStream_t stream, bool wait) {
  if (!HasDevice()) return SetError(cudaErrorNoDevice);
  char* variable = static_cast<char*>(FindVariable(symbol));
  if (variable == nullptr) return SetError(cudaErrorInvalidSymbol);
  Transfer transfer;
  transfer.to = to != nullptr ? to : variable + offset;
  transfer.from = from != nullptr ? from : variable + offset;
  transfer.width = bytes;
  return Copy(transfer, kind, stream, wait);
}

Transfer Row(void* to, const void* from, size_t bytes) { return {to, 0, from, 0, bytes, 1}; }

}  // namespace
}  // namespace ptxemu

using ptxemu::AllocationTable;
using ptxemu::Copy;
using ptxemu::HasDevice;
using ptxemu::SetError;
using ptxemu::WorkQueue;

extern "C" {

cudaError_t cudaMalloc(void** pointer, size_t bytes) { return ptxemu::AllocateNow(pointer, bytes, "cudaMalloc"); }

cudaError_t cudaMallocManaged(void** pointer, size_t bytes, unsigned) {
  return ptxemu::AllocateNow(pointer, bytes, "cudaMallocManaged");
}

cudaError_t cudaMallocPitch(void** pointer, size_t* pitch, size_t width, size_t height) {
  *pitch = (width + ptxemu::kAlignment - 1) / ptxemu::kAlignment * ptxemu::kAlignment;
  return ptxemu::AllocateNow(pointer, *pitch * height, "cudaMallocPitch");
}

cudaError_t cudaFree(void* pointer) {
  if (!HasDevice()) return SetError(cudaErrorNoDevice);
  if (pointer == nullptr) return cudaSuccess;
  WorkQueue::Get().SynchronizeAll();
  if (!AllocationTable::Get().Remove(pointer)) return SetError(cudaErrorInvalidValue);
  std::free(pointer);
  return cudaSuccess;
}

// Memory comes from the system at each allocation: there is one pool, and its attributes say nothing.
cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t* pool, int device) {
  if (!HasDevice()) return SetError(cudaErrorNoDevice);
  if (device != 0) return SetError(cudaErrorInvalidDevice);
  static char the_pool;
  *pool = reinterpret_cast<cudaMemPool_t>(&the_pool);
  return cudaSuccess;
}

cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t pool, cudaMemPoolAttr, void* value) {
  return pool && value ? cudaSuccess : SetError(cudaErrorInvalidValue);
}

// The memory exists for kernels from the moment its operation runs until that of cudaFreeAsync
// does.
cudaError_t cudaMallocAsync(void** pointer, size_t bytes, cudaStream_t stream) {
  if (!HasDevice()) return SetError(cudaErrorNoDevice);
  *pointer = nullptr;
  if (bytes == 0) return cudaSuccess;
  void* memory = ptxemu::NewDeviceMemory(bytes);
  if (memory == nullptr) return SetError(cudaErrorMemoryAllocation);
  *pointer = memory;
  AllocationTable::Get().Promise(memory, bytes);
  WorkQueue::Get().Submit(ptxemu::ToStream(stream), [=](const ptxemu::Operation&) {
    AllocationTable::Get().Add(memory, bytes, "cudaMallocAsync");
  });
  return cudaSuccess;
}

cudaError_t cudaFreeAsync(void* pointer, cudaStream_t stream) {
  if (!HasDevice()) return SetError(cudaErrorNoDevice);
  if (pointer == nullptr) return cudaSuccess;
  WorkQueue::Get().Submit(ptxemu::ToStream(stream), [=](const ptxemu::Operation& operation) {
    ptxemu::CheckTransfer(operation, pointer, 1, true, "cudaFreeAsync: pointer");
    if (!AllocationTable::Get().Remove(pointer)) {
      throw ptxemu::EmulationError("cudaFreeAsync: no allocation starts at the pointer");
    }
    std::free(pointer);
  });
  return cudaSuccess;
}

cudaError_t cudaMallocHost(void** pointer, size_t bytes) {
  if (!HasDevice()) return SetError(cudaErrorNoDevice);
  *pointer = std::malloc(std::max<size_t>(bytes, 1));
  if (*pointer == nullptr) return SetError(cudaErrorMemoryAllocation);
  ptxemu::PinnedRanges()[reinterpret_cast<uint64_t>(*pointer)] = bytes;
  return cudaSuccess;
}

cudaError_t cudaHostAlloc(void** pointer, size_t bytes, unsigned) { return cudaMallocHost(pointer, bytes); }

cudaError_t cudaFreeHost(void* pointer) {
  WorkQueue::Get().SynchronizeAll();
  ptxemu::PinnedRanges().erase(reinterpret_cast<uint64_t>(pointer));
  std::free(pointer);
  return cudaSuccess;
}

cudaError_t cudaHostRegister(void* pointer, size_t bytes, unsigned) {
  if (!HasDevice()) return SetError(cudaErrorNoDevice);
  ptxemu::PinnedRanges()[reinterpret_cast<uint64_t>(pointer)] = bytes;
  return cudaSuccess;
}

cudaError_t cudaHostUnregister(void* pointer) {
  WorkQueue::Get().SynchronizeAll();
  ptxemu::PinnedRanges().erase(reinterpret_cast<uint64_t>(pointer));
  return cudaSuccess;
}

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  return Copy(ptxemu::Row(to, from, bytes), kind, nullptr, true);
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  return Copy(ptxemu::Row(to, from, bytes), kind, stream, false);
}

cudaError_t cudaMemcpy2D(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width, size_t height,
                         cudaMemcpyKind kind) {
  return Copy({to, to_pitch, from, from_pitch, width, height}, kind, nullptr, true);
}

cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width,
                              size_t height, cudaMemcpyKind kind, cudaStream_t stream) {
  return Copy({to, to_pitch, from, from_pitch, width, height}, kind, stream, false);
}

cudaError_t cudaMemset(void* to, int value, size_t bytes) { return ptxemu::Fill(to, 0, value, bytes, 1, nullptr); }

cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
  return ptxemu::Fill(to, 0, value, bytes, 1, stream);
}

cudaError_t cudaMemset2D(void* to, size_t pitch, int value, size_t width, size_t height) {
  return ptxemu::Fill(to, pitch, value, width, height, nullptr);
}

cudaError_t cudaMemset2DAsync(void* to, size_t pitch, int value, size_t width, size_t height, cudaStream_t stream) {
  return ptxemu::Fill(to, pitch, value, width, height, stream);
}

cudaError_t cudaGetSymbolAddress(void** pointer, const void* symbol) {
  *pointer = ptxemu::FindVariable(symbol);
  return *pointer != nullptr ? cudaSuccess : SetError(cudaErrorInvalidSymbol);
}

cudaError_t cudaMemcpyToSymbol(const void* symbol, const void* from, size_t bytes, size_t offset, cudaMemcpyKind kind) {
  return ptxemu::CopySymbol(symbol, offset, from, nullptr, bytes, kind, nullptr, true);
}

cudaError_t cudaMemcpyToSymbolAsync(const void* symbol, const void* from, size_t bytes, size_t offset,
                                    cudaMemcpyKind kind, cudaStream_t stream) {
  return ptxemu::CopySymbol(symbol, offset, from, nullptr, bytes, kind, stream, false);
}

cudaError_t cudaMemcpyFromSymbol(void* to, const void* symbol, size_t bytes, size_t offset, cudaMemcpyKind kind) {
  return ptxemu::CopySymbol(symbol, offset, nullptr, to, bytes, kind, nullptr, true);
}

cudaError_t cudaMemcpyFromSymbolAsync(void* to, const void* symbol, size_t bytes, size_t offset, cudaMemcpyKind kind,
                                      cudaStream_t stream) {
  return ptxemu::CopySymbol(symbol, offset, nullptr, to, bytes, kind, stream, false);
}

cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total_bytes) {
  if (!HasDevice()) return SetError(cudaErrorNoDevice);
  *free_bytes = *total_bytes = size_t{8} << 30;
  return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer) {
  *attributes = cudaPointerAttributes();
  if (ptxemu::IsDevice(pointer)) {
    attributes->type = cudaMemoryTypeDevice;
    attributes->devicePointer = const_cast<void*>(pointer);
  } else if (ptxemu::IsPinned(pointer)) {
    attributes->type = cudaMemoryTypeHost;
    attributes->hostPointer = const_cast<void*>(pointer);
  } else {
    attributes->type = cudaMemoryTypeUnregistered;
  }
  return cudaSuccess;
}

}  // extern "C"
