// SPDX-License-Identifier: MIT
// From a call to a launch: which instance serves it, and where its buffers lie.
#pragma once
#include <stdio.h>
#include "api.h"
#include "backward.cuh"
#include "forward.cuh"
#include "plan.cuh"
#ifndef FR_CLASSES
#define FR_CLASSES "classes.def"
#endif
FR_NAMESPACE_BEGIN
namespace persistent {

// The kernels of one cell, arithmetic and class of sizes
template <class Cell, class Scalar, int kMaxH, int kMostUnits>
struct Instance {
  static constexpr Shape kForward = forward_shape(Cell::kGates, kMaxH, Operands<Scalar>::kWords, kMostUnits);
  static constexpr Shape kBackward = backward_shape(Cell::kGates, kMaxH, Operands<Scalar>::kWords, kMostUnits);
  static constexpr bool kExists = Cell::kRecurrent && kForward.units && kBackward.units;
};
template <class Cell, class Scalar, class Instance>
struct Kernels {
  static constexpr Shape kF = Instance::kForward, kB = Instance::kBackward;
  using ForwardTile = Tile<Operands<Scalar>, Cell::kGates, kF.units, kF.split, kF.chunks>;
  using BackwardTile = Tile<Operands<Scalar>, 1, kB.units, kB.split, kB.chunks>;
  using ForwardKernel = Forward<Cell, ForwardTile>;
  using BackwardKernel = Backward<Cell, BackwardTile>;
};

// How many blocks own the units, and so how wide the rows are that they exchange
template <class Tile>
struct Units {
  int blocks, columns;
  explicit Units(Index H)
      : blocks(int((H + Tile::kBlockUnits - 1) / Tile::kBlockUnits)), columns(blocks * Tile::kBlockUnits) {}
};

inline Index tiles_of(Dims d) { return (d.B + kTileRows - 1) / kTileRows; }
inline Index whole_lines(Index bytes) { return (bytes + 127) / 128 * 128; }
inline Index flag_bytes(Dims d) { return tiles_of(d) * kFlagStride * Index(sizeof(unsigned)); }

template <class Kernel>
Status launch(void (*kernel)(typename Kernel::Call), typename Kernel::Call& call, int blocks, cudaStream_t stream) {
  const Dims d = call.loop.dims;
  if (!d.R) return cudaSuccess;
  const void* const function = reinterpret_cast<const void*>(kernel);
  Plan plan;
  if (const Status status = plan_of<Kernel>(function, tiles_of(d), blocks, plan)) return status;
  if (!plan.groups) return kNotSupported;
  if (const Status status = cudaMemsetAsync(call.flags, 0, size_t(flag_bytes(d)), stream)) return status;
  void* parameters[] = {&call};
  return cudaLaunchCooperativeKernel(function, dim3(blocks, plan.groups), dim3(kThreads), parameters,
                                     size_t(plan.shared), stream);
}

// What PersistentKernel offers, of one instance
template <class Cell, class Scalar, class Instance>
struct Loops {
  using K = Kernels<Cell, Scalar, Instance>;
  using ForwardTile = typename K::ForwardTile;
  using BackwardTile = typename K::BackwardTile;

  static Index forward_packed(Index H) {
    return whole_lines(Index(Units<ForwardTile>(H).columns) * Cell::kGates * ForwardTile::kK * Index(sizeof(Scalar)));
  }
  static Index backward_packed(Index H) {
    return whole_lines(Index(Units<BackwardTile>(H).columns) * BackwardTile::kK * Index(sizeof(Scalar)));
  }
  static Index packed_size(Dims d) { return forward_packed(d.H) + backward_packed(d.H); }

  static Index exchange_size(Dims d) {
    const Index wide = Cell::kGates * Units<BackwardTile>(d.H).columns, narrow = Units<ForwardTile>(d.H).columns;
    return flag_bytes(d) + 2 * tiles_of(d) * kTileRows * (wide > narrow ? wide : narrow) * Index(sizeof(Scalar));
  }

