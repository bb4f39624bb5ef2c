// SPDX-License-Identifier: MIT
// AVX2 with FMA: 32-byte vectors, 16 registers. 12 sums leave 4: three broadcast rows and one column.
#pragma once
#include <immintrin.h>
#include "../cells/cell.h"
FR_NAMESPACE_BEGIN
constexpr int kVectorBytes = 32, kAccumulators = 12;
FR_NAMESPACE_END
#include "vec.h"
FR_NAMESPACE_BEGIN
using F32 = Vec<float>;
using F64 = Vec<double>;

FR_FN F32 fma(F32 a, F32 b, F32 c) { return _mm256_fmadd_ps(a.v, b.v, c.v); }
FR_FN F64 fma(F64 a, F64 b, F64 c) { return _mm256_fmadd_pd(a.v, b.v, c.v); }
FR_FN F32 min(F32 a, F32 b) { return _mm256_min_ps(a.v, b.v); }
FR_FN F64 min(F64 a, F64 b) { return _mm256_min_pd(a.v, b.v); }
FR_FN F32 max(F32 a, F32 b) { return _mm256_max_ps(a.v, b.v); }
FR_FN F64 max(F64 a, F64 b) { return _mm256_max_pd(a.v, b.v); }
FR_FN F32 square_root(F32 a) { return _mm256_sqrt_ps(a.v); }
FR_FN F64 square_root(F64 a) { return _mm256_sqrt_pd(a.v); }
FR_FN F32 low_bits_to_exponent(F32 a) { return (__m256)_mm256_slli_epi32((__m256i)a.v, 23); }
FR_FN F64 low_bits_to_exponent(F64 a) { return (__m256d)_mm256_slli_epi64((__m256i)a.v, 52); }
FR_FN F32 where_positive(F32 y, F32 a) { return _mm256_and_ps(_mm256_cmp_ps(y.v, F32(0).v, _CMP_GT_OQ), a.v); }
FR_FN F64 where_positive(F64 y, F64 a) { return _mm256_and_pd(_mm256_cmp_pd(y.v, F64(0).v, _CMP_GT_OQ), a.v); }
FR_FN int beyond(F32 a, F32 limit) {
  return __builtin_popcount(unsigned(_mm256_movemask_ps(_mm256_cmp_ps(max(a, -a).v, limit.v, _CMP_GT_OQ))));
}
FR_FN int beyond(F64 a, F64 limit) {
  return __builtin_popcount(unsigned(_mm256_movemask_pd(_mm256_cmp_pd(max(a, -a).v, limit.v, _CMP_GT_OQ))));
}
FR_FN F32 reciprocal(F32 a) { return F32(1).v / a.v; }  // rcpps has 12 bits: one Newton step is not enough
FR_FN F64 reciprocal(F64 a) { return F64(1).v / a.v; }

// A masked store costs tens of cycles on AMD cores before Zen 5, hence the branch.
FR_FN __m256i first_lanes32(ptrdiff_t n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
FR_FN __m256i first_lanes64(ptrdiff_t n) {
  return _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3));
}
FR_FN F32 load_first(const float* p, ptrdiff_t n) {
  return n >= 8 ? F32::load(p) : F32(_mm256_maskload_ps(p, first_lanes32(n)));
}
FR_FN F64 load_first(const double* p, ptrdiff_t n) {
  return n >= 4 ? F64::load(p) : F64(_mm256_maskload_pd(p, first_lanes64(n)));
}
FR_FN void store_first(float* p, F32 a, ptrdiff_t n) {
  n >= 8 ? a.store(p) : _mm256_maskstore_ps(p, first_lanes32(n), a.v);
}
FR_FN void store_first(double* p, F64 a, ptrdiff_t n) {
  n >= 4 ? a.store(p) : _mm256_maskstore_pd(p, first_lanes64(n), a.v);
}
FR_NAMESPACE_END
