// SPDX-License-Identifier: MIT
// Vec<T>: one SIMD register of T = float or double, on the vector extension of GCC and Clang.
//
// Here stands what the extension expresses by itself: arithmetic, plain loads and stores, the transposition, sums of
// squares. The header of the instruction set (avx512.h, avx2.h, neon.h, portable.h) includes this file and supplies:
//   kVectorBytes   width of a register
//   kAccumulators  registers that a product may keep as sums; the others hold its operands
//   fma(a, b, c)   a b + c        min(a, b), max(a, b)   b where either is NaN        square_root(a)
//   low_bits_to_exponent(a)       the number whose sign and exponent are the low bits of a and whose fraction is 0
//   reciprocal(a)  1 / a, at most 1 ULP away for float, exact division for double
//   where_positive(y, a)          a where y > 0, else 0
//   beyond(a, limit)              in how many lanes |a| > limit
//   load_first(p, n), store_first(p, v, n)   the first n lanes, all of them when n >= kLanes; the others are
//                  read as 0 and not touched in memory, so that a row of the user may end anywhere
#pragma once
#include "../cells/cell.h"
FR_NAMESPACE_BEGIN
// Loops over registers, and loops whose body is large and must stand once
#if defined(__clang__)
#define FR_UNROLL _Pragma("clang loop unroll(full)")
#define FR_LOOP _Pragma("clang loop unroll(disable)")
#else
#define FR_UNROLL _Pragma("GCC unroll 32")
#define FR_LOOP _Pragma("GCC unroll 1")
#endif

template <class T> struct NativeOf;  // g++ drops the attribute from a type that depends on T
template <> struct NativeOf<float> {
  typedef float Type __attribute__((vector_size(kVectorBytes)));
  typedef double Wide __attribute__((vector_size(2 * kVectorBytes)));
};
template <> struct NativeOf<double> {
  typedef double Type __attribute__((vector_size(kVectorBytes)));
  typedef double Wide __attribute__((vector_size(kVectorBytes)));
};

template <class T>
struct Vec {
  using Scalar = T;
  using Native = typename NativeOf<T>::Type;
  static constexpr int kLanes = kVectorBytes / sizeof(T);
  Native v;

  Vec() = default;
  FR_FN Vec(Native native) : v(native) {}
  FR_FN explicit Vec(T scalar) : v(scalar - Native{}) {}  // minus, because -0 + 0 is not -0

  static FR_FN Vec load(const T* p) {
    Vec a;
    __builtin_memcpy(&a.v, p, kVectorBytes);
    return a;
  }
  FR_FN void store(T* p) const { __builtin_memcpy(p, &v, kVectorBytes); }

  friend FR_FN Vec operator+(Vec a, Vec b) { return a.v + b.v; }
  friend FR_FN Vec operator-(Vec a, Vec b) { return a.v - b.v; }
  friend FR_FN Vec operator*(Vec a, Vec b) { return a.v * b.v; }
  friend FR_FN Vec operator-(Vec a) { return -a.v; }
};

// A sum of squares in double, lane by lane: the square of a gradient of 1e20 is beyond float
template <class T>
struct SquareSum {
  typename NativeOf<T>::Wide lanes = {};
  FR_FN void add(Vec<T> a) {
    const auto wide = __builtin_convertvector(a.v, typename NativeOf<T>::Wide);
    lanes += wide * wide;
  }
  FR_FN double total() const {
    double sums[Vec<T>::kLanes];
    __builtin_memcpy(sums, &lanes, sizeof sums);
    FR_UNROLL for (int n = Vec<T>::kLanes / 2; n; n /= 2) FR_UNROLL for (int l = 0; l < n; ++l) sums[l] += sums[l + n];
    return sums[0];
  }
};

template <int... kIndex> struct Indices {};
template <int kCount, int... kIndex> struct IndicesTo : IndicesTo<kCount - 1, kCount - 1, kIndex...> {};
template <int... kIndex> struct IndicesTo<0, kIndex...> {
  using Type = Indices<kIndex...>;
};

// Exchanges the off-diagonal halves of the 2d x 2d blocks of two rows that are d apart
template <int kDistance, class T, int... kIndex>
FR_FN void exchange(Vec<T>& a, Vec<T>& b, Indices<kIndex...>) {
  constexpr int L = Vec<T>::kLanes;
  const auto upper = a.v, lower = b.v;
#if defined(__clang__) || __GNUC__ >= 12
  a.v = __builtin_shufflevector(upper, lower, (kIndex & kDistance ? L + kIndex - kDistance : kIndex)...);
  b.v = __builtin_shufflevector(upper, lower, (kIndex & kDistance ? L + kIndex : kIndex + kDistance)...);
#else
  using Index = decltype(upper < lower);
  a.v = __builtin_shuffle(upper, lower, Index{(kIndex & kDistance ? L + kIndex - kDistance : kIndex)...});
  b.v = __builtin_shuffle(upper, lower, Index{(kIndex & kDistance ? L + kIndex : kIndex + kDistance)...});
#endif
}

// rows[i] lane l  <->  rows[l] lane i
template <class T, int kDistance = Vec<T>::kLanes / 2>
FR_FN void transpose(Vec<T> (&rows)[Vec<T>::kLanes]) {
  constexpr int L = Vec<T>::kLanes;
  FR_UNROLL for (int i = 0; i < L; ++i)
    if (!(i & kDistance)) exchange<kDistance>(rows[i], rows[i + kDistance], typename IndicesTo<L>::Type());
  if constexpr (kDistance > 1) transpose<T, kDistance / 2>(rows);
}
FR_NAMESPACE_END
