// SPDX-License-Identifier: MIT
// The loop over time (cuda/loop.h) by naive loops in double on the host, on data drawn here. What products multiply is
// rounded as the kernels round it.
#pragma once
#include <cmath>
#include <vector>
#include "cells/cells.h"
#include "rows.h"

using fastrnn::Index;
using fastrnn::Walk;
using Floats = std::vector<float>;
using Doubles = std::vector<double>;
using Indices = std::vector<Index>;

struct Random {  // splitmix64
  unsigned long long state;
  float operator()(float scale) {
    unsigned long long z = state += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull, z = (z ^ z >> 27) * 0x94d049bb133111ebull, z ^= z >> 31;
    return scale * (float(z >> 40) / float(1 << 23) - 1);
  }
  Floats many(Index n, float scale) {
    Floats a(static_cast<size_t>(n));
    for (float& v : a) v = (*this)(scale);
    return a;
  }
};

struct Shape {
  Index T, B, H;
  bool lengths, reset, reversed;
  Index begin, after;  // steps of the recurrence before and after those of the call
};

// A call: how its batch is walked, and arrays of the host in the layouts of cuda/loop.h
struct Case {
  fastrnn::Dims d;
  Indices first, order, lengths;
  std::vector<unsigned char> reset;
  Walk walk;
  Index row, step;  // strides of y and dy
  Floats W_hh, slots, bias_h, unit, states[2], dstates[2], dy;
};

// Lengths from 0 to `total`, falling; users have the rows in another order
inline void draw_lengths(Case& c, Index total) {
  for (Index b = 0; b < c.d.B; ++b) {
    c.order.push_back((b * 7 + 3) % c.d.B);
    c.lengths.push_back(total - b * (total + 1) / c.d.B);
  }
  for (Index step = 0; step <= total; ++step) {
    Index rows = 0;
    for (Index b = 0; b < c.d.B; ++b) rows += std::min(c.lengths[size_t(b)], step);
    c.first.push_back(rows);
  }
}

template <class Cell>
void draw(Case& c, const Shape& shape, Random& random) {
  constexpr int G = Cell::kGates, S = Cell::kSaved;
  const Index B = shape.B, H = shape.H, total = shape.begin + shape.T + shape.after;
  c.d = {shape.T, B, 0, H, 0, H};
  if (shape.lengths) draw_lengths(c, total);
  if (shape.reset)
    for (Index k = 0; k < total * B; ++k) c.reset.push_back(random(1) > 0.4f);
  c.walk = {c.d,
            {shape.lengths ? c.first.data() : nullptr, shape.lengths ? c.order.data() : nullptr,
             shape.lengths ? c.lengths.data() : nullptr, shape.reset ? c.reset.data() : nullptr, shape.reversed,
             shape.begin, total}};
  c.walk.d.R = c.d.R = c.walk.first(shape.T);
  c.row = H + 3, c.step = B * c.row + 5;
  c.W_hh = random.many(G * H * H, 1.5f / std::sqrt(float(H)));
  c.bias_h = random.many(G * H, 1);
  c.unit = random.many(Cell::kUnit * H, 0.5f);
  c.slots.assign(size_t(c.d.R * S * H), NAN);
  for (Index r = 0; r < c.d.R; ++r)
    for (int g = 0; g < G; ++g)
      for (Index j = 0; j < H; ++j) c.slots[size_t((r * S + Cell::x_slot(g)) * H + j)] = random(1);
  for (int q = 0; q < Cell::kState; ++q) c.states[q] = random.many(B * H, 1), c.dstates[q] = random.many(B * H, 1);
  c.dy.assign(size_t(total * c.step), NAN);
  for (Index s = 0; s < shape.T; ++s)
    for (Index b = 0; b < c.walk.active(s); ++b)
      for (Index j = 0; j < H; ++j)
        c.dy[size_t(c.walk.time(s, b) * c.step + c.walk.user_row(b) * c.row + j)] = random(1);
}

// round: of a double, to what products multiply
template <class Cell, class Round>
struct Reference {
  static constexpr int G = Cell::kGates, Q = Cell::kState, S = Cell::kSaved, P = Cell::kPre;
  const Case& c;
  const bool biased;
  const Round round;
  Doubles weights, slots, states[Q], dpre, dstates[Q];

