// SPDX-License-Identifier: MIT
#include "network.h"
#include <algorithm>
#include <stdexcept>
#include <string>
#include "initial_state.h"
#include "mask.h"
#include "split.h"
#include "threads.h"
namespace fastrnn {
constexpr Index kManyParameters = 1 << 20;  // that are worth waking a thread to pack them: ~0.5 ms
constexpr Index kManyMasked = 1 << 17;     // numbers, to mask them: ~0.1 ms

template <class T>
Network<T>::Network(const Kernel<T>& kernel, const NetworkShape& shape)
    : NetworkLayout({kernel.gates, kernel.states, kernel.unit_parameters, kernel.recurrent}, shape), kernel_(kernel) {}

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
  for (size_t part = 0; part < parts_.size(); ++part) {
    const Dims d{0, 0, parts_[part].inputs, shape_.H, 0, shape_.P};
    packed.parts.push_back(buffer_of<T>(kernel_.packed_size(d)));
    const Weights<const T> w = weights(int(part), flat);
    lease.run(lease.size(), true, 0,
              [&](const Team& team) { kernel_.pack(d, w, packed.parts.back().template as<T>(), team); });
  }
  for (int q = 0; shape_.learn_state && q < kernel_.states; ++q) {
    const Index count = Index(parts_.size()) * width(q);
    packed.initial[q] = buffer_of<T>(count);
    std::copy_n(flat + initial_at_[q], count, packed.initial[q].template as<T>());
  }
  return packed;
}

template <class T>
void Network<T>::forward(const Batch& batch, const PackedWeights& packed, Rows<const T> x, const T* const* s0,
                         Rows<T> y, T* const* sT, Tape<T>* tape, ConstantInput<T> constant,
                         const Begun<T>& begun) const {
  const Dims widest = dims(batch, widest_input());
  ThreadLease lease(choose_split(widest, kernel_.gates, 1, thread_count(), kernel_.splits_units).threads);
  const bool keep = tape && !tape->checkpoints;  // all that backward needs, and not only the states between segments
  const Buffer scratch = buffer_of<T>(kernel_.forward_scratch_size(widest, lease.size(), keep));
  Buffer outputs_in_turn[2];  // inference: of the layer at work and of the one before it
  for (int k = 0; !tape && k < std::min(2, layers() - 1); ++k) outputs_in_turn[k] = between(batch);
  Buffer learned[kMaxState];
  for (int q = 0; shape_.learn_state && q < kernel_.states; ++q)
    if (!s0[q]) {
      const Index parts = Index(parts_.size());
      learned[q] = buffer_of<T>(parts * batch.B * width(q));
      broadcast_state(packed.initial[q].template as<T>(), parts, batch.B, width(q), learned[q].as<T>());
    }
  if (tape) {
    tape->learned_state = shape_.learn_state && !s0[0];
    if (constant.p) {
      const Index count = batch.B * kernel_.gates * shape_.H;
      tape->constant = buffer_of<T>(count);
      tape->constant_steps = constant.steps;
      std::copy_n(constant.p, count, tape->constant.template as<T>());
    }
    reserve(*tape);
    copy_rows(batch, shape_.I, x, contiguous(tape->x, batch, shape_.I));
  }

  for (size_t number = 0; number < parts_.size(); ++number) {
    const Part& part = parts_[number];
    const auto outputs_of = [&](int layer) -> Rows<T> {
      if (layer == layers() - 1) return y;
      return contiguous(tape ? tape->between[size_t(layer)] : outputs_in_turn[layer % 2], batch, outputs(layer));
    };
    const Rows<T> output = outputs_of(part.layer);
    Rows<const T> input = x;
    if (part.layer) input = read_only(outputs_of(part.layer - 1));
    else if (tape) input = read_only(contiguous(tape->x, batch, shape_.I));
    const StateMasks masks = state_masks(tape ? tape->dropout : Dropout{}, number);
    ForwardArgs<T> args{dims(batch, part.inputs),
                        batch.steps(part.reversed),
                        packed.parts[number].template as<T>(),
                        input,
                        {},
                        {output.p + part.column, output.step, output.row},
                        {},
                        keep ? tape->parts[number].template as<T>() : nullptr,
                        scratch.as<T>(),
                        shape_.masked() ? &masks : nullptr,
                        number == 0 ? constant.p : nullptr,
                        constant.steps,
                        part.layer == 0 ? begun.rows[number] : nullptr,
                        number == 0 ? begun.also : nullptr,
                        begun.columns};
    if (tape && part.first)
      mask_input(*tape, part.layer,
                 contiguous(part.layer ? tape->between[size_t(part.layer) - 1] : tape->x, batch, part.inputs), lease);
    const auto run = [&] { run_forward(args, lease); };
    const Index at = Index(number) * batch.B;
    for (int q = 0; q < kernel_.states; ++q) {
      const T* const from = learned[q].as<T>() ? learned[q].as<T>() : s0[q];
      args.s0[q] = from ? from + at * width(q) : nullptr;
      args.sT[q] = sT[q] + at * width(q);
    }
    if (!tape || !tape->checkpoints) run();
    else tape->checkpoints->forward(number, args, run);
  }
}

