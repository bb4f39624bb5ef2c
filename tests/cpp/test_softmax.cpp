// SPDX-License-Identifier: MIT
// Terms of softmaxes of every target against the target "reference", between fences.
#include <cmath>
#include "check.h"
#include "dispatch.h"
#include "guarded.h"

namespace {
template <class T>
struct Terms {
  Guarded<T> z, out;
  fastrnn::SoftmaxSum<T> sum;
  Terms(const std::string& isa, Index n, T scale, Index odd, double value) : z(n, 1), out(n, 1) {
    check::Random random{uint64_t(n)};
    for (Index k = 0; k < n; ++k) z[k] = T(random.uniform(-30, 30));
    if (odd >= 0) z[odd] = T(value);
    sum = fastrnn::models_of<T>(fastrnn::find_target(isa)).softmax_terms(z.data(), n, scale, out.data());
    z.check("z"), out.check("terms");
  }
};

template <class T>
void check_size(const std::string& isa, Index n) {
  const double allowed = 16 * (sizeof(T) == 4 ? 0x1p-23 : 0x1p-52), least = sizeof(T) == 4 ? 1e-37 : 1e-307;
  for (const T scale : {T(1), T(0.25), T(3)}) {
    const Terms<T> got(isa, n, scale, -1, 0), want("reference", n, scale, -1, 0);
    CHECK(got.sum.most == want.sum.most, "max is %g, want %g", double(got.sum.most), double(want.sum.most));
    CHECK(std::fabs(got.sum.sum - want.sum.sum) <= allowed * want.sum.sum, "sum is %.9g, want %.9g", got.sum.sum,
          want.sum.sum);
    for (Index k = 0; k < n; ++k)
      CHECK(std::fabs(double(got.out[k]) - double(want.out[k])) <= allowed * 90 * double(want.out[k]) + least,
            "term %td is %.9g, want %.9g", k, double(got.out[k]), double(want.out[k]));
  }
  for (Index odd : {Index(0), n / 2, n - 1}) {
    CHECK(std::isnan(Terms<T>(isa, n, T(1), odd, NAN).sum.sum), "NaN at %td has a softmax", odd);
    CHECK(std::isnan(Terms<T>(isa, n, T(1), odd, INFINITY).sum.sum), "infinity at %td has a softmax", odd);
    if (n == 1) continue;
    const Terms<T> none(isa, n, T(1), odd, -INFINITY);
    CHECK(none.sum.sum >= 1 && double(none.out[odd]) <= least, "-infinity at %td has the term %g", odd,
          double(none.out[odd]));
  }
}

template <class T>
void check_all() {
  for (const std::string& isa : fastrnn::available_targets())
    for (Index n : {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 40, 1003}) {
      const check::Case scope("%s %s n=%td", isa.c_str(), sizeof(T) == 4 ? "float" : "double", n);
      check_size<T>(isa, n);
    }
}
}  // namespace

int main() {
  check_all<float>();
  check_all<double>();
  return check::report();
}
