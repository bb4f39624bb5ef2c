// SPDX-License-Identifier: MIT
// z = f(x W^T + b), or of x W where it is transposed, packed once for many rows; none where H is 0.
#pragma once
#include "../memory.h"
#include "api.h"
namespace fastrnn {

template <class T>
struct LinearMap {
  LinearMap() = default;
  LinearMap(const ModelKernels<T>& kernels_, const LinearWeights<T>& weights)
      : H(weights.H), K(weights.K), kernels(&kernels_),
        packed(buffer_of<T>(kernels_.linear_packed_size(weights.H, weights.K))) {
    kernels->pack_linear(weights, packed.as<T>());
  }
  void run(const T* x, Index x_ld, T* z, Index z_ld, Index rows, bool tanh = false) const {
    kernels->linear({packed.as<T>(), rows, H, K, x, x_ld, z, z_ld, false, tanh});
  }
  Index H = 0, K = 0;

 private:
  const ModelKernels<T>* kernels = nullptr;
  Buffer packed;
};

}  // namespace fastrnn
