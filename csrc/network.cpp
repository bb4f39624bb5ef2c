// SPDX-License-Identifier: MIT
#include "network.h"
#include <algorithm>
#include <numeric>
#include "split.h"
#include "threads.h"
namespace fastrnn {
constexpr Index kManyParameters = 1 << 20;  // that are worth waking a thread to pack them: ~0.5 ms

Batch::Batch(Index T_, Index B_, const Index* lengths, const unsigned char* reset) : T(T_), B(B_), R(T_ * B_) {
  if (reset) reset_.assign(reset, reset + T * B);
  if (!lengths || std::all_of(lengths, lengths + B, [this](Index n) { return n == T; })) return;
  order_.resize(size_t(B));
  std::iota(order_.begin(), order_.end(), Index(0));
  std::stable_sort(order_.begin(), order_.end(), [&](Index a, Index b) { return lengths[a] > lengths[b]; });
  user_lengths_.assign(lengths, lengths + B);
  for (Index b : order_) lengths_.push_back(lengths[b]);
  first_.assign(size_t(T) + 1, 0);
  size_t active = size_t(B);
  for (size_t s = 0; s < size_t(T); ++s) {
    while (active && lengths_[active - 1] <= Index(s)) --active;
    first_[s + 1] = first_[s] + Index(active);
  }
  R = first_[size_t(T)];
}

Steps Batch::steps(bool reversed) const {
  const bool dense = lengths_.empty();
  return {dense ? nullptr : first_.data(), dense ? nullptr : order_.data(), dense ? nullptr : lengths_.data(),
          reset_.empty() ? nullptr : reset_.data(), reversed};
}

template <class T>
Network<T>::Network(const Kernel<T>& kernel, const NetworkShape& shape) : kernel_(kernel), shape_(shape) {
  const Index rows = kernel.gates * shape.H;
  for (int layer = 0; layer < shape.layers; ++layer)
    for (int direction = 0; direction < shape.directions; ++direction) {
      const auto add = [&](const char* role, Index count, Index columns) {
        layout_.push_back({layer, direction, role, count, columns, parameter_count_});
        parameter_count_ += count * (columns ? columns : 1);
      };
      add("weight_ih", rows, inputs(layer));
      add("weight_hh", rows, shape.H);
      if (shape.bias) add("bias_ih", rows, 0), add("bias_hh", rows, 0);
      if (kernel.unit_parameters) add("unit", kernel.unit_parameters * shape.H, 0);
    }
}

template <class T>
template <class U>
Weights<U> Network<T>::weights(int part, U* flat) const {
  const size_t a_part = layout_.size() / size_t(parts());
  const Parameter* p = layout_.data() + size_t(part) * a_part;
  const auto at = [&](size_t k) { return flat + p[k].offset; };
  return {at(0), at(1), shape_.bias ? at(2) : nullptr, shape_.bias ? at(3) : nullptr,
          kernel_.unit_parameters ? at(a_part - 1) : nullptr};
}

template <class T>
Rows<T> Network<T>::contiguous(const Buffer& buffer, const Batch& batch, Index width) {
  return {buffer.as<T>(), batch.B * width, width};
}

template <class T>
static void copy_rows(const Batch& batch, Index width, Rows<const T> from, Rows<T> to) {
  for (Index t = 0; t < batch.T; ++t)
    for (Index b = 0; b < batch.B; ++b)
      if (t < batch.length_of_user_row(b))
        std::copy_n(from.p + t * from.step + b * from.row, width, to.p + t * to.step + b * to.row);
}

template <class T>
static Rows<const T> read_only(Rows<T> rows) {
  return {rows.p, rows.step, rows.row};
}

template <class T>
PackedWeights Network<T>::pack(const T* flat) const {
  PackedWeights packed;
  ThreadLease lease(parameter_count_ >= kManyParameters ? thread_count() : 1);
  for (int part = 0; part < parts(); ++part) {
    const Dims d{0, 0, inputs(part / shape_.directions), shape_.H, 0};
    packed.parts.push_back(buffer_of<T>(kernel_.packed_size(d)));
    const Weights<const T> w = weights(part, flat);
    lease.run(lease.size(), true, 0,
              [&](const Team& team) { kernel_.pack(d, w, packed.parts.back().template as<T>(), team); });
  }
  return packed;
}

template <class T>
void Network<T>::forward(const Batch& batch, const PackedWeights& packed, Rows<const T> x, const T* const* s0,
                         Rows<T> y, T* const* sT, Tape<T>* tape) const {
  const Dims widest = batch.dims(std::max(shape_.I, outputs()), shape_.H);
  ThreadLease lease(choose_split(widest, kernel_.gates, 1, thread_count(), true).threads);
  const Buffer scratch = buffer_of<T>(kernel_.forward_scratch_size(widest, lease.size(), tape != nullptr));
  const Index part_size = batch.B * shape_.H, between_size = batch.T * batch.B * outputs();
  Buffer outputs_in_turn[2];  // inference: of the layer at work and of the one before it
  for (int k = 0; !tape && k < std::min(2, shape_.layers - 1); ++k) outputs_in_turn[k] = buffer_of<T>(between_size);

  Rows<const T> input = x;
  if (tape) {
    tape->x = buffer_of<T>(batch.T * batch.B * shape_.I);
    copy_rows(batch, shape_.I, x, contiguous(tape->x, batch, shape_.I));
    input = read_only(contiguous(tape->x, batch, shape_.I));
  }
  for (int layer = 0; layer < shape_.layers; ++layer) {
    Rows<T> output = y;
    if (layer + 1 < shape_.layers) {
      if (tape) tape->between.push_back(buffer_of<T>(between_size));
      output = contiguous(tape ? tape->between.back() : outputs_in_turn[layer % 2], batch, outputs());
    }
    const Dims d = batch.dims(inputs(layer), shape_.H);
    const Split split = choose_split(d, kernel_.gates, 1, lease.size(), lease.barriers_pay());
    for (int direction = 0; direction < shape_.directions; ++direction) {
      const int part = layer * shape_.directions + direction;
      ForwardArgs<T> args{d,
                          batch.steps(direction == 1),
                          packed.parts[size_t(part)].template as<T>(),
                          input,
                          {},
                          {output.p + direction * shape_.H, output.step, output.row},
                          {},
                          nullptr,
                          scratch.as<T>()};
      for (int q = 0; q < kernel_.states; ++q) {
        args.s0[q] = s0[q] ? s0[q] + part * part_size : nullptr;
        args.sT[q] = sT[q] + part * part_size;
      }
      if (tape) {
        tape->parts.push_back(buffer_of<T>(kernel_.tape_size(d)));
        args.tape = tape->parts.back().template as<T>();
      }
      lease.run(split.threads, split.units, split.patience, [&](const Team& team) { kernel_.forward(args, team); });
    }
    input = read_only(output);
  }
}

template <class T>
double Network<T>::backward(Tape<T>& tape, const T* flat, Rows<const T> dy, const T* const* dsT, Rows<T> dx,
                            T* const* ds0, T* gradients, bool fresh) const {
  const Batch& batch = tape.batch;
  const Dims widest = batch.dims(std::max(shape_.I, outputs()), shape_.H);
  ThreadLease lease(choose_split(widest, kernel_.gates, 3, thread_count(), true).threads);
  const Buffer scratch = buffer_of<T>(kernel_.backward_scratch_size(widest, lease.size()));
  const Index part_size = batch.B * shape_.H;
  Buffer d_between[2];  // gradients of the outputs of the layer at work and of the one below it
  for (int k = 0; k < std::min(2, shape_.layers - 1); ++k) d_between[k] = buffer_of<T>(batch.T * batch.B * outputs());
  double square_sum = 0;  // nothing is allocated from here on: what fails has changed nothing

  Rows<const T> d_output = dy;
  for (int layer = shape_.layers - 1; layer >= 0; --layer) {
    Rows<T> d_input = dx;
    Rows<const T> input = read_only(contiguous(layer ? tape.between[size_t(layer) - 1] : tape.x, batch, inputs(layer)));
    if (layer > 0) { d_input = contiguous(d_between[(layer - 1) % 2], batch, outputs()); }
    const Dims d = batch.dims(inputs(layer), shape_.H);
    const Split split = choose_split(d, kernel_.gates, 3, lease.size(), lease.barriers_pay());
    for (int direction = 0; direction < shape_.directions; ++direction) {
      const int part = layer * shape_.directions + direction;
      double part_squares = 0;
      BackwardArgs<T> args{d,
                           batch.steps(direction == 1),
                           weights(part, flat),
                           input,
                           tape.parts[size_t(part)].template as<T>(),
                           {d_output.p + direction * shape_.H, d_output.step, d_output.row},
                           {},
                           d_input,
                           direction > 0,
                           {},
                           weights(part, gradients),
                           fresh,
                           &part_squares,
                           scratch.as<T>()};
      for (int q = 0; q < kernel_.states; ++q) {
        args.dsT[q] = dsT[q] ? dsT[q] + part * part_size : nullptr;
        args.ds0[q] = ds0[q] + part * part_size;
      }
      lease.run(split.threads, split.units, split.patience, [&](const Team& team) { kernel_.backward(args, team); });
      square_sum += part_squares;
    }
    d_output = read_only(d_input);
  }
  return square_sum;
}

template class Network<float>;
template class Network<double>;
}  // namespace fastrnn
