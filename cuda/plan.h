// SPDX-License-Identifier: MIT
// Which engine runs the loop over time of a call. All sizes follow from here, so that those asked for before a call are
// right for it.
#pragma once
#include "streaming.cuh"
FR_NAMESPACE_BEGIN
enum class Engine { kStreaming };

template <class Cell, class Math>
struct Plan {
  using Real = typename Math::Real;
  using Scalar = typename Math::Scalar;

  static Engine choose(Dims) { return Engine::kStreaming; }

  // Bytes of packed weights, and elements of scratch, that engines want for themselves
  static Index persistent_packed_size(Dims) { return 0; }
  static Index forward_exchange_size(Dims) { return 0; }
  static Index backward_exchange_size(Dims d) { return Streaming<Cell, Math>::backward_exchange_size(d); }

  static cudaError_t forward(const LoopForward<Real, Scalar>& loop, cudaStream_t stream) {
    return Streaming<Cell, Math>::forward(loop, stream);
  }
  static cudaError_t backward(const LoopBackward<Real, Scalar>& loop, cudaStream_t stream) {
    return Streaming<Cell, Math>::backward(loop, stream);
  }
};
FR_NAMESPACE_END
