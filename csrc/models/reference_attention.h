// SPDX-License-Identifier: MIT
// attention.h by naive loops, sums in double
#pragma once
#include <cmath>
#include "../cells/cell.h"
#include "api.h"
FR_NAMESPACE_BEGIN
template <class T>
struct ReferenceAttention {
  using Args = AttentionArgs<T>;

  // Where the memory of a row of queries begins, in steps, and its length
  static Index first_step(const Args& a, Index row) { return (a.memory_row ? a.memory_row[row] : row) * a.S; }
  static Index length(const Args& a, Index row) {
    return a.lengths ? a.lengths[a.memory_row ? a.memory_row[row] : row] : a.S;
  }

  static double activation(const Args& a, Index row, Index s, Index j) {
    return tanh(double(a.queries[row * a.query_ld + j]) + double(a.keys[(first_step(a, row) + s) * a.A + j]));
  }

  static double score(const Args& a, Index row, Index s) {
    double sum = 0;
    for (Index j = 0; j < a.A; ++j)
      sum += a.v ? double(a.v[j]) * activation(a, row, s, j)
                 : double(a.queries[row * a.query_ld + j]) * double(a.keys[(first_step(a, row) + s) * a.A + j]);
    return sum;
  }

  static void forward(const Args& a) {
    for (Index row = 0; row < a.rows; ++row) {
      T* const w = a.weights + row * a.S;
      const Index n = length(a, row);
      double most = -HUGE_VAL, sum = 0;
      for (Index s = 0; s < n; ++s) most = fmax(most, score(a, row, s));
      for (Index s = 0; s < n; ++s) sum += exp(score(a, row, s) - most);
      for (Index s = 0; s < a.S; ++s) w[s] = s < n ? T(exp(score(a, row, s) - most) / sum) : T(0);
      for (Index j = 0; j < a.M; ++j) {
        double context = 0;
        for (Index s = 0; s < n; ++s) context += double(w[s]) * double(a.memory[(first_step(a, row) + s) * a.M + j]);
        a.context[row * a.context_ld + j] = T(context);
      }
    }
  }

  static void backward(const AttentionBackwardArgs<T>& a) {
    for (Index row = 0; row < a.forward.rows; ++row) {
      scores(a, row);
      for (Index j = 0; j < a.forward.A; ++j) {
        a.d_queries[row * a.d_query_ld + j] = 0;
        if (a.forward.v) a.d_v[row * a.forward.A + j] = 0;
      }
      for (Index s = 0; s < length(a.forward, row); ++s) step(a, row, s);
    }
  }

 private:
  static void scores(const AttentionBackwardArgs<T>& a, Index row) {
    const Args& f = a.forward;
    T* const ds = a.d_scores + row * f.S;
    const T* const w = f.weights + row * f.S;
    double mean = 0;
    for (Index s = 0; s < f.S; ++s) {
      double dw = 0;
      for (Index j = 0; s < length(f, row) && j < f.M; ++j)
        dw += double(a.d_context[row * a.d_context_ld + j]) * double(f.memory[(first_step(f, row) + s) * f.M + j]);
      ds[s] = T(dw);
      mean += double(w[s]) * dw;
    }
    for (Index s = 0; s < f.S; ++s) ds[s] = s < length(f, row) ? T(double(w[s]) * (double(ds[s]) - mean)) : T(0);
  }

  static void step(const AttentionBackwardArgs<T>& a, Index row, Index s) {
    const Args& f = a.forward;
    const Index at = first_step(f, row) + s;
    const double w = double(f.weights[row * f.S + s]), ds = double(a.d_scores[row * f.S + s]);
    for (Index j = 0; j < f.M; ++j) a.d_memory[at * f.M + j] += T(w * double(a.d_context[row * a.d_context_ld + j]));
    for (Index j = 0; j < f.A; ++j) {
      const double query = double(f.queries[row * f.query_ld + j]), key = double(f.keys[at * f.A + j]);
      const double u = f.v ? activation(f, row, s, j) : 0, g = f.v ? ds * double(f.v[j]) * (1 - u * u) : 0;
      a.d_queries[row * a.d_query_ld + j] += T(f.v ? g : ds * key);
      a.d_keys[at * f.A + j] += T(f.v ? g : ds * query);
      if (f.v) a.d_v[row * f.A + j] += T(ds * u);
    }
  }
};
FR_NAMESPACE_END
