// SPDX-License-Identifier: MIT
// A linear-chain conditional random field, one row of the batch at a time, tags in the lanes.
//
// Forward in the exponential domain: with u = e^(alpha[t-1] - max) and E = e^(A - c), c[to] the largest score into a tag,
//
//   s[to] = sum_from u[from] E[from][to]        alpha[t][to] = z[t][to] + c[to] + log s[to]
//
// which takes K exponentials and K logarithms a step. u and E are at most 1, so what is lost below the normal range is less
// than K 2^-124 (float) of a sum: where s > kLeast it is nothing. Other sums, of which all that is large is forbidden, are
// done again with the maximum of their own terms, K exponentials each. alpha is kept relative to its maximum, and the
// maxima are added in double: no score is too large and no sequence too long.
//
// Backward needs no exponentials of its own. The tag at t-1, given the one at t, is distributed as u[from] E[from][to] /
// s[to]; so with w[to] = p[t][to] / s[to]
//
//   p[t-1][from] = u[from] sum_to E[from][to] w[to]        dA[from][to] += E[from][to] u[from] w[to]
//
// are sums of positive numbers, and the marginals p are normalised where they are made.
#pragma once
#include "api.h"
#include "exponential.h"
#include "logarithm.h"
FR_NAMESPACE_BEGIN
template <class T> struct CrfLimits;
template <> struct CrfLimits<float> {
  static constexpr float kLeast = 0x1p-80f;
};
template <> struct CrfLimits<double> {
  static constexpr double kLeast = 0x1p-900;
};

template <class Vec, class T = typename Vec::Scalar>
struct Crf {
  static constexpr int L = Vec::kLanes;
  static constexpr Index kRows = 4;  // rows of a matrix are summed by fours

  // Rows of tags end at a whole vector; what is beyond K is 0 in sums and -infinity in scores.
  static Index rows_of(Index K) { return (K + kRows - 1) / kRows * kRows; }
  static Index width(Index K) {
    constexpr Index unit = L > kRows ? L : kRows;
    return (K + unit - 1) / unit * unit;
  }

  struct Packed {
    const T *E, *by_target, *scores, *scores_by_target;  // E, A, and their transposes
    const T *c, *start, *end, *finite;  // finite: 0, or NaN where a score is not
    Packed(const T* packed, Index K) {
      const Index matrix = rows_of(K) * width(K);
      E = packed, by_target = E + matrix, scores = by_target + matrix, scores_by_target = scores + matrix;
      c = scores_by_target + matrix, start = c + width(K), end = start + width(K), finite = end + width(K);
    }
  };
  static Index packed_size(Index K) { return (4 * rows_of(K) + 4) * width(K); }
  static Index scratch_size(Index steps, Index K) { return (2 * steps + 3) * width(K); }
  // Sums over u w, and over what is not in the exponential domain, both [to][from]
  static Index partial_size(Index K) { return 2 * rows_of(K) * width(K); }

  static void pack(const CrfArgs<T>& a, T* out) {
    const Index K = a.K, W = width(K), rows = rows_of(K);
    const Packed packed(out, K);
    const auto writable = [out](const T* at) { return out + (at - out); };
    T *const c = writable(packed.c), *const scores = writable(packed.scores), *const E = writable(packed.E);
    for (Index k = 0; k < packed_size(K); ++k) out[k] = 0;
    for (Index k = 0; k < 3 * W; ++k) c[k] = -T(__builtin_inf());
    for (Index k = 0; k < rows * W; ++k) scores[k] = -T(__builtin_inf());
    T finite = 0;
    for (Index k = 0; k < K; ++k) {
      writable(packed.start)[k] = a.start[k], writable(packed.end)[k] = a.end[k];
      finite += 0 * a.start[k] + 0 * a.end[k];
    }
    *writable(packed.finite) = finite;
    for (Index from = 0; from < K; ++from)
      for (Index to = 0; to < K; ++to) {
        const T score = a.transition[from * K + to];
        scores[from * W + to] = writable(packed.scores_by_target)[to * W + from] = score;
        *writable(packed.finite) += 0 * score;
        if (score > c[to]) c[to] = score;
      }
    for (Index from = 0; from < K; ++from) {
      T* const row = E + from * W;
      for (Index j = 0; j < W; j += L) exp_(Vec::load(scores + from * W + j) - Vec::load(c + j)).store(row + j);
      for (Index to = K; to < W; ++to) row[to] = 1;  // sums beyond K are not too small
      for (Index to = 0; to < K; ++to) writable(packed.by_target)[to * W + from] = row[to];
    }
  }

