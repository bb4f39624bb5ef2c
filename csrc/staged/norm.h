// SPDX-License-Identifier: MIT
// Layer normalisation of a row in place, a^ = (a - mean a) / sqrt(variance a + 1e-5), and its derivative. A row is
// `count` stretches of H numbers that are `padded` apart; what lies between them takes no part. Sums are in double, one
// for each lane.
#pragma once
#include "../simd/math.h"
FR_NAMESPACE_BEGIN
namespace staged {
template <class Vec>
struct Sum {
  using Wide = typename NativeOf<typename Vec::Scalar>::Wide;
  Wide lanes = {};
  FR_FN void add(Vec a) { lanes += __builtin_convertvector(a.v, Wide); }
  FR_FN double total() const {
    double sum = 0;
    for (int l = 0; l < Vec::kLanes; ++l) sum += lanes[l];
    return sum;
  }
};

template <class Vec, class T = typename Vec::Scalar>
struct Norm {
  static constexpr int L = Vec::kLanes;
  static constexpr double kEpsilon = 1e-5;
  int count;
  Index H, padded;

  // f(offset, units that are left) for each vector
  template <class F>
  FR_FN void each(const F& f) const {
    for (int c = 0; c < count; ++c)
      for (Index j = 0; j < H; j += L) f(c * padded + j, H - j);
  }
  FR_FN double numbers() const { return double(count) * double(H); }

  // Returns 1 / sqrt(variance + epsilon)
  T normalise(T* a) const {
    Sum<Vec> sum;
    each([&](Index at, Index n) { sum.add(load_first(a + at, n)); });
    const Vec mean(T(sum.total() / numbers()));
    SquareSum<T> squares;
    each([&](Index at, Index n) {
      const Vec centred = Vec::load(a + at) - mean;
      centred.store(a + at);
      squares.add(n < L ? load_first(a + at, n) : centred);
    });
    const T scale = T(1 / __builtin_sqrt(squares.total() / numbers() + kEpsilon));
    each([&](Index at, Index) { (Vec::load(a + at) * Vec(scale)).store(a + at); });
    return scale;
  }

  // d: gradient of gain a^. Writes that of a: scale (g - mean g - a^ mean(g a^)) with g = gain d
  void backward(const T* d, const T* gain, const T* a, T scale, T* da) const {
    Sum<Vec> sum, weighted;
    each([&](Index at, Index n) {
      const Vec g = load_first(gain + at, n) * load_first(d + at, n);
      sum.add(g);
      weighted.add(g * load_first(a + at, n));
    });
    const Vec mean(T(sum.total() / numbers())), slope(T(weighted.total() / numbers()));
    each([&](Index at, Index) {
      const Vec g = Vec::load(gain + at) * Vec::load(d + at);
      (Vec(scale) * (g - mean - Vec::load(a + at) * slope)).store(da + at);
    });
  }
};
}  // namespace staged
FR_NAMESPACE_END
