// SPDX-License-Identifier: MIT
// How the next output of one row is chosen from its pre-activations z.
//
//   p = softmax(z / temperature)   restricted to the top_k largest, then to the fewest of these, the largest first, whose
//   sum reaches top_p of theirs; of equal ones the first. The choice is the first token, in the order of tokens, at which
//   the sum of what is left exceeds u times its total.
//
// u is drawn for the sequence and the step (draw.h).
#pragma once
#include <algorithm>
#include <cmath>
#include <limits>
#include "../draw.h"
#include "../models/api.h"
namespace fastrnn {

struct Sampling {
  double temperature = 0;  // 0: no sampling, the largest
  Index top_k = 0;  // 0: all
  double top_p = 1;
  uint64_t seed = 0;
  bool filters(Index n) const { return (top_k > 0 && top_k < n) || top_p < 1; }
};

struct Choice {
  Index token;
  double log_probability;  // of the model: log softmax(z), whatever the sampling; NaN where z has no softmax
};

template <class T>
double log_of_sum(SoftmaxSum<T> s) {
  return double(s.most) + std::log(s.sum);
}

// The first of the largest
template <class T>
Index first_of(const T* z, Index n, T most) {
  Index k = 0;
  while (k + 1 < n && z[k] != most) ++k;
  return k;
}

// Sets the terms of tokens that sampling leaves out to 0; order: room for n
template <class T>
void filter(const Sampling& how, Index n, T* terms, Index* order) {
  for (Index k = 0; k < n; ++k) order[k] = k;
  const auto before = [terms](Index a, Index b) { return terms[a] != terms[b] ? terms[a] > terms[b] : a < b; };
  const Index most = how.top_k > 0 ? std::min(how.top_k, n) : n;
  if (most < n) std::nth_element(order, order + most, order + n, before);
  Index kept = most;
  if (how.top_p < 1) {
    double total = 0, sum = 0;
    for (Index k = 0; k < most; ++k) total += double(terms[order[k]]);
    Index sorted = 0;
    for (kept = 0; kept < most && (kept == 0 || sum < how.top_p * total); ++kept) {
      if (kept == sorted) {  // in growing pieces: few tokens of many are needed
        sorted = std::min(most, std::max(Index(64), 2 * sorted));
        std::partial_sort(order + kept, order + sorted, order + most, before);
      }
      sum += double(terms[order[kept]]);
    }
  }
  for (Index k = kept; k < n; ++k) terms[order[k]] = 0;
}

// terms, order: room for n each; order only where sampling filters
template <class T>
Choice choose(const ModelKernels<T>& kernels, const Sampling& how, const T* z, Index n, Index sequence, Index step,
              T* terms, Index* order) {
  const SoftmaxSum<T> model = kernels.softmax_terms(z, n, T(1), terms);
  const double log_sum = log_of_sum(model);
  if (std::isnan(log_sum)) return {0, log_sum};
  const Index largest = first_of(z, n, model.most);
  if (how.temperature == 0) return {largest, double(z[largest]) - log_sum};
  if (how.temperature != 1) {  // infinite times 0 would be NaN, which does not sort
    const double most = double(std::numeric_limits<T>::max());
    kernels.softmax_terms(z, n, T(std::min(1 / how.temperature, most)), terms);
  }
  if (how.filters(n)) filter(how, n, terms, order);
  double total = 0, sum = 0;
  for (Index k = 0; k < n; ++k) total += double(terms[k]);
  const double limit = uniform(how.seed, sequence, step, 0) * total;
  for (Index k = 0; k < n; ++k)
    if ((sum += double(terms[k])) > limit) return {k, double(z[k]) - log_sum};
  return {largest, double(z[largest]) - log_sum};  // where rounding took limit to the total
}

// Outputs that are numbers of their own: y = z, or 0 and 1 with the probabilities sigmoid(z). Returns the sum of the
// log probabilities of these, 0 of y = z; NaN where a z is NaN.
template <class T>
double choose_numbers(const Sampling& how, bool sigmoid, const T* z, Index n, Index sequence, Index step, T* y) {
  double log_probability = 0;
  for (Index k = 0; k < n; ++k) {
    const double logit = double(z[k]);
    if (!sigmoid) {
      y[k] = z[k];
      log_probability += 0 * logit;
      continue;
    }
    const bool on = how.temperature == 0
                        ? logit > 0
                        : uniform(how.seed, sequence, step, k) < 1 / (1 + std::exp(-logit / how.temperature));
    y[k] = T(on);
    const double against = on ? -logit : logit;  // -log sigmoid(-against), of no positive exponent
    log_probability -= std::max(against, 0.0) + std::log1p(std::exp(-std::abs(against)));
  }
  return log_probability;
}

}  // namespace fastrnn