  // Row b: a.value, and where they are wanted a.dz and, partial not null, the share of the gradient to the transitions
  static void row(const CrfArgs<T>& a, Index b, T* scratch, T* partial) {
    const Index n = a.lengths[b], K = a.K, W = width(K);
    const Packed packed(a.packed, K);
    T *const alpha = scratch, *const s = alpha + n * W, *const u = s + n * W, *const p = u + W, *const next = p + W;
    a.value[b] = 0;
    if (n) {
      const double log_z = forward(a, packed, b, n, alpha, s, u, p);
      a.value[b] = a.tags ? log_z - path_score(a, a.tags, b) : log_z;
    }
    if (!a.dz.p) return;
    if (n) backward(a, packed, b, n, alpha, s, p, next, partial);
    for (Index t = n; t < a.steps; ++t) {
      T* const to = a.dz.p + t * a.dz.step + b * a.dz.row;
      for (Index k = 0; k < K; ++k) to[k] = 0;
    }
  }

  // The gradient to the transitions from partial sums of rows, in their order; counts: how often a pair of tags occurs
  static void transition_gradient(const CrfArgs<T>& a, const T* partials, Index groups, const Index* counts, T* out) {
    const Index K = a.K, W = width(K), matrix = rows_of(K) * W;
    const Packed packed(a.packed, K);
    for (Index to = 0; to < K; ++to)
      for (Index from = 0; from < K; from += L) {
        const Index at = to * W + from;
        Vec sum(0), exact(0);
        for (Index g = 0; g < groups; ++g) {
          sum = sum + Vec::load(partials + 2 * g * matrix + at);
          exact = exact + Vec::load(partials + (2 * g + 1) * matrix + at);
        }
        T expected[L];
        fma(Vec::load(packed.by_target + at), sum, exact).store(expected);
        for (Index l = 0; l < L && from + l < K; ++l)
          out[(from + l) * K + to] = a.scale * (expected[l] - T(counts[(from + l) * K + to]));
      }
  }

  // Row b: the best path, and its score as a.value
  static void viterbi(const CrfArgs<T>& a, Index b, T* scratch) {
    const Index n = a.lengths[b], K = a.K, W = width(K);
    const Packed packed(a.packed, K);
    T *const v = scratch, *const best = scratch + n * W;
    for (Index t = 0; t < n; ++t) {
      const T* const z = a.z.p + t * a.z.step + b * a.z.row;
      for (Index j = 0; j < W; j += L) {
        const Vec in = t ? best_into(packed.scores + j, v + (t - 1) * W, K, W) : Vec::load(packed.start + j);
        (in + load_first(z + j, K - j)).store(v + t * W + j);
      }
      shift(v + t * W, W, largest(v + t * W, W));
    }
    for (Index t = n; t < a.steps; ++t) a.path[t * a.B + b] = -1;
    for (Index t = n - 1, tag = 0; t >= 0; --t) {
      const T* const score = t == n - 1 ? packed.end : packed.scores_by_target + tag * W;
      for (Index j = 0; j < K; ++j) best[j] = v[t * W + j] + score[j];
      tag = 0;
      for (Index j = 1; j < K; ++j)
        if (best[j] > best[tag]) tag = j;
      a.path[t * a.B + b] = tag;
    }
    a.value[b] = n ? path_score(a, a.path, b) : 0;
  }

 private:
  // e^x for x <= 0, 0 where it is below the normal range
  static FR_FN Vec exp_(Vec x) { return where_positive(x + Vec(ExpConstants<T>::kSigmoidLimit), exponential(x)); }
  static FR_FN Vec quotient(Vec a, Vec b) { return a.v / b.v; }

  static T largest_lane(Vec a) {
    T lanes[L];
    a.store(lanes);
    FR_UNROLL for (int n = L / 2; n; n /= 2)
      FR_UNROLL for (int l = 0; l < n; ++l) lanes[l] = lanes[l] > lanes[l + n] ? lanes[l] : lanes[l + n];
    return lanes[0];
  }
  static T total_of_lanes(Vec a) {
    T lanes[L];
    a.store(lanes);
    FR_UNROLL for (int n = L / 2; n; n /= 2) FR_UNROLL for (int l = 0; l < n; ++l) lanes[l] += lanes[l + n];
    return lanes[0];
  }
  static T largest(const T* a, Index W) {
    Vec most = Vec::load(a);
    for (Index j = L; j < W; j += L) most = max(Vec::load(a + j), most);
    return largest_lane(most);
  }
  static T total(const T* a, Index W) {
    Vec sum = Vec::load(a);
    for (Index j = L; j < W; j += L) sum = sum + Vec::load(a + j);
    return total_of_lanes(sum);
  }
  static void shift(T* a, Index W, T by) {
    for (Index j = 0; j < W; j += L) (Vec::load(a + j) - Vec(by)).store(a + j);
  }
  static void exp_of(const T* a, Index W, T* out) {
    for (Index j = 0; j < W; j += L) exp_(Vec::load(a + j)).store(out + j);
  }
  static void multiply(T* a, Index W, T by) {
    for (Index j = 0; j < W; j += L) (Vec::load(a + j) * Vec(by)).store(a + j);
  }
  static FR_FN Vec best_into(const T* scores, const T* v, Index K, Index W) {
    Vec best = Vec(v[0]) + Vec::load(scores);
    for (Index k = 1; k < K; ++k) best = max(Vec(v[k]) + Vec::load(scores + k * W), best);
    return best;
  }

