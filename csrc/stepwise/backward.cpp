// SPDX-License-Identifier: MIT
// Backward, step by step, with the threads of forward.cpp. What is summed over steps in the memory and its keys is added by
// the thread that owns the row, in the order of steps.
#include <algorithm>
#include "../initial_state.h"
#include "stepwise.h"
namespace fastrnn {
template <class T>
struct Stepwise<T>::BackwardRun {
  const Stepwise& self;
  const Network<T>& net;
  StepwiseTape<T>& tape;
  const T* const flat;
  const StepwiseRows<T>& rows;
  const StepwiseGradientRows<T>& gradients;
  T *const d_keys, *const d_memory;
  const BackwardRequest<T>& request;
  const Batch& batch = tape.net.batch;
  const Steps steps = batch.steps(false);
  const StepwiseAttention<T>& attention = self.attention_;
  const Index B = batch.B, P = net.shape().P, width = self.joined(), I = net.shape().I;
  const Index top = Index(net.parts().size()) - 1;
  LinearMap<T> query = {}, combine = {};  // transposed
  std::vector<Buffer> scratch = {}, d_outputs = {};  // of each part: of the kernels; (B,P) of its y
  Buffer d_x = {}, d_joined = {}, d_fed = {},
         d_query = {};  // (B,I); rows (B,joined); rows (B,fed); rows (B,P) of the next step
  std::vector<GradientSums> sums = {};

  Index user_row(Index b) const { return steps.order ? steps.order[b] : b; }
  Index active(Index t) const { return t < batch.T ? batch.rows_before(t + 1) - batch.rows_before(t) : 0; }
  T* d_joined_row(Index b) const { return d_joined.template as<T>() + b * width; }

  bool wants_dx() const { return request.dx.p || self.fed() > 0; }

  void prepare(int threads) {
    const StepwiseAttention<T>& a = attention;
    if (self.early()) query = LinearMap<T>(self.kernels_, {a.W_q, nullptr, P, a.A, P, true});
    if (self.attends()) combine = LinearMap<T>(self.kernels_, {a.W_c, nullptr, width, a.C, width, true});
    d_x = buffer_of<T>(B * I), d_joined = buffer_of<T>(B * width);
    d_fed = buffer_of<T>(B * self.fed()), d_query = buffer_of<T>(B * P);
    for (const Part& part : net.parts()) {
      Dims most = net.dims(batch, part.inputs);
      most.T = 1, most.R = B;
      scratch.push_back(buffer_of<T>(net.kernel().backward_scratch_size(most, threads)));
      d_outputs.push_back(buffer_of<T>(B * P));
      sums.push_back({});
    }
  }

  AttentionBackwardArgs<T> attention_args(Index t, Index begin, Index end, T* d_queries, Index d_query_ld) const {
    const StepwiseAttention<T>& a = attention;
    const Index first = batch.rows_before(t), skipped = steps.order ? 0 : begin;
    return {self.attention_args(rows, steps, first, begin, end),
            d_joined_row(begin),
            width,
            d_queries,
            d_query_ld,
            d_keys + skipped * a.S * a.A,
            d_memory + skipped * a.S * a.M,
            a.v ? gradients.v + (first + begin) * a.A : nullptr,
            gradients.scores + (first + begin) * a.S};
  }

  // Of h~ -> of [context ; h], and of the y of the last layer
  void write_output_gradients(Index t, Index begin, Index end) const {
    const Index first = batch.rows_before(t), C = attention.C, next = active(t + 1);
    T* const dy = d_outputs[size_t(top)].template as<T>();
    if (!self.attends()) {
      for (Index b = begin; b < end; ++b) std::copy_n(gradients.attended + (first + b) * P, P, dy + user_row(b) * P);
      return;
    }
    for (Index b = begin; b < end; ++b) {
      const T *given = gradients.attended + (first + b) * C, *value = rows.attended + (first + b) * C;
      const T* const fed = attention.feeds && b < next ? d_fed.template as<T>() + b * C : nullptr;
      T* const to = gradients.before_tanh + (first + b) * C;
      for (Index j = 0; j < C; ++j) to[j] = (fed ? given[j] + fed[j] : given[j]) * (1 - value[j] * value[j]);
    }
    combine.run(gradients.before_tanh + (first + begin) * C, C, d_joined_row(begin), width, end - begin);
    T* const dq = d_query.template as<T>();  // late: of this step; early: of the next one
    if (!self.early()) self.kernels_.attention_backward(attention_args(t, begin, end, dq + begin * P, P));
    for (Index b = begin; b < end; ++b) {
      const T* const dh = d_joined_row(b) + attention.M;
      T* const to = dy + user_row(b) * P;
      const bool queried = !self.early() || b < next;
      for (Index j = 0; j < P; ++j) to[j] = queried ? dh[j] + dq[b * P + j] : dh[j];
    }
  }

