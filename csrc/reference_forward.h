// SPDX-License-Identifier: MIT
// Every cell by naive loops in double, forward. For one row and step, with LN(a) = (a - mean a) / sqrt(variance a + 1e-5)
// over all gates:
//
//   X = W_ih x   H = W_hh h   kNormPre: LN of both   pre = gain X + b_ih, gain H + b_hh   kResetBefore: last gate
//   update   kNormMemory: m = gain LN(memory) + bias   output   kProjected: h = W_hr output
//
// All arithmetic is double, also of the f32 kernels, which round results when they are stored, and states after each
// step, so that a stream of steps has the bits of the whole sequence. Of bf16 what products multiply is rounded.
//
// Rank 0 works, the other ranks return. Buffers hold doubles: packed the arrays of Weights one after the other; the tape
// for each row of the batch states [step][h, other states], step = 0 ... T, then for each step what backward needs
// (Record).
#pragma once
#include "api.h"
#include "cells/cells.h"
#include "mask.h"
#include "rows.h"
FR_NAMESPACE_BEGIN
namespace {
// The number of kBits significant bits next to a float, ties to even: bfloat16 has 8, float16 and tf32 have 11
template <int kBits>
double nearest(double number) {
  const float value = float(number);
  if (value != value) return value;
  constexpr unsigned kLost = 24 - kBits, kUnit = 1u << kLost;
  unsigned bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
  bits = (bits + kUnit / 2 - 1 + (bits >> kLost & 1)) & ~(kUnit - 1);
  float rounded;
  __builtin_memcpy(&rounded, &bits, sizeof rounded);
  return rounded;
}

// kBits: significant bits of what products multiply, 0 for all; else only of cells of one phase, and without StateMasks
template <class Cell, class T, int kBits>
struct ReferenceForward {
  static_assert(!kBits || !kStaged<Cell>, "cells of several phases multiply numbers as they are");
  static constexpr int G = Cell::kGates, Q = Cell::kState, S = Cell::kSaved, kPre = Cell::kPre;
  static constexpr int kUnit = kUnitParameters<Cell>, kNorms = Cell::kUnit;
  static constexpr int kDirect = !Cell::kRecurrent    ? 0
                                 : Cell::kResetBefore ? G - 1
                                                      : G;  // gates that multiply h itself
  static constexpr Index kWide = sizeof(double) / sizeof(T);  // elements of T in a double
  using Unit = UnitParameters<double, Cell::kUnit>;

  static double* wide(T* p) { return reinterpret_cast<double*>(p); }
  static const double* wide(const T* p) { return reinterpret_cast<const double*>(p); }

  // Where the arrays of Weights lie one after the other
  struct Offsets {
    Index W_hh, b_ih, b_hh, unit, W_hr, end;
    explicit Offsets(Dims d) {
      W_hh = G * d.H * d.I;
      b_ih = W_hh + (Cell::kRecurrent ? G * d.H * d.P : 0);
      b_hh = b_ih + G * d.H;
      unit = b_hh + G * d.H;
      W_hr = unit + kUnit * d.H;
      end = W_hr + (Cell::kProjected ? d.P * d.H : 0);
    }
  };

  // What one row and step leaves: the states that enter it, h as it is multiplied, X and H as they are summed into pre,
  // without gains
  struct Record {
    double *before, *masked, *X, *H, *saved, *memory, *reset, *output, *scale;
    Record(Dims d, double* p) {
      before = p, masked = before + state_size(d), X = masked + d.P, H = X + G * d.H, saved = H + G * d.H,
      memory = saved + S * d.H, reset = memory + d.H;
      output = reset + d.H, scale = output + d.H;
    }
    static Index size(Dims d) { return state_size(d) + d.P + (2 * G + S + 3) * d.H + 3; }
  };

  static Index state_size(Dims d) { return d.P + (Q - 1) * d.H; }
  static Index state_at(Dims d, int q) { return q ? d.P + (q - 1) * d.H : 0; }
  static Index width(Dims d, int q) { return q ? d.H : d.P; }
  static Index row_size(Dims d) { return (d.T + 1) * state_size(d) + d.T * Record::size(d); }
  static double* states_of(Dims d, double* tape, Index b, Index s) {
    return tape + b * row_size(d) + s * state_size(d);
  }
  static Record record_of(Dims d, double* tape, Index b, Index s) {
    return Record(d, tape + b * row_size(d) + (d.T + 1) * state_size(d) + s * Record::size(d));
  }

  static Index packed_size(Dims d) { return kWide * Offsets(d).end; }
  static Index tape_size(Dims d) { return kWide * d.B * row_size(d); }
  static Index forward_scratch_size(Dims d, int, bool training) { return training ? 0 : tape_size(d); }
  static Index backward_scratch_size(Dims d, int) {
    return kWide * (Offsets(d).end + d.B * state_size(d) + d.P + (kPre + 2 * G + 4) * d.H + d.I);
  }

