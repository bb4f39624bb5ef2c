// SPDX-License-Identifier: MIT
// The same cells with scalars in double and naive loops: the target "reference", which the others are tested against.
//
//   pre[x_slot(g)] += W_ih[g] x_t + b_ih[g]     pre[h_slot(g)] += W_hh[g] h_{t-1} + b_hh[g]     then the cell
//
// All arithmetic is double, also of the f32 kernels, which round results when they are stored, and states after each
// step, so that a stream of steps has the bits of the whole sequence. Rank 0 works, the other ranks return. Buffers
// hold doubles: packed the arrays of Weights one after the other; the tape states [b][step][state][j], step = 0 ... T,
// then saved [b][step][j][slot].
#define FR_ISA reference
#include "api.h"
#include "cells/cells.h"
#include "reference_staged.h"
#include "rows.h"
#include "target.h"
FR_NAMESPACE_BEGIN
namespace {
// The bfloat16 next to a number, ties to even
double nearest_bfloat(double number) {
  const float value = float(number);
  if (value != value) return value;
  unsigned bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
  bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000;
  float rounded;
  __builtin_memcpy(&rounded, &bits, sizeof rounded);
  return rounded;
}

// kHalf: what products multiply is rounded to bfloat16
template <class Cell, class T, bool kHalf = false>
struct Reference {
  static constexpr int G = Cell::kGates, Q = Cell::kState, S = Cell::kSaved, P = Cell::kPre, U = Cell::kUnit;
  static constexpr Index kWide = sizeof(double) / sizeof(T);  // elements of T in a double
  using Unit = UnitParameters<double, U>;

  static double* wide(T* p) { return reinterpret_cast<double*>(p); }
  static const double* wide(const T* p) { return reinterpret_cast<const double*>(p); }

  static Index saved_at(Dims d) { return d.B * (d.T + 1) * Q * d.H; }
  static Index tape_doubles(Dims d) { return saved_at(d) + d.B * d.T * d.H * S; }
  static Index packed_size(Dims d) { return kWide * (G * d.H * (d.I + d.H + 2) + U * d.H); }
  static Index tape_size(Dims d) { return kWide * tape_doubles(d); }
  static Index forward_scratch_size(Dims d, int, bool training) { return training ? 0 : tape_size(d); }
  static Index backward_scratch_size(Dims d, int) {
    return kWide * (G * d.H * (d.I + d.H + 2) + U * d.H + d.B * d.H * Q + d.H * P + d.I);
  }

  static double operand(double value) { return kHalf ? nearest_bfloat(value) : value; }
  static double* copy_operands(const T* from, Index n, double* to) {
    for (Index k = 0; k < n; ++k) to[k] = operand(double(from[k]));
    return to + n;
  }
  static double* copy(const T* from, Index n, double* to) {
    for (Index k = 0; k < n; ++k) to[k] = from ? double(from[k]) : 0;
    return to + n;
  }
  static void store(const double* from, Index n, T* to) {
    for (Index k = 0; k < n; ++k) to[k] = T(from[k]);
  }

  static void pack(Dims d, const Weights<const T>& w, T* packed, const Team& team) {
    if (team.rank) return;
    double* to = copy_operands(w.W_ih, G * d.H * d.I, wide(packed));
    to = Cell::kRecurrent ? copy_operands(w.W_hh, G * d.H * d.H, to) : to + G * d.H * d.H;
    to = copy(w.b_ih, G * d.H, to);
    to = copy(w.b_hh, G * d.H, to);
    copy(w.unit, U * d.H, to);
  }

  static Unit unit_of(const double* parameters, Index H, Index j) {
    Unit unit;
    for (int p = 0; p < U; ++p) at(unit, p) = parameters[p * H + j];
    return unit;
  }
  template <class Parameters>
  static double& at(Parameters& unit, int p) {
    static double none;  // cells without unit parameters never get here
    if constexpr (U > 0) return unit[p];
    else return none;
  }

  static void forward(const ForwardArgs<T>& a, const Team& team) {
    if (team.rank) return;
    const Walk walk{a.dims, a.steps};
    for (Index b = 0; b < a.dims.B; ++b) forward_row(a, walk, b);
  }

