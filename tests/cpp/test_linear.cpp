// SPDX-License-Identifier: MIT
// Linear maps of every target against the target "reference", between fences, and the bits of a row alone and among
// others.
#include <algorithm>
#include <cmath>
#include "check.h"
#include "dispatch.h"
#include "guarded.h"

namespace {
using fastrnn::find_target;
using fastrnn::LinearArgs;
using fastrnn::LinearWeights;
using fastrnn::ModelKernels;
using fastrnn::models_of;

template <class T>
Guarded<T> random_array(check::Random& random, Index n) {
  Guarded<T> array(n, 1);
  for (Index k = 0; k < n; ++k) array[k] = T(random.uniform(-1, 1));
  return array;
}

struct Shape {
  Index N, H, K;
  bool transposed, bias, add, tanh, packed = true;
};

constexpr Index kGap = 3;  // between the rows of matrices

// What z holds, of the rows and of the gaps between them
template <class T>
std::vector<T> run(const std::string& isa, const Shape& s, uint64_t seed, Index first, Index rows) {
  check::Random random{seed};
  const ModelKernels<T>& kernels = models_of<T>(find_target(isa));
  const Index W_ld = (s.transposed ? s.H : s.K) + kGap, x_ld = s.K + kGap, z_ld = s.H + kGap;
  const Guarded<T> W = random_array<T>(random, (s.transposed ? s.K : s.H) * W_ld), bias = random_array<T>(random, s.H);
  const Guarded<T> x = random_array<T>(random, s.N * x_ld), all = random_array<T>(random, s.N * z_ld);
  const Guarded<T> packed(kernels.linear_packed_size(s.H, s.K)), z(rows * z_ld, 1);
  std::copy_n(all.data() + first * z_ld, rows * z_ld, z.data());
  const LinearWeights<T> weights{W.data(), s.bias ? bias.data() : nullptr, s.H, s.K, W_ld, s.transposed};
  const LinearArgs<T> args{
      s.packed ? packed.data() : nullptr, rows, s.H, s.K, x.data() + first * x_ld, x_ld, z.data(), z_ld, s.add, s.tanh};
  if (s.packed) {
    kernels.pack_linear(weights, packed.data());
    kernels.linear(args);
  } else {
    kernels.linear_unpacked(weights, args);
  }
  W.check("W"), bias.check("bias"), x.check("x"), packed.check("packed"), z.check("z");
  for (Index k = 0; k < rows; ++k)
    for (Index j = s.H; j < z_ld; ++j)
      CHECK(z[k * z_ld + j] == all[(first + k) * z_ld + j], "column %td of row %td was written", j, k);
  return z.copy();
}

template <class T>
void check_shape(const std::string& isa, const Shape& s) {
  const uint64_t seed = uint64_t(s.N * 1000 + s.H * 10 + s.K);
  const std::vector<T> got = run<T>(isa, s, seed, 0, s.N), want = run<T>("reference", s, seed, 0, s.N);
  const double allowed = (sizeof(T) == 4 ? 0x1p-23 : 0x1p-52) * (8 + 2 * double(s.K));
  for (size_t k = 0; k < want.size(); ++k) {
    if (std::fabs(double(got[k]) - double(want[k])) <= allowed) continue;
    CHECK(false, "z[%zu] is %.17g, want %.17g", k, double(got[k]), double(want[k]));
    break;
  }
  const Index z_ld = s.H + kGap;
  for (Index row = 0; row < s.N; row += std::max(Index(1), s.N / 3)) {
    const std::vector<T> alone = run<T>(isa, s, seed, row, 1);
    CHECK(same_bits(alone, std::vector<T>(got.begin() + row * z_ld, got.begin() + (row + 1) * z_ld)),
          "row %td alone has other bits", row);
  }
  if (s.transposed) return;
  Shape unpacked = s;
  unpacked.packed = false;
  CHECK(same_bits(run<T>(isa, unpacked, seed, 0, s.N), got), "without packing there are other bits");
}

template <class T>
void check_all() {
  for (const std::string& isa : fastrnn::available_targets())
    for (Index N : {0, 1, 2, 5, 7, 97, 200})
      for (Index H : {1, 3, 16, 17, 40, 64, 65, 81})
        for (Index K : {0, 1, 7, 16, 33}) {
          const int option = int(N + H + K);
          const Shape s{N, H, K, option % 2 == 0, option % 3 != 0, option % 5 == 0, option % 7 < 2};
          const check::Case scope("%s %s N=%td H=%td K=%td%s%s%s%s", isa.c_str(), sizeof(T) == 4 ? "float" : "double",
                                  N, H, K, s.transposed ? " transposed" : "", s.bias ? " bias" : "",
                                  s.add ? " add" : "", s.tanh ? " tanh" : "");
          check_shape<T>(isa, s);
        }
}
}  // namespace

int main() {
  check_all<float>();
  check_all<double>();
  return check::report();
}
