// SPDX-License-Identifier: MIT
// Back-propagation through time of a call of staged_forward.cuh. For each step, the last one first:
//
//   dh = W_hh^T (gradient of W_hh h) of the step after it                          product
//   dh + dy + carried, controlled, and what W_hr multiplied                        rows, product   (kProjected)
//   output and update backward, through the norms                                  rows
//   dreset = gradient of the last gate times its W_hh, reset() backward            product, rows   (kResetBefore)
//
// Then what backward.cuh does after its loop: products and sums over all rows, in parts and chains that go on from
// segment to segment.
#pragma once
#include "backward.cuh"
#include "staged_back_step.cuh"
#include "staged_forward.cuh"
FR_NAMESPACE_BEGIN
// Element k of parameters whose chains have their layout
template <class Real>
struct SumOfChains {
  const Real* chains;
  Index size;
  FR_DEVICE Real operator()(Index k) const {
    Real sum = 0;
    for (int z = 0; z < kChains; ++z) sum += chains[z * size + k];
    return sum;
  }
};

template <class Cell, class Math>
struct StagedBackward {
  using Real = typename Math::Real;
  using Large = typename Math::LargeTile;
  static constexpr int G = Cell::kGates, S = Cell::kSaved, kPre = Cell::kPre, kUnit = Stages<Cell>::kUnit;
  static constexpr int kX = Stages<Cell>::kX, kH = Stages<Cell>::kH, kDirect = Stages<Cell>::kDirect, kParameters = 7;

  // What stays for the next segment comes before what depends on R.
  struct Scratch {
    Carve<Real> carve;
    StagedGradients<Cell, Real> step;
    Real *W_hh, *W_reset, *W_hr, *biases, *units, *W_ih;
    GradientSums* squares;
    Scratch(Dims d, Real* p) : carve{p} {
      for (int q = 0; q < Cell::kState; ++q) step.dstates[q] = carve.take(d.B * (q ? d.H : d.P));
      step.sums = carve.take(d.B * d.P), step.dh = carve.take(d.B * d.P), step.wide = carve.take(d.B * d.H);
      W_hh = carve.take(kDirect ? parts_size<Large>(kDirect * d.H, d.P) : 0);
      W_reset = carve.take(Cell::kResetBefore ? parts_size<Large>(d.H, d.H) : 0);
      W_hr = carve.take(Cell::kProjected ? parts_size<Large>(d.P, d.H) : 0);
      biases = carve.take(kChains * kPre * d.H), units = carve.take(kChains * kUnit * d.H);
      squares = carve.template take_as<GradientSums>(kParameters * kFinishBlocks);
      W_ih = carve.take(parts_size<Large>(G * d.H, d.I));
      if (Cell::kNormPre) step.dx = carve.take(d.R * G * d.H), step.dh_gates = carve.take(d.R * G * d.H);
      if (Cell::kNormMemory) step.dmemory = carve.take(d.R * d.H);
      if (Cell::kProjected) step.dprojected = carve.take(d.R * d.P);
    }
  };
  static Index scratch_size(Dims d) { return Scratch(d, nullptr).carve.used; }

  const BackwardArgs<Real>& args;
  const Steps& host;
  const Real* const packed_at;
  const cudaStream_t stream;
  const Dims d = args.dims;
  const Walk walk{args.dims, args.steps}, host_walk{args.dims, host};
  const StagedTape<Cell, Real> tape{args.dims, args.masks != nullptr, args.tape};
  const StagedPacked<Cell, Real> packed{args.dims, const_cast<Real*>(packed_at)};
  const Noise<Real> noise{args.masks};
  const Scratch scratch{args.dims, args.scratch};
  const StagedGradients<Cell, Real>& gradients = scratch.step;
  const Index done = rows_after(args.dims, host);

  // Gradients of W_ih x and of W_hh h, of gate `gate` on: rows of all of R, `ld` apart
  static Index gates_ld(Dims d) { return (Cell::kNormPre ? G : S) * d.H; }
  Real* dx_gates() const { return Cell::kNormPre ? gradients.dx : tape.slots + kX * d.H; }
  Real* dh_gates(int gate) const { return (Cell::kNormPre ? gradients.dh_gates : tape.slots + kH * d.H) + gate * d.H; }

