// SPDX-License-Identifier: MIT
// The linear-chain CRF of the target "reference": log domain, in double, by naive loops.
#pragma once
#include <cmath>
#include "../cells/cell.h"
#include "api.h"
FR_NAMESPACE_BEGIN
template <class T>
struct ReferenceCrf {
  static constexpr Index kDoubles = Index(sizeof(double) / sizeof(T));  // elements of T that one takes

  static Index packed_size(Index) { return 0; }
  static Index scratch_size(Index steps, Index K) { return (2 * steps + 1) * K * kDoubles; }
  static Index partial_size(Index K) { return K * K * kDoubles; }
  static void pack(const CrfArgs<T>&, T*) {}

  static double z(const CrfArgs<T>& a, Index t, Index b, Index k) {
    return double(a.z.p[t * a.z.step + b * a.z.row + k]);
  }
  static double between(const CrfArgs<T>& a, Index from, Index to) { return double(a.transition[from * a.K + to]); }

  template <class Term>
  static double log_sum(Index K, const Term& term) {
    double most = term(0), sum = 0;
    for (Index k = 1; k < K; ++k)
      if (term(k) > most) most = term(k);  // by std::fmax GCC 12 for ARM fails in its vectorizer
    for (Index k = 0; k < K; ++k) sum += std::exp(term(k) - most);
    return most + std::log(sum);
  }

  static double path_score(const CrfArgs<T>& a, const Index* tags, Index b) {
    const Index n = a.lengths[b];
    double sum = double(a.start[tags[b]]) + double(a.end[tags[(n - 1) * a.B + b]]);
    for (Index t = 0; t < n; ++t) sum += z(a, t, b, tags[t * a.B + b]);
    for (Index t = 1; t < n; ++t) sum += between(a, tags[(t - 1) * a.B + b], tags[t * a.B + b]);
    return sum;
  }

  static void row(const CrfArgs<T>& a, Index b, T* scratch, T* partial) {
    const Index n = a.lengths[b], K = a.K;
    double *const alpha = reinterpret_cast<double*>(scratch), *const beta = alpha + n * K;
    double log_z = 0;
    for (Index t = 0; t < n; ++t)
      for (Index to = 0; to < K; ++to)
        alpha[t * K + to] =
            z(a, t, b, to) +
            (t ? log_sum(K, [&](Index k) { return alpha[(t - 1) * K + k] + between(a, k, to); }) : double(a.start[to]));
    if (n) log_z = log_sum(K, [&](Index k) { return alpha[(n - 1) * K + k] + double(a.end[k]); });
    a.value[b] = n && a.tags ? log_z - path_score(a, a.tags, b) : log_z;
    if (!a.dz.p) return;
    for (Index t = n - 1; t >= 0; --t)
      for (Index from = 0; from < K; ++from)
        beta[t * K + from] = t == n - 1 ? double(a.end[from]) : log_sum(K, [&](Index k) {
          return between(a, from, k) + z(a, t + 1, b, k) + beta[(t + 1) * K + k];
        });
    double* const pairs = reinterpret_cast<double*>(partial);
    for (Index t = 0; t < a.steps; ++t)
      for (Index k = 0; k < K; ++k) {
        double gradient = 0;
        if (t < n) gradient = std::exp(alpha[t * K + k] + beta[t * K + k] - log_z);
        if (t < n && a.tags && a.tags[t * a.B + b] == k) gradient -= 1;
        a.dz.p[t * a.dz.step + b * a.dz.row + k] = T(double(a.scale) * gradient);
        for (Index from = 0; partial && 0 < t && t < n && from < K; ++from)
          pairs[from * K + k] +=
              std::exp(alpha[(t - 1) * K + from] + between(a, from, k) + z(a, t, b, k) + beta[t * K + k] - log_z);
      }
  }

  static void transition_gradient(const CrfArgs<T>& a, const T* partials, Index groups, const Index* counts, T* out) {
    const double* const pairs = reinterpret_cast<const double*>(partials);
    for (Index k = 0; k < a.K * a.K; ++k) {
      double sum = -double(counts[k]);
      for (Index g = 0; g < groups; ++g) sum += pairs[g * a.K * a.K + k];
      out[k] = T(double(a.scale) * sum);
    }
  }

  static void viterbi(const CrfArgs<T>& a, Index b, T* scratch) {
    const Index n = a.lengths[b], K = a.K;
    double* const v = reinterpret_cast<double*>(scratch);
    const auto best_before = [&](Index t, const auto& last) {  // the first of the best tags at t
      Index best = 0;
      for (Index k = 1; k < K; ++k)
        if (v[t * K + k] + last(k) > v[t * K + best] + last(best)) best = k;
      return best;
    };
    for (Index t = 0; t < n; ++t)
      for (Index to = 0; to < K; ++to) {
        const auto into = [&](Index k) { return between(a, k, to); };
        const Index best = t ? best_before(t - 1, into) : 0;
        v[t * K + to] = z(a, t, b, to) + (t ? v[(t - 1) * K + best] + into(best) : double(a.start[to]));
      }
    for (Index t = a.steps - 1; t >= 0; --t) {
      Index& tag = a.path[t * a.B + b];
      if (t >= n) tag = -1;
      else if (t == n - 1) tag = best_before(t, [&](Index k) { return double(a.end[k]); });
      else tag = best_before(t, [&](Index k) { return between(a, k, a.path[(t + 1) * a.B + b]); });
    }
    a.value[b] = n ? path_score(a, a.path, b) : 0;
  }
};

template <class T>
constexpr CrfKernels<T> reference_crf = {ReferenceCrf<T>::packed_size,  ReferenceCrf<T>::scratch_size,
                                         ReferenceCrf<T>::partial_size, ReferenceCrf<T>::pack,
                                         ReferenceCrf<T>::row,          ReferenceCrf<T>::transition_gradient,
                                         ReferenceCrf<T>::viterbi};
FR_NAMESPACE_END
