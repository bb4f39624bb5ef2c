// SPDX-License-Identifier: MIT
// The natural logarithm of positive normal numbers on Vec: with x = 2^k m, m from sqrt(1/2) to sqrt(2),
//
//   log x = k ln 2 + 2 atanh(f),  f = (m - 1) / (m + 1),  |f| < 0.172,  by the series of atanh
//
// to 2 ULP, or 2^-24 (double: 2^-53) near 1.
#pragma once
#include "../simd/math.h"
FR_NAMESPACE_BEGIN
template <class T> struct LogConstants;
template <> struct LogConstants<float> {
  typedef unsigned Bits __attribute__((vector_size(kVectorBytes)));
  static constexpr unsigned kRootHalf = 0x3f3504f3u, kOne = 0x3f800000u, kFraction = 0x7fffffu, kInteger = 0x4b000000u;
  static constexpr int kFractionBits = 23, kTerms = 5;
  static constexpr float kBias = 0x1p23f + 127;
};
template <> struct LogConstants<double> {
  typedef unsigned long long Bits __attribute__((vector_size(kVectorBytes)));
  static constexpr unsigned long long kRootHalf = 0x3fe6a09e667f3bcdull, kOne = 0x3ff0000000000000ull,
                                      kFraction = 0xfffffffffffffull, kInteger = 0x4330000000000000ull;
  static constexpr int kFractionBits = 52, kTerms = 11;
  static constexpr double kBias = 0x1p52 + 1023;
};

template <class T>
FR_FN Vec<T> log_(Vec<T> x) {
  using C = LogConstants<T>;
  using Bits = typename C::Bits;
  using Native = typename Vec<T>::Native;
  const Bits shifted = (Bits)x.v + (C::kOne - C::kRootHalf);
  const Vec<T> m = (Native)((shifted & C::kFraction) + C::kRootHalf);
  const Vec<T> k = Vec<T>((Native)(shifted >> C::kFractionBits | C::kInteger)) - Vec<T>(C::kBias);
  const Vec<T> f = (m - Vec<T>(1)).v / (m + Vec<T>(1)).v, square = f * f;
  Vec<T> series(T(1) / T(2 * C::kTerms + 1));
  FR_UNROLL for (int n = C::kTerms - 1; n > 0; --n) series = fma(series, square, Vec<T>(T(1) / T(2 * n + 1)));
  const Vec<T> twice = f + f, tail = fma(k, Vec<T>(ExpConstants<T>::kLn2Low), twice * square * series);
  return fma(k, Vec<T>(ExpConstants<T>::kLn2High), twice + tail);
}
FR_NAMESPACE_END
