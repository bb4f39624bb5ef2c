// SPDX-License-Identifier: MIT
// Backward of reference_forward.h, and the kernel of both.
#pragma once
#include "reference_forward.h"
FR_NAMESPACE_BEGIN
namespace {
template <class Cell, class T, int kBits = 0>
struct Reference : ReferenceForward<Cell, T, kBits> {
  using Base = ReferenceForward<Cell, T, kBits>;
  using Base::backward_scratch_size, Base::forward_scratch_size, Base::packed_size, Base::tape_size;
  using Base::copy, Base::operand, Base::store, Base::wide, Base::width;
  using Base::forward, Base::memory_of, Base::normalise_backward, Base::pack, Base::record_of;
  using Base::G, Base::Q, Base::S, Base::kPre, Base::kUnit, Base::kNorms, Base::kDirect;
  using Base::state_at, Base::state_size, Base::states_of;
  using typename Base::Noise;
  using typename Base::Offsets;
  using typename Base::Record;
  using typename Base::Unit;

  // Gradients of one call, in double until they are added to those of the caller, and those of a row and step
  struct Sums {
    double *weights, *dstate, *dh, *dpre, *dX, *dH, *doutput, *dreset, *dm, *dx;
    Sums(Dims d, T* scratch) {
      weights = wide(scratch);
      dstate = weights + Offsets(d).end;
      dh = dstate + d.B * state_size(d);
      dpre = dh + d.P;  // [j][slot]
      dX = dpre + kPre * d.H, dH = dX + G * d.H;
      doutput = dH + G * d.H, dreset = doutput + d.H, dm = dreset + d.H;
      dx = dm + 2 * d.H;
    }
  };

  static void backward(const BackwardArgs<T>& a, const Team& team) {
    if (team.rank) return;
    const Dims d = a.dims;
    const Walk walk{d, a.steps};
    const Sums sums(d, a.scratch);
    if (walk.last_segment()) begin(a, walk, sums);
    for (Index s = d.T - 1; s >= 0; --s)
      for (Index b = 0; b < walk.active(s); ++b) backward_step(a, walk, s, b, sums);
    if (walk.first_segment()) end(a, walk, sums);
  }

  static void begin(const BackwardArgs<T>& a, const Walk& walk, const Sums& sums) {
    const Dims d = a.dims;
    for (double* p = sums.weights; p < sums.dstate; ++p) *p = 0;
    for (Index b = 0; b < d.B; ++b) {
      const Index user = walk.user_row(b);
      for (int q = 0; q < Q; ++q)
        copy(a.dsT[q] ? a.dsT[q] + user * width(d, q) : nullptr, width(d, q),
             sums.dstate + b * state_size(d) + state_at(d, q));
      for (Index k = 0; a.d_constant && k < G * d.H; ++k) a.d_constant[user * G * d.H + k] = 0;
      for (Index t = walk.whole_length(b); a.dx.p && !a.add_dx && t < a.steps.total; ++t)
        for (Index k = 0; k < d.I; ++k) a.dx.p[t * a.dx.step + user * a.dx.row + k] = 0;
    }
  }

  static void end(const BackwardArgs<T>& a, const Walk& walk, const Sums& sums) {
    const Dims d = a.dims;
    for (Index b = 0; b < d.B; ++b)
      for (int q = 0; q < Q; ++q)
        store(sums.dstate + b * state_size(d) + state_at(d, q), width(d, q), a.ds0[q] + walk.user_row(b) * width(d, q));
    const Offsets at(d);
    const double* const w = sums.weights;
    GradientSums all = {};
    add(a, w, at.W_hh, a.gradients.W_ih, all);
    add(a, w + at.W_hh, at.b_ih - at.W_hh, a.gradients.W_hh, all);
    add(a, w + at.b_ih, G * d.H, a.gradients.b_ih, all);
    add(a, w + at.b_hh, G * d.H, a.gradients.b_hh, all);
    add(a, w + at.unit, kUnit * d.H, a.gradients.unit, all);
    add(a, w + at.W_hr, at.end - at.W_hr, a.gradients.W_hr, all);
    *a.sums = all;
  }