// Of what a layer reads, or of the gradient of that, rows (T,B,inputs): drops some numbers within the lengths
template <class T>
void Network<T>::mask_input(const Tape<T>& tape, int layer, Rows<T> rows, ThreadLease& lease) const {
  if ((layer ? tape.dropout.outputs : tape.dropout.inputs) == 0 || !rows.p) return;
  const Index width = layer ? outputs(layer - 1) : shape_.I, all = tape.batch.T * tape.batch.B;
  lease.run(all * width >= kManyMasked ? lease.size() : 1, false, 0, [&](const Team& team) {
    mask_rows(tape, layer, rows, all * team.rank / team.size, all * (team.rank + 1) / team.size);
  });
}

template <class T>
void Network<T>::mask_rows(const Tape<T>& tape, int layer, Rows<T> rows, Index begin, Index end) const {
  const Dropout& drop = tape.dropout;
  const double p = layer ? drop.outputs : drop.inputs;
  if (p == 0 || !rows.p) return;
  const Batch& batch = tape.batch;
  const Index width = layer ? outputs(layer - 1) : shape_.I;
  const bool whole = !layer || drop.variational;
  const MaskLevel level = mask_level(p);
  const T scale = T(level.scale);
  for (Index r = begin; r < end; ++r) {
    const Index t = r / batch.B, b = r % batch.B;
    if (t >= batch.length_of_user_row(b)) continue;
    const uint64_t row = mask_row(drop.seed, layer ? Masked::kOutputs : Masked::kInputs, layer, whole ? 0 : t + 1, b);
    T* const at = rows.p + t * rows.step + b * rows.row;
    for (uint32_t j = 0; j < uint32_t(width); ++j) at[j] *= mask_factor(row, j, level.least, scale);
  }
}

template <class T>
void Network<T>::run_forward(const ForwardArgs<T>& args, ThreadLease& lease) const {
  const Split split =
      choose_split(args.dims, kernel_.gates, 1, lease.size(), kernel_.splits_units && lease.barriers_pay());
  lease.run(split.threads, split.units, split.patience, [&](const Team& team) { kernel_.forward(args, team); });
}

template <class T>
Buffer Network<T>::between(const Batch& batch) const {
  return buffer_of<T>(batch.T * batch.B * widest_between());
}

template <class T>
void Network<T>::reserve(Tape<T>& tape) const {
  const Batch& batch = tape.batch;
  tape.x = buffer_of<T>(batch.T * batch.B * shape_.I);
  for (int layer = 0; layer + 1 < layers(); ++layer) {
    tape.widths.push_back(outputs(layer));
    tape.between.push_back(buffer_of<T>(batch.T * batch.B * outputs(layer)));
  }
  for (size_t part = 0; !tape.checkpoints && part < parts_.size(); ++part)
    tape.parts.push_back(buffer_of<T>(kernel_.tape_size(dims(batch, parts_[part].inputs))));
}

