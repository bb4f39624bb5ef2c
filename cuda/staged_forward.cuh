// SPDX-License-Identifier: MIT
// A call of a layer and direction whose cell needs more than one phase a step, or that has StateMasks:
//
//   W_ih x of all rows, normalised (kNormPre), then for each step
//     W_hh h                                                  product
//     reset(), and the product of the last gate with it       rows, product   (kResetBefore)
//     norms, update, norm of the memory, output, zoneout      rows
//     h = W_hr output, zoneout                                product         (kProjected)
//
// Two to four launches a step, whose boundaries are the only synchronisation.
#pragma once
#include "forward.cuh"
#include "staged_step.cuh"
FR_NAMESPACE_BEGIN
// States that enter the first step (B,n), of internal rows, and h as it is multiplied
template <class Real>
struct EnterStates {
  Walk walk;
  Noise<Real> noise;
  const Real* from;  // of the user; null: zeros
  Real *to, *operand;  // null: not wanted
  Index n;
  FR_DEVICE void operator()(Index k) const {
    const auto [b, j] = divide(k, n);
    const Index user = walk.user_row(b);
    const Real value = from ? from[user * n + j] : Real(0);
    to[k] = value;
    if (operand) operand[k] = noise.dropout(user)(j) * value;
  }
};

template <class Cell, class Math>
Status staged_pack(Dims d, const Weights<const typename Math::Real>& w, typename Math::Real* packed,
                   cudaStream_t stream) {
  using Real = typename Math::Real;
  constexpr int G = Cell::kGates;
  const StagedPacked<Cell, Real> to(d, packed);
  FR_TRY(each(G * d.H * d.I, PackRows<Real, Real>{w.W_ih, to.W_ih, d.I, d.H, Slots<Cell>::gate_of_x()}, stream));
  if (Cell::kRecurrent) FR_TRY(each(G * d.H * d.P, Copy<Real>{w.W_hh, to.W_hh}, stream));
  if (Cell::kProjected) FR_TRY(each(d.P * d.H, Copy<Real>{w.W_hr, to.W_hr}, stream));
  FR_TRY(each(G * d.H, PackBiases<Cell, Real>{w.b_ih, w.b_hh, to.bias_x, to.bias_h, d.H}, stream));
  return each(Stages<Cell>::kUnit * d.H, Copy<Real>{w.unit, to.unit}, stream);
}

template <class Cell, class Math>
struct StagedForward {
  using Real = typename Math::Real;
  static constexpr int G = Cell::kGates, S = Cell::kSaved, kX = Stages<Cell>::kX, kDirect = Stages<Cell>::kDirect;

  static Index sums_size(Dims d) { return Cell::kNormPre ? 0 : d.B * G * d.H; }
  static Index scratch_size(Dims d, bool masked, bool training) {
    const Dims most = training ? d : chunk(d);
    Carve<Real> carve{nullptr};
    carve.take(sums_size(most));
    return carve.used + (training ? 0 : StagedTape<Cell, Real>(most, masked, nullptr).carve.used);
  }
  static Status run(const ForwardArgs<Real>& args, const Steps& host, cudaStream_t stream) {
    return in_chunks(args, host, [&](const ForwardArgs<Real>& part, const Steps& at, Dims most, bool first, bool last) {
      return StagedForward{part, at, stream, most}.pass(first, last);
    });
  }

  const ForwardArgs<Real>& args;
  const Steps& host;
  const cudaStream_t stream;
  const Dims most;  // for which the tape has room
  const Dims d = args.dims;
  const Walk walk{args.dims, args.steps}, host_walk{args.dims, host};
  Carve<Real> scratch{args.scratch};
  Real* const sums = scratch.take(sums_size(most));
  const StagedTape<Cell, Real> tape{most, args.masks != nullptr, args.tape ? args.tape : args.scratch + scratch.used};
  const StagedPacked<Cell, Real> packed{args.dims, const_cast<Real*>(args.packed)};
  const Noise<Real> noise{args.masks};

  bool has_operand() const { return tape.operand != tape.states[0]; }