  static void forward_row(const ForwardArgs<T>& a, const Walk& walk, Index b) {
    const Dims d = a.dims;
    const Index user = walk.user_row(b), length = walk.length(b);
    double* const tape = wide(a.tape ? a.tape : a.scratch);
    double* const states = tape + b * (d.T + 1) * Q * d.H;
    double* saved_to = tape + saved_at(d) + b * d.T * d.H * S;
    for (int q = 0; q < Q; ++q) copy(a.s0[q] ? a.s0[q] + user * d.H : nullptr, d.H, states + q * d.H);
    for (Index s = 0; s < length; ++s) {
      double *prev = states + s * Q * d.H, *next = prev + Q * d.H;
      T* const y = walk.at(a.y, s, b);
      const bool keep = !walk.cut(s, b);  // what a reset cuts is 0 even where it is NaN
      for (Index j = 0; j < d.H; ++j, saved_to += S) {
        double pre[P] = {}, state[Q], saved[S] = {};
        sum_pre(d, wide(a.packed), walk.at(a.x, s, b), prev, keep, j, pre);
        for (int q = 0; q < Q; ++q) state[q] = keep ? prev[q * d.H + j] : 0;
        Cell::update(pre, unit_of(wide(a.packed) + G * d.H * (d.I + d.H + 2), d.H, j), state, saved);
        Cell::output(state[Cell::kMemory], state, saved);
        for (int q = 0; q < Q; ++q) next[q * d.H + j] = double(T(state[q]));
        for (int k = 0; k < S; ++k) saved_to[k] = saved[k];
        y[j] = T(state[0]);
      }
    }
    for (int q = 0; q < Q; ++q) store(states + (length * Q + q) * d.H, d.H, a.sT[q] + user * d.H);
    for (Index t = walk.whole_length(b); walk.last_segment() && t < a.steps.total; ++t)
      for (Index j = 0; j < d.H; ++j) a.y.p[t * a.y.step + user * a.y.row + j] = 0;
  }

  static void sum_pre(Dims d, const double* W_ih, const T* x, const double* h, bool keep, Index j, double (&pre)[P]) {
    const double *W_hh = W_ih + G * d.H * d.I, *b_ih = W_hh + G * d.H * d.H, *b_hh = b_ih + G * d.H;
    for (int g = 0; g < G; ++g) {
      const Index r = g * d.H + j;
      double from_x = b_ih[r], from_h = b_hh[r];
      for (Index k = 0; k < d.I; ++k) from_x += W_ih[r * d.I + k] * operand(double(x[k]));
      for (Index k = 0; Cell::kRecurrent && keep && k < d.H; ++k) from_h += W_hh[r * d.H + k] * operand(h[k]);
      pre[Cell::x_slot(g)] += from_x;
      pre[Cell::h_slot(g)] += from_h;
    }
  }

  // Gradients of one call, in double until they are added to those of the caller
  struct Sums {
    double *W_ih, *W_hh, *b_ih, *b_hh, *unit, *dstate, *dpre, *dx;
    Sums(Dims d, T* scratch) {
      W_ih = wide(scratch);
      W_hh = W_ih + G * d.H * d.I;
      b_ih = W_hh + G * d.H * d.H;
      b_hh = b_ih + G * d.H;
      unit = b_hh + G * d.H;
      dstate = unit + U * d.H;        // [b][state][j]
      dpre = dstate + d.B * Q * d.H;  // [j][slot]
      dx = dpre + d.H * P;
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
    for (double* p = sums.W_ih; p < sums.dstate; ++p) *p = 0;
    for (Index b = 0; b < d.B; ++b) {
      const Index user = walk.user_row(b);
      for (int q = 0; q < Q; ++q)
        copy(a.dsT[q] ? a.dsT[q] + user * d.H : nullptr, d.H, sums.dstate + (b * Q + q) * d.H);
      for (Index t = walk.whole_length(b); a.dx.p && !a.add_dx && t < a.steps.total; ++t)
        for (Index k = 0; k < d.I; ++k) a.dx.p[t * a.dx.step + user * a.dx.row + k] = 0;
    }
  }

