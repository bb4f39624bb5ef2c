// SPDX-License-Identifier: MIT
// What the gates of a layer start from where it reads a token: the bias, and the product of W_ih with the vector of the
// token, made when the token is first read. Far more tokens are read than there are different ones.
//
// A row has the same bits whenever it is made, so that results do not depend on what is kept.
#pragma once
#include <vector>
#include <algorithm>
#include "cpu.h"
#include "network.h"
namespace fastrnn {

template <class T>
class TokenRows {
 public:
  // Of a part of the first layer, whose x begins with a row of `table` (vocabulary,width). Only where the kernel begins
  // rows.
  TokenRows(const Network<T>& net, const PackedWeights& packed, size_t part, const T* table, Index vocabulary,
            Index width)
      : kernel_(net.kernel()), dims_(net.first_layer()), packed_(packed.parts[part].template as<T>()), table_(table),
        width_(width), kept_(size_t(vocabulary)) {}

  // One for each token
  void find(const Index* tokens, Index n, const T** rows) {
    if (!missing(tokens, n)) return look_up(tokens, n, rows);
    if (count_ > 0 && (count_ + Index(fresh_.size())) * size() > kMostKept) {
      std::fill(kept_.begin(), kept_.end(), nullptr);
      buffers_.clear(), count_ = room_ = 0;
      missing(tokens, n);
    }
    make();
    look_up(tokens, n, rows);
  }

 private:
  static constexpr Index kAtOnce = 16;  // rows that are given memory
  static constexpr Index kMostKept = (Index(32) << 20) / Index(sizeof(T));  // numbers: about what caches hold

  Index size() const { return kernel_.begun_size(dims_); }

  // Finds the tokens without a row, each once; whether there are any
  bool missing(const Index* tokens, Index n) {
    fresh_.clear();
    for (Index k = 0; k < n; ++k) {
      const T*& row = kept_[size_t(tokens[k])];
      if (row) continue;
      row = table_ + tokens[k] * width_;  // which is multiplied, and makes place for the product
      fresh_.push_back(tokens[k]);
    }
    return !fresh_.empty();
  }

  void make() {
    const Index n = Index(fresh_.size());
    vectors_.clear();
    for (Index token : fresh_) vectors_.push_back(kept_[size_t(token)]);
    if (room_ < n) {
      room_ = std::max(n, kAtOnce);
      buffers_.push_back(buffer_of<T>(room_ * size()));
      next_ = buffers_.back().template as<T>();
    }
    T* const out = next_;
    {
      const FlushDenormals flush;
      kernel_.begin_rows({dims_, packed_, n, width_, vectors_.data(), nullptr, out});
    }
    for (Index k = 0; k < n; ++k) kept_[size_t(fresh_[size_t(k)])] = out + k * size();
    count_ += n, room_ -= n, next_ += n * size();
  }

  void look_up(const Index* tokens, Index n, const T** rows) const {
    for (Index k = 0; k < n; ++k) rows[k] = kept_[size_t(tokens[k])];
  }

  const Kernel<T>& kernel_;
  const Dims dims_;
  const T *const packed_, *const table_;
  const Index width_;
  std::vector<const T*> kept_, vectors_;  // of each token, null where there is none; of the fresh ones
  std::vector<Index> fresh_;
  std::vector<Buffer> buffers_;
  Index count_ = 0, room_ = 0;  // rows that are kept, and for which there is memory behind them
  T* next_ = nullptr;
};

}  // namespace fastrnn