  static void add(const BackwardArgs<T>& a, const double* sums, Index n, T* to, GradientSums& all) {
    for (Index k = 0; to && k < n; ++k) {
      const double sum = double(T((a.fresh ? 0 : double(to[k])) + sums[k])), kept = clamp(sum, double(a.value));
      to[k] = T(kept);
      all.before += sum * sum, all.after += kept * kept, all.clamped += kept != sum && sum == sum;
    }
  }

  static double clamp(double number, double limit) {  // NaN stays NaN
    return number > limit ? limit : number < -limit ? -limit : number;
  }
  static double control(const BackwardArgs<T>& a, double gradient, double& arrived, StepNorms& norms) {
    if (!a.control) return gradient;
    const double kept = clamp(gradient, double(a.control->value));
    arrived += gradient * gradient;
    norms.clamped += kept * kept, norms.count += kept != gradient && gradient == gradient;
    return kept;
  }

  static void backward_step(const BackwardArgs<T>& a, const Walk& walk, Index s, Index b, const Sums& sums) {
    const Dims d = a.dims;
    double* const tape = wide(a.tape);
    const Noise noise{a.masks, walk};
    double* const dstate = sums.dstate + b * state_size(d);
    const Record r = record_of(d, tape, b, s);
    StepNorms norms = {};
    for (Index n = 0; n < d.P; ++n) {
      sums.dh[n] = control(a, dstate[n] + double(walk.at(a.dy, s, b)[n]), norms.dh, norms);
      dstate[n] = (1 - noise.fresh(0, s, b, n)) * sums.dh[n];
      sums.dh[n] *= noise.fresh(0, s, b, n);
    }
    for (Index j = 0; j < d.H; ++j) {
      sums.doutput[j] = Cell::kProjected ? 0 : sums.dh[j];
      for (Index n = 0; Cell::kProjected && n < d.P; ++n)
        sums.doutput[j] += sums.dh[n] * double(a.weights.W_hr[n * d.H + j]);
    }
    units_backward(a, r, noise, s, b, dstate, sums, norms);
    if (a.control) {
      a.control->norms[walk.time(s, b) * d.B + walk.user_row(b)] = norms;
      const double norm = a.control->norm;
      if (norms.clamped > norm * norm) scale_step(d, norm / sqrt(norms.clamped), dstate, sums);
    }
    reset_backward(a, r, noise, b, dstate, sums);
    add_units(a, r, states_of(d, tape, b, s + 1), sums);
    for (Index k = 0; a.d_constant && a.steps.begin + s < a.constant_steps && k < G * d.H; ++k)
      a.d_constant[walk.user_row(b) * G * d.H + k] += T(sums.dX[k]);
    add_products(a, walk.at(a.x, s, b), r, noise, b, a.dx.p ? walk.at(a.dx, s, b) : nullptr, dstate, sums);
    if (walk.cut(s, b))
      for (Index k = 0; k < state_size(d); ++k) dstate[k] = 0;
  }

  static void scale_step(Dims d, double factor, double* dstate, const Sums& sums) {
    for (Index k = 0; k < state_size(d); ++k) dstate[k] *= factor;
    for (Index k = 0; k < kPre * d.H; ++k) sums.dpre[k] *= factor;
    for (Index k = 0; k < d.P; ++k) sums.dh[k] *= factor;
    for (Index k = 0; k < d.H; ++k) sums.dm[k] *= factor;
  }

