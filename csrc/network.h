// SPDX-License-Identifier: MIT
// Layers and directions of one recurrent network, composed of kernels that each run one of them.
//
// A layer runs forward, in reverse, or both ways; each of its directions is a part, the forward one first. All parameters
// lie in ONE flat array of the caller, part by part: W_ih, W_hh, b_ih, b_hh, unit parameters, W_hr; behind them learned
// initial states. States are (parts,B,n), one array a state: n is P for h and H for others.
#pragma once
#include <stdint.h>
#include <algorithm>
#include <memory>
#include <vector>
#include "api.h"
#include "checkpoints.h"
#include "memory.h"
#include "threads.h"
namespace fastrnn {

enum Directions { kForward = 1, kReverse = 2, kBoth = 3 };

struct NetworkShape {
  Index I, H, P;  // P: of h and y, H unless the cell projects it
  std::vector<int> directions;  // of each layer, one of Directions
  int biases;  // 0, 1: b_ih, 2: b_ih and b_hh
  bool learn_state;  // where no initial state is given, it is made of parameters (initial_state.h) instead of zeros
  double recurrent_dropout, zoneout[kMaxState];  // StateMasks (api.h)
  bool masked() const { return recurrent_dropout > 0 || zoneout[0] > 0 || zoneout[1] > 0; }
};

// One direction of one layer
struct Part {
  int layer;
  bool reversed;
  Index inputs;  // width of its x
  Index column;  // of the y of its layer, where its own begins
  bool first;  // of its layer
};

// What training drops, and by which masks (mask.h)
struct Dropout {
  double outputs = 0;  // of all layers but the last: probability of a number
  bool variational = false;  // one mask of outputs for all steps of a sequence
  double inputs = 0;  // of x, one mask for all steps of a sequence
  uint64_t seed = 0;
  bool drawn = false;  // whether the call trains with masks
};

struct Parameter {
  int layer, direction;  // direction 1: reverse; layer -1: of all of them
  const char* role;  // weight_ih weight_hh bias_ih bias_hh unit weight_hr h0 c0
  Index rows, columns;  // columns < 0: a vector
  Index offset;
};

// The rows of a batch in the order of Steps (api.h)
class Batch {
 public:
  // lengths (B) or null, 0 <= lengths[b] <= T; reset (T,B) contiguous or null. Both are copied.
  Batch(Index T, Index B, const Index* lengths, const unsigned char* reset);
  Index T, B, R;
  Steps steps(bool reversed) const;
  Index rows_before(Index step) const { return first_.empty() ? step * B : first_[size_t(step)]; }
  Index length_of_user_row(Index b) const { return user_lengths_.empty() ? T : user_lengths_[size_t(b)]; }
  Dims dims(Index I, Index H, Index P) const { return {T, B, I, H, R, P}; }

 private:
  std::vector<Index> first_, order_, lengths_, user_lengths_;
  std::vector<unsigned char> reset_;
};

// Weights as the kernels want them, of all parts
struct PackedWeights {
  std::vector<Buffer> parts;
  Buffer initial[kMaxState];  // (parts,n) as they are; none where they are not learned
};

// What is added to W_ih x of the first layer, the same at the first `steps` steps (ForwardArgs, api.h)
template <class T>
struct ConstantInput {
  const T* p = nullptr;  // (B,G*H); null: none
  Index steps = 0;
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

// What a backward call is given
template <class T>
struct BackwardRequest {
  Rows<const T> dy;  // (T,B,outputs)
  const T* dsT[kMaxState];  // (parts,B,width) or null
  Rows<T> dx;  // (T,B,I) p null: not wanted
  T* ds0[kMaxState];  // (parts,B,width)
  T* d_constant;  // (B,G*H); null where forward had no constant input
  T* gradients;  // flat; added to, or written where fresh
  bool fresh;
  T step_value, value;  // limits of api.h; infinity: none
  double step_norm;
  bool trace;
  StepNorms* norms;  // (parts,T,B) zeros; null: steps are neither clipped nor measured
};

template <class T>
class Stepwise;

template <class T>
class Network {
 public:
  // kernel: one of Kernels<T>::masked where the shape is masked()
  Network(const Kernel<T>& kernel, const NetworkShape& shape);

  const Kernel<T>& kernel() const { return kernel_; }
  const NetworkShape& shape() const { return shape_; }
  int layers() const { return int(shape_.directions.size()); }
  const std::vector<Part>& parts() const { return parts_; }
  Index outputs(int layer) const { return (shape_.directions[size_t(layer)] == kBoth ? 2 : 1) * shape_.P; }
  Index outputs() const { return outputs(layers() - 1); }
  bool takes_constant() const { return shape_.directions[0] == kForward; }
  bool streams() const {  // whether all layers run forward, so that a step can be computed alone
    return std::all_of(shape_.directions.begin(), shape_.directions.end(), [](int d) { return d == kForward; });
  }
  Index width(int state) const { return state ? shape_.H : shape_.P; }
  Dims first_layer() const { return {0, 0, shape_.I, shape_.H, 0, shape_.P}; }  // of no rows
  const std::vector<Parameter>& layout() const { return layout_; }
  Index parameter_count() const { return parameter_count_; }

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
  Index widest_input() const;
  void reserve(Tape<T>& tape) const;
  Buffer between(const Batch& batch) const;  // for the outputs of any layer but the last
  StateMasks state_masks(const Tape<T>* tape, size_t part) const;
  void mask_input(const Tape<T>& tape, int layer, Rows<T> rows, ThreadLease& lease) const;
  void mask_rows(const Tape<T>& tape, int layer, Rows<T> rows, Index begin, Index end) const;  // t B + b
  void run_forward(const ForwardArgs<T>& args, ThreadLease& lease) const;
  std::vector<Index> segment_bounds(const Batch& batch, Index length) const;
  Dims longest_segment(const Batch& batch, const std::vector<Index>& bounds) const;
  Dims dims(const Batch& batch, Index inputs) const { return batch.dims(inputs, shape_.H, shape_.P); }
  template <class U> Weights<U> weights(int part, U* flat) const;
  static Rows<T> contiguous(const Buffer& buffer, const Batch& batch, Index width);

  const Kernel<T>& kernel_;
  const NetworkShape shape_;
  std::vector<Part> parts_;
  std::vector<Parameter> layout_;
  Index parameter_count_ = 0;
  Index initial_at_[kMaxState] = {};  // where learned states begin
};

extern template class Network<float>;
extern template class Network<double>;

}  // namespace fastrnn
