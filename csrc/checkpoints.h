// SPDX-License-Identifier: MIT
// Back-propagation in less memory: of each part of a network only the states between segments of its steps are kept, and
// backward runs a segment forward again before it needs its tape (Chen et al. 2016, arXiv:1604.06174).
//
// The gradients have the same bits as with a whole tape: segments of a kernel go on with each other's sums (api.h).
#pragma once
#include <vector>
#include "api.h"
#include "memory.h"
namespace fastrnn {

template <class T>
class Checkpoints {
 public:
  // bounds: 0 = first step of the first segment, ..., T. rows[k]: rows of the recurrence before bounds[k].
  // most: dimensions of the longest segment, with the widest x of the network
  Checkpoints(const Kernel<T>& kernel, Dims most, std::vector<Index> bounds, std::vector<Index> rows, int parts);

  int segments() const { return int(bounds_.size()) - 1; }

  // Runs a part segment by segment: run() is called for `args` as they then are.
  template <class Run>
  void forward(size_t part, ForwardArgs<T>& args, const Run& run) {
    T* end[kMaxState];
    for (int q = 0; q < kernel_.states; ++q) end[q] = args.sT[q], keep_initial(part, q, args.s0[q]);
    for (int k = 0; k < segments(); ++k) {
      select(k, args.dims, args.steps);
      for (int q = 0; q < kernel_.states; ++q) {
        args.s0[q] = state(part, k, q);
        args.sT[q] = k + 1 < segments() ? state(part, k + 1, q) : end[q];
      }
      run();
    }
  }

  void reserve(int threads);  // what backward needs besides

  // The last segment first: run_forward(its ForwardArgs), then run() for `args` as they then are
  template <class Run, class RunForward>
  void backward(size_t part, BackwardArgs<T>& args, const T* packed, const Run& run, const RunForward& run_forward) {
    for (int k = segments() - 1; k >= 0; --k) {
      select(k, args.dims, args.steps);
      args.tape = tape_.template as<T>();
      ForwardArgs<T> again{args.dims,
                           args.steps,
                           packed,
                           args.x,
                           {},
                           {y_.template as<T>(), 0, args.dims.P},
                           {},
                           args.tape,
                           scratch_.template as<T>(),
                           args.masks,
                           args.constant,
                           args.constant_steps,
                           nullptr,
                           nullptr,
                           0};  // y is not wanted: each row writes over its own
      for (int q = 0; q < kernel_.states; ++q) again.s0[q] = state(part, k, q), again.sT[q] = end_[q].template as<T>();
      run_forward(again);
      run();
    }
  }

 private:
  Index width(int q) const { return q ? most_.H : most_.P; }
  T* state(size_t part, int segment, int q) const {
    return states_[part * size_t(kernel_.states) + size_t(q)].template as<T>() + segment * most_.B * width(q);
  }
  void keep_initial(size_t part, int q, const T* s0);
  void select(int segment, Dims& dims, Steps& steps) const;

  const Kernel<T>& kernel_;
  const Dims most_;
  const std::vector<Index> bounds_, rows_;
  std::vector<Buffer> states_;  // of each part and state [segment](B,width): those that enter it
  Buffer tape_, y_, end_[kMaxState], scratch_;
};

extern template class Checkpoints<float>;
extern template class Checkpoints<double>;

}  // namespace fastrnn