  // Output and update, through the norm of the memory: dpre, and what flows on outside of the products
  static void units_backward(const BackwardArgs<T>& a, const Record& r, const Noise& noise, Index s, Index b,
                             double* dstate, const Sums& sums, StepNorms& norms) {
    const Dims d = a.dims;
    double* const dmemory = sums.dm + d.H;  // through the norm; sums.dm: as the output gives it
    for (Index j = 0; j < d.H; ++j) {
      double saved[S], dpre[kPre] = {};
      for (int k = 0; k < S; ++k) saved[k] = r.saved[j * S + k];
      Cell::output_backward(saved, unit_of(a, j), memory_of(d, a.weights.unit, r, j), sums.doutput[j], sums.dm[j],
                            dpre);
      for (int k = 0; k < kPre; ++k) sums.dpre[j * kPre + k] = dpre[k];
      dmemory[j] = sums.dm[j] * (Cell::kNormMemory ? double(a.weights.unit[(kNorms + 2 * G) * d.H + j]) : 1);
    }
    if (Cell::kNormMemory) normalise_backward(dmemory, r.memory, r.scale[2], d.H);
    for (Index j = 0; j < d.H; ++j) {
      double saved[S], dpre[kPre], before[Q], dafter[Q], kept[Q] = {};
      for (int k = 0; k < S; ++k) saved[k] = r.saved[j * S + k];
      for (int k = 0; k < kPre; ++k) dpre[k] = sums.dpre[j * kPre + k];
      for (int q = 0; q < Q; ++q) {
        before[q] = q || !Cell::kProjected ? r.before[state_at(d, q) + j] : 0;
        dafter[q] = q ? noise.fresh(q, s, b, j) * dstate[state_at(d, q) + j] : sums.doutput[j];
        if (q) kept[q] = (1 - noise.fresh(q, s, b, j)) * dstate[state_at(d, q) + j];
      }
      if (Cell::kMemory == 0) dafter[0] = dmemory[j];
      else dafter[Cell::kMemory] = control(a, dafter[Cell::kMemory] + dmemory[j], norms.dc, norms);
      Cell::update_backward(saved, unit_of(a, j), before, dafter, dpre);
      if (!Cell::kProjected) dstate[j] += dafter[0];
      for (int q = 1; q < Q; ++q) dstate[state_at(d, q) + j] = dafter[q] + kept[q];
      for (int k = 0; k < kPre; ++k) sums.dpre[j * kPre + k] = dpre[k];
    }
  }
  static Unit unit_of(const BackwardArgs<T>& a, Index j) {
    Unit unit;
    if constexpr (Cell::kUnit > 0)
      for (int p = 0; p < Cell::kUnit; ++p) unit[p] = double(a.weights.unit[p * a.dims.H + j]);
    return unit;
  }

  static void reset_backward(const BackwardArgs<T>& a, const Record& r, const Noise& noise, Index b, double* dstate,
                             const Sums& sums) {
    if constexpr (Cell::kResetBefore) {
      const Dims d = a.dims;
      for (Index k = 0; k < d.H; ++k) sums.dreset[k] = 0;
      for (Index j = 0; j < d.H; ++j)
        for (Index k = 0; k < d.H; ++k)
          sums.dreset[k] +=
              sums.dpre[j * kPre + Cell::h_slot(G - 1)] * double(a.weights.W_hh[((G - 1) * d.H + j) * d.H + k]);
      for (Index j = 0; j < d.H; ++j) {
        double saved[S], dpre[kPre], dh = 0;
        for (int k = 0; k < S; ++k) saved[k] = r.saved[j * S + k];
        for (int k = 0; k < kPre; ++k) dpre[k] = sums.dpre[j * kPre + k];
        Cell::reset_backward(saved, r.masked[j], sums.dreset[j], dh, dpre);
        for (int k = 0; k < kPre; ++k) sums.dpre[j * kPre + k] = dpre[k];
        dstate[j] += noise.factor(b, j) * dh;
      }
    }
  }