  // In double: sums over a path keep the digits of its scores
  static double path_score(const CrfArgs<T>& a, const Index* tags, Index b) {
    const Index n = a.lengths[b];
    double sum = double(a.start[tags[b]]) + double(a.end[tags[(n - 1) * a.B + b]]);
    for (Index t = 0; t < n; ++t) {
      const Index tag = tags[t * a.B + b];
      sum += double(a.z.p[t * a.z.step + b * a.z.row + tag]);
      if (t) sum += double(a.transition[tags[(t - 1) * a.B + b] * a.K + tag]);
    }
    return sum;
  }

  // sum_from e^(alpha[from] + scores[from] - most), and that maximum
  static T exact_sum(const T* alpha, const T* scores, Index W, T& most) {
    Vec highest = Vec::load(alpha) + Vec::load(scores);
    for (Index j = L; j < W; j += L) highest = max(Vec::load(alpha + j) + Vec::load(scores + j), highest);
    most = largest_lane(highest);
    Vec sum(0);
    for (Index j = 0; j < W; j += L) sum = sum + exp_(Vec::load(alpha + j) + Vec::load(scores + j) - Vec(most));
    return total_of_lanes(sum);
  }

  // log Z; alpha of every step relative to its maximum, s of every step but the first, p of the last step
  static double forward(const CrfArgs<T>& a, const Packed& packed, Index b, Index n, T* alpha, T* s, T* u, T* p) {
    const Index K = a.K, W = width(K);
    double maxima = double(*packed.finite);
    for (Index t = 0; t < n; ++t) {
      const T* const z = a.z.p + t * a.z.step + b * a.z.row;
      T *const now = alpha + t * W, *const sums = s + t * W;
      if (t) product(u, packed.E, rows_of(K), W, sums);
      Vec least(1), finite(0);
      for (Index j = 0; j < W; j += L) {
        const Vec emitted = load_first(z + j, K - j), sum = t ? Vec::load(sums + j) : Vec(1);
        least = min(least, sum);
        finite = fma(emitted, Vec(0), finite);
        (emitted + Vec::load((t ? packed.c : packed.start) + j) + log_(sum)).store(now + j);
      }
      if (too_small(least))
        for (Index to = 0; to < K; ++to) {
          if (sums[to] > CrfLimits<T>::kLeast) continue;
          T most;
          const T sum = exact_sum(now - W, packed.scores_by_target + to * W, W, most);
          now[to] = z[to] + most + T(log(double(sum)));
        }
      const T most = largest(now, W);
      maxima += double(most) + double(total_of_lanes(finite));
      shift(now, W, most);
      exp_of(now, W, u);
    }
    const T* const last = alpha + (n - 1) * W;
    for (Index j = 0; j < W; j += L) (Vec::load(last + j) + Vec::load(packed.end + j)).store(p + j);
    const T most = largest(p, W);
    shift(p, W, most);
    exp_of(p, W, p);
    const T sum = total(p, W);
    multiply(p, W, 1 / sum);
    return maxima + double(most) + log(double(sum));
  }

  // a.dz, and the row's share of the gradient to the transitions; s becomes w, alpha becomes u
  static void backward(const CrfArgs<T>& a, const Packed& packed, Index b, Index n, T* alpha, T* s, T* p, T* next,
                       T* partial) {
    const Index K = a.K, W = width(K), rows = rows_of(K);
    const Vec limit(CrfLimits<T>::kLeast);
    emit(a, b, n - 1, p);
    for (Index t = n - 1; t > 0; --t) {
      T *const w = s + t * W, *const before = alpha + (t - 1) * W;
      Vec least(1);
      for (Index j = 0; j < W; j += L) {
        const Vec sum = Vec::load(w + j);
        least = min(least, sum);
        where_positive(sum - limit, quotient(Vec::load(p + j), sum)).store(w + j);
      }
      product(w, packed.by_target, rows, W, next);
      for (Index j = 0; j < W; j += L) (exp_(Vec::load(before + j)) * Vec::load(next + j)).store(next + j);
      if (too_small(least))
        for (Index to = 0; to < K; ++to)
          if (w[to] == 0 && p[to] > 0)
            backward_exact(packed.scores_by_target + to * W, before, W, p[to], next,
                           partial ? partial + (rows + to) * W : nullptr);
      exp_of(before, W, before);
      multiply(next, W, 1 / total(next, W));
      T* const done = p;
      p = next, next = done;
      emit(a, b, t - 1, p);
    }
    for (Index to = 0; partial && to < rows; to += kRows) {
      Index j = 0;
      for (; j + 2 * L <= W; j += 2 * L) outer_tile<2>(s + W + to, alpha + j, n - 1, W, partial + to * W + j);
      for (; j < W; j += L) outer_tile<1>(s + W + to, alpha + j, n - 1, W, partial + to * W + j);
    }
  }