  static Status pack(Dims d, const float* W_hh, void* packed, Stream stream) {
    const auto on = static_cast<cudaStream_t>(stream);
    const int H = int(d.H), narrow = Units<ForwardTile>(d.H).columns, wide = Units<BackwardTile>(d.H).columns;
    const dim3 block(32, kThreads / 32);
    pack_forward<Cell, ForwardTile><<<dim3(ForwardTile::kK / 32, narrow * Cell::kGates / 8), block, 0, on>>>(
        W_hh, H, static_cast<Scalar*>(packed));
    if (const Status status = cudaGetLastError()) return status;
    pack_backward<Cell, BackwardTile>
        <<<dim3(BackwardTile::kK / 32, (wide + 31) / 32), block, 0, on>>>(W_hh, H, wide, backward_of(packed, d.H));
    return cudaGetLastError();
  }
  template <class Pointer>
  static Scalar* backward_of(Pointer packed, Index H) {
    return reinterpret_cast<Scalar*>(const_cast<char*>(static_cast<const char*>(packed)) + forward_packed(H));
  }

  static Status forward(const LoopForward<float, Scalar>& loop, unsigned* deadlock, Stream stream) {
    using Kernel = typename K::ForwardKernel;
    typename Kernel::Call call{loop, static_cast<const Scalar*>(loop.persistent), nullptr, nullptr, nullptr, 0};
    return run<Kernel>(forward_kernel<Kernel>, call, Units<ForwardTile>(loop.dims.H).blocks, deadlock, stream);
  }
  static Status backward(const LoopBackward<float, Scalar>& loop, unsigned* deadlock, Stream stream) {
    using Kernel = typename K::BackwardKernel;
    typename Kernel::Call call{loop, backward_of(loop.persistent, loop.dims.H), nullptr, nullptr, nullptr, 0};
    return run<Kernel>(backward_kernel<Kernel>, call, Units<BackwardTile>(loop.dims.H).blocks, deadlock, stream);
  }
  template <class Kernel>
  static Status run(void (*kernel)(typename Kernel::Call), typename Kernel::Call& call, int blocks, unsigned* deadlock,
                    Stream stream) {
    const Dims d = call.loop.dims;
    char* const exchange = static_cast<char*>(call.loop.exchange);
    call.flags = reinterpret_cast<unsigned*>(exchange);
    call.buffers = reinterpret_cast<Scalar*>(exchange + flag_bytes(d));
    call.deadlock = deadlock;
    call.tiles = int(tiles_of(d));
    return launch<Kernel>(kernel, call, blocks, static_cast<cudaStream_t>(stream));
  }

  static PersistentSplit split(Dims d, bool backward) {
    return backward ? split_of<typename K::BackwardKernel>(backward_kernel<typename K::BackwardKernel>, d,
                                                           Units<BackwardTile>(d.H).blocks)
                    : split_of<typename K::ForwardKernel>(forward_kernel<typename K::ForwardKernel>, d,
                                                          Units<ForwardTile>(d.H).blocks);
  }
  template <class Kernel>
  static PersistentSplit split_of(void (*kernel)(typename Kernel::Call), Dims d, int blocks) {
    Plan plan;
    const Status status = plan_of<Kernel>(reinterpret_cast<const void*>(kernel), tiles_of(d), blocks, plan);
    return {blocks, status ? 0 : plan.groups};
  }

