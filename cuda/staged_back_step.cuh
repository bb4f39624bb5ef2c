// SPDX-License-Identifier: MIT
// The phases of a step between its products, backward.
#pragma once
#include "staged_step.cuh"
FR_NAMESPACE_BEGIN
// Arrays of backward alone: those of staged_layout.h, and of a step dh (B,P), and what is H wide (B,H)
template <class Cell, class Real>
struct StagedGradients {
  Real *dx = nullptr, *dh_gates = nullptr, *dmemory = nullptr, *dprojected = nullptr;
  Real *dstates[Cell::kState], *sums, *dh, *wide;
};

// dL/dh that enters a row from the step after it: what was carried, and what W_hh gave back, where nothing was dropped
template <class Real>
FR_DEVICE Real entering(Real carried, Real factor, Real sum) {
  return fma(factor, sum, carried);
}

template <class Cell, class Real>
struct StagedBackStep {
  using Row = StagedRow<Cell, Real>;
  static constexpr int G = Cell::kGates, S = Cell::kSaved, kPre = Cell::kPre, kX = Stages<Cell>::kX;
  StagedStep<Cell, Real> step;
  StagedGradients<Cell, Real> to;
  Rows<const Real> dy;
  Index next, joining;  // row 0 of the step after it; rows from here on are at their last step
  bool controlled;
  Real limit;
  double most;
  StepNorms* norms;  // of the user

  FR_DEVICE StepNorms& norms_of(const Row& r) const { return norms[r.at.time * step.tape.B + r.at.user]; }

  // dL/dh of a row, of which zoneout gives some to the h before
  FR_DEVICE void arrive(const Row& r, UnitControl<Real>& control) const {
    const bool flows = Cell::kRecurrent && r.b < joining && step.tape.places[next + r.b].before >= 0;
    const Real* const from = r.at.at(dy);
    Real* const dh = Cell::kProjected ? to.dprojected + r.number * step.tape.P : to.dh + r.b * step.tape.P;
    each_unit(step.tape.P, [&](Index j) {
      const Index at = r.b * step.tape.P + j;
      const Real whole = entering(to.dstates[0][at], r.dropout(j), flows ? to.sums[at] : Real(0)) + from[j];
      const Real kept = controlled ? control(whole, control.norms.dh) : whole, fresh = r.fresh[0](j) * kept;
      to.dstates[0][at] = step.noise.masked && !r.cut ? kept - fresh : Real(0);
      dh[j] = fresh;
    });
  }

  struct Units {
    Real saved[S], dpre[kPre], dm;
    UnitParameters<Real, Cell::kUnit> own;
  };
  FR_DEVICE void output_backward(const Row& r, Index j, Real dh, Units& u) const {
    const auto& tape = step.tape;
#pragma unroll
    for (int s = 0; s < S; ++s) u.saved[s] = tape.slot(r.number, s)[j];
    u.own = load_unit<Cell>(step.packed.unit, tape.H, j);
    Real m = tape.memory_of(r.number)[j];
    if constexpr (Cell::kNormMemory)
      m = fma(step.unit(Stages<Cell>::kGainMemory, j), m, step.unit(Stages<Cell>::kGainMemory + 1, j));
    Cell::output_backward(u.saved, u.own, m, dh, u.dm, u.dpre);
  }

  // Gradient of the memory as the output sees it, and how the norm gives it on
  FR_DEVICE NormBackward<Real> memory_backward(const Row& r, const Real* dh) const {
    const auto& tape = step.tape;
    double sums[2] = {0, 0};
    each_unit(tape.H, [&](Index j) {
      Units u;
      output_backward(r, j, dh[j], u);
      to.dmemory[r.number * tape.H + j] = u.dm;
      const Real g = step.unit(Stages<Cell>::kGainMemory, j) * u.dm;
      sums[0] += static_cast<double>(g), sums[1] += static_cast<double>(g * tape.memory_of(r.number)[j]);
    });
    row_sums(sums);
    return {tape.scales[r.number * 3 + 2], sums[0], sums[1], tape.H};
  }

