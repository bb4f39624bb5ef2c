// SPDX-License-Identifier: MIT
// What results of a kernel are held against, and options of calls by chance.
#pragma once
#include <algorithm>
#include <cstring>
#include "kernel_case.h"

// The error allowed, relative to the largest number of the tensor, or at T = 1 to each number or the root mean square,
// whichever is larger; numbers below 1/8 came about by cancellation. It grows with the logarithm of the number of
// products on the way to one number, as in tests/tolerance.py; the rows of the batch are on the way to a gradient.
template <class Precision>
double tolerance(const Options& o, bool backward) {
  const double products = double(o.I + o.H) * double(o.T) * double(backward ? o.B : 1);
  const double depth = std::ceil(std::log2(std::fmax(products, 2)));
  return (backward ? 2 : 1) * depth * Precision::epsilon;
}

// A normalisation divides by a standard deviation, or by sqrt(epsilon), and enlarges errors as much.
inline double magnified(const char* cell) { return std::strstr(cell, "layer_norm") ? 1 / std::sqrt(1e-5) : 1; }

template <class Precision, class T>
void check_close(const char* cell, const Options& o, const Result<T>& got, const Result<T>& want) {
  const double allowed = tolerance<Precision>(o, want.backward) * magnified(cell);
  double largest = 0, squares = 0;
  for (T value : want.values) {
    largest = std::fmax(largest, std::fabs(double(value)));
    squares += double(value) * double(value);
  }
  const double rms = std::sqrt(squares / double(want.values.size()));
  for (size_t k = 0; k < want.values.size(); ++k) {
    const double is = double(got.values[k]), should = double(want.values[k]);
    double scale = o.T > 1 ? largest : std::fmax(std::fabs(should), rms);
    if (largest > 0) scale = std::fmax(scale, 0.125);
    if (std::fabs(is - should) <= allowed * scale) continue;  // NaN is not
    CHECK(false, "%s[%zu] of %zu is %.9g, want %.9g", got.name.c_str(), k, want.values.size(), is, should);
    return;
  }
  CHECK(std::isfinite(largest), "%s: what is expected is not finite, the case is useless", want.name.c_str());
}

template <class T>
void check_same(const std::vector<Result<T>>& got, const std::vector<Result<T>>& want, const char* what) {
  CHECK(got.size() == want.size(), "%zu and %zu results", got.size(), want.size());
  for (size_t k = 0; k < got.size() && k < want.size(); ++k)
    CHECK(same_bits(got[k].values, want[k].values), "%s has other bits %s", want[k].name.c_str(), what);
}

template <class T>
std::vector<Result<T>> join(std::vector<Result<T>> a, const std::vector<Result<T>>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

// Shape (T,B,I,H) with options by chance
inline Options random_options(Index T, Index B, Index I, Index H, uint64_t seed) {
  check::Random random{seed};
  const auto coin = [&random] { return random.chance(0.5); };
  Options o{T, B, I, H, coin(), coin(), coin(), coin(), coin(), coin(), random.chance(0.8), coin(), seed};
  o.add_dx = o.add_dx && o.dx;
  o.controlled = seed % 2 == 0;
  if (coin()) o.constant_steps = coin() ? 1 : 1 + random.below(T + 1);
  return o;
}

// Segments of random lengths have the bits of a whole tape.
template <class T>
void check_segments_of(const fastrnn::Kernel<T>& kernel, KernelCase<T>& c, Sharing sharing,
                       const std::vector<Result<T>>& want) {
  std::vector<Index> bounds{c.o.T}, rows;
  while (bounds.back() > 0) {
    Index begin = std::max(Index(0), bounds.back() - 1 - c.random.below(1 + c.o.T / 2));
    while (begin > 0 && (c.batch.R - c.batch.rows_before(begin)) % kernel.row_multiple) --begin;
    bounds.push_back(begin);
  }
  std::reverse(bounds.begin(), bounds.end());
  for (Index bound : bounds) rows.push_back(c.batch.rows_before(bound));
  fastrnn::Checkpoints<T> checkpoints(kernel, c.dims(), bounds, rows, 1);
  KernelRun<T> run(kernel, c, sharing);
  const std::vector<Result<T>> got = run.forward(checkpoints);
  const check::Case threads("%td segments, %d threads", Index(bounds.size()) - 1, sharing.threads);
  check_same(join(got, run.backward(&checkpoints)), want, "than a whole tape");
}
