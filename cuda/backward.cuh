// SPDX-License-Identifier: MIT
// Back-propagation through time of one layer and direction:
//
//   the loop (plan.h), which leaves dG    dX = dG W_ih    dW_ih = dG^T X    dW_hh = dG^T Hprev    db = sum of dG
//
// The last four wait until after the loop, where all R rows make large products. Gradients of parameters are gathered
// in scratch, in parts and chains that go on from segment to segment, the last row first, and are joined by the
// segment that ends at step 0: no end of a segment changes a bit.
#pragma once
#include "forward.cuh"
FR_NAMESPACE_BEGIN
// Rows of dX to the user
template <class Real>
struct ScatterRows {
  static constexpr int kGates = 1;
  static constexpr bool kStarts = false;
  Rows<Real> to;
  const Place* places;
  bool add;
  FR_DEVICE void operator()(Index row, Index column, const Real (&sums)[1][2], int count) const {
    Real* const at = places[row].at(to) + column;
    each_column(count, [&](int e) { at[e] = sums[0][e] + (add ? at[e] : Real(0)); });
  }
};

// Rows of the recurrence, the last one first; or the states that entered them
struct LastFirst {
  Index last;
  const Place* places;  // null: the rows themselves
  FR_DEVICE Index operator()(Index n) const { return places ? places[last - n].before : last - n; }
};

// Rows for column_chains: dpre, for biases
template <class Real>
struct BiasRow {
  static constexpr int kValues = 1;
  const Real* slots;
  Index ld;
  FR_DEVICE void operator()(Index row, Index column, Real (&values)[1]) const { values[0] = slots[row * ld + column]; }
};

// and what a row gives to the parameters of a unit
template <class Cell, class Real>
struct UnitRow {
  static constexpr int kValues = Cell::kUnit;
  const Real* slots;
  const Real* states[Cell::kState];
  const Place* places;
  Index B, H;
  FR_DEVICE void operator()(Index row, Index j, Real (&values)[kValues]) const {
    Real dpre[Cell::kPre], prev[Cell::kState], after[Cell::kState];
#pragma unroll
    for (int s = 0; s < Cell::kPre; ++s) dpre[s] = slots[(row * Cell::kSaved + s) * H + j];
    const Index before = places[row].before;
#pragma unroll
    for (int q = 0; q < Cell::kState; ++q) {
      prev[q] = before < 0 ? Real(0) : states[q][before * H + j];
      after[q] = states[q][(B + row) * H + j];
    }
    UnitParameters<Real, kValues> share;
    Cell::unit_gradients(dpre, prev, after, share);
#pragma unroll
    for (int p = 0; p < kValues; ++p) values[p] = share[p];
  }
};

// Element k of a parameter, rows of gates by H: its parts or chains in order
template <class Real>
struct SumOfParts {
  const Real* parts;
  int count;
  Index size, width, H;  // of a part; of a row; units
  SlotOrder slots;  // of gates
  FR_DEVICE Real operator()(Index k) const {
    const Quotient row = divide(k, width), gate = divide(row.whole, H);
    const Real* from = parts + (slots[gate.whole] * H + gate.rest) * width + row.rest;
    Real sum = 0;
    for (int z = 0; z < count; ++z) sum += from[z * size];
    return sum;
  }
};

// dG of the constant input, of a row and gate: the steps that have it, the last one first
template <class Real>
struct ConstantGradient {
  Walk walk;
  const Real* slots;  // the first one that x feeds
  Index ld, width, H;
  SlotOrder slot_of;  // of gates
  Index steps;  // of this call that have it
  Real* to;
  bool first;
  FR_DEVICE void operator()(Index k) const {
    const auto [b, c] = divide(k, width);
    const Index own = walk.length(b), gate = c / H;
    Real& all = to[walk.user_row(b) * width + c];
    Real sum = first ? Real(0) : all;
    for (Index s = (own < steps ? own : steps) - 1; s >= 0; --s)
      sum += slots[(walk.first(s) + b) * ld + (slot_of[gate] - gate) * H + c];
    all = sum;
  }
};