  FR_DEVICE void update_backward(const Row& r, Index j, Units& u, Real dh, UnitControl<Real>& control) const {
    const auto& tape = step.tape;
    const Index at = r.b * tape.H + j;
    Real previous[Cell::kState], dstate[Cell::kState], kept[Cell::kState];
    previous[0] = Cell::kProjected ? Real(0) : step.before(r, 0, j);
    dstate[0] = dh, kept[0] = 0;
#pragma unroll
    for (int q = 1; q < Cell::kState; ++q) {
      const Real whole = to.dstates[q][at];
      previous[q] = step.before(r, q, j);
      dstate[q] = r.fresh[q](j) * whole;
      kept[q] = step.noise.masked ? whole - dstate[q] : Real(0);
    }
    dstate[Cell::kMemory] = Cell::kMemory == 0 ? u.dm : dstate[Cell::kMemory] + u.dm;
    if (controlled && Cell::kMemory > 0) dstate[Cell::kMemory] = control(dstate[Cell::kMemory], control.norms.dc);
    Cell::update_backward(u.saved, u.own, previous, dstate, u.dpre);
#pragma unroll
    for (int s = 0; s < kPre; ++s) tape.slot(r.number, s)[j] = u.dpre[s];
    if constexpr (!Cell::kProjected) to.dstates[0][at] += r.cut ? Real(0) : dstate[0];
#pragma unroll
    for (int q = 1; q < Cell::kState; ++q) to.dstates[q][at] = r.cut ? Real(0) : dstate[q] + kept[q];
  }

  // Joins the norms of the row, and scales all that is written of it if it is too long
  FR_DEVICE void scale(const Row& r, const StepNorms& own) const {
    const auto& tape = step.tape;
    double sums[4] = {own.dh, own.dc, own.clamped, own.count};
    row_sums(sums);
    if (threadIdx.x == 0) norms_of(r) = {sums[0], sums[1], sums[2], sums[3]};
    if (!(sums[2] > most * most)) return;
    const Real factor = static_cast<Real>(most / sqrt(sums[2]));
    each_unit(tape.P, [&](Index j) {
      to.dstates[0][r.b * tape.P + j] *= factor;
      if constexpr (Cell::kProjected) to.dprojected[r.number * tape.P + j] *= factor;
    });
    each_unit(tape.H, [&](Index j) {
#pragma unroll
      for (int q = 1; q < Cell::kState; ++q) to.dstates[q][r.b * tape.H + j] *= factor;
#pragma unroll
      for (int s = 0; s < kPre; ++s) tape.slot(r.number, s)[j] *= factor;
      if constexpr (Cell::kNormMemory) to.dmemory[r.number * tape.H + j] *= factor;
    });
  }

  // Gradients of W_ih x and of W_hh h, through their norms
  FR_DEVICE void gates_backward(const Row& r) const {
    const auto& tape = step.tape;
    const Index H = tape.H;
    const Real *const x = tape.gates_of(tape.of_x, r.number), *const h = tape.gates_of(tape.of_h, r.number);
    const auto of_x = [&](int c, Index j) {
      return step.unit(Stages<Cell>::kGainX + gate_of_slot<Cell>(true, kX + c), j) * tape.slot(r.number, kX + c)[j];
    };
    const auto of_h = [&](int g, Index j) {
      return step.unit(Stages<Cell>::kGainH + g, j) * tape.slot(r.number, Cell::h_slot(g))[j];
    };
    double sums[4] = {0, 0, 0, 0};
    each_unit(H, [&](Index j) {
#pragma unroll
      for (int g = 0; g < G; ++g) {
        const Real gx = of_x(g, j), gh = of_h(g, j);
        sums[0] += static_cast<double>(gx), sums[1] += static_cast<double>(gx * x[g * H + j]);
        sums[2] += static_cast<double>(gh), sums[3] += static_cast<double>(gh * h[g * H + j]);
      }
    });
    row_sums(sums);
    const Real* const scales = tape.scales + r.number * 3;
    const NormBackward<Real> norm_x(scales[0], sums[0], sums[1], G * H), norm_h(scales[1], sums[2], sums[3], G * H);
    Real *const dx = tape.gates_of(to.dx, r.number), *const dh = tape.gates_of(to.dh_gates, r.number);
    each_unit(H, [&](Index j) {
#pragma unroll
      for (int g = 0; g < G; ++g) {
        dx[g * H + j] = norm_x(of_x(g, j), x[g * H + j]);
        dh[g * H + j] = norm_h(of_h(g, j), h[g * H + j]);
      }
    });
  }

  // All that follows the gradient of what the cell gives out
  FR_DEVICE void operator()(Index b) const {
    const Row r = step.row(b);
    UnitControl<Real> control = {limit, {0, 0, 0, 0}};
    if constexpr (!Cell::kProjected) arrive(r, control);
    else if (controlled && threadIdx.x == 0) control.norms = norms_of(r);  // of StagedArrival
    const Real* const dh = (Cell::kProjected ? to.wide : to.dh) + b * step.tape.H;
    NormBackward<Real> norm(0, 0, 0, 1);
    if constexpr (Cell::kNormMemory) norm = memory_backward(r, dh);
    each_unit(step.tape.H, [&](Index j) {
      Units u;
      output_backward(r, j, dh[j], u);
      if constexpr (Cell::kNormMemory)
        u.dm = norm(step.unit(Stages<Cell>::kGainMemory, j) * u.dm, step.tape.memory_of(r.number)[j]);
      update_backward(r, j, u, dh[j], control);
    });
    if (controlled) scale(r, control.norms);
    if constexpr (Cell::kNormPre) gates_backward(r);
  }
};

