// SPDX-License-Identifier: MIT
// The rows of a batch in the order in which kernels walk them.
#pragma once
#include <vector>
#include "api.h"
namespace fastrnn {

// The rows of a batch in the order of Steps (api.h)
class Batch {
 public:
  // lengths (B) or null, 0 <= lengths[b] <= T; reset (T,B) contiguous or null. Both are copied.
  Batch(Index T, Index B, const Index* lengths, const unsigned char* reset);
  Index T, B, R;
  Steps steps(bool reversed) const;
  Index rows_before(Index step) const { return first_.empty() ? step * B : first_[size_t(step)]; }
  Index length_of_user_row(Index b) const { return user_lengths_.empty() ? T : user_lengths_[size_t(b)]; }
  const std::vector<Index>& user_lengths() const { return user_lengths_; }  // empty: all are T
  Dims dims(Index I, Index H, Index P) const { return {T, B, I, H, R, P}; }

 private:
  std::vector<Index> first_, order_, lengths_, user_lengths_;
  std::vector<unsigned char> reset_;
};

}  // namespace fastrnn