  Status begin() const {
    if (!walk.last_segment()) return cudaSuccess;
    for (int q = 0; q < Cell::kState; ++q) {
      const Index n = tape.width(q);
      FR_TRY(each(d.B * n, GatherStates<Real, Real>{walk, args.dsT[q], gradients.dstates[q], nullptr, n}, stream));
    }
    return args.dx.p && !args.add_dx ? clear_padding(walk, args.dx, d.I, stream) : cudaSuccess;
  }

  StagedStep<Cell, Real> forward_step(Index s) const {
    return {tape, packed, noise, nullptr, {nullptr, 0, 0}, host_walk.first(s)};
  }
  StagedBackStep<Cell, Real> at(Index s) const {
    const Index joining = s + 1 < d.T ? host_walk.active(s + 1) : 0;
    const auto* const control = args.control;
    return {forward_step(s),
            gradients,
            args.dy,
            joining ? host_walk.first(s + 1) : 0,
            joining,
            control != nullptr,
            control ? control->value : Real(0),
            control ? control->norm : 0,
            control ? control->norms : nullptr};
  }

  // (rows,N) = A (rows,K) W (K,N)
  template <class Epilogue>
  Status multiply(const Real* A, Index ld, const Real* W, Index rows, Index N, Index K,
                  const Epilogue& epilogue) const {
    return product<Math, BackwardTile, true, false>(Matrix<Real>(A, ld), Matrix<Real>(W, N), {rows, N, K, 0}, epilogue,
                                                    stream);
  }
  Store<Real> store(Real* to, Index ld) const { return {to, ld, nullptr, false}; }

  Status step(Index s) const {
    const StagedBackStep<Cell, Real> back = at(s);
    const Index rows = host_walk.active(s), first = back.step.first;
    if constexpr (kDirect > 0)
      FR_TRY(multiply(dh_gates(0) + back.next * gates_ld(d), gates_ld(d), packed.W_hh, back.joining, d.P, kDirect * d.H,
                      store(gradients.sums, d.P)));
    if constexpr (Cell::kProjected) {
      FR_TRY(each_row(rows, d.P, back.controlled, StagedArrival<Cell, Real>{back}, stream));
      FR_TRY(
          multiply(gradients.dprojected + first * d.P, d.P, packed.W_hr, rows, d.H, d.P, store(gradients.wide, d.H)));
    }
    FR_TRY(each_row(rows, d.H, Stages<Cell>::kNorms || back.controlled, back, stream));
    if constexpr (Cell::kResetBefore) {
      FR_TRY(multiply(dh_gates(kDirect) + first * gates_ld(d), gates_ld(d), packed.W_hh + kDirect * d.H * d.P, rows,
                      d.H, d.H, store(gradients.wide, d.H)));
      FR_TRY(each_row(rows, d.H, false, StagedResetBack<Cell, Real>{back}, stream));
    }
    return cudaSuccess;
  }

  Status loop() const {
    for (Index s = d.T - 1; s >= 0; --s)
      if (host_walk.active(s)) FR_TRY(step(s));
    if constexpr (kDirect > 0) {
      if (d.T == 0) return cudaSuccess;
      return multiply(dh_gates(0), gates_ld(d), packed.W_hh, host_walk.active(0), d.P, kDirect * d.H,
                      StagedEntering<Cell, Real>{forward_step(0), gradients.dstates[0]});
    }
    return cudaSuccess;
  }

  Status inputs() const {
    if (args.d_constant) {
      const ConstantGradient<Real> gradient{walk,
                                            dx_gates(),
                                            gates_ld(d),
                                            G * d.H,
                                            d.H,
                                            Slots<Cell>::slot_of(true, kX),
                                            args.constant_steps - args.steps.begin,
                                            args.d_constant,
                                            walk.last_segment()};
      FR_TRY(each(d.B * G * d.H, gradient, stream));
    }
    if (!args.dx.p) return cudaSuccess;
    return product<Math, Large, true, false>(Matrix<Real>(dx_gates(), gates_ld(d)), Matrix<Real>(packed.W_ih, d.I),
                                             {d.R, d.I, G * d.H, 0},
                                             ScatterRows<Real>{args.dx, tape.places, args.add_dx}, stream);
  }

