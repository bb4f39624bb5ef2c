// SPDX-License-Identifier: MIT
// sigmoid, tanh and relu on Vec. Both sigmoids stand on one reduction:
//
//   x = n ln 2 + r,  |r| <= ln 2 / 2,  p = e^r - 1 = r + r^2 q(r)      so  e^x - 1 = 2^n p + (2^n - 1)
//
// q is the Chebyshev interpolant of (e^r - 1 - r) / r^2; relative error of p: 2.2e-8 (float), 5.3e-19 (double).
// tanh x = e / (e + 2) with e = e^2x - 1 keeps its relative accuracy at 0, where a quotient of exponentials
// would cancel, and needs neither a branch nor |x|.
//
// Maximum errors, sampled and asserted by tests/cpp/test_math.cpp (double: 4e-15 relative):
//   sigmoid  float 2.5 ULP for x >= -87 (below, the value stays at 1.6e-38)
//   tanh     float 4 ULP everywhere
// NaN gives NaN: min and max return their second argument.
#pragma once
#include "../cells/math.h"
#include "vec.h"
FR_NAMESPACE_BEGIN
template <class T> struct ExpConstants;
template <> struct ExpConstants<float> {
  static constexpr int kTerms = 5;
  static constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
  static constexpr float kToExponent = 0x1.8p23f + 127;
  static constexpr float kSigmoidLimit = 87, kTanhLimit = 9.1f;  // tanh(9.1) rounds to 1
  static constexpr float q[] = {.5f, 0.16666576305560638f, 0.041666553762567638f, 0.0083632927530306023f,
                                0.0013926325618133462f};
};
template <> struct ExpConstants<double> {
  static constexpr int kTerms = 11;
  static constexpr double kLn2High = 6.93145751953125e-1, kLn2Low = 1.42860682030941723212e-6;
  static constexpr double kToExponent = 0x1.8p52 + 1023;
  static constexpr double kSigmoidLimit = 708, kTanhLimit = 19.1;  // tanh(19.1) rounds to 1
  static constexpr double q[] = {.5,
                                 0.16666666666666671,
                                 0.04166666666666667,
                                 0.008333333333326025,
                                 0.001388888888888367,
                                 0.00019841269875205077,
                                 2.4801587325822282e-5,
                                 2.7557254913486702e-6,
                                 2.7557273295539724e-7,
                                 2.5105419192016336e-8,
                                 2.0914831351380411e-9};
};

// e^x = scale (1 + p). Adding kToExponent rounds x / ln 2 to an integer n and leaves n, biased, in the low bits.
template <class T>
FR_FN void exp_parts(Vec<T> x, Vec<T>& scale, Vec<T>& p) {
  using C = ExpConstants<T>;
  const Vec<T> shifted = fma(x, Vec<T>(T(1.44269504088896340736)), Vec<T>(C::kToExponent));
  const Vec<T> n = shifted - Vec<T>(C::kToExponent);
  const Vec<T> r = fma(n, Vec<T>(-C::kLn2Low), fma(n, Vec<T>(-C::kLn2High), x));
  Vec<T> q(C::q[C::kTerms - 1]);
  FR_UNROLL for (int k = C::kTerms - 2; k >= 0; --k) q = fma(q, r, Vec<T>(C::q[k]));
  p = fma(r * r, q, r);
  scale = low_bits_to_exponent(shifted);
}

template <class T>
FR_FN Vec<T> clamp(Vec<T> x, T limit) { return max(Vec<T>(-limit), min(Vec<T>(limit), x)); }

template <class T>
FR_FN Vec<T> sigmoid(Vec<T> x) {
  Vec<T> scale, p;
  exp_parts(-clamp(x, ExpConstants<T>::kSigmoidLimit), scale, p);
  return reciprocal(fma(scale, p, scale + Vec<T>(1)));
}

template <class T>
FR_FN Vec<T> tanh_(Vec<T> x) {
  Vec<T> scale, p;
  x = clamp(x, ExpConstants<T>::kTanhLimit);
  exp_parts(x + x, scale, p);
  const Vec<T> e = fma(scale, p, scale - Vec<T>(1));
  return e * reciprocal(e + Vec<T>(2));
}

template <class T>
FR_FN Vec<T> relu(Vec<T> x) { return max(Vec<T>(0), x); }
FR_NAMESPACE_END
