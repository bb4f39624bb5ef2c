// SPDX-License-Identifier: MIT
// Layers and directions of one recurrent network, composed of kernels that each run one of them.
//
// Layer l, direction d (1 = reverse) is part l * directions + d. All parameters lie in ONE flat array of the caller,
// part by part: W_ih, W_hh, b_ih, b_hh, unit parameters. States are (parts,B,H), one array a state.
#pragma once
#include <memory>
#include <vector>
#include "api.h"
#include "memory.h"
namespace fastrnn {

struct NetworkShape {
  Index I, H;
  int layers, directions;
  bool bias;
};

struct Parameter {
  int layer, direction;
  const char* role;  // weight_ih weight_hh bias_ih bias_hh unit
  Index rows, columns;  // columns 0: a vector
  Index offset;
};

// The rows of a batch in the order of Steps (api.h)
class Batch {
 public:
  // lengths (B) or null, 0 <= lengths[b] <= T; reset (T,B) contiguous or null. Both are copied.
  Batch(Index T, Index B, const Index* lengths, const unsigned char* reset);
  Index T, B, R;
  Steps steps(bool reversed) const;
  Index length_of_user_row(Index b) const { return user_lengths_.empty() ? T : user_lengths_[size_t(b)]; }
  Dims dims(Index I, Index H) const { return {T, B, I, H, R}; }

 private:
  std::vector<Index> first_, order_, lengths_, user_lengths_;
  std::vector<unsigned char> reset_;
};

// Weights as the kernels want them, of all parts
struct PackedWeights {
  std::vector<Buffer> parts;
};

// What one forward call leaves for one backward call
template <class T>
struct Tape {
  Batch batch;
  Buffer x;                      // (T,B,I) a copy, so that the caller may reuse its array; padding is not copied
  std::vector<Buffer> parts;     // tape of each part
  std::vector<Buffer> between;   // (T,B,directions*H) outputs of all layers but the last

  void release() {
    x = Buffer();
    parts.clear();
    between.clear();
  }
};

template <class T>
class Network {
 public:
  Network(const Kernel<T>& kernel, const NetworkShape& shape);

  const Kernel<T>& kernel() const { return kernel_; }
  const NetworkShape& shape() const { return shape_; }
  int parts() const { return shape_.layers * shape_.directions; }
  Index outputs() const { return shape_.directions * shape_.H; }
  const std::vector<Parameter>& layout() const { return layout_; }
  Index parameter_count() const { return parameter_count_; }

  PackedWeights pack(const T* flat) const;

  // x (T,B,I)   s0[state] (parts,B,H) or null   y (T,B,outputs)   sT[state] (parts,B,H)   tape null: inference
  void forward(const Batch& batch, const PackedWeights& packed, Rows<const T> x, const T* const* s0, Rows<T> y,
               T* const* sT, Tape<T>* tape) const;

  // Destroys the tape. dx.p null: not wanted. Adds to `gradients` (flat), or writes them where they are fresh, and
  // returns the sum of squares of what then stands there.
  double backward(Tape<T>& tape, const T* flat, Rows<const T> dy, const T* const* dsT, Rows<T> dx, T* const* ds0,
                  T* gradients, bool fresh) const;

 private:
  Index inputs(int layer) const { return layer ? outputs() : shape_.I; }
  template <class U> Weights<U> weights(int part, U* flat) const;
  static Rows<T> contiguous(const Buffer& buffer, const Batch& batch, Index width);

  const Kernel<T>& kernel_;
  const NetworkShape shape_;
  std::vector<Parameter> layout_;
  Index parameter_count_ = 0;
};

extern template class Network<float>;
extern template class Network<double>;

}  // namespace fastrnn