  // parts += A (R,M)^T rows (R,N), where rows may be those that enter a step
  Status weight_product(const Real* A, Index ld, Index M, const Real* rows, Index N, const Place* entering,
                        Real* parts) const {
    using Lines = Matrix<Real, LastFirst>;
    return product<Math, Large, false, false>(Lines(A, ld, {d.R - 1, nullptr}), Lines(rows, N, {d.R - 1, entering}),
                                              {M, N, d.R, done}, GoOn<Real>{parts, M, N, done == 0}, stream,
                                              parts_of<Large>(M, N));
  }

  Status weights() const {
    const auto& wanted = args.gradients;
    const Index ld = gates_ld(d), H = d.H;
    if (wanted.W_ih) FR_TRY(weight_product(dx_gates(), ld, G * H, tape.x, d.I, nullptr, scratch.W_ih));
    if (kDirect > 0 && wanted.W_hh)
      FR_TRY(weight_product(dh_gates(0), ld, kDirect * H, tape.operand, d.P, tape.places, scratch.W_hh));
    if (Cell::kResetBefore && wanted.W_hh)
      FR_TRY(weight_product(dh_gates(kDirect), ld, H, tape.reset, H, nullptr, scratch.W_reset));
    if (Cell::kProjected && wanted.W_hr)
      FR_TRY(weight_product(gradients.dprojected, d.P, d.P, tape.output, H, nullptr, scratch.W_hr));
    return cudaSuccess;
  }

  Status units() const {
    const auto& wanted = args.gradients;
    if (wanted.b_ih || wanted.b_hh)
      FR_TRY(column_chains(d.R, done, kPre * d.H, scratch.biases, BiasRow<Real>{tape.slots, S * d.H}, stream));
    if constexpr (kUnit > 0) {
      const StagedUnitRow<Cell, Real> row{forward_step(0), gradients.dmemory};
      if (wanted.unit) FR_TRY(column_chains(d.R, done, d.H, scratch.units, row, stream));
    }
    return cudaSuccess;
  }

  // `blocks` blocks of H rows, or rows of a matrix without gates, from the parts of a product
  static SumOfParts<Real> parts(const Real* from, Index M, Index N, Index H, SlotOrder slots) {
    return {from, parts_of<Large>(M, N), M * N, N, H, slots};
  }

  Status end() const {
    for (int q = 0; q < Cell::kState; ++q) {
      const Index n = tape.width(q);
      FR_TRY(each(d.B * n, ScatterStates<Real>{walk, gradients.dstates[q], args.ds0[q], n, false}, stream));
    }
    const Index H = d.H, P = d.P, direct = kDirect * H;
    const auto& to = args.gradients;
    const SlotOrder in_order = identity_order(), x_slots = Slots<Cell>::slot_of(true, kX);
    const auto bias = [&](bool of_x) {
      return SumOfParts<Real>{scratch.biases, kChains, kPre * H, 1, H, Slots<Cell>::slot_of(of_x, 0)};
    };
    Finish<Real> finish{args.fresh, args.value, scratch.squares, stream};
    FR_TRY(finish.add(to.W_ih, G * H * d.I, parts(scratch.W_ih, G * H, d.I, H, x_slots)));
    if (Cell::kRecurrent) FR_TRY(finish.add(to.W_hh, direct * P, parts(scratch.W_hh, direct, P, H, in_order)));
    if (Cell::kResetBefore && to.W_hh)
      FR_TRY(finish.add(to.W_hh + direct * P, H * H, parts(scratch.W_reset, H, H, H, in_order)));
    FR_TRY(finish.add(to.b_ih, G * H, bias(true)));
    FR_TRY(finish.add(to.b_hh, G * H, bias(false)));
    FR_TRY(finish.add(to.unit, kUnit * H, SumOfChains<Real>{scratch.units, kUnit * H}));
    if (Cell::kProjected) FR_TRY(finish.add(to.W_hr, P * H, parts(scratch.W_hr, P, H, P, in_order)));
    return finish.total(args.sums);
  }

  Status run() const {
    FR_TRY(begin());
    FR_TRY(loop());
    FR_TRY(inputs());
    FR_TRY(weights());
    FR_TRY(units());
    return walk.first_segment() ? end() : cudaSuccess;
  }
};
FR_NAMESPACE_END
