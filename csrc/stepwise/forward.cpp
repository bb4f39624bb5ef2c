// SPDX-License-Identifier: MIT
// Forward, step by step. A thread owns rows of each step; barriers stand where it reads what another one may have written.
#include <algorithm>
#include <cmath>
#include "../draw.h"
#include "../initial_state.h"
#include "stepwise.h"
namespace fastrnn {
namespace {
// The first of the largest; that of NaN where there is one
template <class T>
Index largest(const T* z, Index n) {
  Index best = 0;
  for (Index k = 1; k < n; ++k)
    if (z[k] > z[best] || (z[k] != z[k] && z[best] == z[best])) best = k;
  return best;
}

// The first at which the sum of softmax(z) exceeds u
template <class T>
Index drawn(const T* z, Index n, double u) {
  const double most = double(z[largest(z, n)]);
  double total = 0, sum = 0;
  for (Index k = 0; k < n; ++k) total += std::exp(double(z[k]) - most);
  for (Index k = 0; k < n; ++k)
    if ((sum += std::exp(double(z[k]) - most)) > u * total) return k;
  return n - 1;
}
}  // namespace

template <class T>
struct Stepwise<T>::ForwardRun {
  const Stepwise& self;
  const Network<T>& net;
  const PackedWeights& packed;
  const Rows<const T> x;
  const StepwiseSampling<T>& sampling;
  const StepwiseRows<T>& rows;
  T* const* const sT;  // the states on their way, too
  StepwiseTape<T>& tape;
  const Batch& batch = tape.net.batch;
  const Steps steps = batch.steps(false);
  const StepwiseAttention<T>& attention = self.attention_;
  const Index P = net.shape().P, width = self.joined(), top = Index(net.parts().size()) - 1;
  LinearMap<T> query = {}, combine = {}, readout = {};
  std::vector<Buffer> scratch = {};  // of the kernels, of each part
  Buffer y = {}, z = {};  // (B,P) of the step; (B,K)

  T* x_row(Index t, Index user) const { return tape.net.x.template as<T>() + (t * batch.B + user) * net.shape().I; }
  Index user_row(Index b) const { return steps.order ? steps.order[b] : b; }
  Index active(Index t) const { return t < batch.T ? batch.rows_before(t + 1) - batch.rows_before(t) : 0; }

  void prepare(int threads) {
    const StepwiseAttention<T>& a = attention;
    if (self.early()) query = LinearMap<T>(self.kernels_, {a.W_q, nullptr, a.A, P, P, false});
    if (self.attends()) combine = LinearMap<T>(self.kernels_, {a.W_c, a.b_c, a.C, width, width, false});
    if (sampling.probability > 0) {
      const Index C = self.attends() ? a.C : P;
      readout = LinearMap<T>(self.kernels_, {sampling.V, sampling.b, sampling.K, C, C, false});
      z = buffer_of<T>(batch.B * sampling.K);
    }
    y = buffer_of<T>(batch.B * P);
    for (const Part& part : net.parts()) {
      Dims most = net.dims(batch, part.inputs);
      most.T = 1, most.R = batch.B;
      scratch.push_back(buffer_of<T>(net.kernel().forward_scratch_size(most, threads, true)));
    }
  }

  // What is known before the layers run
  void write_inputs(Index t, Index begin, Index end) const {
    const Index first = batch.rows_before(t), given = self.given();
    if (self.early()) {
      for (Index b = begin; b < end; ++b)
        std::copy_n(sT[0] + (top * batch.B + user_row(b)) * P, P, rows.previous + (first + b) * P);
      query.run(rows.previous + (first + begin) * P, P, rows.queries + (first + begin) * attention.A, attention.A,
                end - begin);
      self.kernels_.attention(self.attention_args(rows, steps, first, begin, end));
    }
    for (Index b = begin; b < end; ++b) {
      const Index user = user_row(b);
      T* const to = x_row(t, user);
      std::copy_n(x.p + t * x.step + user * x.row, given, to);
      if (sampling.probability > 0 && t > 0 && chooses(t, user))
        std::copy_n(sampling.table + sampling.ids[t * batch.B + user] * sampling.width, sampling.width, to);
      if (self.fed() == 0) continue;
      if (self.early()) std::copy_n(rows.joined + (first + b) * width, attention.M, to + given);
      else if (t == 0) std::fill_n(to + given, attention.C, T(0));
      else std::copy_n(rows.attended + (batch.rows_before(t - 1) + b) * attention.C, attention.C, to + given);
    }
    mask(0, t, begin, end);
  }

  void mask(int layer, Index t, Index begin, Index end) const {
    const Index inputs = net.parts()[size_t(layer)].inputs;
    const Buffer& of = layer ? tape.net.between[size_t(layer) - 1] : tape.net.x;
    for (Index b = begin; b < end; ++b)
      net.mask_rows(tape.net, layer, net.contiguous(of, batch, inputs), t * batch.B + user_row(b),
                    t * batch.B + user_row(b) + 1);
  }

