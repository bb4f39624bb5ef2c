// SPDX-License-Identifier: MIT
// How the tiles of a call are divided among groups of blocks, all of which must run at a time.
#pragma once
#include <cuda_runtime_api.h>
#include "device/api.h"
#include "../fragments.cuh"
FR_NAMESPACE_BEGIN
namespace persistent {

// Groups that run at a time, each with `each` tiles or one less. No groups: not even one runs.
struct Plan {
  int groups, each;
  Index shared;  // bytes of a block
};
struct Limits {  // of the device
  int multiprocessors, shared;  // bytes that a block may have
  static Status ask(Limits& to) {
    int device;
    Status status = cudaGetDevice(&device);
    if (!status) status = cudaDeviceGetAttribute(&to.multiprocessors, cudaDevAttrMultiProcessorCount, device);
    if (!status) status = cudaDeviceGetAttribute(&to.shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
    return status;
  }
};

// Blocks of the kernel that run at a time, with so much shared memory each. One a multiprocessor: two would only share
// its arithmetic, while the tiles that a group takes by turns hide each other's exchange as well.
inline Status resident(const void* kernel, const Limits& limits, Index shared, int& blocks) {
  blocks = 0;
  if (shared > limits.shared) return cudaSuccess;
  // The most there is, for it is a state of the kernel, which other threads launch with other sizes meanwhile.
  Status status = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, limits.shared);
  if (!status) status = cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, kThreads, size_t(shared));
  blocks = blocks ? limits.multiprocessors : 0;
  return status;
}

// As many groups as can run at a time; where there are more tiles, each group takes several, which need shared memory
template <class Kernel>
Status plan_of(const void* kernel, Index tiles, int blocks, Plan& plan) {
  Limits limits;
  plan = {0, 0, 0};
  Status status = Limits::ask(limits);
  for (Index each = 1; !status && each <= tiles;) {
    const Index shared = sizeof(typename Kernel::Shared) + each * Index(sizeof(typename Kernel::Kept));
    int running;
    if ((status = resident(kernel, limits, shared, running)) || running < blocks) break;
    const Index needed = (tiles + running / blocks - 1) / (running / blocks);  // tiles of each group
    if (needed <= each) {
      plan = {int((tiles + each - 1) / each), int(each), shared};
      break;
    }
    each = needed;
  }
  return status;
}

}  // namespace persistent
FR_NAMESPACE_END
