// SPDX-License-Identifier: MIT
// sigmoid and tanh of every target, through a step of a cell that is only that: rnn_tanh with H = 1 and W_ih = 1
// returns tanh(x), and a GRU with h0 = 1 whose n is silenced returns sigmoid(x), its update gate. The bounds are
// those that simd/math.h states.
#include <algorithm>
#include <cfloat>
#include <limits>
#include "dispatch.h"
#include "kernel_case.h"

namespace {
using fastrnn::find_target;
using fastrnn::Kernel;
using fastrnn::kernels_of;

template <class T> struct Bounds;
template <> struct Bounds<float> {
  using Exact = double;
  static constexpr double kSigmoidUlp = 2.5, kTanhUlp = 4, kSigmoidFrom = -87;
};
template <> struct Bounds<double> {
  using Exact = long double;
  static constexpr double kRelative = 4e-15, kSigmoidFrom = -708;
};

template <class T>
const Kernel<T>& kernel_of(const std::string& isa, const char* cell) {
  const fastrnn::Kernels<T>& kernels = kernels_of<T>(find_target(isa));
  int n = 0;
  while (std::string(kernels.cells[n].cell) != cell) ++n;
  return kernels.cells[n];
}

// h after one step for every x as a row of a batch, I = H = 1, W_hh = 0. Numbers below the normal range are kept.
template <class T>
std::vector<T> one_step(const Kernel<T>& kernel, const std::vector<T>& x, const std::vector<T>& W_ih,
                        const std::vector<T>& b_ih, T h0) {
  constexpr Index kRows = 1024;
  const fastrnn::Dims most{1, kRows, 1, 1, kRows, 1};
  const std::vector<T> zeros(W_ih.size(), 0), before(size_t(kRows), h0);
  std::vector<T> y(x.size()), last(size_t(kRows), 0);
  const Team alone{0, 1, false, [](void*) {}, [](void*) { return false; }, nullptr};
  const fastrnn::Buffer packed = fastrnn::buffer_of<T>(kernel.packed_size(most));
  const fastrnn::Buffer scratch = fastrnn::buffer_of<T>(kernel.forward_scratch_size(most, 1, false));
  kernel.pack(most, {W_ih.data(), zeros.data(), b_ih.data(), zeros.data(), nullptr, nullptr}, packed.as<T>(), alone);
  for (size_t begin = 0; begin < x.size(); begin += size_t(kRows)) {
    const Index n = std::min(kRows, Index(x.size() - begin));
    fastrnn::ForwardArgs<T> args{};
    args.dims = {1, n, 1, 1, n, 1}, args.steps.total = 1, args.packed = packed.as<T>(), args.scratch = scratch.as<T>();
    args.x = {x.data() + begin, n, 1}, args.y = {y.data() + begin, n, 1};
    args.s0[0] = before.data(), args.sT[0] = last.data();
    kernel.forward(args, alone);
  }
  return y;
}

template <class T>
std::vector<T> tanh_of(const std::string& isa, const std::vector<T>& x) {
  return one_step<T>(kernel_of<T>(isa, "rnn_tanh"), x, {1}, {0}, 0);
}
template <class T>
std::vector<T> sigmoid_of(const std::string& isa, const std::vector<T>& x) {
  return one_step<T>(kernel_of<T>(isa, "gru"), x, {0, 1, 0}, {0, 0, 0}, 1);
}
// By the bias, because 0 times infinity would reach the other gates
template <class T>
T sigmoid_of(const std::string& isa, T x) {
  return one_step<T>(kernel_of<T>(isa, "gru"), {T(0)}, {0, 0, 0}, {0, x, 0}, 1)[0];
}

// Of all magnitudes of T, and dense where the functions bend
template <class T>
std::vector<T> samples() {
  check::Random random{1};
  std::vector<T> x = {T(0), T(-0.0), std::numeric_limits<T>::denorm_min(), std::numeric_limits<T>::min(), T(1)};
  const double low = std::log(double(std::numeric_limits<T>::denorm_min())), high = std::log(2000.0);
  for (int n = 0; n < 100000; ++n) x.push_back(T(std::exp(random.uniform(low, high))));
  for (int n = 0; n < 140000; ++n) x.push_back(T(random.uniform(0, 20)));
  for (int n = 0; n < 70000; ++n) x.push_back(T(random.uniform(0, 1)));
  for (int n = 0; n < 10000; ++n) x.push_back(T(random.uniform(80, 90)));
  for (size_t n = 5; n < x.size(); ++n)
    if (random.chance(0.5)) x[n] = -x[n];
  return x;
}

// Distance to the next number of T away from 0
template <class T>
typename Bounds<T>::Exact spacing(typename Bounds<T>::Exact value) {
  const T magnitude = std::fabs(T(value));
  return typename Bounds<T>::Exact(std::nextafter(magnitude, std::numeric_limits<T>::infinity())) -
         typename Bounds<T>::Exact(magnitude);
}

struct Errors {
  double ulp = 0, relative = 0, at = 0;
};

template <class T>
Errors errors(const std::vector<T>& x, const std::vector<T>& got, const std::vector<typename Bounds<T>::Exact>& want,
              double from) {
  Errors most;
  for (size_t n = 0; n < x.size(); ++n) {
    if (!(x[n] >= T(from))) continue;
    const auto error = std::fabs(typename Bounds<T>::Exact(got[n]) - want[n]);
    const double ulp = std::isnan(got[n]) ? INFINITY : double(error / spacing<T>(want[n]));
    if (ulp > most.ulp) most.ulp = ulp, most.at = double(x[n]);
    if (std::fabs(want[n]) >= std::numeric_limits<T>::min())
      most.relative = std::fmax(most.relative, double(error / std::fabs(want[n])));
  }
  return most;
}

void check_bounds(const Errors& sigmoid, const Errors& tanh, Bounds<float>) {
  CHECK(sigmoid.ulp < Bounds<float>::kSigmoidUlp, "sigmoid: %.3f ULP at %.9g", sigmoid.ulp, sigmoid.at);
  CHECK(tanh.ulp < Bounds<float>::kTanhUlp, "tanh: %.3f ULP at %.9g", tanh.ulp, tanh.at);
}
void check_bounds(const Errors& sigmoid, const Errors& tanh, Bounds<double>) {
  CHECK(sigmoid.relative < Bounds<double>::kRelative, "sigmoid: error %.3g, %.3g ULP at %.17g", sigmoid.relative,
        sigmoid.ulp, sigmoid.at);
  CHECK(tanh.relative < Bounds<double>::kRelative, "tanh: error %.3g, %.3g ULP at %.17g", tanh.relative, tanh.ulp,
        tanh.at);
}

template <class T>
void check_edges(const std::string& isa) {
  using Limits = std::numeric_limits<T>;
  const T infinity = Limits::infinity(), from = T(Bounds<T>::kSigmoidFrom);
  const std::vector<T> x = {
      Limits::quiet_NaN(),   infinity, -infinity, Limits::max(), Limits::lowest(), 0, Limits::denorm_min(),
      -Limits::denorm_min(), from,     2 * from};
  const std::vector<T> tanh = tanh_of(isa, x);
  std::vector<T> sigmoid;
  for (T value : x) sigmoid.push_back(sigmoid_of(isa, value));
  CHECK(std::isnan(tanh[0]) && std::isnan(sigmoid[0]), "NaN gives %g and %g", double(tanh[0]), double(sigmoid[0]));
  CHECK(tanh[1] == 1 && tanh[2] == -1 && tanh[3] == 1 && tanh[4] == -1, "tanh of infinity is %.17g, of max %.17g",
        double(tanh[1]), double(tanh[3]));
  CHECK(sigmoid[1] == 1 && sigmoid[3] == 1, "sigmoid of infinity is %.17g, of max %.17g", double(sigmoid[1]),
        double(sigmoid[3]));
  // Below the bound the value stays where it is, or goes on towards 0: nothing is less than that.
  for (size_t n : {2, 4, 9})
    CHECK(sigmoid[n] >= 0 && sigmoid[n] <= sigmoid[8], "sigmoid(%g) is %g", double(x[n]), double(sigmoid[n]));
  CHECK(tanh[5] == 0 && sigmoid[5] == T(0.5), "of 0: %.17g and %.17g", double(tanh[5]), double(sigmoid[5]));
  CHECK(tanh[6] == x[6] && tanh[7] == x[7], "tanh of the least number is %g", double(tanh[6]));
  CHECK(sigmoid[6] == T(0.5) && sigmoid[7] == T(0.5), "sigmoid of the least number is %.17g", double(sigmoid[6]));
}

template <class T>
void check_all() {
  using Exact = typename Bounds<T>::Exact;
  const std::vector<T> x = samples<T>();
  std::vector<Exact> tanh, sigmoid;
  for (T value : x) {
    tanh.push_back(std::tanh(Exact(value)));
    sigmoid.push_back(1 / (1 + std::exp(-Exact(value))));
  }
  for (const std::string& isa : fastrnn::available_targets()) {
    const check::Case scope("%s %s", isa.c_str(), sizeof(T) == 4 ? "float" : "double");
    const Errors of_sigmoid = errors(x, sigmoid_of(isa, x), sigmoid, Bounds<T>::kSigmoidFrom);
    const Errors of_tanh = errors(x, tanh_of(isa, x), tanh, -INFINITY);
    std::printf("%-9s %-6s sigmoid %.3f ULP, %.2e at most   tanh %.3f ULP, %.2e\n", isa.c_str(),
                sizeof(T) == 4 ? "float" : "double", of_sigmoid.ulp, of_sigmoid.relative, of_tanh.ulp,
                of_tanh.relative);
    check_bounds(of_sigmoid, of_tanh, Bounds<T>());
    check_edges<T>(isa);
  }
}
}  // namespace

int main() {
  check_all<float>();
  check_all<double>();
  return check::report();
}