  static void end(const BackwardArgs<T>& a, const Walk& walk, const Sums& sums) {
    const Dims d = a.dims;
    for (Index b = 0; b < d.B; ++b)
      for (int q = 0; q < Q; ++q) store(sums.dstate + (b * Q + q) * d.H, d.H, a.ds0[q] + walk.user_row(b) * d.H);
    GradientSums all = {};
    add(a, sums.W_ih, G * d.H * d.I, a.gradients.W_ih, all);
    add(a, sums.W_hh, G * d.H * d.H, a.gradients.W_hh, all);
    add(a, sums.b_ih, G * d.H, a.gradients.b_ih, all);
    add(a, sums.b_hh, G * d.H, a.gradients.b_hh, all);
    add(a, sums.unit, U * d.H, a.gradients.unit, all);
    *a.sums = all;
  }

  static void add(const BackwardArgs<T>& a, const double* sums, Index n, T* to, GradientSums& all) {
    for (Index k = 0; to && k < n; ++k) {
      const double sum = double(T((a.fresh ? 0 : double(to[k])) + sums[k])), kept = clamp(sum, double(a.value));
      to[k] = T(kept);
      all.before += sum * sum, all.after += kept * kept, all.clamped += kept != sum && sum == sum;
    }
  }

  static void read_tape(Dims d, Steps steps, const T* tape, T* cells, T* gates) {
    const Walk walk{d, steps};
    for (Index k = 0; cells && k < d.T * d.B * d.H; ++k) cells[k] = 0;
    for (Index k = 0; gates && k < d.T * d.B * G * d.H; ++k) gates[k] = 0;
    for (Index b = 0; b < d.B; ++b)
      for (Index s = 0; s < walk.length(b); ++s) {
        const Index to = walk.time(s, b) * d.B + walk.user_row(b);
        const double* const state = wide(tape) + ((b * (d.T + 1) + s + 1) * Q + Cell::kMemory) * d.H;
        const double* const saved = wide(tape) + saved_at(d) + (b * d.T + s) * d.H * S;
        if (cells) store(state, d.H, cells + to * d.H);
        for (int g = 0; gates && g < G; ++g)
          for (Index j = 0; j < d.H; ++j) gates[(to * G + g) * d.H + j] = T(saved[j * S + Cell::gate_slot(g)]);
      }
  }

  static double clamp(double number, double limit) {  // NaN stays NaN
    return number > limit ? limit : number < -limit ? -limit : number;
  }

  static void backward_step(const BackwardArgs<T>& a, const Walk& walk, Index s, Index b, const Sums& sums) {
    const Dims d = a.dims;
    const bool keep = !walk.cut(s, b);  // what a reset cuts is 0 even where it is NaN
    const double* states = wide(a.tape) + (b * (d.T + 1) + s) * Q * d.H;
    double* const dstate = sums.dstate + b * Q * d.H;
    StepNorms norms = {};
    for (Index j = 0; j < d.H; ++j)
      backward_unit(a, wide(a.tape) + saved_at(d) + ((b * d.T + s) * d.H + j) * S, states, keep, walk.at(a.dy, s, b)[j],
                    j, dstate, sums, norms);
    if (a.control) {
      a.control->norms[walk.time(s, b) * d.B + walk.user_row(b)] = norms;
      const double norm = a.control->norm;
      if (norms.clamped > norm * norm) {
        const double factor = norm / sqrt(norms.clamped);
        for (Index k = 0; k < Q * d.H; ++k) dstate[k] *= factor;
        for (Index k = 0; k < P * d.H; ++k) sums.dpre[k] *= factor;
      }
    }
    add_unit_gradients(states, keep, sums);
    add_products(a, walk.at(a.x, s, b), states, keep, a.dx.p ? walk.at(a.dx, s, b) : nullptr, dstate, sums);
  }

  static double control(const BackwardArgs<T>& a, double gradient, double& arrived, StepNorms& norms) {
    if (!a.control) return gradient;
    const double kept = clamp(gradient, double(a.control->value));
    arrived += gradient * gradient;
    norms.clamped += kept * kept, norms.count += kept != gradient && gradient == gradient;
    return kept;
  }

