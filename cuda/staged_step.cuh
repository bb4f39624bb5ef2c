// SPDX-License-Identifier: MIT
// The phases of a step between its products, forward.
#pragma once
#include "staged_layout.h"
#include "staged_noise.cuh"
#include "staged_rows.cuh"
#include "streaming.cuh"
FR_NAMESPACE_BEGIN
// A row of a step as its kernels know it
template <class Cell, class Real>
struct StagedRow {
  Index b, number;  // of the step, of R
  Place at;
  bool cut;  // no state enters
  RowFactors<Real> dropout, fresh[Cell::kState];
  FR_DEVICE StagedRow(const Place* places, const Noise<Real>& noise, Index first, Index b_)
      : b(b_), number(first + b_), at(places[first + b_]), cut(at.before < 0), dropout(noise.dropout(at.user)) {
#pragma unroll
    for (int q = 0; q < Cell::kState; ++q) fresh[q] = noise.fresh(q, at);
  }
};

template <class Cell, class Real>
struct StagedStep {
  using Row = StagedRow<Cell, Real>;
  static constexpr int G = Cell::kGates, S = Cell::kSaved, kPre = Cell::kPre, kX = Stages<Cell>::kX;
  StagedTape<Cell, Real> tape;
  StagedPacked<Cell, Real> packed;
  Noise<Real> noise;
  Real* sums;  // (B,G*H) W_hh h of the step, unless it is normalised
  Rows<Real> y;
  Index first;  // number of row 0 of the step

  FR_DEVICE Row row(Index b) const { return Row(tape.places, noise, first, b); }
  FR_DEVICE Real before(const Row& r, int q, Index j) const {
    return r.cut ? Real(0) : tape.states[q][r.at.before * tape.width(q) + j];
  }
  FR_DEVICE Real unit(int parameter, Index j) const { return packed.unit[parameter * tape.H + j]; }

  // Pre-activations of a unit; gates from kGates on do not have their sums yet
  template <int kGates>
  FR_DEVICE void load_pre(const Row& r, Index j, Real (&pre)[kPre]) const {
    const Index H = tape.H;
#pragma unroll
    for (int s = 0; s < kPre; ++s) pre[s] = 0;
#pragma unroll
    for (int c = 0; c < G; ++c) {
      if constexpr (Cell::kNormPre)
        pre[kX + c] = fma(unit(Stages<Cell>::kGainX + gate_of_slot<Cell>(true, kX + c), j),
                          tape.gates_of(tape.of_x, r.number)[c * H + j], packed.bias_x[c * H + j]);
      else pre[kX + c] = tape.slot(r.number, kX + c)[j];
    }
#pragma unroll
    for (int g = 0; g < kGates; ++g) {
      Real& sum = pre[Cell::h_slot(g)];
      if constexpr (Cell::kNormPre)
        sum = fma(unit(Stages<Cell>::kGainH + g, j), tape.gates_of(tape.of_h, r.number)[g * H + j], sum);
      else sum += r.cut ? Real(0) : sums[(r.b * G + g) * H + j];
      if (gate_of_slot<Cell>(true, Cell::h_slot(g)) < 0) sum += packed.bias_h[g * H + j];
    }
  }

  FR_DEVICE void normalise_gates(const Row& r) const {
    Real* const h = tape.gates_of(tape.of_h, r.number);
    if (r.cut) each_unit(G * tape.H, [&](Index k) { h[k] = 0; });
    const Real scale = normalise(h, G * tape.H);
    if (threadIdx.x == 0) tape.scales[r.number * 3 + 1] = scale;
    __syncthreads();  // from here on, a thread has units and not gates of them
  }