  void run_layer(const Part& part, Index t, const Team& team, GradientSums* part_sums) const {
    const size_t number = size_t(part.layer);
    const Rows<T> x_rows = net.contiguous(part.layer ? tape.net.between[number - 1] : tape.net.x, batch, part.inputs);
    const StepControl<T> control{request.step_value, request.step_norm, request.trace,
                                 request.norms ? request.norms + Index(number) * batch.T * B : nullptr};
    const StateMasks masks = net.state_masks(tape.net.dropout, number);
    BackwardArgs<T> args{};
    args.dims = self.step_dims(batch, part, t);
    args.steps = steps;
    args.steps.begin = t;
    args.weights = net.weights(int(number), flat);
    args.x = {x_rows.p, x_rows.step, x_rows.row};
    args.tape = tape.net.parts[number].template as<T>() + tape.begins[number][size_t(t)];
    args.dy = {d_outputs[number].template as<T>(), 0, P};
    T* const d_input = part.layer ? d_outputs[number - 1].template as<T>() : d_x.template as<T>();
    args.dx = {part.layer || wants_dx() ? d_input : nullptr, 0, part.inputs};
    args.gradients = net.weights(int(number), request.gradients);
    args.fresh = request.fresh;
    args.value = request.value;
    args.control = request.norms ? &control : nullptr;
    args.sums = part_sums;
    args.scratch = scratch[number].template as<T>();
    args.masks = net.shape().masked() ? &masks : nullptr;
    if (number == 0) {
      args.constant = tape.net.constant.template as<T>();
      args.d_constant = request.d_constant;
      args.constant_steps = tape.net.constant_steps;
    }
    for (int q = 0; q < net.kernel().states; ++q) {
      const Index at = Index(number) * B * net.width(q);
      args.dsT[q] = request.dsT[q] ? request.dsT[q] + at : nullptr;
      args.ds0[q] = request.ds0[q] + at;
    }
    net.kernel().backward(args, team);
  }

  void mask(int layer, Index t, Index begin, Index end) const {
    const Index inputs = net.parts()[size_t(layer)].inputs;
    const Buffer& of = layer ? d_outputs[size_t(layer) - 1] : d_x;
    for (Index b = begin; b < end; ++b)
      net.mask_rows(tape.net, layer, {of.as<T>(), 0, inputs}, t * B + user_row(b), t * B + user_row(b) + 1);
  }

  void read_input_gradients(Index t, Index begin, Index end) const {
    if (!wants_dx()) return;
    const Index given = self.given(), fed = self.fed();
    mask(0, t, begin, end);
    for (Index b = begin; b < end; ++b) {
      const Index user = user_row(b);
      const T* const from = d_x.template as<T>() + user * I;
      if (request.dx.p) std::copy_n(from, given, request.dx.p + t * request.dx.step + user * request.dx.row);
      if (self.early())
        for (Index j = 0; j < fed; ++j) d_joined_row(b)[j] += from[given + j];
      else std::copy_n(from + given, fed, d_fed.template as<T>() + b * fed);
    }
    if (!self.early()) return;
    const Index A = attention.A;
    T *const d_queries = gradients.queries + (batch.rows_before(t) + begin) * A, *const dq = d_query.template as<T>();
    self.kernels_.attention_backward(attention_args(t, begin, end, d_queries, A));
    query.run(d_queries, A, dq + begin * P, P, end - begin);
    if (t > 0) return;
    for (Index b = begin; b < end; ++b) {
      T* const to = request.ds0[0] + (top * B + user_row(b)) * P;
      for (Index j = 0; j < P; ++j) to[j] += dq[b * P + j];
    }
  }

  void clear_padding(const Team& team) const {
    for (Index b = team.rank; request.dx.p && b < B; b += team.size)
      for (Index t = batch.length_of_user_row(b); t < batch.T; ++t)
        std::fill_n(request.dx.p + t * request.dx.step + b * request.dx.row, self.given(), T(0));
  }

  void run(const Team& team) {
    clear_padding(team);
    for (Index t = batch.T - 1; t >= 0; --t) {
      const Index n = active(t), begin = n * team.rank / team.size, end = n * (team.rank + 1) / team.size;
      write_output_gradients(t, begin, end);
      for (size_t k = net.parts().size(); k-- > 0;) {
        team.barrier(team.context);
        run_layer(net.parts()[k], t, team, &sums[k]);
        team.barrier(team.context);
        if (k > 0) mask(int(k), t, begin, end);
      }
      read_input_gradients(t, begin, end);
      team.barrier(team.context);
    }
  }
};

template <class T>
GradientSums Stepwise<T>::backward(StepwiseTape<T>& tape, const T* flat, const StepwiseRows<T>& rows,
                                   const StepwiseGradientRows<T>& gradients, T* d_keys, T* d_memory,
                                   const BackwardRequest<T>& request) const {
  const Batch& batch = tape.net.batch;
  ThreadLease lease(threads(batch, 3));
  BackwardRun run{*this, net_, tape, flat, rows, gradients, d_keys, d_memory, request};
  run.prepare(lease.size());  // nothing is allocated from here on: what fails has changed nothing
  lease.run(lease.size(), false, 0, [&](const Team& team) { run.run(team); });
  GradientSums total = {};
  for (const GradientSums& part : run.sums)
    total.before += part.before, total.after += part.after, total.clamped += part.clamped;
  for (int q = 0; net_.shape().learn_state && q < net_.kernel().states; ++q)
    add_state_gradients<T>(tape.net.learned_state ? request.ds0[q] : nullptr, Index(net_.parts().size()), batch.B,
                           net_.width(q), request.fresh, request.value, request.gradients + net_.initial_at_[q], total);
  return total;
}

template GradientSums Stepwise<float>::backward(StepwiseTape<float>&, const float*, const StepwiseRows<float>&,
                                                const StepwiseGradientRows<float>&, float*, float*,
                                                const BackwardRequest<float>&) const;
template GradientSums Stepwise<double>::backward(StepwiseTape<double>&, const double*, const StepwiseRows<double>&,
                                                 const StepwiseGradientRows<double>&, double*, double*,
                                                 const BackwardRequest<double>&) const;
}  // namespace fastrnn
