// SPDX-License-Identifier: MIT
// One recurrent network on the CPU, composed of kernels that each run one direction of one layer.
#pragma once
#include <stdint.h>
#include <memory>
#include <vector>
#include "api.h"
#include "checkpoints.h"
#include "memory.h"
#include "network_layout.h"
#include "threads.h"
namespace fastrnn {

// Weights as the kernels want them, of all parts
struct PackedWeights {
  std::vector<Buffer> parts;
  Buffer initial[kMaxState];  // (parts,n) as they are; none where they are not learned
};

// What the gates of the first layer start from, in inference (ForwardArgs, api.h)
template <class T>
struct Begun {
  const T* const* rows[2] = {};  // (T,B) of each of its directions; null: the bias
  const T* const* also = nullptr;  // (T,B) of the forward one
  Index columns = 0;
};

// What one forward call leaves for one backward call
template <class T>
struct Tape {
  Batch batch;
  Dropout dropout;
  Buffer constant;  // a copy of the constant input, where there is one
  Index constant_steps = 0;
  Buffer x;  // (T,B,I) a copy, masked, so that the caller may reuse its array; padding is not copied
  std::vector<Buffer> parts;  // tape of each part; none where there are checkpoints
  std::unique_ptr<Checkpoints<T>> checkpoints;
  std::vector<Buffer> between;  // (T,B,outputs) of all layers but the last, masked
  std::vector<Index> widths;  // their outputs
  bool learned_state = false;  // whether the recurrence began with it

  void release() {
    x = Buffer();
    constant = Buffer();
    parts.clear();
    between.clear();
    checkpoints.reset();
  }
};

template <class T>
class Stepwise;

template <class T>
class Network : public NetworkLayout {
 public:
  // kernel: one of Kernels<T>::masked where the shape is masked()
  Network(const Kernel<T>& kernel, const NetworkShape& shape);

  const Kernel<T>& kernel() const { return kernel_; }
  Dims first_layer() const { return {0, 0, shape_.I, shape_.H, 0, shape_.P}; }  // of no rows

  PackedWeights pack(const T* flat) const;

  // x (T,B,I)   s0[state] (parts,B,n) or null: learned or zeros   y (T,B,outputs)   sT[state] (parts,B,H)   tape null: inference
  // constant: only where the first layer runs forward
  void forward(const Batch& batch, const PackedWeights& packed, Rows<const T> x, const T* const* s0, Rows<T> y,
               T* const* sT, Tape<T>* tape, ConstantInput<T> constant = {}, const Begun<T>& begun = {}) const;

  // Destroys the tape. `packed` is read where the tape has checkpoints.
  GradientSums backward(Tape<T>& tape, const T* flat, const PackedWeights* packed,
                        const BackwardRequest<T>& request) const;

  // Of a whole tape before backward: what read_tape (api.h) says, of each part one after the other
  void read_tape(const Tape<T>& tape, T* cells, T* gates) const;

  // Checkpoints that keep a tape within `budget` bytes, with what backward adds to them; null where the whole tape is.
  // Throws std::invalid_argument that names the least that works.
  std::unique_ptr<Checkpoints<T>> plan(const Batch& batch, double budget) const;

 private:
  friend class Stepwise<T>;  // which runs the parts in another order
  void reserve(Tape<T>& tape) const;
  Buffer between(const Batch& batch) const;  // for the outputs of any layer but the last
  void mask_input(const Tape<T>& tape, int layer, Rows<T> rows, ThreadLease& lease) const;
  void mask_rows(const Tape<T>& tape, int layer, Rows<T> rows, Index begin, Index end) const;  // t B + b
  void run_forward(const ForwardArgs<T>& args, ThreadLease& lease) const;
  static Rows<T> contiguous(const Buffer& buffer, const Batch& batch, Index width);

  const Kernel<T>& kernel_;
};

extern template class Network<float>;
extern template class Network<double>;

}  // namespace fastrnn