  static double operand(double number) {
    if constexpr (kBits > 0) return nearest<kBits>(number);
    else return number;
  }
  static void copy_operands(const T* from, Index n, double* to) {
    for (Index k = 0; k < n; ++k) to[k] = operand(double(from[k]));
  }
  static void copy(const T* from, Index n, double* to) {
    for (Index k = 0; k < n; ++k) to[k] = from ? double(from[k]) : 0;
  }
  static void store(const double* from, Index n, T* to) {
    for (Index k = 0; k < n; ++k) to[k] = T(from[k]);
  }

  static void pack(Dims d, const Weights<const T>& w, T* packed, const Team& team) {
    if (team.rank) return;
    const Offsets at(d);
    double* const to = wide(packed);
    copy_operands(w.W_ih, at.W_hh, to);
    copy_operands(w.W_hh, at.b_ih - at.W_hh, to + at.W_hh);
    copy(w.b_ih, G * d.H, to + at.b_ih);
    copy(w.b_hh, G * d.H, to + at.b_hh);
    copy(w.unit, kUnit * d.H, to + at.unit);
    copy(w.W_hr, at.end - at.W_hr, to + at.W_hr);
  }

  // 1 / sqrt(variance + epsilon) of n numbers, which are normalised
  static double normalise(double* a, Index n) {
    double mean = 0, variance = 0;
    for (Index k = 0; k < n; ++k) mean += a[k] / double(n);
    for (Index k = 0; k < n; ++k) variance += (a[k] - mean) * (a[k] - mean) / double(n);
    const double scale = 1 / sqrt(variance + 1e-5);
    for (Index k = 0; k < n; ++k) a[k] = (a[k] - mean) * scale;
    return scale;
  }
  // da, of the normalised numbers, becomes that of the numbers
  static void normalise_backward(double* da, const double* a, double scale, Index n) {
    double mean = 0, slope = 0;
    for (Index k = 0; k < n; ++k) mean += da[k] / double(n), slope += da[k] * a[k] / double(n);
    for (Index k = 0; k < n; ++k) da[k] = scale * (da[k] - mean - a[k] * slope);
  }

  static double dot(const double* a, const double* b, Index n) {
    double sum = 0;
    for (Index k = 0; k < n; ++k) sum += a[k] * b[k];
    return sum;
  }

  static Unit unit_of(const double* parameters, Index H, Index j) {
    Unit unit;
    if constexpr (Cell::kUnit > 0)
      for (int p = 0; p < Cell::kUnit; ++p) unit[p] = parameters[p * H + j];
    return unit;
  }

  // Factors of h, and weights of what is new in a state: staged/masks.h
  struct Noise {
    const StateMasks* masks;
    const Walk& walk;
    double word(Masked what, double p, Index step, Index b, Index j, double kept) const {
      if (p == 0) return 1;
      const uint64_t row = mask_row(masks->seed, what, masks->part, step, walk.user_row(b));
      return mask_factor(row, uint32_t(j), mask_level(p).least, kept);
    }
    double factor(Index b, Index j) const {
      if (!masks || !masks->training) return 1;
      return word(Masked::kRecurrent, masks->dropout, 0, b, j, 1 / (1 - masks->dropout));
    }
    double fresh(int q, Index s, Index b, Index j) const {
      if (!masks) return 1;
      if (!masks->training) return 1 - masks->zoneout[q];
      return word(q ? Masked::kMemory : Masked::kState, masks->zoneout[q], walk.time(s, b) + 1, b, j, 1);
    }
  };

  static void forward(const ForwardArgs<T>& a, const Team& team) {
    if (team.rank) return;
    const Walk walk{a.dims, a.steps};
    for (Index b = 0; b < a.dims.B; ++b) forward_row(a, walk, b);
  }

