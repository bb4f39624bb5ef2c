// SPDX-License-Identifier: MIT
// Back-propagation in less memory: of each part of a network only the states between segments of its steps are kept, and
// backward runs a segment forward again before it needs its tape (Chen et al. 2016, arXiv:1604.06174).
//
// The gradients have the same bits as with a whole tape: segments of a kernel go on with each other's sums (api.h).
#pragma once
#include <algorithm>
#include <vector>
#include "memory.h"
#include "segments.h"
namespace fastrnn {

// Where states are kept, of Place: its Buffer, and allocate<T>(n), copy(from, n, to), zero(to, n)
template <class T, class Place>
class SegmentStates {
 public:
  SegmentStates(const Place& place, int states, Segments segments, int parts)
      : count_(states), segments_(std::move(segments)) {
    for (int part = 0; part < parts; ++part)
      for (int q = 0; q < states; ++q)
        states_.push_back(place.template allocate<T>(this->segments() * segments_.most.B * width(q)));
  }

  int segments() const { return int(segments_.bounds.size()) - 1; }
  const Dims& most() const { return segments_.most; }

  // Runs a part segment by segment: run() is called for `args` as they then are.
  template <class Run>
  void forward(const Place& place, size_t part, ForwardArgs<T>& args, const Run& run) {
    T* end[kMaxState];
    for (int q = 0; q < count_; ++q) {
      end[q] = args.sT[q];
      const Index n = most().B * width(q);
      if (args.s0[q]) place.copy(args.s0[q], n, state(part, 0, q));
      else place.zero(state(part, 0, q), n);
    }
    for (int k = 0; k < segments(); ++k) {
      select(k, args.dims, args.steps);
      for (int q = 0; q < count_; ++q) {
        args.s0[q] = state(part, k, q);
        args.sT[q] = k + 1 < segments() ? state(part, k + 1, q) : end[q];
      }
      run();
    }
  }

  // What backward needs besides: a tape and scratch of forward, as large as `most` needs
  void reserve(const Place& place, Index tape, Index scratch) {
    tape_ = place.template allocate<T>(tape);
    scratch_ = place.template allocate<T>(scratch);
    y_ = place.template allocate<T>(most().B * most().P);
    for (int q = 0; q < count_; ++q) end_[q] = place.template allocate<T>(most().B * width(q));
  }

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
      for (int q = 0; q < count_; ++q) again.s0[q] = state(part, k, q), again.sT[q] = end_[q].template as<T>();
      run_forward(again);
      run();
    }
  }

 private:
  Index width(int q) const { return q ? most().H : most().P; }
  T* state(size_t part, int segment, int q) const {
    return states_[part * size_t(count_) + size_t(q)].template as<T>() + segment * most().B * width(q);
  }
  void select(int segment, Dims& dims, Steps& steps) const {
    const size_t k = size_t(segment);
    steps.begin = segments_.bounds[k];
    dims.T = segments_.bounds[k + 1] - segments_.bounds[k];
    dims.R = segments_.rows[k + 1] - segments_.rows[k];
  }

  const int count_;
  const Segments segments_;
  using Buffer = typename Place::Buffer;
  std::vector<Buffer> states_;  // of each part and state [segment](B,width): those that enter it
  Buffer tape_, y_, end_[kMaxState], scratch_;
};

struct Host {
  using Buffer = fastrnn::Buffer;
  template <class T>
  Buffer allocate(Index n) const {
    return buffer_of<T>(n);
  }
  template <class T>
  void copy(const T* from, Index n, T* to) const {
    std::copy_n(from, n, to);
  }
  template <class T>
  void zero(T* to, Index n) const {
    std::fill_n(to, n, T(0));
  }
};

// Of a kernel of the CPU
template <class T>
class Checkpoints : public SegmentStates<T, Host> {
 public:
  Checkpoints(const Kernel<T>& kernel, Segments segments, int parts)
      : SegmentStates<T, Host>(Host(), kernel.states, std::move(segments), parts), kernel_(kernel) {}

  template <class Run>
  void forward(size_t part, ForwardArgs<T>& args, const Run& run) {
    SegmentStates<T, Host>::forward(Host(), part, args, run);
  }
  void reserve(int threads) {
    const Dims most = this->most();
    SegmentStates<T, Host>::reserve(Host(), kernel_.tape_size(most), kernel_.forward_scratch_size(most, threads, true));
  }

 private:
  const Kernel<T>& kernel_;
};

}  // namespace fastrnn