template <class T>
GradientSums Network<T>::backward(Tape<T>& tape, const T* flat, const PackedWeights* packed,
                                  const BackwardRequest<T>& request) const {
  const Batch& batch = tape.batch;
  const Dims widest = dims(batch, widest_input());
  ThreadLease lease(choose_split(widest, kernel_.gates, 3, thread_count(), kernel_.splits_units).threads);
  const Buffer scratch = buffer_of<T>(kernel_.backward_scratch_size(widest, lease.size()));
  Buffer d_between[2];  // gradients of the outputs of the layer at work and of the one below it
  for (int k = 0; k < std::min(2, layers() - 1); ++k) d_between[k] = between(batch);
  if (tape.checkpoints) tape.checkpoints->reserve(lease.size());
  GradientSums sums = {};  // nothing is allocated from here on: what fails has changed nothing

  for (int layer = layers() - 1; layer >= 0; --layer) {
    const bool top = layer == layers() - 1;
    const Rows<const T> d_output =
        top ? request.dy : read_only(contiguous(d_between[layer % 2], batch, outputs(layer)));
    const Rows<T> d_input = layer ? contiguous(d_between[(layer - 1) % 2], batch, outputs(layer - 1)) : request.dx;
    for (size_t number = 0; number < parts_.size(); ++number) {
      const Part& part = parts_[number];
      if (part.layer != layer) continue;
      GradientSums part_sums = {};
      const StepControl<T> control{request.step_value, request.step_norm, request.trace,
                                   request.norms ? request.norms + Index(number) * batch.T * batch.B : nullptr};
      const StateMasks masks = state_masks(tape.dropout, number);
      BackwardArgs<T> args{dims(batch, part.inputs),
                           batch.steps(part.reversed),
                           weights(int(number), flat),
                           read_only(contiguous(layer ? tape.between[size_t(layer) - 1] : tape.x, batch, part.inputs)),
                           tape.checkpoints ? nullptr : tape.parts[number].template as<T>(),
                           {d_output.p + part.column, d_output.step, d_output.row},
                           {},
                           d_input,
                           !part.first,
                           {},
                           weights(int(number), request.gradients),
                           request.fresh,
                           request.value,
                           request.norms ? &control : nullptr,
                           &part_sums,
                           scratch.as<T>(),
                           shape_.masked() ? &masks : nullptr,
                           number == 0 ? tape.constant.template as<T>() : nullptr,
                           number == 0 ? request.d_constant : nullptr,
                           tape.constant_steps};
      const Index at = Index(number) * batch.B;
      for (int q = 0; q < kernel_.states; ++q) {
        args.dsT[q] = request.dsT[q] ? request.dsT[q] + at * width(q) : nullptr;
        args.ds0[q] = request.ds0[q] + at * width(q);
      }
      // The same team for all segments: what they leave in scratch lies where its size says.
      const Split split =
          choose_split(args.dims, kernel_.gates, 3, lease.size(), kernel_.splits_units && lease.barriers_pay());
      const auto run = [&] {
        lease.run(split.threads, split.units, split.patience, [&](const Team& team) { kernel_.backward(args, team); });
      };
      if (!tape.checkpoints) run();
      else
        tape.checkpoints->backward(number, args, packed->parts[number].template as<T>(), run,
                                   [&](const ForwardArgs<T>& again) { run_forward(again, lease); });
      sums.before += part_sums.before, sums.after += part_sums.after, sums.clamped += part_sums.clamped;
    }
    mask_input(tape, layer, d_input, lease);
  }
  for (int q = 0; shape_.learn_state && q < kernel_.states; ++q)
    add_state_gradients<T>(tape.learned_state ? request.ds0[q] : nullptr, Index(parts_.size()), batch.B, width(q),
                           request.fresh, request.value, request.gradients + initial_at_[q], sums);
  return sums;
}

template <class T>
void Network<T>::read_tape(const Tape<T>& tape, T* cells, T* gates) const {
  const Index rows = tape.batch.T * tape.batch.B, H = shape_.H;
  for (size_t number = 0; number < parts_.size(); ++number) {
    const Part& part = parts_[number];
    kernel_.read_tape(dims(tape.batch, part.inputs), tape.batch.steps(part.reversed),
                      tape.parts[number].template as<T>(), cells ? cells + Index(number) * rows * H : nullptr,
                      gates ? gates + Index(number) * rows * H * kernel_.gates : nullptr);
  }
}

template <class T>
std::unique_ptr<Checkpoints<T>> Network<T>::plan(const Batch& batch, double budget) const {
  auto segments = plan_segments(*this, {kernel_.tape_size, sizeof(T), kernel_.row_multiple}, batch, budget);
  if (!segments) return nullptr;
  return std::make_unique<Checkpoints<T>>(kernel_, std::move(*segments), int(parts_.size()));
}

template class Network<float>;
template class Network<double>;
}  // namespace fastrnn