  // One tag `to` of step t, of probability p, whose sum is not in the exponential domain
  static void backward_exact(const T* scores, const T* alpha, Index W, T p, T* before, T* pairs) {
    T most;
    const T sum = exact_sum(alpha, scores, W, most);
    const Vec factor(p / sum);
    for (Index j = 0; j < W; j += L) {
      const Vec share = exp_(Vec::load(alpha + j) + Vec::load(scores + j) - Vec(most)) * factor;
      (Vec::load(before + j) + share).store(before + j);
      if (pairs) (Vec::load(pairs + j) + share).store(pairs + j);
    }
  }

  // dz of a step from its marginals
  static void emit(const CrfArgs<T>& a, Index b, Index t, const T* p) {
    T* const dz = a.dz.p + t * a.dz.step + b * a.dz.row;
    for (Index j = 0; j < a.K; j += L) store_first(dz + j, Vec::load(p + j) * Vec(a.scale), a.K - j);
    if (a.tags) dz[a.tags[t * a.B + b]] -= a.scale;
  }

  static bool too_small(Vec least) { return !(-largest_lane(-least) > CrfLimits<T>::kLeast); }

  // pairs[to][from] += sum_t w[t][to] u[t][from] for kRows tags and N vectors
  template <int N>
  static FR_FN void outer_tile(const T* w, const T* u, Index steps, Index W, T* pairs) {
    Vec sum[kRows][N];
    FR_UNROLL for (Index i = 0; i < kRows; ++i)
      FR_UNROLL for (int j = 0; j < N; ++j) sum[i][j] = Vec::load(pairs + i * W + j * L);
    FR_LOOP for (Index t = 0; t < steps; ++t)
      FR_UNROLL for (Index i = 0; i < kRows; ++i)
        FR_UNROLL for (int j = 0; j < N; ++j) sum[i][j] = fma(Vec(w[t * W + i]), Vec::load(u + t * W + j * L), sum[i][j]);
    FR_UNROLL for (Index i = 0; i < kRows; ++i)
      FR_UNROLL for (int j = 0; j < N; ++j) sum[i][j].store(pairs + i * W + j * L);
  }

  // out[j] = sum_k a[k] matrix[k][j] over rows of a matrix, N vectors at a time in so many chains that none waits
  template <int N>
  static FR_FN void product_tile(const T* a, const T* matrix, Index rows, Index W, T* out) {
    constexpr int kChains = N > 2 ? 2 : 4;
    Vec sum[kChains][N];
    FR_UNROLL for (int c = 0; c < kChains; ++c) FR_UNROLL for (int j = 0; j < N; ++j) sum[c][j] = Vec(0);
    for (Index k = 0; k < rows; k += kChains)
      FR_UNROLL for (int c = 0; c < kChains; ++c)
        FR_UNROLL for (int j = 0; j < N; ++j)
          sum[c][j] = fma(Vec(a[k + c]), Vec::load(matrix + (k + c) * W + j * L), sum[c][j]);
    FR_UNROLL for (int n = kChains / 2; n; n /= 2)
      FR_UNROLL for (int c = 0; c < n; ++c) FR_UNROLL for (int j = 0; j < N; ++j) sum[c][j] = sum[c][j] + sum[c + n][j];
    FR_UNROLL for (int j = 0; j < N; ++j) sum[0][j].store(out + j * L);
  }
  static void product(const T* a, const T* matrix, Index rows, Index W, T* out) {
    Index j = 0;
    for (; j + 4 * L <= W; j += 4 * L) product_tile<4>(a, matrix + j, rows, W, out + j);
    for (; j + 2 * L <= W; j += 2 * L) product_tile<2>(a, matrix + j, rows, W, out + j);
    for (; j < W; j += L) product_tile<1>(a, matrix + j, rows, W, out + j);
  }
};
FR_NAMESPACE_END
