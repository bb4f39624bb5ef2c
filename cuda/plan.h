// SPDX-License-Identifier: MIT
// Which engine runs the loop over time of a call. All sizes follow from here, so that those asked for before a call are
// right for it.
//
// Neither T nor R enters the choice: segments of a sequence take the same engine as the whole, and so have its bits.
#pragma once
#include "deadlock.h"
#include "model.h"
#include "persistent/api.h"
#include "streaming.cuh"
FR_NAMESPACE_BEGIN
template <class Math> constexpr bool kIsTf32 = false;
template <> constexpr bool kIsTf32<Tf32> = true;

template <class Cell, class Math>
struct Plan {
  using Real = typename Math::Real;
  using Scalar = typename Math::Scalar;
  using Kernel = PersistentKernel<Scalar>;

  // Null where the arithmetic or the cell has none
  static const Kernel* persistent() {
#if defined(FR_PERSISTENT)
    constexpr int index = persistent_index<Cell>();
    return index < 0 ? nullptr : FR_JOIN(persistent_kernels_, FR_ARITHMETIC)().cells + index;
#else
    return nullptr;
#endif
  }

  // Why a call cannot run persistently, in words; null: it can
  static const char* why_never(Dims d, bool backward, const StepControl<Real>* control) {
    const Kernel* const kernel = persistent();
    if (!kernel) return kNotPersistentArithmetic;
    if constexpr (sizeof(Real) == sizeof(float)) return kernel->why_not(d, backward, control, nullptr);
    return nullptr;
  }
  // Why it does not
  static const char* why_not(Dims d, bool backward, const StepControl<Real>* control) {
    const char* const words = why_never(d, backward, control);
    if (words || d.B == 0) return words;
    if (forced_engine() != Engine(0))
      return forced_engine() == Engine::kStreaming ? "FASTRNN_CUDA_ENGINE=streaming" : nullptr;
    DeviceSpeed device;
    if (const Status status = device_speed(&device)) return cudaGetErrorString(cudaError_t(status));
    const bool slower = step(device, d, Engine::kPersistent, backward).microseconds >
                        step(device, d, Engine::kStreaming, backward).microseconds;
    return slower ? "by the model a launch a step is faster" : nullptr;
  }

  static constexpr Units kUnits = sizeof(Scalar) == 2   ? Units::kTensor16
                                  : sizeof(Scalar) == 8 ? Units::kFma64
                                  : kIsTf32<Math>       ? Units::kTensorTf32
                                                        : Units::kFma32;
  // The modelled cost of a step
  static StepCost step(const DeviceSpeed& device, Dims d, Engine engine, bool backward) {
    if (engine == Engine::kStreaming) return streaming_cost(device, d, Cell::kRecurrent ? Cell::kGates : 0, kUnits);
    const PersistentSplit split = persistent()->split(d, backward);
    return persistent_cost(device, d, Cell::kGates, kUnits, backward, split.blocks, split.groups);
  }
  static bool runs_persistently(Dims d, bool backward, const StepControl<Real>* control) {
    return d.R > 0 && !why_not(d, backward, control);
  }

  // Bytes of packed weights, of H alone, and elements of scratch, that engines want for themselves
  static Index persistent_packed_size(Dims d) {
    const Kernel* const kernel = persistent();
    return kernel ? kernel->packed_size(d) : 0;
  }
  static Index persistent_exchange_size(Dims d) {
    const Kernel* const kernel = persistent();
    return kernel ? (kernel->exchange_size(d) + Index(sizeof(Real)) - 1) / Index(sizeof(Real)) : 0;
  }
  static Index forward_exchange_size(Dims d) { return persistent_exchange_size(d); }
  static Index backward_exchange_size(Dims d) {
    const Index streaming = Streaming<Cell, Math>::backward_exchange_size(d), mine = persistent_exchange_size(d);
    return streaming > mine ? streaming : mine;
  }

  static Status pack(Dims d, const Real* W_hh, void* packed, cudaStream_t stream) {
    if constexpr (sizeof(Real) == sizeof(float))
      if (persistent_packed_size(d)) return persistent()->pack(d, W_hh, packed, stream);
    return 0;
  }
  static Status forward(const LoopForward<Real, Scalar>& loop, cudaStream_t stream) {
    if constexpr (sizeof(Real) == sizeof(float))
      if (runs_persistently(loop.dims, false, nullptr)) {
        unsigned* deadlock;
        FR_TRY(deadlock_word(&deadlock));
        return persistent()->forward(loop, deadlock, stream);
      }
    return Streaming<Cell, Math>::forward(loop, stream);
  }
  static Status backward(const LoopBackward<Real, Scalar>& loop, cudaStream_t stream) {
    if constexpr (sizeof(Real) == sizeof(float))
      if (runs_persistently(loop.dims, true, loop.control)) {
        unsigned* deadlock;
        FR_TRY(deadlock_word(&deadlock));
        return persistent()->backward(loop, deadlock, stream);
      }
    return Streaming<Cell, Math>::backward(loop, stream);
  }
};
FR_NAMESPACE_END
