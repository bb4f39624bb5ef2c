// SPDX-License-Identifier: MIT
// Attention of rows of queries over the steps of a memory: scores by dot products (Luong et al. 2015) or additive
// (Bahdanau et al. 2015), their softmax, and the weighted sum of the memory.
//
//   dw_s = dcontext . m_s    ds_s = w_s (dw_s - sum_j w_j dw_j)    dm_s += w_s dcontext
//   dot products:  dq = sum_s ds_s k_s        dk_s += ds_s q
//   additive, u = tanh(q + k_s):  g = ds_s v (1 - u^2)    dq = sum_s g    dk_s += g    dv += ds_s u
//
// Rows are independent of each other but for what is added to a row of memory, so that rows of different memories may
// be given to different threads. u is made again in backward: reading it would take as long.
#pragma once
#include "api.h"
#include "exponential.h"
FR_NAMESPACE_BEGIN
template <class T>
FR_FN Index attended_length(const AttentionArgs<T>& a, Index row) {
  return a.lengths ? a.lengths[a.memory_row ? a.memory_row[row] : row] : a.S;
}

// The row of keys (n = A) or memory (n = M), or of their gradients, that a query looks at
template <class T, class U>
FR_FN U* attended_row(const AttentionArgs<T>& a, U* of, Index n, Index row) {
  return of + (a.memory_row ? a.memory_row[row] : row) * a.S * n;
}

template <class Vec, class T = typename Vec::Scalar>
struct Attention {
  static constexpr int L = Vec::kLanes, kTogether = 4;  // steps whose sums run side by side
  using Args = AttentionArgs<T>;

  static void forward(const Args& a) {
    for (Index r = 0; r < a.rows; ++r) {
      const Index length = attended_length(a, r);
      T* const w = a.weights + r * a.S;
      const T *keys = attended_row(a, a.keys, a.A, r), *query = a.queries + r * a.query_ld;
      if (a.v) additive_scores(query, keys, a.v, a.A, length, w);
      else dot_products(query, keys, a.A, length, w);
      softmax(w, length);
      for (Index s = length; s < a.S; ++s) w[s] = 0;
      weighted_sum(w, attended_row(a, a.memory, a.M, r), a.M, length, a.context + r * a.context_ld);
    }
  }

  static void backward(const AttentionBackwardArgs<T>& a) {
    const Args& f = a.forward;
    for (Index r = 0; r < f.rows; ++r) {
      const Index length = attended_length(f, r);
      const T *w = f.weights + r * f.S, *d_context = a.d_context + r * a.d_context_ld;
      T* const ds = a.d_scores + r * f.S;
      dot_products(d_context, attended_row(f, f.memory, f.M, r), f.M, length, ds);
      softmax_backward(w, ds, length);
      for (Index s = length; s < f.S; ++s) ds[s] = 0;
      add_products(w, d_context, f.M, length, attended_row(f, a.d_memory, f.M, r));
      const T *query = f.queries + r * f.query_ld, *keys = attended_row(f, f.keys, f.A, r);
      T *d_query = a.d_queries + r * a.d_query_ld, *d_keys = attended_row(f, a.d_keys, f.A, r);
      if (f.v) {
        additive_backward(ds, query, keys, f, length, d_query, d_keys, a.d_v + r * f.A);
      } else {
        weighted_sum(ds, keys, f.A, length, d_query);
        add_products(ds, query, f.A, length, d_keys);
      }
    }
  }

 private:
  static FR_FN T total(Vec sum) {
    T lanes[L];
    sum.store(lanes);
    FR_UNROLL for (int n = L / 2; n; n /= 2) FR_UNROLL for (int l = 0; l < n; ++l) lanes[l] += lanes[l + n];
    return lanes[0];
  }

  // to[s] = sum over j of term(j, rest, s), n of them; steps in groups, each with a sum of its own
  template <class Term>
  static FR_FN void sums_of_steps(Index n, Index steps, T* to, const Term& term) {
    for (Index s = 0; s < steps; s += kTogether) {
      Vec sums[kTogether];
      Index at[kTogether];  // the last group repeats its last step
      FR_UNROLL for (int k = 0; k < kTogether; ++k) sums[k] = Vec(0), at[k] = s + k < steps ? s + k : steps - 1;
      for (Index j = 0; j < n; j += L)
        FR_UNROLL for (int k = 0; k < kTogether; ++k) sums[k] = term(j, n - j, at[k], sums[k]);
      for (int k = 0; k < kTogether && s + k < steps; ++k) to[s + k] = total(sums[k]);
    }
  }

