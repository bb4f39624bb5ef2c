// SPDX-License-Identifier: MIT
// A call of one layer and direction:
//
//   x as compact rows of the recurrence, rounded    slots = W_ih x + b    the loop over time (plan.h)    final states
//
// The input product is one for all rows. Inference goes by chunks of the steps, whose buffers lie in scratch.
#pragma once
#include "pack.cuh"
#include "plan.h"
#include "user_rows.cuh"
FR_NAMESPACE_BEGIN
// Sums of the input product, with biases and the constant input, into the slots that x feeds
template <class Real>
struct StoreSlots {
  static constexpr int kGates = 1;
  static constexpr bool kStarts = false;
  Real* slots;  // the first one that x feeds, of row 0
  Index ld, H, width;  // of a row of slots; of W_ih's rows
  const Real* bias;  // (width) or null
  const Real* constant;  // (B,width) of the user, in the order of gates
  Index constant_rows;  // the first rows of R, to which it is added
  const Place* places;
  SlotOrder gates;
  FR_DEVICE void operator()(Index row, Index column, const Real (&sums)[1][2], int count) const {
    each_column(count, [&](int e) {
      const Index c = column + e;
      Real sum = sums[0][e] + (bias ? bias[c] : Real(0));
      if (row < constant_rows) sum += constant[places[row].user * width + gates[c / H] * H + c % H];
      slots[row * ld + c] = sum;
    });
  }
};

// Rows of the recurrence in the steps to which the constant input is added: they are the first ones
template <class Real>
Index constant_rows(const ForwardArgs<Real>& args, const Steps& host) {
  const Index steps = args.constant ? args.constant_steps - args.steps.begin : 0;
  return steps <= 0 ? 0 : Walk{args.dims, host}.first(steps < args.dims.T ? steps : args.dims.T);
}

constexpr Index kChunkRows = 4096;  // of inference at a time

// What inference does at a time, at most
inline Dims chunk(Dims d) {
  const Index steps = d.B >= kChunkRows ? 1 : kChunkRows / (d.B > 0 ? d.B : 1);
  if (steps < d.T) d.T = steps;
  if (d.T * d.B < d.R) d.R = d.T * d.B;
  return d;
}

// A whole call, pass(args, host, dims that its buffers have room for, whether it is the first and the last one).
// Without a tape it is done in chunks, which hand their states on.
template <class Real, class Pass>
Status in_chunks(const ForwardArgs<Real>& args, const Steps& host, const Pass& pass) {
  if (args.tape) return pass(args, host, args.dims, true, true);
  const Dims most = chunk(args.dims);
  Index s = 0;
  do {
    ForwardArgs<Real> part = args;
    Steps at = host;
    part.steps.begin += s, at.begin += s;
    part.dims.T = most.T < args.dims.T - s ? most.T : args.dims.T - s;
    part.dims.R = Walk{part.dims, at}.first(part.dims.T);
    const bool last = s + part.dims.T == args.dims.T;
    FR_TRY(pass(part, at, most, s == 0, last));
    s += most.T;
  } while (s < args.dims.T);
  return cudaSuccess;
}

template <class Cell, class Math>
struct Forward {
  using Real = typename Math::Real;
  using Scalar = typename Math::Scalar;
  using P = Plan<Cell, Math>;
  static constexpr int G = Cell::kGates, S = Cell::kSaved, kX = Slots<Cell>::kX;

  static Index exchange_size(Dims d) { return P::forward_exchange_size(d); }
  static Index scratch_size(Dims d, bool training) {
    const Dims most = training ? d : chunk(d);
    Carve<Real> carve{nullptr};
    carve.take(exchange_size(most));
    return carve.used + (training ? 0 : Tape<Cell, Math>(most, nullptr).carve.used);
  }

  static Status run(const ForwardArgs<Real>& args, const Steps& host, cudaStream_t stream) {
    return in_chunks(args, host, [&](const ForwardArgs<Real>& part, const Steps& at, Dims most, bool first, bool last) {
      return Forward{part, at, stream, most}.pass(first, last);
    });
  }

  const ForwardArgs<Real>& args;
  const Steps& host;
  const cudaStream_t stream;
  const Dims most;  // for which the tape has room
  const Dims d = args.dims;
  const Index x_ld = input_ld<Scalar>(args.dims);
  const Walk walk{args.dims, args.steps};
  Carve<Real> scratch{args.scratch};
  Real* const exchange = scratch.take(exchange_size(most));
  const Tape<Cell, Math> tape{most, args.tape ? args.tape : args.scratch + scratch.used};
  const Packed<Cell, Math> packed{args.dims, P::persistent_packed_size(args.dims), const_cast<Real*>(args.packed)};

  Status pass(bool first, bool last) const {
    FR_TRY(each(d.R, FindPlaces{walk, tape.places}, stream));
    FR_TRY(each(d.R * d.I, GatherInputs<Real, Scalar>{args.x, tape.places, tape.x, d.I, x_ld}, stream));
    for (int q = 0; q < Cell::kState && first; ++q)
      FR_TRY(each(d.B * d.H, GatherStates<Real, Scalar>{walk, args.s0[q], tape.states[q], q ? nullptr : tape.h, d.H},
                  stream));
    FR_TRY(input_product());
    FR_TRY(loop());
    return last ? end() : hand_on();
  }

  Status input_product() const {
    const StoreSlots<Real> store{tape.slots + kX * d.H,
                                 S * d.H,
                                 d.H,
                                 G * d.H,
                                 packed.bias_x,
                                 args.constant,
                                 constant_rows(args, host),
                                 tape.places,
                                 Slots<Cell>::gate_of_x()};
    return product<Math, typename Math::LargeTile, true, true>(
        Matrix<Scalar>(tape.x, x_ld), Matrix<Scalar>(packed.W_ih, x_ld), {d.R, G * d.H, d.I, 0}, store, stream);
  }

  Status loop() const {
    LoopForward<Real, Scalar> loop{
        d,          args.steps, host,   packed.W_hh, packed.persistent, packed.bias_h, packed.unit,
        tape.slots, {},         tape.h, args.y,      exchange};
    for (int q = 0; q < Cell::kState; ++q) loop.states[q] = tape.states[q];
    return P::forward(loop, stream);
  }

  // The states at the end of each row become the initial ones
  Status hand_on() const {
    for (int q = 0; q < Cell::kState; ++q) FR_TRY(each(d.B * d.H, HandOn<Real>{walk, tape.states[q], d.H}, stream));
    if (tape.h) FR_TRY(each(d.B * d.H, HandOn<Scalar>{walk, tape.h, d.H}, stream));
    return cudaSuccess;
  }

  Status end() const {
    for (int q = 0; q < Cell::kState; ++q)
      FR_TRY(each(d.B * d.H, ScatterStates<Real>{walk, tape.states[q], args.sT[q], d.H, true}, stream));
    return clear_padding(walk, args.y, d.H, stream);
  }
};
FR_NAMESPACE_END