  void run_layer(const Part& part, Index t, const Team& team) const {
    const size_t number = size_t(part.layer);
    const Rows<T> x_rows = net.contiguous(part.layer ? tape.net.between[number - 1] : tape.net.x, batch, part.inputs);
    const Rows<T> y_rows =
        number == size_t(top) ? Rows<T>{y.template as<T>(), 0, P} : net.contiguous(tape.net.between[number], batch, P);
    const StateMasks masks = net.state_masks(tape.net.dropout, number);
    ForwardArgs<T> args{};
    args.dims = self.step_dims(batch, part, t);
    args.steps = steps;
    args.steps.begin = t;
    args.packed = packed.parts[number].template as<T>();
    args.x = {x_rows.p, x_rows.step, x_rows.row};
    args.y = y_rows;
    args.tape = tape.net.parts[number].template as<T>() + tape.begins[number][size_t(t)];
    args.scratch = scratch[number].template as<T>();
    args.masks = net.shape().masked() ? &masks : nullptr;
    if (number == 0) args.constant = tape.net.constant.template as<T>(), args.constant_steps = tape.net.constant_steps;
    for (int q = 0; q < net.kernel().states; ++q)
      args.s0[q] = args.sT[q] = sT[q] + Index(number) * batch.B * net.width(q);
    net.kernel().forward(args, team);
  }

  void read_outputs(Index t, Index begin, Index end) const {
    const Index first = batch.rows_before(t), row = first + begin;
    for (Index b = begin; b < end; ++b)
      std::copy_n(y.template as<T>() + user_row(b) * P, P, rows.joined + (first + b) * width + width - P);
    if (self.attends()) {
      if (!self.early()) self.kernels_.attention(self.attention_args(rows, steps, first, begin, end));
      combine.run(rows.joined + row * width, width, rows.attended + row * attention.C, attention.C, end - begin, true);
    }
    if (sampling.probability > 0) choose(t, begin, std::min(end, active(t + 1)));
  }

  bool chooses(Index t, Index user) const { return uniform(sampling.seed, user, t, 0) < sampling.probability; }

  // Tokens of the next step
  void choose(Index t, Index begin, Index end) const {
    if (begin >= end) return;
    const Index K = sampling.K, row = batch.rows_before(t) + begin;
    T* const from = z.template as<T>() + begin * K;
    if (self.attends()) readout.run(rows.attended + row * attention.C, attention.C, from, K, end - begin);
    else readout.run(rows.joined + row * P, P, from, K, end - begin);
    for (Index b = begin; b < end; ++b) {
      const Index user = user_row(b);
      if (!chooses(t + 1, user)) continue;
      const T* const at = z.template as<T>() + b * K;
      sampling.ids[(t + 1) * batch.B + user] =
          sampling.draw ? drawn(at, K, uniform(sampling.seed, user, t + 1, 1)) : largest(at, K);
    }
  }

  void run(const Team& team) const {
    for (Index t = 0; t < batch.T; ++t) {
      const Index n = active(t), begin = n * team.rank / team.size, end = n * (team.rank + 1) / team.size;
      write_inputs(t, begin, end);
      for (const Part& part : net.parts()) {
        team.barrier(team.context);
        if (part.layer) {
          mask(part.layer, t, begin, end);
          team.barrier(team.context);
        }
        run_layer(part, t, team);
      }
      team.barrier(team.context);
      read_outputs(t, begin, end);
      team.barrier(team.context);
    }
  }
};

template <class T>
void Stepwise<T>::forward(const PackedWeights& packed, Rows<const T> x, const T* const* s0,
                          const StepwiseSampling<T>& sampling, ConstantInput<T> constant, const StepwiseRows<T>& rows,
                          T* const* sT, StepwiseTape<T>& tape) const {
  const Batch& batch = tape.net.batch;
  const Index parts = Index(net_.parts().size());
  reserve(tape);
  if (constant.p) {
    const Index count = batch.B * net_.kernel().gates * net_.shape().H;
    tape.net.constant = buffer_of<T>(count);
    tape.net.constant_steps = constant.steps;
    std::copy_n(constant.p, count, tape.net.constant.template as<T>());
  }
  tape.net.learned_state = net_.shape().learn_state && !s0[0];
  for (int q = 0; q < net_.kernel().states; ++q) {
    const Index n = net_.width(q);
    if (s0[q]) std::copy_n(s0[q], parts * batch.B * n, sT[q]);
    else if (tape.net.learned_state) broadcast_state(packed.initial[q].template as<T>(), parts, batch.B, n, sT[q]);
    else std::fill_n(sT[q], parts * batch.B * n, T(0));
  }
  ThreadLease lease(threads(batch, 1));
  ForwardRun run{*this, net_, packed, x, sampling, rows, sT, tape};
  run.prepare(lease.size());
  lease.run(lease.size(), false, 0, [&](const Team& team) { run.run(team); });
}

template void Stepwise<float>::forward(const PackedWeights&, Rows<const float>, const float* const*,
                                       const StepwiseSampling<float>&, ConstantInput<float>, const StepwiseRows<float>&,
                                       float* const*, StepwiseTape<float>&) const;
template void Stepwise<double>::forward(const PackedWeights&, Rows<const double>, const double* const*,
                                        const StepwiseSampling<double>&, ConstantInput<double>,
                                        const StepwiseRows<double>&, double* const*, StepwiseTape<double>&) const;
}  // namespace fastrnn
