// SPDX-License-Identifier: MIT
#include "stepwise.h"
#include <algorithm>
#include "../split.h"
namespace fastrnn {
constexpr Index kLine = 64;  // bytes that a tape is aligned to

template <class T>
Stepwise<T>::Stepwise(const Network<T>& net, const ModelKernels<T>& kernels, const StepwiseAttention<T>& attention)
    : net_(net), kernels_(kernels), attention_(attention) {}

template <class T>
Index Stepwise<T>::fed() const {
  return early() ? attention_.M : attends() && attention_.feeds ? attention_.C : 0;
}

template <class T>
Dims Stepwise<T>::step_dims(const Batch& batch, const Part& part, Index step) const {
  Dims d = net_.dims(batch, part.inputs);
  d.T = 1;
  d.R = batch.rows_before(step + 1) - batch.rows_before(step);
  return d;
}

template <class T>
int Stepwise<T>::threads(const Batch& batch, int passes) const {
  return choose_split(net_.dims(batch, net_.widest_input()), net_.kernel().gates, passes, thread_count(), false)
      .threads;
}

template <class T>
void Stepwise<T>::reserve(StepwiseTape<T>& tape) const {
  const Batch& batch = tape.net.batch;
  tape.net.x = buffer_of<T>(batch.T * batch.B * net_.shape().I);
  for (const Part& part : net_.parts()) {
    std::vector<Index> begins;
    Index size = 0;
    for (Index t = 0; t < batch.T; ++t) {
      begins.push_back(size);
      const Index line = kLine / Index(sizeof(T));
      size += (net_.kernel().tape_size(step_dims(batch, part, t)) + line - 1) / line * line;
    }
    tape.begins.push_back(begins);
    tape.net.parts.push_back(buffer_of<T>(size));
    if (part.layer + 1 == net_.layers()) continue;
    tape.net.widths.push_back(net_.outputs(part.layer));
    tape.net.between.push_back(buffer_of<T>(batch.T * batch.B * net_.outputs(part.layer)));
  }
}

// Of rows [begin, end) of a step, whose first one is number `first` of R
template <class T>
AttentionArgs<T> Stepwise<T>::attention_args(const StepwiseRows<T>& rows, const Steps& steps, Index first, Index begin,
                                             Index end) const {
  const StepwiseAttention<T>& a = attention_;
  const Index row = first + begin, width = joined();
  const ptrdiff_t skipped = steps.order ? 0 : begin;  // of a null order, row 0 of the call is row `begin` of the memory
  const T* const query = early() ? rows.queries + row * a.A : rows.joined + row * width + a.M;
  return {end - begin,
          a.S,
          a.A,
          a.M,
          steps.order ? steps.order + begin : nullptr,
          a.lengths ? a.lengths + skipped : nullptr,
          query,
          early() ? a.A : width,
          a.keys + skipped * a.S * a.A,
          a.memory + skipped * a.S * a.M,
          a.v,
          rows.weights + row * a.S,
          rows.joined + row * width,
          width};
}

template class Stepwise<float>;
template class Stepwise<double>;
}  // namespace fastrnn
