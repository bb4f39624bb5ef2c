// SPDX-License-Identifier: MIT
// The derivatives of every cell of cells.def: one step of one unit by dual numbers, whose derivatives come from the
// forward equations alone, against what the cell's own backward returns. And what cell.h asks of the slots.
#include <cmath>
#include "cells/cells.h"
#include "check.h"

namespace {
// v + d e with e^2 = 0: d is the derivative with respect to the one variable that was given d = 1
struct Dual {
  double v, d;
  explicit Dual(double v_ = 0, double d_ = 0) : v(v_), d(d_) {}
};
inline Dual operator+(Dual a, Dual b) { return Dual(a.v + b.v, a.d + b.d); }
inline Dual operator-(Dual a, Dual b) { return Dual(a.v - b.v, a.d - b.d); }
inline Dual operator*(Dual a, Dual b) { return Dual(a.v * b.v, a.v * b.d + a.d * b.v); }
// Derivatives written from the input, unlike those of the cells, which are written from the output
[[maybe_unused]] Dual sigmoid(Dual x) {
  const double e = std::exp(-x.v);
  return Dual(1 / (1 + e), e / ((1 + e) * (1 + e)) * x.d);
}
[[maybe_unused]] Dual tanh_(Dual x) { return Dual(std::tanh(x.v), x.d / (std::cosh(x.v) * std::cosh(x.v))); }
[[maybe_unused]] Dual relu(Dual x) { return x.v > 0 ? x : Dual(0); }
[[maybe_unused]] Dual where_positive(Dual y, Dual a) { return y.v > 0 ? a : Dual(0); }

// One unit and its step: the variables, then what the step leaves
template <class Cell, class V>
struct Step {
  static constexpr int kPre = Cell::kPre, kUnit = Cell::kUnit, kState = Cell::kState;
  static constexpr int kVariables = kPre + kState + kUnit;
  V pre[kPre], prev[kState];
  fastrnn::UnitParameters<V, kUnit> unit;
  V after[kState], saved[Cell::kSaved], reset;

  V& variable(int n) {
    if (n < kPre) return pre[n];
    if constexpr (kUnit > 0)
      if (n >= kPre + kState) return unit[n - kPre - kState];
    return prev[n - kPre];
  }
  void forward() {
    for (int q = 0; q < kState; ++q) after[q] = prev[q];
    if constexpr (Cell::kResetBefore) reset = Cell::reset(pre, prev[0]);
    Cell::update(pre, unit, after, saved);
    Cell::output(V(after[Cell::kMemory]), after, saved);
  }
  template <class U>
  void set(const Step<Cell, U>& other) {
    Step<Cell, U> from = other;
    for (int n = 0; n < kVariables; ++n) variable(n) = V(from.variable(n));
  }
};

// What the cell makes of gradients of the states after the step, as the drivers call it
template <class Cell>
struct Gradients {
  double dpre[Cell::kPre] = {}, dprev[Cell::kState];
  fastrnn::UnitParameters<double, Cell::kUnit> dunit;