  // Gradients of biases, gains and the parameters of the cell; dX and dH, through the norms
  static void add_units(const BackwardArgs<T>& a, const Record& r, const double* states, const Sums& sums) {
    const Dims d = a.dims;
    const Offsets at(d);
    double *const w = sums.weights, *const norms = w + at.unit + kNorms * d.H;
    const T* const gains = a.weights.unit + kNorms * d.H;
    for (int g = 0; g < G; ++g)
      for (Index j = 0; j < d.H; ++j) {
        const Index k = g * d.H + j;
        const double x = sums.dpre[j * kPre + Cell::x_slot(g)], h = sums.dpre[j * kPre + Cell::h_slot(g)];
        w[at.b_ih + k] += x, w[at.b_hh + k] += h;
        sums.dX[k] = x, sums.dH[k] = h;
        if (!Cell::kNormPre) continue;
        norms[k] += x * r.X[k], norms[G * d.H + k] += h * r.H[k];
        sums.dX[k] *= double(gains[k]), sums.dH[k] *= double(gains[G * d.H + k]);
      }
    if (Cell::kNormPre) {
      normalise_backward(sums.dX, r.X, r.scale[0], G * d.H);
      normalise_backward(sums.dH, r.H, r.scale[1], G * d.H);
    }
    for (Index j = 0; Cell::kNormMemory && j < d.H; ++j) {
      norms[2 * G * d.H + j] += sums.dm[j] * r.memory[j];
      norms[(2 * G + 1) * d.H + j] += sums.dm[j];
    }
    if constexpr (Cell::kUnit > 0)
      for (Index j = 0; j < d.H; ++j) {
        double dpre[kPre], before[Q], after[Q];
        for (int k = 0; k < kPre; ++k) dpre[k] = sums.dpre[j * kPre + k];
        for (int q = 0; q < Q; ++q) before[q] = r.before[state_at(d, q) + j], after[q] = states[state_at(d, q) + j];
        after[Cell::kMemory] = r.memory[j];  // before zoneout
        Unit share;
        Cell::unit_gradients(dpre, before, after, share);
        for (int p = 0; p < Cell::kUnit; ++p) w[at.unit + p * d.H + j] += share[p];
      }
  }

  // Of one row and step: dx, the gradients of the weights, and dh of the step before
  static void add_products(const BackwardArgs<T>& a, const T* x, const Record& r, const Noise& noise, Index b, T* dx_to,
                           double* dh, const Sums& sums) {
    const Dims d = a.dims;
    const Offsets at(d);
    double* const w = sums.weights;
    for (Index i = 0; i < d.I; ++i) sums.dx[i] = 0;
    for (Index k = 0; k < G * d.H; ++k) {
      const bool direct = k < kDirect * d.H;
      const double dX = operand(sums.dX[k]), dH = operand(sums.dH[k]);
      for (Index i = 0; i < d.I; ++i) {
        w[k * d.I + i] += dX * operand(double(x[i]));
        sums.dx[i] += dX * operand(double(a.weights.W_ih[k * d.I + i]));
      }
      for (Index n = 0; Cell::kRecurrent && n < d.P; ++n) {
        w[at.W_hh + k * d.P + n] += dH * (direct ? r.masked : r.reset)[n];
        if (direct) dh[n] += noise.factor(b, n) * dH * operand(double(a.weights.W_hh[k * d.P + n]));
      }
    }
    for (Index k = 0; Cell::kProjected && k < d.P * d.H; ++k) w[at.W_hr + k] += sums.dh[k / d.H] * r.output[k % d.H];
    for (Index i = 0; dx_to && i < d.I; ++i) dx_to[i] = T(sums.dx[i] + (a.add_dx ? double(dx_to[i]) : 0));
  }

  static void read_tape(Dims d, Steps steps, const T* tape, T* cells, T* gates) {
    const Walk walk{d, steps};
    double* const from = wide(const_cast<T*>(tape));
    for (Index k = 0; cells && k < d.T * d.B * d.H; ++k) cells[k] = 0;
    for (Index k = 0; gates && k < d.T * d.B * G * d.H; ++k) gates[k] = 0;
    for (Index b = 0; b < d.B; ++b)
      for (Index s = 0; s < walk.length(b); ++s) {
        const Index to = walk.time(s, b) * d.B + walk.user_row(b);
        const double* const saved = record_of(d, from, b, s).saved;
        if (cells) store(states_of(d, from, b, s + 1) + state_at(d, Cell::kMemory), d.H, cells + to * d.H);
        for (int g = 0; gates && g < G; ++g)
          for (Index j = 0; j < d.H; ++j) gates[(to * G + g) * d.H + j] = T(saved[j * S + Cell::gate_slot(g)]);
      }
  }

  static constexpr Kernel<T> kernel(const char* id, const char* name) {
    return {id,
            name,
            G,
            Q,
            kUnit,
            Cell::kRecurrent,
            Cell::kProjected,
            false,
            1,
            packed_size,
            tape_size,
            forward_scratch_size,
            backward_scratch_size,
            pack,
            forward,
            backward,
            read_tape,
            nullptr,
            nullptr};
  }
};
}  // namespace
FR_NAMESPACE_END
