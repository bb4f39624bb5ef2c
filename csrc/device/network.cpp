// SPDX-License-Identifier: MIT
#include "network.h"
#include <string>
namespace fastrnn {
namespace {
template <class Item>
DeviceBuffer upload(const DeviceSession& session, const Item* items, Index count) {
  if (!items) return DeviceBuffer();
  DeviceBuffer buffer = session.allocate<Item>(count);
  session.copy(items, count, buffer.as<Item>());
  return buffer;
}

template <class T>
Rows<const T> read_only(Rows<T> rows) {
  return {rows.p, rows.step, rows.row};
}
}  // namespace

DeviceBatch::DeviceBatch(const DeviceSession& session, const Batch& batch) : T_(batch.T) {
  const Steps steps = batch.steps(false);
  first_ = upload(session, steps.first, batch.T + 1);
  order_ = upload(session, steps.order, batch.B);
  lengths_ = upload(session, steps.lengths, batch.B);
  reset_ = upload(session, steps.reset, batch.T * batch.B);
  if (!batch.user_lengths().empty()) user_lengths_ = upload(session, batch.user_lengths().data(), batch.B);
}

Steps DeviceBatch::steps(bool reversed) const {
  return {first_.as<Index>(), order_.as<Index>(), lengths_.as<Index>(), reset_.as<unsigned char>(), reversed, 0, T_};
}

template <class T>
DeviceNetwork<T>::DeviceNetwork(const DeviceKernel<T>& kernel, const NetworkShape& shape)
    : NetworkLayout({kernel.gates, kernel.states, kernel.unit_parameters, kernel.recurrent}, shape), kernel_(kernel) {}

template <class T>
Rows<T> DeviceNetwork<T>::contiguous(const DeviceBuffer& buffer, const Batch& batch, Index width) {
  return {buffer.as<T>(), batch.B * width, width};
}

template <class T>
DeviceWeights DeviceNetwork<T>::pack(const DeviceSession& session, const T* flat) const {
  DeviceWeights all;
  all.flat = session.allocate<T>(parameter_count_);
  session.copy(flat, parameter_count_, all.flat.template as<T>());
  for (size_t part = 0; part < parts_.size(); ++part) {
    const Dims d{0, 0, parts_[part].inputs, shape_.H, 0, shape_.P};
    all.parts.push_back(session.allocate<T>(kernel_.packed_size(d)));
    const Weights<const T> w = weights(int(part), static_cast<const T*>(all.flat.template as<T>()));
    session.check(kernel_.pack(d, w, all.parts.back().template as<T>(), session.stream()), kernel_.id);
  }
  return all;
}

template <class T>
std::vector<DeviceBuffer> DeviceNetwork<T>::learned_states(const DeviceSession& session, const Batch& batch,
                                                           const DeviceWeights& weights, const T* const* s0) const {
  std::vector<DeviceBuffer> learned(kMaxState);
  const Index parts = Index(parts_.size());
  for (int q = 0; shape_.learn_state && q < kernel_.states; ++q) {
    if (s0[q]) continue;
    learned[size_t(q)] = session.allocate<T>(parts * batch.B * width(q));
    const T* const from = weights.flat.template as<T>() + initial_at_[q];
    session.check(operations_of<T>(session.library())
                      .broadcast(from, parts, batch.B, width(q), learned[size_t(q)].template as<T>(), session.stream()),
                  "learned states");
  }
  return learned;
}

template <class T>
void DeviceNetwork<T>::reserve(const DeviceSession& session, DeviceTape<T>& tape) const {
  const Batch& batch = tape.batch;
  for (int layer = 0; layer + 1 < layers(); ++layer)
    tape.between.push_back(session.allocate<T>(batch.T * batch.B * outputs(layer)));
  if (tape.checkpoints) return;
  for (const Part& part : parts_)
    tape.parts.push_back(session.allocate<T>(kernel_.tape_size(dims(batch, part.inputs))));
}

template <class T>
void DeviceNetwork<T>::forward(const DeviceSession& session, const Batch& batch, const DeviceBatch& rows,
                               const DeviceWeights& weights, Rows<const T> x, const T* const* s0, Rows<T> y,
                               T* const* sT, DeviceTape<T>* tape, ConstantInput<T> constant) const {
  const bool segmented = tape && tape->checkpoints;
  const Dims most = segmented ? tape->checkpoints->most() : dims(batch, widest_input());
  const DeviceBuffer scratch = session.allocate<T>(kernel_.forward_scratch_size(most, tape && !segmented));
  DeviceBuffer in_turn[2];  // inference: outputs of the layer at work and of the one before it
  for (int k = 0; !tape && k < std::min(2, layers() - 1); ++k)
    in_turn[k] = session.allocate<T>(batch.T * batch.B * widest_between());
  const std::vector<DeviceBuffer> learned = learned_states(session, batch, weights, s0);
  if (tape) {
    tape->learned_state = shape_.learn_state && !s0[0];
    tape->x_rows = x;
    reserve(session, *tape);
  }
  const auto outputs_of = [&](int layer) -> Rows<T> {
    if (layer == layers() - 1) return y;
    return contiguous(tape ? tape->between[size_t(layer)] : in_turn[layer % 2], batch, outputs(layer));
  };
  for (size_t number = 0; number < parts_.size(); ++number) {
    const Part& part = parts_[number];
    if (tape && part.first && (part.layer || tape->dropout.inputs > 0))
      mask_input(session, *tape, part.layer,
                 part.layer ? outputs_of(part.layer - 1) : Rows<T>{tape->x.template as<T>(), x.step, x.row});
    const Rows<T> output = outputs_of(part.layer);
    const StateMasks masks = state_masks(tape ? tape->dropout : Dropout{}, number);
    DeviceForward<T> call{{dims(batch, part.inputs),
                           rows.steps(part.reversed),
                           weights.parts[number].template as<T>(),
                           part.layer ? read_only(outputs_of(part.layer - 1)) : x,
                           {},
                           {output.p + part.column, output.step, output.row},
                           {},
                           tape && !segmented ? tape->parts[number].template as<T>() : nullptr,
                           scratch.as<T>(),
                           shape_.masked() ? &masks : nullptr,
                           number == 0 ? constant.p : nullptr,
                           constant.steps,
                           nullptr,
                           nullptr,
                           0},
                          batch.steps(part.reversed)};
    const Index at = Index(number) * batch.B;
    for (int q = 0; q < kernel_.states; ++q) {
      const T* const from = learned[size_t(q)].template as<T>() ? learned[size_t(q)].template as<T>() : s0[q];
      call.args.s0[q] = from ? from + at * width(q) : nullptr;
      call.args.sT[q] = sT[q] + at * width(q);
    }
    const auto run = [&] { run_forward(session, call); };
    if (segmented) tape->checkpoints->forward(session, number, call.args, run);
    else run();
  }
}

// Of the segment that the arguments name
template <class T>
void DeviceNetwork<T>::run_forward(const DeviceSession& session, DeviceForward<T>& call) const {
  call.host.begin = call.args.steps.begin;
  session.check(kernel_.forward(call, session.stream()), kernel_.id);
}

// Of what a layer reads, or of the gradient of that: drops some numbers within the lengths
template <class T>
void DeviceNetwork<T>::mask_input(const DeviceSession& session, const DeviceTape<T>& tape, int layer,
                                  Rows<T> rows) const {
  const Dropout& drop = tape.dropout;
  const double p = layer ? drop.outputs : drop.inputs;
  if (p == 0 || !rows.p) return;
  const RowMasks masks{p, drop.seed, layer > 0, layer, !layer || drop.variational};
  session.check(operations_of<T>(session.library())
                    .mask_rows(rows, tape.batch.T, tape.batch.B, layer ? outputs(layer - 1) : shape_.I,
                               tape.rows.user_lengths(), masks, session.stream()),
                "dropout");
}

template <class T>
void DeviceNetwork<T>::backward(const DeviceSession& session, DeviceTape<T>& tape, const BackwardRequest<T>& request,
                                double* sums) const {
  const Batch& batch = tape.batch;
  const Dims most = tape.checkpoints ? tape.checkpoints->most() : dims(batch, widest_input());
  const DeviceBuffer scratch = session.allocate<T>(kernel_.backward_scratch_size(most));
  if (tape.checkpoints)
    tape.checkpoints->reserve(session, kernel_.tape_size(most), kernel_.forward_scratch_size(most, true));
  DeviceBuffer d_between[2];  // gradients of the outputs of the layer at work and of the one below it
  for (int k = 0; k < std::min(2, layers() - 1); ++k)
    d_between[k] = session.allocate<T>(batch.T * batch.B * widest_between());
  for (int layer = layers() - 1; layer >= 0; --layer) {
    const bool top = layer == layers() - 1;
    const Rows<const T> d_output =
        top ? request.dy : read_only(contiguous(d_between[layer % 2], batch, outputs(layer)));
    const Rows<T> d_input = layer ? contiguous(d_between[(layer - 1) % 2], batch, outputs(layer - 1)) : request.dx;
    backward_layer(session, layer, tape, request, d_output, d_input, scratch.as<T>(), sums);
    mask_input(session, tape, layer, d_input);
  }
  const Index parts = Index(parts_.size());
  for (int q = 0; shape_.learn_state && q < kernel_.states; ++q)
    session.check(
        operations_of<T>(session.library())
            .add_states(tape.learned_state ? request.ds0[q] : nullptr, parts, batch.B, width(q), request.fresh,
                        request.value, request.gradients + initial_at_[q], sums + 3 * (parts + q), session.stream()),
        "learned states");
}

template <class T>
void DeviceNetwork<T>::backward_layer(const DeviceSession& session, int layer, DeviceTape<T>& tape,
                                      const BackwardRequest<T>& request, Rows<const T> d_output, Rows<T> d_input,
                                      T* scratch, double* sums) const {
  const Batch& batch = tape.batch;
  for (size_t number = 0; number < parts_.size(); ++number) {
    const Part& part = parts_[number];
    if (part.layer != layer) continue;
    const StepControl<T> control{request.step_value, request.step_norm, request.trace,
                                 request.norms ? request.norms + Index(number) * batch.T * batch.B : nullptr};
    const StateMasks masks = state_masks(tape.dropout, number);
    DeviceBackward<T> call{
        {dims(batch, part.inputs),
         tape.rows.steps(part.reversed),
         weights(int(number), static_cast<const T*>(tape.weights->flat.template as<T>())),
         layer ? read_only(contiguous(tape.between[size_t(layer) - 1], batch, part.inputs)) : tape.x_rows,
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
         reinterpret_cast<GradientSums*>(sums + 3 * number),
         scratch,
         shape_.masked() ? &masks : nullptr,
         number == 0 ? tape.constant.template as<T>() : nullptr,
         number == 0 ? request.d_constant : nullptr,
         tape.constant_steps},
        batch.steps(part.reversed),
        tape.weights->parts[number].template as<T>()};
    const Index at = Index(number) * batch.B;
    for (int q = 0; q < kernel_.states; ++q) {
      call.args.dsT[q] = request.dsT[q] ? request.dsT[q] + at * width(q) : nullptr;
      call.args.ds0[q] = request.ds0[q] + at * width(q);
    }
    const auto run = [&] {
      call.host.begin = call.args.steps.begin;
      session.check(kernel_.backward(call, session.stream()), kernel_.id);
    };
    if (!tape.checkpoints) run();
    else
      tape.checkpoints->backward(number, call.args, call.packed, run, [&](const ForwardArgs<T>& args) {
        DeviceForward<T> again{args, batch.steps(part.reversed)};
        run_forward(session, again);
      });
  }
}

template <class T>
std::unique_ptr<SegmentStates<T, DeviceSession>> DeviceNetwork<T>::plan(const DeviceSession& session,
                                                                        const Batch& batch, double budget) const {
  auto segments = plan_segments(*this, {kernel_.tape_size, sizeof(T), kernel_.row_multiple}, batch, budget);
  if (!segments) return nullptr;
  return std::make_unique<SegmentStates<T, DeviceSession>>(session, kernel_.states, std::move(*segments),
                                                           int(parts_.size()));
}

template <class T>
void DeviceNetwork<T>::read_tape(const DeviceSession& session, const DeviceTape<T>& tape, T* cells, T* gates) const {
  const Index rows = tape.batch.T * tape.batch.B, H = shape_.H;
  for (size_t number = 0; number < parts_.size(); ++number) {
    const Part& part = parts_[number];
    session.check(kernel_.read_tape(
                      dims(tape.batch, part.inputs), tape.rows.steps(part.reversed), tape.batch.steps(part.reversed),
                      tape.parts[number].template as<T>(), cells ? cells + Index(number) * rows * H : nullptr,
                      gates ? gates + Index(number) * rows * H * kernel_.gates : nullptr, session.stream()),
                  kernel_.id);
  }
}

template class DeviceNetwork<float>;
template class DeviceNetwork<double>;
}  // namespace fastrnn