  Gradients(const Step<Cell, double>& step, const double (&dafter)[Cell::kState], double dreset) {
    double dm = 0;
    for (int q = 0; q < Cell::kState; ++q) dprev[q] = dafter[q];
    Cell::output_backward(step.saved, step.unit, step.after[Cell::kMemory], dprev[0], dm, dpre);
    dprev[Cell::kMemory] = Cell::kMemory == 0 ? dm : dprev[Cell::kMemory] + dm;
    Cell::update_backward(step.saved, step.unit, step.prev, dprev, dpre);
    if constexpr (Cell::kResetBefore) {
      double saved[Cell::kSaved], dh = 0;  // of which dpre has taken the first ones
      for (int k = 0; k < Cell::kSaved; ++k) saved[k] = k < Cell::kPre ? NAN : step.saved[k];
      Cell::reset_backward(saved, step.prev[0], dreset, dh, dpre);
      dprev[0] += dh;
    }
    if constexpr (Cell::kUnit > 0) Cell::unit_gradients(dpre, step.prev, step.after, dunit);
  }
  double variable(int n) const {
    if (n < Cell::kPre) return dpre[n];
    if constexpr (Cell::kUnit > 0)
      if (n >= Cell::kPre + Cell::kState) return dunit[n - Cell::kPre - Cell::kState];
    return dprev[n - Cell::kPre];
  }
};

template <class Cell>
void check_derivatives(const Step<Cell, double>& at, const double (&dafter)[Cell::kState], double dreset) {
  Step<Cell, double> step = at;
  step.forward();
  const Gradients<Cell> gradients(step, dafter, dreset);
  for (int n = 0; n < step.kVariables; ++n) {
    Step<Cell, Dual> dual;
    dual.set(at);
    dual.variable(n).d = 1;
    dual.forward();
    double want = Cell::kResetBefore ? dreset * dual.reset.d : 0;
    for (int q = 0; q < Cell::kState; ++q) want += dafter[q] * dual.after[q].d;
    const double got = gradients.variable(n);
    CHECK(std::fabs(got - want) <= 1e-14 * (1 + std::fabs(want)),
          "derivative by variable %d (pre-activations, previous states, parameters of the unit) at pre[0] = %g: "
          "got %.17g, want %.17g",
          n, at.pre[0], got, want);
  }
  for (int q = 0; q < Cell::kCarried; ++q)
    CHECK(gradients.dprev[q] == 0, "state %d is before kCarried, its gradient is %g", q, gradients.dprev[q]);
}

// float, of a CUDA thread, and double are the same equations
template <class Cell>
void check_precisions(const Step<Cell, double>& at) {
  Step<Cell, double> wide = at;
  Step<Cell, float> narrow;
  narrow.set(at);
  wide.set(narrow);  // of the same numbers
  wide.forward();
  narrow.forward();
  for (int q = 0; q < Cell::kState; ++q)
    CHECK(std::fabs(double(narrow.after[q]) - wide.after[q]) <= 1e-6 * (1 + std::fabs(wide.after[q])),
          "state %d is %.9g in float, %.17g in double", q, double(narrow.after[q]), wide.after[q]);
}

template <class Cell>
void check_slots() {
  static_assert(Cell::kSaved >= Cell::kPre, "dpre overwrites saved");
  static_assert(Cell::kMemory < Cell::kState && Cell::kCarried <= Cell::kState, "no such state");
  int of_x[Cell::kPre] = {}, of_h[Cell::kPre] = {}, first_x = Cell::kPre, first_h = Cell::kPre;
  for (int g = 0; g < Cell::kGates; ++g) {
    const int x = Cell::x_slot(g), h = Cell::h_slot(g);
    CHECK(x >= 0 && x < Cell::kPre && h >= 0 && h < Cell::kPre, "gate %d has slots %d and %d", g, x, h);
    const int saved = Cell::gate_slot(g);
    CHECK(saved >= 0 && saved < Cell::kSaved, "gate %d is saved in slot %d", g, saved);
    ++of_x[x], ++of_h[h];
    if (x < first_x) first_x = x;
    if (h < first_h) first_h = h;
  }
  for (int s = 0; s < Cell::kPre; ++s) {
    CHECK(of_x[s] + of_h[s] > 0, "slot %d is fed by nothing", s);
    CHECK(of_x[s] == (s >= first_x && s < first_x + Cell::kGates), "slots fed by x: not consecutive at %d", s);
    CHECK(of_h[s] == (s >= first_h && s < first_h + Cell::kGates), "slots fed by h: not consecutive at %d", s);
  }
}

template <class Cell>
void check_cell(const char* name) {
  const check::Case scope("%s", name);
  check_slots<Cell>();
  check::Random random{1};
  for (int point = 0; point < 200; ++point) {
    Step<Cell, double> at;
    const double width = point % 2 ? 1 : 5;  // gates at work, and gates that saturate
    for (int n = 0; n < at.kVariables; ++n) at.variable(n) = random.uniform(-width, width);
    check_precisions(at);
    double dafter[Cell::kState];
    for (int unit_vector = 0; unit_vector <= Cell::kState; ++unit_vector) {
      for (int q = 0; q < Cell::kState; ++q)
        dafter[q] = unit_vector == Cell::kState ? random.uniform(-2, 2) : q == unit_vector;
      check_derivatives(at, dafter, random.uniform(-2, 2));
    }
  }
}

template <class T>
void check_scalars() {
  const T nan = T(NAN);
  CHECK(std::isnan(fastrnn::relu(nan)) && std::isnan(fastrnn::tanh_(nan)) && std::isnan(fastrnn::sigmoid(nan)),
        "NaN does not stay NaN");
  CHECK(fastrnn::relu(T(-2)) == 0 && fastrnn::relu(T(3)) == 3, "relu");
  CHECK(fastrnn::where_positive(T(0), T(5)) == 0 && fastrnn::where_positive(T(1), T(5)) == 5 &&
            fastrnn::where_positive(nan, T(5)) == 0,
        "where_positive");
}
}  // namespace

int main() {
#define FR_CELL(name, type) check_cell<fastrnn::type>(#name);
#define FR_STAGED_CELL FR_CELL
  using fastrnn::Relu;
  using fastrnn::Tanh;
#include "cells/cells.def"
#undef FR_CELL
#undef FR_STAGED_CELL
  check_scalars<float>();
  check_scalars<double>();
  return check::report();
}