// Rows of the segments after this one in time, which have run
inline Index rows_after(Dims d, const Steps& host) {
  const Index end = host.begin + d.T;
  return host.first ? host.first[host.total] - host.first[end] : (host.total - end) * d.B;
}

template <class Cell, class Math>
struct Backward {
  using Real = typename Math::Real;
  using Scalar = typename Math::Scalar;
  using P = Plan<Cell, Math>;
  using Large = typename Math::LargeTile;
  static constexpr int G = Cell::kGates, S = Cell::kSaved, kPre = Cell::kPre, kUnit = Cell::kUnit;
  static constexpr int kX = Slots<Cell>::kX, kH = Slots<Cell>::kH, kParameters = 5;
  static constexpr bool kRounded = sizeof(Scalar) < sizeof(Real);

  // What stays for the next segment comes before what depends on R.
  struct Scratch {
    Carve<Real> carve;
    Real *dstates[Cell::kState], *W_ih, *W_hh, *biases, *units, *exchange;
    GradientSums* squares;
    Scalar* dG;
    Scratch(Dims d, Real* p) : carve{p} {
      for (Real*& dstate : dstates) dstate = carve.take(d.B * d.H);
      W_hh = carve.take(Cell::kRecurrent ? parts_size<Large>(G * d.H, d.H) : 0);
      biases = carve.take(kChains * kPre * d.H), units = carve.take(kChains * kUnit * d.H);
      squares = carve.template take_as<GradientSums>(kParameters * kFinishBlocks);
      W_ih = carve.take(parts_size<Large>(G * d.H, d.I));
      exchange = carve.take(P::backward_exchange_size(d));
      dG = carve.template take_as<Scalar>(kRounded ? d.R * kPre * d.H : 0);
    }
  };
  static Index scratch_size(Dims d) { return Scratch(d, nullptr).carve.used; }

  const BackwardArgs<Real>& args;
  const Steps& host;
  const Real* const packed_at;
  const cudaStream_t stream;
  const Dims d = args.dims;
  const Walk walk{args.dims, args.steps};
  const Tape<Cell, Math> tape{args.dims, args.tape};
  const Packed<Cell, Math> packed{args.dims, P::persistent_packed_size(args.dims), const_cast<Real*>(packed_at)};
  const Scratch scratch{args.dims, args.scratch};
  const Index done = rows_after(args.dims, host);

  Status begin() const {
    if (!walk.last_segment()) return cudaSuccess;
    for (int q = 0; q < Cell::kState; ++q)
      FR_TRY(each(d.B * d.H, GatherStates<Real, Real>{walk, args.dsT[q], scratch.dstates[q], nullptr, d.H}, stream));
    return args.dx.p && !args.add_dx ? clear_padding(walk, args.dx, d.I, stream) : cudaSuccess;
  }

  Status loop() const {
    LoopBackward<Real, Scalar> loop{
        d,  args.steps, host, packed.W_hh,  packed.persistent, packed.unit, tape.slots, kRounded ? scratch.dG : nullptr,
        {}, args.dy,    {},   args.control, scratch.exchange};
    for (int q = 0; q < Cell::kState; ++q) loop.states[q] = tape.states[q], loop.dstates[q] = scratch.dstates[q];
    return P::backward(loop, stream);
  }

  // Slots of dG from `slot` on, as the operand of a product
  template <class Lines>
  Matrix<Scalar, Lines> dG(int slot, Lines lines) const {
    if constexpr (kRounded) return {scratch.dG + slot * d.H, kPre * d.H, lines};
    else return {tape.slots + slot * d.H, S * d.H, lines};
  }

  Status inputs() const {
    if (!args.dx.p) return cudaSuccess;
    return product<Math, Large, true, false>(dG(kX, InOrder{}), Matrix<Scalar>(packed.W_ih, input_ld<Scalar>(d)),
                                             {d.R, d.I, G * d.H, 0},
                                             ScatterRows<Real>{args.dx, tape.places, args.add_dx}, stream);
  }

