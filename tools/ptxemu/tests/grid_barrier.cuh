// SPDX-License-Identifier: MIT
// Barrier of all blocks of a grid that are resident together, as persistent kernels use it.

#ifndef PTXEMU_TESTS_GRID_BARRIER_CUH_
#define PTXEMU_TESTS_GRID_BARRIER_CUH_

// `counter` starts at 0, `phase` too. Without the fences (kFences = false) it is wrong.
template <bool kFences = true>
__device__ __forceinline__ void GridBarrier(unsigned* counter, unsigned* phase) {
  __syncthreads();
  if (threadIdx.x == 0) {
    if (kFences) __threadfence();  // release the writes of this block
    const unsigned target = (*phase + 1) * gridDim.x * gridDim.y * gridDim.z;
    atomicAdd(counter, 1u);
    while (*static_cast<volatile unsigned*>(counter) < target) __nanosleep(20);
    if (kFences) __threadfence();  // acquire those of the others
  }
  ++*phase;
  __syncthreads();
}

#endif  // PTXEMU_TESTS_GRID_BARRIER_CUH_
