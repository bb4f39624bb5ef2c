// SPDX-License-Identifier: MIT
#include "checkpoints.h"
#include <algorithm>
#include <utility>
namespace fastrnn {
template <class T>
Checkpoints<T>::Checkpoints(const Kernel<T>& kernel, Dims most, std::vector<Index> bounds, std::vector<Index> rows,
                            int parts)
    : kernel_(kernel), most_(most), bounds_(std::move(bounds)), rows_(std::move(rows)) {
  for (int part = 0; part < parts; ++part)
    for (int q = 0; q < kernel.states; ++q) states_.push_back(buffer_of<T>(segments() * most.B * width(q)));
}

template <class T>
void Checkpoints<T>::keep_initial(size_t part, int q, const T* s0) {
  const Index n = most_.B * width(q);
  if (s0) std::copy_n(s0, n, state(part, 0, q));
  else std::fill_n(state(part, 0, q), n, T(0));
}

template <class T>
void Checkpoints<T>::reserve(int threads) {
  tape_ = buffer_of<T>(kernel_.tape_size(most_));
  y_ = buffer_of<T>(most_.B * most_.P);
  for (int q = 0; q < kernel_.states; ++q) end_[q] = buffer_of<T>(most_.B * width(q));
  scratch_ = buffer_of<T>(kernel_.forward_scratch_size(most_, threads, true));
}

template <class T>
void Checkpoints<T>::select(int segment, Dims& dims, Steps& steps) const {
  const size_t k = size_t(segment);
  steps.begin = bounds_[k];
  dims.T = bounds_[k + 1] - bounds_[k];
  dims.R = rows_[k + 1] - rows_[k];
}

template class Checkpoints<float>;
template class Checkpoints<double>;
}  // namespace fastrnn