  // Whether the device can run it
  static const char* why_not(Dims d, bool backward) {
    const char* const words =
        misfit<typename K::ForwardKernel>(forward_kernel<typename K::ForwardKernel>, d, Units<ForwardTile>(d.H).blocks);
    if (words || !backward) return words;
    return misfit<typename K::BackwardKernel>(backward_kernel<typename K::BackwardKernel>, d,
                                              Units<BackwardTile>(d.H).blocks);
  }
  template <class Kernel>
  static const char* misfit(void (*kernel)(typename Kernel::Call), Dims d, int blocks) {
    static thread_local char words[160];
    const void* const function = reinterpret_cast<const void*>(kernel);
    Limits limits;
    Plan plan;
    int running = 0;
    Status status = Limits::ask(limits);
    if (!status)
      status = resident(function, limits, sizeof(typename Kernel::Shared) + sizeof(typename Kernel::Kept), running);
    if (!status) status = plan_of<Kernel>(function, tiles_of(d), blocks, plan);
    if (status) return cudaGetErrorString(cudaError_t(status));
    if (running < blocks)
      snprintf(words, sizeof words,
               "H %td is divided among %d blocks, but the %d multiprocessors of the device run %d at a time", d.H,
               blocks, limits.multiprocessors, running);
    else if (d.B && !plan.groups)
      snprintf(words, sizeof words, "a batch of %td rows needs more shared memory than the %d bytes of a block", d.B,
               limits.shared);
    else return nullptr;
    return words;
  }
};

// What PersistentKernel offers, of all classes
template <class Cell, class Scalar>
struct Persistent {
  // Of the Loops of the first instance that is large enough; `none` where there is none
  template <class Result, class Visit>
  static Result visit(Index H, Result none, Visit&& of) {
#define FR_CLASS(max_H, units)                              \
  if (H <= max_H) {                                         \
    using Choice = Instance<Cell, Scalar, max_H, units>;      \
    if constexpr (Choice::kExists) return of(Loops<Cell, Scalar, Choice>()); \
  }
#include FR_CLASSES
#undef FR_CLASS
    return none;
  }
  static constexpr Index max_H() {
    Index most = 0;
#define FR_CLASS(max_H, units) if (Instance<Cell, Scalar, max_H, units>::kExists) most = max_H;
#include FR_CLASSES
#undef FR_CLASS
    return most;
  }

  static const char* why_not(Dims d, bool backward, const StepControl<float>* control, const StateMasks* masks) {
    static thread_local char words[96];
    if (!Cell::kRecurrent) return "the cell has no W_hh, so that its units need not wait for each other";
    if (masks) return "persistent kernels have no noise in the recurrence";
    if (control && backward) return "limits and norms of the gradients of each step need sums over all units of a row";
    snprintf(words, sizeof words, "H %td is larger than %td, the most that persistent kernels hold in registers", d.H,
             max_H());
    return visit(d.H, static_cast<const char*>(words), [&](auto loops) { return loops.why_not(d, backward); });
  }
  static PersistentSplit split(Dims d, bool backward) {
    return visit(d.H, PersistentSplit{0, 0}, [&](auto loops) { return loops.split(d, backward); });
  }
  static Index packed_size(Dims d) {
    return visit(d.H, Index(0), [&](auto loops) { return loops.packed_size(d); });
  }
  static Index exchange_size(Dims d) {
    return visit(d.H, Index(0), [&](auto loops) { return loops.exchange_size(d); });
  }
  static Status pack(Dims d, const float* W_hh, void* packed, Stream stream) {
    return visit(d.H, Status(kNotSupported), [&](auto loops) { return loops.pack(d, W_hh, packed, stream); });
  }
  static Status forward(const LoopForward<float, Scalar>& loop, unsigned* deadlock, Stream stream) {
    return visit(loop.dims.H, Status(kNotSupported), [&](auto loops) { return loops.forward(loop, deadlock, stream); });
  }
  static Status backward(const LoopBackward<float, Scalar>& loop, unsigned* deadlock, Stream stream) {
    return visit(loop.dims.H, Status(kNotSupported),
                 [&](auto loops) { return loops.backward(loop, deadlock, stream); });
  }

  static constexpr PersistentKernel<Scalar> kernel(const char* cell) {
    return {cell, why_not, split, packed_size, pack, exchange_size, forward, backward};
  }
};

}  // namespace persistent
FR_NAMESPACE_END