  static void backward_unit(const BackwardArgs<T>& a, const double* saved_from, const double* states, bool keep,
                            double dy, Index j, double* carried, const Sums& sums, StepNorms& norms) {
    const Index H = a.dims.H;
    double saved[S], prev[Q], dstate[Q], dpre[P] = {}, dm = 0;
    for (int k = 0; k < S; ++k) saved[k] = saved_from[k];
    for (int q = 0; q < Q; ++q) {
      prev[q] = keep ? states[q * H + j] : 0;
      dstate[q] = carried[q * H + j];
    }
    Unit unit;
    for (int p = 0; p < U; ++p) at(unit, p) = double(a.weights.unit[p * H + j]);
    const double dh = control(a, dstate[0] + dy, norms.dh, norms);
    Cell::output_backward(saved, unit, states[(Q + Cell::kMemory) * H + j], dh, dm, dpre);
    if (Cell::kMemory != 0) dstate[Cell::kMemory] = control(a, dstate[Cell::kMemory] + dm, norms.dc, norms);
    else dstate[0] = dm;
    Cell::update_backward(saved, unit, prev, dstate, dpre);
    for (int q = 0; q < Q; ++q) carried[q * H + j] = keep ? dstate[q] : 0;
    for (int s = 0; s < P; ++s) sums.dpre[j * P + s] = dpre[s];
  }

  static void add_unit_gradients(const double* states, bool keep, const Sums& sums) {
    if constexpr (U > 0)
      for (Index j = 0, H = (sums.dx - sums.dpre) / P; j < H; ++j) {
        double prev[Q], after[Q], dpre[P];
        for (int q = 0; q < Q; ++q) prev[q] = keep ? states[q * H + j] : 0, after[q] = states[(Q + q) * H + j];
        for (int s = 0; s < P; ++s) dpre[s] = sums.dpre[j * P + s];
        Unit share;
        Cell::unit_gradients(dpre, prev, after, share);
        for (int p = 0; p < U; ++p) sums.unit[p * H + j] += share[p];
      }
  }

  // Of one row and step: dx, the gradients of the parameters, and dh of the step before
  static void add_products(const BackwardArgs<T>& a, const T* x, const double* h, bool keep, T* dx_to, double* dh,
                           const Sums& sums) {
    const Dims d = a.dims;
    for (Index k = 0; k < d.I; ++k) sums.dx[k] = 0;
    for (int g = 0; g < G; ++g)
      for (Index j = 0; j < d.H; ++j) {
        const Index r = g * d.H + j;
        const double of_x = sums.dpre[j * P + Cell::x_slot(g)], of_h = sums.dpre[j * P + Cell::h_slot(g)];
        const double from_x = operand(of_x), from_h = operand(of_h);
        const T *W_ih = a.weights.W_ih + r * d.I, *W_hh = Cell::kRecurrent ? a.weights.W_hh + r * d.H : nullptr;
        sums.b_ih[r] += of_x;
        sums.b_hh[r] += of_h;
        for (Index k = 0; k < d.I; ++k) sums.W_ih[r * d.I + k] += from_x * operand(double(x[k]));
        for (Index k = 0; W_hh && keep && k < d.H; ++k) sums.W_hh[r * d.H + k] += from_h * operand(h[k]);
        for (Index k = 0; k < d.I; ++k) sums.dx[k] += from_x * operand(double(W_ih[k]));
        for (Index k = 0; W_hh && keep && k < d.H; ++k) dh[k] += from_h * operand(double(W_hh[k]));
      }
    for (Index k = 0; dx_to && k < d.I; ++k) dx_to[k] = T(sums.dx[k] + (a.add_dx ? double(dx_to[k]) : 0));
  }

  static constexpr Kernel<T> kernel(const char* id, const char* name) {
    return {id,
            name,
            G,
            Q,
            U,
            Cell::kRecurrent,
            false,
            false,
            1,
            packed_size,
            tape_size,
            forward_scratch_size,
            backward_scratch_size,
            pack,
            forward,
            backward,
            read_tape};
  }
};

template <class T>
struct ReferencePointwise {
  static void adam(const AdamArgs<T>& a) {
    for (Index k = 0; k < a.n; ++k) {
      double p = double(a.parameter[k]), g = double(a.scale) * double(a.gradient[k]);
      if (a.decoupled) p *= 1 - double(a.lr) * double(a.weight_decay);
      else g += double(a.weight_decay) * p;
      const double m = double(a.beta1) * double(a.m[k]) + (1 - double(a.beta1)) * g;
      const double v = double(a.beta2) * double(a.v[k]) + (1 - double(a.beta2)) * g * g;
      const double denominator = sqrt(v) / double(a.correction2) + double(a.eps);
      a.m[k] = T(m), a.v[k] = T(v);
      a.parameter[k] = T(p - double(a.lr) / double(a.correction1) * m / denominator);
    }
  }

