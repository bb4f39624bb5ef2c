// SPDX-License-Identifier: MIT
// Optimizers, sums of squares and rows of embeddings of every target against the target "reference", at sizes around
// the ends of vectors, between fences.
#include <algorithm>
#include <cmath>
#include "check.h"
#include "dispatch.h"
#include "guarded.h"

namespace {
using fastrnn::find_target;
using fastrnn::ModelKernels;
using fastrnn::models_of;

template <class T>
const ModelKernels<T>& kernels(const std::string& isa) {
  return models_of<T>(find_target(isa));
}

template <class T>
Guarded<T> random_array(check::Random& random, Index n, double low, double high) {
  Guarded<T> array(n, 1);
  for (Index k = 0; k < n; ++k) array[k] = T(random.uniform(low, high));
  return array;
}

template <class T>
Guarded<T> copy(const Guarded<T>& from) {
  Guarded<T> to(from.size(), 1);
  std::copy_n(from.data(), from.size(), to.data());
  return to;
}

// Some ten operations on numbers of order 1
template <class T>
void check_close(const char* name, const Guarded<T>& got, const Guarded<T>& want) {
  const double allowed = 8 * (sizeof(T) == 4 ? 0x1p-23 : 0x1p-52);
  for (Index k = 0; k < want.size(); ++k) {
    if (std::fabs(double(got[k]) - double(want[k])) <= allowed * std::fmax(1, std::fabs(double(want[k])))) continue;
    CHECK(false, "%s[%td] of %td is %.17g, want %.17g", name, k, want.size(), double(got[k]), double(want[k]));
    break;
  }
  got.check(name);
}

template <class T>
struct Parameters {
  Guarded<T> p, gradient, a, b;  // a, b: moments, or a the buffer of momentum
  Parameters(Index n, uint64_t seed) {
    check::Random random{seed};
    p = random_array<T>(random, n, -2, 2), gradient = random_array<T>(random, n, -2, 2);
    a = random_array<T>(random, n, -1, 1), b = random_array<T>(random, n, 0, 1);
  }
  void check_close_to(const Parameters& want, const std::vector<T>& gradient_before) const {
    check_close("parameter", p, want.p);
    check_close("first moment or buffer", a, want.a);
    check_close("second moment", b, want.b);
    CHECK(same_bits(gradient.copy(), gradient_before), "the gradient was written");
    gradient.check("gradient");
  }
};

template <class T>
void adam(const ModelKernels<T>& kernel, const Parameters<T>& at, int variant) {
  const int step = 1 + variant * 7;
  kernel.adam({at.p.data(), at.gradient.data(), at.a.data(), at.b.data(), at.p.size(), T(0.01), T(0.9), T(0.999),
               T(1e-8), T(variant < 2 ? 0 : 0.1), T(variant % 2 ? 0.5 : 1), T(1 - std::pow(0.9, step)),
               T(std::sqrt(1 - std::pow(0.999, step))), variant == 3});
}

template <class T>
void sgd(const ModelKernels<T>& kernel, const Parameters<T>& at, int variant) {
  // Without momentum, the first step, a later one, Nesterov's
  kernel.sgd({at.p.data(), at.gradient.data(), variant ? at.a.data() : nullptr, at.p.size(), T(0.1), T(0.9),
              T(variant % 2 ? 0.1 : 0), T(variant % 2 ? 0.5 : 1), variant == 1, variant == 3});
}

// Plain, with momentum, centered, both. The average of the gradients stays within that of their squares.
template <class T>
void rmsprop(const ModelKernels<T>& kernel, const Parameters<T>& at, int variant) {
  Guarded<T> mean(at.p.size(), 1);
  for (Index k = 0; k < mean.size(); ++k) mean[k] = T(0.5) * at.b[k];
  kernel.rmsprop({at.p.data(), at.gradient.data(), at.b.data(), variant > 1 ? mean.data() : nullptr,
                  variant % 2 ? at.a.data() : nullptr, at.p.size(), T(0.01), T(0.9), T(1e-3), T(variant == 3 ? 0.1 : 0),
                  T(0.9), T(variant % 2 ? 0.5 : 1)});
  mean.check("average of gradients");
}

template <class T>
void check_optimizers(const std::string& isa, Index n) {
  for (int variant = 0; variant < 4; ++variant)
    for (auto* update : {adam<T>, sgd<T>, rmsprop<T>}) {
      const check::Case scope("%s, variant %d",
                              update == adam<T>  ? "adam"
                              : update == sgd<T> ? "sgd"
                                                 : "rmsprop",
                              variant);
      const Parameters<T> got(n, 5), want(n, 5);
      update(kernels<T>(isa), got, variant);
      update(kernels<T>("reference"), want, variant);
      got.check_close_to(want, want.gradient.copy());
    }
  // A buffer that is written first need not hold numbers.
  const Parameters<T> got(n, 6), want(n, 6);
  for (Index k = 0; k < n; ++k) got.a[k] = T(NAN);
  sgd<T>(kernels<T>(isa), got, 1);
  sgd<T>(kernels<T>("reference"), want, 1);
  got.check_close_to(want, want.gradient.copy());
}

template <class T>
void check_square_sum(const std::string& isa, Index n) {
  check::Random random{7};
  const Guarded<T> array = random_array<T>(random, n, -2, 2);
  const double got = kernels<T>(isa).square_sum(array.data(), n);
  const double want = kernels<T>("reference").square_sum(array.data(), n);
  CHECK(std::fabs(got - want) <= 1e-13 * want, "square_sum is %.17g, want %.17g", got, want);
  for (Index k = 0; k < n; ++k) array[k] = T(sizeof(T) == 4 ? 1e25 : 1e100);
  const double large = kernels<T>(isa).square_sum(array.data(), n), each = double(n ? array[0] : T(0));
  CHECK(std::fabs(large - double(n) * each * each) <= 1e-13 * large, "squares beyond float: %g", large);
}

// Rows are copied and added one number at a time: to the last bit
template <class T>
void check_embedding(const std::string& isa, Index width) {
  constexpr Index kRows = 7, kIds = 20;
  check::Random random{uint64_t(width)};
  Index ids[kIds];
  for (Index& id : ids) id = random.below(kRows);  // some more than once
  const Guarded<T> table = random_array<T>(random, kRows * width, -2, 2);
  const Guarded<T> rows(kIds * width, 1), want_rows(kIds * width);
  kernels<T>(isa).gather(table.data(), width, ids, kIds, rows.data());
  kernels<T>("reference").gather(table.data(), width, ids, kIds, want_rows.data());
  CHECK(same_bits(rows.copy(), want_rows.copy()), "gather of rows of %td", width);
  for (Index k = 0; k < kIds; ++k)
    CHECK(std::equal(rows.data() + k * width, rows.data() + (k + 1) * width, table.data() + ids[k] * width),
          "row %td is not that of id %td", k, ids[k]);
  rows.check("gathered");

  const Guarded<T> added = random_array<T>(random, kIds * width, -2, 2), sum = copy(table), want_sum = copy(table);
  kernels<T>(isa).scatter_add(added.data(), width, ids, kIds, sum.data());
  kernels<T>("reference").scatter_add(added.data(), width, ids, kIds, want_sum.data());
  CHECK(same_bits(sum.copy(), want_sum.copy()), "scatter_add of rows of %td", width);
  sum.check("table"), added.check("added rows"), table.check("table");
  kernels<T>(isa).scatter_add(added.data(), width, ids, 0, sum.data());
  CHECK(same_bits(sum.copy(), want_sum.copy()), "scatter_add of no rows");
}

template <class T>
void check_all() {
  for (const std::string& isa : fastrnn::available_targets())
    for (Index n : {0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 70, 1003}) {
      const check::Case scope("%s %s n=%td", isa.c_str(), sizeof(T) == 4 ? "float" : "double", n);
      check_optimizers<T>(isa, n);
      check_square_sum<T>(isa, n);
      check_embedding<T>(isa, n);
    }
}
}  // namespace

int main() {
  check_all<float>();
  check_all<double>();
  return check::report();
}