  // dG^T of the slots from `slot` on times rows of n columns, ld apart
  Status weight_product(int slot, const Scalar* rows, Index n, Index ld, const Place* places, Real* parts) const {
    return product<Math, Large, false, false>(
        dG(slot, LastFirst{d.R - 1, nullptr}), Matrix<Scalar, LastFirst>(rows, ld, {d.R - 1, places}),
        {G * d.H, n, d.R, done}, GoOn<Real>{parts, G * d.H, n, done == 0}, stream, parts_of<Large>(G * d.H, n));
  }

  Status parameters() const {
    const auto& wanted = args.gradients;
    if (wanted.W_ih) FR_TRY(weight_product(kX, tape.x, d.I, input_ld<Scalar>(d), nullptr, scratch.W_ih));
    if (Cell::kRecurrent && wanted.W_hh)
      FR_TRY(weight_product(kH, tape.operand_h(), d.H, d.H, tape.places, scratch.W_hh));
    if (wanted.b_ih || wanted.b_hh)
      FR_TRY(column_chains(d.R, done, kPre * d.H, scratch.biases, BiasRow<Real>{tape.slots, S * d.H}, stream));
    if constexpr (kUnit > 0) {
      UnitRow<Cell, Real> row{tape.slots, {}, tape.places, d.B, d.H};
      for (int q = 0; q < Cell::kState; ++q) row.states[q] = tape.states[q];
      if (wanted.unit) FR_TRY(column_chains(d.R, done, d.H, scratch.units, row, stream));
    }
    return cudaSuccess;
  }

  Status constant() const {
    if (!args.d_constant) return cudaSuccess;
    const ConstantGradient<Real> gradient{walk,
                                          tape.slots + kX * d.H,
                                          S * d.H,
                                          G * d.H,
                                          d.H,
                                          Slots<Cell>::slot_of(true, kX),
                                          args.constant_steps - args.steps.begin,
                                          args.d_constant,
                                          walk.last_segment()};
    return each(d.B * G * d.H, gradient, stream);
  }

  Status end() const {
    for (int q = 0; q < Cell::kState; ++q)
      FR_TRY(each(d.B * d.H, ScatterStates<Real>{walk, scratch.dstates[q], args.ds0[q], d.H, false}, stream));
    const Index rows = G * d.H, H = d.H;
    const auto parts = [&](const Real* at, Index n, int slot, bool of_x) {
      return SumOfParts<Real>{at, parts_of<Large>(rows, n), rows * n, n, H, Slots<Cell>::slot_of(of_x, slot)};
    };
    const auto chains = [&](const Real* at, Index columns, SlotOrder slots) {
      return SumOfParts<Real>{at, kChains, columns, 1, H, slots};
    };
    const auto& to = args.gradients;
    Finish<Real> finish{args.fresh, args.value, scratch.squares, stream};
    FR_TRY(finish.add(to.W_ih, rows * d.I, parts(scratch.W_ih, d.I, kX, true)));
    if (Cell::kRecurrent) FR_TRY(finish.add(to.W_hh, rows * H, parts(scratch.W_hh, H, kH, false)));
    FR_TRY(finish.add(to.b_ih, rows, chains(scratch.biases, kPre * H, Slots<Cell>::slot_of(true, 0))));
    FR_TRY(finish.add(to.b_hh, rows, chains(scratch.biases, kPre * H, Slots<Cell>::slot_of(false, 0))));
    if (kUnit > 0) FR_TRY(finish.add(to.unit, kUnit * H, chains(scratch.units, kUnit * H, identity_order())));
    return finish.total(args.sums);
  }

  Status run() const {
    FR_TRY(begin());
    FR_TRY(loop());
    FR_TRY(constant());
    FR_TRY(inputs());
    FR_TRY(parameters());
    return walk.first_segment() ? end() : cudaSuccess;
  }
};
FR_NAMESPACE_END