  // Pre-activations -> new memory and other states, and h where nothing stands between
  FR_DEVICE void update(const Row& r, Index j) const {
    Real pre[kPre], state[Cell::kState], previous[Cell::kState], saved[S];
    load_pre<Cell::kRecurrent ? G : 0>(r, j, pre);
#pragma unroll
    for (int q = 0; q < Cell::kState; ++q)
      state[q] = previous[q] = q == 0 && Cell::kProjected ? Real(0) : before(r, q, j);
    Cell::update(pre, load_unit<Cell>(packed.unit, tape.H, j), state, saved);
    const Real memory = state[Cell::kMemory];
    if (tape.memory) tape.memory[r.number * tape.H + j] = memory;
#pragma unroll
    for (int q = 1; q < Cell::kState; ++q)
      tape.states[q][(tape.B + r.number) * tape.H + j] = noise.zone(r.fresh[q](j), state[q], previous[q]);
    if constexpr (!Cell::kNormMemory) output(r, memory, j, previous[0], state, saved);
#pragma unroll
    for (int s = 0; s < S; ++s) tape.slot(r.number, s)[j] = saved[s];
  }

  FR_DEVICE void output(const Row& r, Real memory, Index j, Real previous, Real (&state)[Cell::kState],
                        Real (&saved)[S]) const {
    Cell::output(memory, state, saved);
    if constexpr (Cell::kProjected) tape.output[r.number * tape.H + j] = state[0];
    else store_h(r, j, noise.zone(r.fresh[0](j), state[0], previous));
  }
  FR_DEVICE void store_h(const Row& r, Index j, Real h) const {
    const Index now = (tape.B + r.number) * tape.P + j;
    tape.states[0][now] = h;
    if (tape.operand != tape.states[0]) tape.operand[now] = r.dropout(j) * h;
    r.at.at(y)[j] = h;
  }

  FR_DEVICE void output_of_norm(const Row& r) const {
    Real* const memory = tape.memory_of(r.number);
    const Real scale = normalise(memory, tape.H);
    if (threadIdx.x == 0) tape.scales[r.number * 3 + 2] = scale;
    each_unit(tape.H, [&](Index j) {
      Real state[Cell::kState] = {}, saved[S];
#pragma unroll
      for (int s = 0; s < S; ++s) saved[s] = tape.slot(r.number, s)[j];
      const Real m = fma(unit(Stages<Cell>::kGainMemory, j), memory[j], unit(Stages<Cell>::kGainMemory + 1, j));
      output(r, m, j, before(r, 0, j), state, saved);
#pragma unroll
      for (int s = 0; s < S; ++s) tape.slot(r.number, s)[j] = saved[s];
    });
  }

  // All that follows the sums of all gates
  FR_DEVICE void operator()(Index b) const {
    const Row r = row(b);
    if constexpr (Cell::kNormPre) normalise_gates(r);
    each_unit(tape.H, [&](Index j) { update(r, j); });
    if constexpr (Cell::kNormMemory) output_of_norm(r);
  }
};

// What the last gate multiplies
template <class Cell, class Real>
struct StagedReset {
  StagedStep<Cell, Real> step;
  FR_DEVICE void operator()(Index b) const {
    const auto r = step.row(b);
    const auto& tape = step.tape;
    each_unit(tape.H, [&](Index j) {
      Real pre[Cell::kPre];
      step.template load_pre<Stages<Cell>::kDirect>(r, j, pre);
      const Real h = r.cut ? Real(0) : tape.operand[r.at.before * tape.H + j];
      tape.reset[r.number * tape.H + j] = Cell::reset(pre, h);
    });
  }
};

// h = W_hr output
template <class Cell, class Real>
struct StoreProjected {
  static constexpr int kGates = 1;
  static constexpr bool kStarts = false;
  StagedStep<Cell, Real> step;
  FR_DEVICE void operator()(Index b, Index n, const Real (&sums)[1][2], int count) const {
    const auto r = step.row(b);
    each_column(count, [&](int e) {
      step.store_h(r, n + e, step.noise.zone(r.fresh[0](n + e), sums[0][e], step.before(r, 0, n + e)));
    });
  }
};

// W_ih x of row number `row`
template <class Cell, class Real>
struct NormaliseInputs {
  StagedTape<Cell, Real> tape;
  FR_DEVICE void operator()(Index row) const {
    const Real scale = normalise(tape.gates_of(tape.of_x, row), Cell::kGates * tape.H);
    if (threadIdx.x == 0) tape.scales[row * 3] = scale;
  }
};
FR_NAMESPACE_END