  Status begin() const {
    for (int q = 0; q < Cell::kState; ++q) {
      Real* const operand = q == 0 && has_operand() ? tape.operand : nullptr;
      const Index n = tape.width(q);
      FR_TRY(each(d.B * n, EnterStates<Real>{walk, noise, args.s0[q], tape.states[q], operand, n}, stream));
    }
    return cudaSuccess;
  }

  // The biases follow the norm.
  Status input_product() const {
    Real* const to = Cell::kNormPre ? tape.of_x : tape.slots + kX * d.H;
    const StoreSlots<Real> store{to,
                                 (Cell::kNormPre ? G : S) * d.H,
                                 d.H,
                                 G * d.H,
                                 Cell::kNormPre ? nullptr : packed.bias_x,
                                 args.constant,
                                 constant_rows(args, host),
                                 tape.places,
                                 Slots<Cell>::gate_of_x()};
    FR_TRY(product<Math, typename Math::LargeTile, true, true>(
        Matrix<Real>(tape.x, d.I), Matrix<Real>(packed.W_ih, d.I), {d.R, G * d.H, d.I, 0}, store, stream));
    if constexpr (Cell::kNormPre) FR_TRY(each_row(d.R, G * d.H, true, NormaliseInputs<Cell, Real>{tape}, stream));
    return cudaSuccess;
  }

  // to (rows,N) = A (rows,K) W (N,K)^T
  template <class Epilogue>
  Status multiply(const Real* A, const Real* W, Index rows, Index N, Index K, const Epilogue& epilogue) const {
    return product<Math, ForwardTile<1>, true, true>(Matrix<Real>(A, K), Matrix<Real>(W, K), {rows, N, K, 0}, epilogue,
                                                     stream);
  }

  Status step(Index s) const {
    const Index rows = host_walk.active(s), first = host_walk.first(s);
    const StagedStep<Cell, Real> step{tape, packed, noise, sums, args.y, first};
    Real* const of_h = Cell::kNormPre ? tape.gates_of(tape.of_h, first) : sums;
    if constexpr (kDirect > 0)
      FR_TRY(multiply(tape.operand + host_walk.row_before(s) * d.P, packed.W_hh, rows, kDirect * d.H, d.P,
                      Store<Real>{of_h, G * d.H, nullptr, false}));
    if constexpr (Cell::kResetBefore) {
      FR_TRY(each_row(rows, d.H, false, StagedReset<Cell, Real>{step}, stream));
      FR_TRY(multiply(tape.reset + first * d.H, packed.W_hh + kDirect * d.H * d.P, rows, d.H, d.H,
                      Store<Real>{of_h + kDirect * d.H, G * d.H, nullptr, false}));
    }
    FR_TRY(each_row(rows, d.H, Stages<Cell>::kNorms, step, stream));
    if constexpr (Cell::kProjected)
      FR_TRY(multiply(tape.output + first * d.H, packed.W_hr, rows, d.P, d.H, StoreProjected<Cell, Real>{step}));
    return cudaSuccess;
  }

  Status pass(bool first, bool last) const {
    FR_TRY(each(d.R, FindPlaces{walk, tape.places}, stream));
    FR_TRY(each(d.R * d.I, GatherInputs<Real, Real>{args.x, tape.places, tape.x, d.I}, stream));
    if (first) FR_TRY(begin());
    FR_TRY(input_product());
    for (Index s = 0; s < d.T && host_walk.active(s); ++s) FR_TRY(step(s));
    return last ? end() : hand_on();
  }

  // The states at the end of each row become the initial ones
  Status hand_on() const {
    for (int q = 0; q < Cell::kState; ++q) {
      const Index n = tape.width(q);
      FR_TRY(each(d.B * n, HandOn<Real>{walk, tape.states[q], n}, stream));
    }
    return has_operand() ? each(d.B * d.P, HandOn<Real>{walk, tape.operand, d.P}, stream) : cudaSuccess;
  }

  Status end() const {
    for (int q = 0; q < Cell::kState; ++q) {
      const Index n = tape.width(q);
      FR_TRY(each(d.B * n, ScatterStates<Real>{walk, tape.states[q], args.sT[q], n, true}, stream));
    }
    return clear_padding(walk, args.y, d.P, stream);
  }
};
FR_NAMESPACE_END
