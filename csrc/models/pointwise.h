// SPDX-License-Identifier: MIT
// What a model needs around its recurrent layers: optimizer updates in one pass over the parameters with the clipping
// scale applied on the way, sums of squares, rows of an embedding.
#pragma once
#include "../simd/math.h"
#include "api.h"
FR_NAMESPACE_BEGIN
template <class Vec, class T = typename Vec::Scalar>
struct Pointwise {
  static constexpr int L = Vec::kLanes;

  // g = scale dp (+ wd p)   m = b1 m + (1-b1) g   v = b2 v + (1-b2) g^2   p -= lr / c1 * m / (sqrt(v) / c2 + eps)
  // with c1 = 1 - b1^step, c2 = sqrt(1 - b2^step). Decoupled decay (AdamW): p *= 1 - lr wd first, none in g.
  static void adam(const AdamArgs<T>& a) {
    const Vec scale(a.scale), decay(a.decoupled ? T(0) : a.weight_decay),
        keep(a.decoupled ? 1 - a.lr * a.weight_decay : T(1));
    const Vec beta1(a.beta1), rest1(1 - a.beta1), beta2(a.beta2), rest2(1 - a.beta2);
    const Vec rate(a.lr / a.correction1), root(1 / a.correction2), eps(a.eps);
    for (Index k = 0; k < a.n; k += L) {
      const Index n = a.n - k;
      Vec p = load_first(a.parameter + k, n);
      const Vec g = fma(decay, p, scale * load_first(a.gradient + k, n));
      const Vec m = fma(beta1, load_first(a.m + k, n), rest1 * g);
      const Vec v = fma(beta2, load_first(a.v + k, n), rest2 * g * g);
      p = keep * p - rate * m * quotient(Vec(1), fma(square_root(v), root, eps));
      store_first(a.m + k, m, n);
      store_first(a.v + k, v, n);
      store_first(a.parameter + k, p, n);
    }
  }

  // g = scale dp + wd p   buffer = momentum buffer + g (first: g)   p -= lr (nesterov: g + momentum buffer, or buffer)
  static void sgd(const SgdArgs<T>& a) {
    const Vec scale(a.scale), decay(a.weight_decay), momentum(a.momentum), rate(-a.lr);
    for (Index k = 0; k < a.n; k += L) {
      const Index n = a.n - k;
      const Vec p = load_first(a.parameter + k, n);
      Vec g = fma(decay, p, scale * load_first(a.gradient + k, n));
      if (a.momentum_buffer) {
        const Vec buffer = a.first ? g : fma(momentum, load_first(a.momentum_buffer + k, n), g);
        store_first(a.momentum_buffer + k, buffer, n);
        g = a.nesterov ? fma(momentum, buffer, g) : buffer;
      }
      store_first(a.parameter + k, fma(rate, g, p), n);
    }
  }

  // g = scale dp + wd p   s = alpha s + (1-alpha) g^2   a = alpha a + (1-alpha) g   d = sqrt(s - a^2) + eps (or sqrt(s))
  // buffer = momentum buffer + g / d   p -= lr buffer, or lr g / d without momentum
  static void rmsprop(const RmspropArgs<T>& a) {
    const Vec scale(a.scale), decay(a.weight_decay), alpha(a.alpha), rest(1 - a.alpha), eps(a.eps);
    const Vec momentum(a.momentum), rate(-a.lr);
    for (Index k = 0; k < a.n; k += L) {
      const Index n = a.n - k;
      const Vec p = load_first(a.parameter + k, n);
      const Vec g = fma(decay, p, scale * load_first(a.gradient + k, n));
      Vec square = fma(alpha, load_first(a.square_average + k, n), rest * g * g);
      store_first(a.square_average + k, square, n);
      if (a.gradient_average) {
        const Vec mean = fma(alpha, load_first(a.gradient_average + k, n), rest * g);
        store_first(a.gradient_average + k, mean, n);
        square = max(Vec(0), square - mean * mean);  // which rounding may take below 0
      }
      Vec step = quotient(g, square_root(square) + eps);
      if (a.momentum_buffer) {
        step = fma(momentum, load_first(a.momentum_buffer + k, n), step);
        store_first(a.momentum_buffer + k, step, n);
      }
      store_first(a.parameter + k, fma(rate, step, p), n);
    }
  }

  static double square_sum(const T* a, Index n) {
    SquareSum<T> sum;
    for (Index k = 0; k < n; k += L) sum.add(load_first(a + k, n - k));
    return sum.total();
  }

  static void gather(const T* table, Index width, const Index* ids, Index n, T* out) {
    for (Index k = 0; k < n; ++k) __builtin_memcpy(out + k * width, table + ids[k] * width, size_t(width) * sizeof(T));
  }

  static void scatter_add(const T* rows, Index width, const Index* ids, Index n, T* table) {
    for (Index k = 0; k < n; ++k)
      for (Index j = 0; j < width; j += L) {
        T* const to = table + ids[k] * width + j;
        store_first(to, load_first(to, width - j) + load_first(rows + k * width + j, width - j), width - j);
      }
  }

  static FR_FN Vec quotient(Vec a, Vec b) { return a.v / b.v; }
};
FR_NAMESPACE_END