  Index H() const { return c.d.H; }
  double W(int g, Index j, Index k) const { return weights[size_t((g * H() + j) * H() + k)]; }
  static double& at(Doubles& a, Index row, Index H, Index j) { return a[size_t(row * H + j)]; }
  double before(Index s, Index b, int q, Index j) {
    return c.walk.cut(s, b) ? 0 : at(states[q], c.walk.row_before(s) + b, H(), j);
  }
  fastrnn::UnitParameters<double, Cell::kUnit> unit(Index j) const {
    fastrnn::UnitParameters<double, Cell::kUnit> own;
    if constexpr (Cell::kUnit > 0)
      for (int p = 0; p < Cell::kUnit; ++p) own[p] = c.unit[size_t(p * H() + j)];
    return own;
  }

  void forward() {
    for (float w : c.W_hh) weights.push_back(round(w));
    slots.assign(c.slots.begin(), c.slots.end());
    for (int q = 0; q < Q; ++q) {
      states[q].assign(c.states[q].begin(), c.states[q].end());
      states[q].resize(size_t((c.d.B + c.d.R) * H()));
    }
    for (Index s = 0; s < c.d.T; ++s)
      for (Index b = 0; b < c.walk.active(s); ++b)
        for (Index j = 0; j < H(); ++j) forward(s, b, j);
  }
  void forward(Index s, Index b, Index j) {
    const Index row = c.walk.first(s) + b;
    double pre[P] = {}, state[Q], saved[S];
    bool of_x[P] = {};
    for (int g = 0; g < G; ++g) of_x[Cell::x_slot(g)] = true;
    for (int k = 0; k < P; ++k) pre[k] = of_x[k] ? at(slots, row * S + k, H(), j) : 0;
    for (int g = 0; g < G; ++g) {
      double& sum = pre[Cell::h_slot(g)];
      if (biased && !of_x[Cell::h_slot(g)]) sum += c.bias_h[size_t(g * H() + j)];
      for (Index k = 0; k < H(); ++k) sum += W(g, j, k) * round(before(s, b, 0, k));
    }
    for (int q = 0; q < Q; ++q) state[q] = before(s, b, q, j);
    Cell::update(pre, unit(j), state, saved);
    Cell::output(state[Cell::kMemory], state, saved);
    for (int k = 0; k < S; ++k) at(slots, row * S + k, H(), j) = saved[k];
    for (int q = 0; q < Q; ++q) at(states[q], c.d.B + row, H(), j) = state[q];
  }

  void backward() {
    dpre.resize(size_t(c.d.R * P * H()));
    for (int q = 0; q < Q; ++q) dstates[q].assign(c.dstates[q].begin(), c.dstates[q].end());
    for (Index s = c.d.T - 1; s >= 0; --s)
      for (Index b = 0; b < c.walk.active(s); ++b) backward(s, b);
  }
  void backward(Index s, Index b) {
    const Index row = c.walk.first(s) + b;
    for (Index j = 0; j < H(); ++j) {
      double saved[S], prev[Q], d[Q], dp[P] = {}, dm;
      for (int k = 0; k < S; ++k) saved[k] = at(slots, row * S + k, H(), j);
      for (int q = 0; q < Q; ++q) prev[q] = before(s, b, q, j), d[q] = at(dstates[q], b, H(), j);
      d[0] += c.dy[size_t(c.walk.time(s, b) * c.step + c.walk.user_row(b) * c.row + j)];
      Cell::output_backward(saved, unit(j), at(states[Cell::kMemory], c.d.B + row, H(), j), d[0], dm, dp);
      d[Cell::kMemory] = Cell::kMemory == 0 ? dm : d[Cell::kMemory] + dm;
      Cell::update_backward(saved, unit(j), prev, d, dp);
      for (int q = 0; q < Q; ++q) at(dstates[q], b, H(), j) = d[q];
      for (int k = 0; k < P; ++k) at(dpre, row * P + k, H(), j) = dp[k];
    }
    for (Index k = 0; k < H(); ++k) {
      for (int g = 0; g < G; ++g)
        for (Index j = 0; j < H(); ++j)
          at(dstates[0], b, H(), k) += W(g, j, k) * round(at(dpre, row * P + Cell::h_slot(g), H(), j));
      for (int q = 0; c.walk.cut(s, b) && q < Q; ++q) at(dstates[q], b, H(), k) = 0;
    }
  }
};
