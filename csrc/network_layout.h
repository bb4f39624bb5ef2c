// SPDX-License-Identifier: MIT
// Layers and directions of one recurrent network, and where their parameters lie; whatever device runs it.
//
// A layer runs forward, in reverse, or both ways; each of its directions is a part, the forward one first. All parameters
// lie in ONE flat array, part by part: W_ih, W_hh, b_ih, b_hh, unit parameters, W_hr; behind them learned initial states.
// States are (parts,B,n), one array a state: n is P for h and H for others.
#pragma once
#include <stdint.h>
#include <algorithm>
#include <string>
#include <vector>
#include "api.h"
#include "batch.h"
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

// What is added to W_ih x of the first layer, the same at the first `steps` steps (ForwardArgs, api.h)
template <class T>
struct ConstantInput {
  const T* p = nullptr;  // (B,G*H); null: none
  Index steps = 0;
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

// What a cell has, of Kernel (api.h) or DeviceKernel (device/api.h)
struct CellFacts {
  int gates, states, unit_parameters;
  bool recurrent;
};

class NetworkLayout {
 public:
  NetworkLayout(const CellFacts& cell, const NetworkShape& shape);

  const CellFacts& cell() const { return cell_; }
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
  const std::vector<Parameter>& layout() const { return layout_; }
  Index parameter_count() const { return parameter_count_; }

  Index widest_input() const;
  Index widest_between() const;  // of the outputs of all layers but the last; 0 where there is one
  Dims dims(const Batch& batch, Index inputs) const { return batch.dims(inputs, shape_.H, shape_.P); }
  StateMasks state_masks(const Dropout& drop, size_t part) const {
    return {shape_.recurrent_dropout, {shape_.zoneout[0], shape_.zoneout[1]}, drop.drawn, drop.seed, Index(part)};
  }

 protected:
  // Where the parameters of a part lie in a flat array of U
  template <class U>
  Weights<U> weights(int part, U* flat) const {
    Weights<U> found = {};
    const size_t a_part = (layout_.size() - size_t(shape_.learn_state ? cell_.states : 0)) / parts_.size();
    for (size_t k = size_t(part) * a_part; k < size_t(part + 1) * a_part; ++k) {
      const std::string role = layout_[k].role;
      (role == "weight_ih"   ? found.W_ih
       : role == "weight_hh" ? found.W_hh
       : role == "bias_ih"   ? found.b_ih
       : role == "bias_hh"   ? found.b_hh
       : role == "unit"      ? found.unit
                             : found.W_hr) = flat + layout_[k].offset;
    }
    return found;
  }

  const CellFacts cell_;
  const NetworkShape shape_;
  std::vector<Part> parts_;
  std::vector<Parameter> layout_;
  Index parameter_count_ = 0;
  Index initial_at_[kMaxState] = {};  // where learned states begin
};

}  // namespace fastrnn