  // to[s] = a . rows[s]
  static void dot_products(const T* a, const T* rows, Index n, Index steps, T* to) {
    sums_of_steps(n, steps, to, [&](Index j, Index left, Index s, Vec sum) {
      return fma(load_first(a + j, left), load_first(rows + s * n + j, left), sum);
    });
  }

  static void additive_scores(const T* query, const T* keys, const T* v, Index n, Index steps, T* to) {
    sums_of_steps(n, steps, to, [&](Index j, Index left, Index s, Vec sum) {
      const Vec u = tanh_(load_first(query + j, left) + load_first(keys + s * n + j, left));
      return fma(load_first(v + j, left), u, sum);
    });
  }

  static void softmax(T* w, Index n) {
    if (n == 0) return;
    T most = w[0];
    for (Index s = 1; s < n; ++s) most = w[s] > most ? w[s] : most;
    T sum = 0;
    for (Index s = 0; s < n; s += L) {
      store_first(w + s, exponential(load_first(w + s, n - s) - Vec(most)), n - s);
      sum += total(load_first(w + s, n - s));
    }
    for (Index s = 0; s < n; s += L) store_first(w + s, load_first(w + s, n - s) * Vec(1 / sum), n - s);
  }

  // dw in, ds out
  static void softmax_backward(const T* w, T* d, Index n) {
    Vec sum(0);
    for (Index s = 0; s < n; s += L) sum = fma(load_first(w + s, n - s), load_first(d + s, n - s), sum);
    const Vec mean(total(sum));
    for (Index s = 0; s < n; s += L)
      store_first(d + s, load_first(w + s, n - s) * (load_first(d + s, n - s) - mean), n - s);
  }

  // to = sum over s of w[s] rows[s]
  static void weighted_sum(const T* w, const T* rows, Index n, Index steps, T* to) {
    for (Index j = 0; j < n; j += kTogether * L) {
      Vec sums[kTogether];
      FR_UNROLL for (int k = 0; k < kTogether; ++k) sums[k] = Vec(0);
      for (Index s = 0; s < steps; ++s)
        FR_UNROLL for (int k = 0; k < kTogether; ++k)
          if (j + k * L < n)
            sums[k] = fma(Vec(w[s]), load_first(rows + s * n + j + k * L, n - j - k * L), sums[k]);
      FR_UNROLL for (int k = 0; k < kTogether; ++k)
        if (j + k * L < n) store_first(to + j + k * L, sums[k], n - j - k * L);
    }
  }

  // rows[s] += w[s] a
  static void add_products(const T* w, const T* a, Index n, Index steps, T* rows) {
    for (Index s = 0; s < steps; ++s)
      for (Index j = 0; j < n; j += L) {
        T* const to = rows + s * n + j;
        store_first(to, fma(Vec(w[s]), load_first(a + j, n - j), load_first(to, n - j)), n - j);
      }
  }

  static void additive_backward(const T* ds, const T* query, const T* keys, const Args& f, Index steps, T* d_query,
                                T* d_keys, T* d_v) {
    for (Index j = 0; j < f.A; j += L) {
      const Index left = f.A - j;
      const Vec q = load_first(query + j, left), v = load_first(f.v + j, left);
      Vec dq(0), dv(0);
      for (Index s = 0; s < steps; ++s) {
        const Vec u = tanh_(q + load_first(keys + s * f.A + j, left));
        const Vec g = Vec(ds[s]) * v * dtanh(u);
        T* const to = d_keys + s * f.A + j;
        store_first(to, load_first(to, left) + g, left);
        dq = dq + g;
        dv = fma(Vec(ds[s]), u, dv);
      }
      store_first(d_query + j, dq, left);
      store_first(d_v + j, dv, left);
    }
  }
};
FR_NAMESPACE_END
