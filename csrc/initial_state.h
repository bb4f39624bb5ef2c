// SPDX-License-Identifier: MIT
// A state that all sequences begin with, as parameters: h0 and c0 (parts,width), behind those of the parts.
#pragma once
#include <algorithm>
#include "api.h"
namespace fastrnn {

// (parts,n) -> (parts,B,n)
template <class T>
void broadcast_state(const T* from, Index parts, Index B, Index n, T* to) {
  for (Index part = 0; part < parts; ++part, from += n)
    for (Index b = 0; b < B; ++b, to += n) std::copy_n(from, n, to);
}

// Sums dstate (parts,B,n) over the batch, null for zeros, and stores it as kernels do gradients of parameters: added to
// `to` (parts,n) unless fresh, clamped to [-value, value], counted in `all`
template <class T>
void add_state_gradients(const T* dstate, Index parts, Index B, Index n, bool fresh, T value, T* to,
                         GradientSums& all) {
  for (Index part = 0; part < parts; ++part)
    for (Index j = 0; j < n; ++j, ++to) {
      double sum = fresh ? 0 : double(*to);
      for (Index b = 0; dstate && b < B; ++b) sum += double(dstate[(part * B + b) * n + j]);
      const T stored = T(sum);
      *to = stored > value ? value : stored < -value ? -value : stored;  // NaN stays NaN
      const double before = double(stored), after = double(*to);
      all.before += before * before, all.after += after * after, all.clamped += after != before && before == before;
    }
}

}  // namespace fastrnn