// dL/dh before W_hr gives it to what it multiplied
template <class Cell, class Real>
struct StagedArrival {
  StagedBackStep<Cell, Real> back;
  FR_DEVICE void operator()(Index b) const {
    const auto r = back.step.row(b);
    UnitControl<Real> control = {back.limit, {0, 0, 0, 0}};
    back.arrive(r, control);
    if (!back.controlled) return;
    double sums[3] = {control.norms.dh, control.norms.clamped, control.norms.count};
    row_sums(sums);
    if (threadIdx.x == 0) back.norms_of(r) = {sums[0], 0, sums[1], sums[2]};
  }
};

// Through the product of the last gate with reset()
template <class Cell, class Real>
struct StagedResetBack {
  StagedBackStep<Cell, Real> back;
  FR_DEVICE void operator()(Index b) const {
    const auto r = back.step.row(b);
    const auto& tape = back.step.tape;
    each_unit(tape.H, [&](Index j) {
      Real saved[Cell::kSaved], dpre[Cell::kPre], dh = 0;
#pragma unroll
      for (int s = 0; s < Cell::kSaved; ++s) saved[s] = tape.slot(r.number, s)[j];
#pragma unroll
      for (int s = 0; s < Cell::kPre; ++s) dpre[s] = saved[s];
      const Real h = r.cut ? Real(0) : tape.operand[r.at.before * tape.H + j];
      Cell::reset_backward(saved, h, back.to.wide[b * tape.H + j], dh, dpre);
#pragma unroll
      for (int s = 0; s < Cell::kPre; ++s) tape.slot(r.number, s)[j] = dpre[s];
      if (!r.cut) back.to.dstates[0][b * tape.H + j] += r.dropout(j) * dh;
    });
  }
};

// dh that enters the first step: the product, unless a reset cuts it, and what was carried
template <class Cell, class Real>
struct StagedEntering {
  static constexpr int kGates = 1;
  static constexpr bool kStarts = false;
  StagedStep<Cell, Real> step;
  Real* dh;
  FR_DEVICE void operator()(Index b, Index n, const Real (&sums)[1][2], int count) const {
    const auto r = step.row(b);
    Real* const at = dh + b * step.tape.P + n;
    each_column(count, [&](int e) { at[e] = entering(at[e], r.dropout(n + e), r.cut ? Real(0) : sums[0][e]); });
  }
};

// What a row gives to the parameters of a unit, for column_chains
template <class Cell, class Real>
struct StagedUnitRow {
  static constexpr int kValues = Stages<Cell>::kUnit, G = Cell::kGates;
  StagedStep<Cell, Real> step;
  const Real* dmemory;
  FR_DEVICE void operator()(Index row, Index j, Real (&values)[kValues]) const {
    const auto& tape = step.tape;
    const Index H = tape.H;
    if constexpr (Cell::kUnit > 0) own(row, j, values);
    if constexpr (Cell::kNormPre) {
#pragma unroll
      for (int g = 0; g < G; ++g) {
        const Real x = tape.gates_of(tape.of_x, row)[(Cell::x_slot(g) - Stages<Cell>::kX) * H + j];
        values[Stages<Cell>::kGainX + g] = tape.slot(row, Cell::x_slot(g))[j] * x;
        values[Stages<Cell>::kGainH + g] =
            tape.slot(row, Cell::h_slot(g))[j] * tape.gates_of(tape.of_h, row)[g * H + j];
      }
    }
    if constexpr (Cell::kNormMemory) {
      const Real dm = dmemory[row * H + j];
      values[Stages<Cell>::kGainMemory] = dm * tape.memory_of(row)[j];
      values[Stages<Cell>::kGainMemory + 1] = dm;
    }
  }

  // Of the cell itself
  FR_DEVICE void own(Index row, Index j, Real (&values)[kValues]) const {
    const auto& tape = step.tape;
    const Index before = tape.places[row].before;
    Real dpre[Cell::kPre], previous[Cell::kState], after[Cell::kState];
#pragma unroll
    for (int s = 0; s < Cell::kPre; ++s) dpre[s] = tape.slot(row, s)[j];
#pragma unroll
    for (int q = 0; q < Cell::kState; ++q) {
      previous[q] = before < 0 ? Real(0) : tape.states[q][before * tape.width(q) + j];
      after[q] = tape.states[q][(tape.B + row) * tape.width(q) + j];
    }
    after[Cell::kMemory] = tape.memory_of(row)[j];
    UnitParameters<Real, Cell::kUnit> share;
    Cell::unit_gradients(dpre, previous, after, share);
#pragma unroll
    for (int p = 0; p < Cell::kUnit; ++p) values[p] = share[p];
  }
};
FR_NAMESPACE_END
