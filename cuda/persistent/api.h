// SPDX-License-Identifier: MIT
// The persistent loops of one cell in one arithmetic: all steps in one launch. What callers of them need to include.
//
// Sizes are in bytes. All follow from the dimensions and the current device, so that sizes asked for before a call are
// right for it.
#pragma once
#include "../loop.h"
#include "cells/cells.h"
#include "device/api.h"
#include <cuda_bf16.h>
#include <cuda_fp16.h>
namespace fastrnn {

// How a call is divided: blocks that own the units, groups of them that run at a time, among which the batch is divided
struct PersistentSplit {
  int blocks, groups;  // groups 0: not even one runs
};

template <class Scalar>
struct PersistentKernel {
  const char* cell;  // lstm
  // Why a call cannot run so, in words, until the next question of this thread; null: it can. backward: whether both
  // directions are wanted
  const char* (*why_not)(Dims, bool backward, const StepControl<float>*, const StateMasks*);
  PersistentSplit (*split)(Dims, bool backward);
  Index (*packed_size)(Dims);  // of H alone; 0: no kernel is large enough
  Status (*pack)(Dims, const float* W_hh, void* packed, Stream);  // W_hh (G*H,H)
  Index (*exchange_size)(Dims);  // of LoopForward::exchange and LoopBackward::exchange, any content
  // `deadlock`: a word of the device, set where a block waited for another one in vain (kDeadlock); never cleared. All
  // results of such a call are void.
  Status (*forward)(const LoopForward<float, Scalar>&, unsigned* deadlock, Stream);
  Status (*backward)(const LoopBackward<float, Scalar>&, unsigned* deadlock, Stream);
};

// Of the cells of cells.def that run one phase a step, in its order
template <class Scalar>
struct PersistentKernels {
  int count;
  const PersistentKernel<Scalar>* cells;
};

constexpr const char* kNotPersistentArithmetic = "persistent kernels multiply float32, bfloat16 and float16";

}  // namespace fastrnn

FR_NAMESPACE_BEGIN
template <class A, class B> constexpr bool kSame = false;
template <class A> constexpr bool kSame<A, A> = true;

// Where a cell stands in PersistentKernels; -1: it does not
template <class Cell>
constexpr int persistent_index() {
  int n = 0;
#define FR_CELL(name, type) \
  if (kSame<Cell, type>) return n; \
  ++n;
#define FR_STAGED_CELL(name, type)
#include "cells/cells.def"
#undef FR_CELL
#undef FR_STAGED_CELL
  return -1;
}
FR_NAMESPACE_END

// Each lives in the namespace of its arithmetic (target.h)
#define FR_DECLARE_PERSISTENT(name, Scalar)                  \
  namespace fastrnn {                                        \
  inline namespace cuda_##name {                             \
  PersistentKernels<Scalar> persistent_kernels_##name();     \
  }                                                          \
  }
FR_DECLARE_PERSISTENT(f32, float)
FR_DECLARE_PERSISTENT(bf16, __nv_bfloat16)
FR_DECLARE_PERSISTENT(f16, __half)
