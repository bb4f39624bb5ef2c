// SPDX-License-Identifier: MIT
// Pairs of bfloat16 numbers as operands of products whose sums are float.
//
// A bfloat16 is the upper half of a float: the same range, 8 bits of precision. Two neighbours of a reduction, k and
// k + 1, share 32 bits, as the instruction of AVX512_BF16 wants them: it multiplies both pairs and adds both products
// to a sum, twice the work of a float FMA. Elsewhere the halves are widened by shifts and multiplied one after the
// other: the same network everywhere, but slower than float.
#pragma once
#include "../api.h"
#include "vec.h"
FR_NAMESPACE_BEGIN
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "neighbours in memory are the lower and the upper half");
struct __attribute__((may_alias)) Pair {
  unsigned bits;  // k in the lower half, k + 1 in the upper
};

struct Pairs {
  using Scalar = Pair;
  typedef unsigned Native __attribute__((vector_size(kVectorBytes)));
  static constexpr int kLanes = kVectorBytes / 4;
  Native v;

  Pairs() = default;
  FR_FN Pairs(Native native) : v(native) {}
  FR_FN explicit Pairs(Pair pair) : v(pair.bits + Native{}) {}
  static FR_FN Pairs load(const Pair* p) {
    Pairs a;
    __builtin_memcpy(&a.v, p, kVectorBytes);
    return a;
  }
  FR_FN void store(Pair* p) const { __builtin_memcpy(p, &v, kVectorBytes); }
};

#if defined(__AVX512BF16__)
FR_FN Pairs::Native to_bfloat(Vec<float> a) {
  return (Pairs::Native)_mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(a.v));
}
FR_FN void store_halves(Pair* p, Vec<float> a) {
  const __m256bh halves = _mm512_cvtneps_pbh(a.v);
  __builtin_memcpy(p, &halves, sizeof halves);
}
FR_FN Vec<float> fma(Pairs a, Pairs b, Vec<float> c) { return _mm512_dpbf16_ps(c.v, (__m512bh)a.v, (__m512bh)b.v); }
#else
// Each lane rounded to the nearest bfloat16, in its lower 16 bits
FR_FN Pairs::Native to_bfloat(Vec<float> a) {
  const Pairs::Native bits = (Pairs::Native)a.v;
  const Pairs::Native rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const Pairs::Native nan = (bits >> 16) | 0x40u;  // rounding could carry it to infinity
  return a.v == a.v ? rounded : nan;
}
// All lanes as neighbours, in kLanes / 2 pairs
FR_FN void store_halves(Pair* p, Vec<float> a) {
  typedef unsigned short Halves __attribute__((vector_size(kVectorBytes / 2)));
  const Halves halves = __builtin_convertvector(to_bfloat(a), Halves);
  __builtin_memcpy(p, &halves, sizeof halves);
}
#endif
FR_FN Pairs pack_pairs(Vec<float> low, Vec<float> high) { return to_bfloat(low) | to_bfloat(high) << 16; }

FR_FN Pair* halves(float* p) { return reinterpret_cast<Pair*>(p); }

// A row of n numbers, rounded, and zeros up to whole vectors
template <class Vec>
FR_FN void copy_halves(const float* from, Pair* to, Index n) {
  for (Index j = 0; j < n; j += Vec::kLanes) store_halves(to + j / 2, load_first(from + j, n - j));
}

// How a product holds its operands: elements E of memory as registers, in kParts turns
template <class Vec, class E>
struct Operand {
  using Type = Vec;
  static constexpr int kParts = 1;
  static FR_FN Type of(E scalar, int) { return Vec(scalar); }
  static FR_FN Type load(const E* p, int) { return Vec::load(p); }
};
#if defined(__AVX512BF16__)
template <class Vec>
struct Operand<Vec, Pair> {
  using Type = Pairs;
  static constexpr int kParts = 1;
  static FR_FN Type of(Pair pair, int) { return Pairs(pair); }
  static FR_FN Type load(const Pair* p, int) { return Pairs::load(p); }
};
#else
template <class Vec>
struct Operand<Vec, Pair> {
  using Type = Vec;
  static constexpr int kParts = 2;  // lower halves, then upper halves: no register holds both
  static FR_FN Type widen(Pairs pairs, int part) {
    return (typename Vec::Native)(part ? pairs.v & 0xffff0000u : pairs.v << 16);
  }
  static FR_FN Type of(Pair pair, int part) { return widen(Pairs(pair), part); }
  static FR_FN Type load(const Pair* p, int part) { return widen(Pairs::load(p), part); }
};
#endif

// The numbers an element holds, and what memory it lies in is counted in
template <class E> struct ElementOf {
  static constexpr int kNumbers = 1;
  using Word = E;
};
template <> struct ElementOf<Pair> {
  static constexpr int kNumbers = 2;
  using Word = float;
};
template <class E> FR_FN constexpr ptrdiff_t elements(ptrdiff_t n) {
  return (n + ElementOf<E>::kNumbers - 1) / ElementOf<E>::kNumbers;
}
FR_NAMESPACE_END