  static void forward_row(const ForwardArgs<T>& a, const Walk& walk, Index b) {
    const Dims d = a.dims;
    const Index user = walk.user_row(b), length = walk.length(b);
    double* const tape = wide(a.tape ? a.tape : a.scratch);
    const Noise noise{a.masks, walk};
    for (int q = 0; q < Q; ++q)
      copy(a.s0[q] ? a.s0[q] + user * width(d, q) : nullptr, width(d, q), states_of(d, tape, b, 0) + state_at(d, q));
    for (Index s = 0; s < length; ++s) {
      const double* const prev = states_of(d, tape, b, s);
      double* const next = states_of(d, tape, b, s + 1);
      const Record r = record_of(d, tape, b, s);
      for (Index k = 0; k < state_size(d); ++k) r.before[k] = walk.cut(s, b) ? 0 : prev[k];  // 0 also where it was NaN
      for (Index n = 0; n < d.P; ++n) r.masked[n] = operand(noise.factor(b, n) * r.before[n]);
      const bool constant = a.constant && a.steps.begin + s < a.constant_steps;
      forward_step(d, wide(a.packed), walk.at(a.x, s, b), constant ? a.constant + user * G * d.H : nullptr, r, next);
      for (int q = 0; a.masks && q < Q; ++q)
        for (Index j = 0; j < width(d, q); ++j) {
          const double fresh = noise.fresh(q, s, b, j);
          const Index k = state_at(d, q) + j;
          next[k] = double(T(fresh * next[k] + (1 - fresh) * r.before[k]));
        }
      store(next, d.P, walk.at(a.y, s, b));
    }
    for (int q = 0; q < Q; ++q)
      store(states_of(d, tape, b, length) + state_at(d, q), width(d, q), a.sT[q] + user * width(d, q));
    for (Index t = walk.whole_length(b); walk.last_segment() && t < a.steps.total; ++t)
      for (Index j = 0; j < d.P; ++j) a.y.p[t * a.y.step + user * a.y.row + j] = 0;
  }

  static void pre_of(Dims d, const double* w, const Record& r, Index j, double (&pre)[kPre]) {
    const Offsets at(d);
    const double *gain_x = w + at.unit + kNorms * d.H, *gain_h = gain_x + G * d.H;
    for (double& p : pre) p = 0;
    for (int g = 0; g < G; ++g) {
      const Index k = g * d.H + j;
      pre[Cell::x_slot(g)] += (Cell::kNormPre ? gain_x[k] : 1) * r.X[k] + w[at.b_ih + k];
      pre[Cell::h_slot(g)] += (Cell::kNormPre ? gain_h[k] : 1) * r.H[k] + w[at.b_hh + k];
    }
  }

  static void forward_step(Dims d, const double* w, const T* x, const T* constant, const Record& r, double* next) {
    const Offsets at(d);
    for (Index k = 0; k < G * d.H; ++k) {
      r.X[k] = constant ? double(constant[k]) : 0;
      for (Index i = 0; i < d.I; ++i) r.X[k] += w[k * d.I + i] * operand(double(x[i]));
      r.H[k] = k < kDirect * d.H ? dot(w + at.W_hh + k * d.P, r.masked, d.P) : 0;
    }
    if (Cell::kNormPre) r.scale[0] = normalise(r.X, G * d.H), r.scale[1] = normalise(r.H, G * d.H);
    double pre[kPre];
    if constexpr (Cell::kResetBefore) {
      for (Index j = 0; j < d.H; ++j) pre_of(d, w, r, j, pre), r.reset[j] = Cell::reset(pre, r.masked[j]);
      for (Index k = kDirect * d.H; k < G * d.H; ++k) r.H[k] = dot(w + at.W_hh + k * d.P, r.reset, d.H);
    }
    for (Index j = 0; j < d.H; ++j) {
      double state[Q], saved[S] = {};
      pre_of(d, w, r, j, pre);
      for (int q = 0; q < Q; ++q) state[q] = q || !Cell::kProjected ? r.before[state_at(d, q) + j] : 0;
      Cell::update(pre, unit_of(w + at.unit, d.H, j), state, saved);
      r.memory[j] = state[Cell::kMemory];
      for (int q = 1; q < Q; ++q) next[state_at(d, q) + j] = double(T(state[q]));
      for (int k = 0; k < S; ++k) r.saved[j * S + k] = saved[k];
    }
    if (Cell::kNormMemory) r.scale[2] = normalise(r.memory, d.H);
    for (Index j = 0; j < d.H; ++j) {
      double state[Q] = {}, saved[S];
      for (int k = 0; k < S; ++k) saved[k] = r.saved[j * S + k];
      Cell::output(memory_of(d, w + at.unit, r, j), state, saved);
      for (int k = 0; k < S; ++k) r.saved[j * S + k] = saved[k];
      r.output[j] = state[0];
    }
    for (Index n = 0; n < d.P; ++n)
      next[n] = double(T(Cell::kProjected ? dot(w + at.W_hr + n * d.H, r.output, d.H) : r.output[n]));
  }

  // The memory as the output sees it
  template <class U>
  static double memory_of(Dims d, const U* unit, const Record& r, Index j) {
    if (!Cell::kNormMemory) return r.memory[j];
    const U* const gain = unit + (kNorms + 2 * G) * d.H;
    return double(gain[j]) * r.memory[j] + double(gain[d.H + j]);
  }
};
}  // namespace
FR_NAMESPACE_END