  static void sgd(const SgdArgs<T>& a) {
    for (Index k = 0; k < a.n; ++k) {
      const double p = double(a.parameter[k]);
      double g = double(a.scale) * double(a.gradient[k]) + double(a.weight_decay) * p;
      if (a.momentum_buffer) {
        const double buffer = a.first ? g : double(a.momentum) * double(a.momentum_buffer[k]) + g;
        a.momentum_buffer[k] = T(buffer);
        g = a.nesterov ? g + double(a.momentum) * buffer : buffer;
      }
      a.parameter[k] = T(p - double(a.lr) * g);
    }
  }

  static double square_sum(const T* a, Index n) {
    double sum = 0;
    for (Index k = 0; k < n; ++k) sum += double(a[k]) * double(a[k]);
    return sum;
  }
  static void gather(const T* table, Index width, const Index* ids, Index n, T* out) {
    for (Index k = 0; k < n; ++k)
      for (Index j = 0; j < width; ++j) out[k * width + j] = table[ids[k] * width + j];
  }
  static void scatter_add(const T* rows, Index width, const Index* ids, Index n, T* table) {
    for (Index k = 0; k < n; ++k)
      for (Index j = 0; j < width; ++j) table[ids[k] * width + j] += rows[k * width + j];
  }
};

#define FR_CELL(name, type) Reference<type, float>::kernel(#name "_f32__reference", #name),
#define FR_STAGED_CELL(name, type) ReferenceStaged<type, float>::kernel(#name "_f32__reference", #name),
constexpr Kernel<float> kFloat[] = {
#include "cells/cells.def"
};
#undef FR_CELL
#undef FR_STAGED_CELL
#define FR_CELL(name, type) ReferenceStaged<type, float>::kernel(#name "_masked_f32__reference", #name),
#define FR_STAGED_CELL FR_CELL
constexpr Kernel<float> kFloatMasked[] = {
#include "cells/cells.def"
};
#undef FR_CELL
#undef FR_STAGED_CELL
#define FR_CELL(name, type) Reference<type, double>::kernel(#name "_f64__reference", #name),
#define FR_STAGED_CELL(name, type) ReferenceStaged<type, double>::kernel(#name "_f64__reference", #name),
constexpr Kernel<double> kDouble[] = {
#include "cells/cells.def"
};
#undef FR_CELL
#undef FR_STAGED_CELL
#define FR_CELL(name, type) ReferenceStaged<type, double>::kernel(#name "_masked_f64__reference", #name),
#define FR_STAGED_CELL FR_CELL
constexpr Kernel<double> kDoubleMasked[] = {
#include "cells/cells.def"
};
#undef FR_CELL
#undef FR_STAGED_CELL
#define FR_CELL(name, type) Reference<type, float, true>::kernel(#name "_bf16__reference", #name),
#define FR_STAGED_CELL(name, type)
constexpr Kernel<float> kHalf[] = {
#include "cells/cells.def"
};
#undef FR_CELL
#undef FR_STAGED_CELL

template <class T>
constexpr PointwiseKernels<T> kPointwise = {ReferencePointwise<T>::adam, ReferencePointwise<T>::sgd,
                                            ReferencePointwise<T>::square_sum, ReferencePointwise<T>::gather,
                                            ReferencePointwise<T>::scatter_add};
}  // namespace

Kernels<float> kernels_f32() { return {sizeof kFloat / sizeof *kFloat, kFloat, kFloatMasked, &kPointwise<float>}; }
Kernels<float> kernels_bf16() { return {sizeof kHalf / sizeof *kHalf, kHalf, nullptr, nullptr}; }
Kernels<double> kernels_f64() {
  return {sizeof kDouble / sizeof *kDouble, kDouble, kDoubleMasked, &kPointwise<double>};
}
FR_NAMESPACE_END
