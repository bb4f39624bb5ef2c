// SPDX-License-Identifier: MIT
#include "batch.h"
#include <algorithm>
#include <numeric>
namespace fastrnn {

Batch::Batch(Index T_, Index B_, const Index* lengths, const unsigned char* reset) : T(T_), B(B_), R(T_ * B_) {
  if (reset) reset_.assign(reset, reset + T * B);
  if (!lengths || std::all_of(lengths, lengths + B, [this](Index n) { return n == T; })) return;
  order_.resize(size_t(B));
  std::iota(order_.begin(), order_.end(), Index(0));
  std::stable_sort(order_.begin(), order_.end(), [&](Index a, Index b) { return lengths[a] > lengths[b]; });
  user_lengths_.assign(lengths, lengths + B);
  for (Index b : order_) lengths_.push_back(lengths[b]);
  first_.assign(size_t(T) + 1, 0);
  size_t active = size_t(B);
  for (size_t s = 0; s < size_t(T); ++s) {
    while (active && lengths_[active - 1] <= Index(s)) --active;
    first_[s + 1] = first_[s] + Index(active);
  }
  R = first_[size_t(T)];
}

Steps Batch::steps(bool reversed) const {
  const bool dense = lengths_.empty();
  return {dense ? nullptr : first_.data(),
          dense ? nullptr : order_.data(),
          dense ? nullptr : lengths_.data(),
          reset_.empty() ? nullptr : reset_.data(),
          reversed,
          0,
          T};
}

}  // namespace fastrnn
