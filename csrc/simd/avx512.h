// SPDX-License-Identifier: MIT
// AVX-512 F: 64-byte vectors, 32 registers. 24 sums leave 8 registers for up to 4 columns and a broadcast.
#pragma once
#include <immintrin.h>
#include "../cells/cell.h"
FR_NAMESPACE_BEGIN
constexpr int kVectorBytes = 64, kAccumulators = 24;
FR_NAMESPACE_END
#include "vec.h"
FR_NAMESPACE_BEGIN
using F32 = Vec<float>;
using F64 = Vec<double>;

FR_FN F32 fma(F32 a, F32 b, F32 c) { return _mm512_fmadd_ps(a.v, b.v, c.v); }
FR_FN F64 fma(F64 a, F64 b, F64 c) { return _mm512_fmadd_pd(a.v, b.v, c.v); }
FR_FN F32 min(F32 a, F32 b) { return _mm512_min_ps(a.v, b.v); }
FR_FN F64 min(F64 a, F64 b) { return _mm512_min_pd(a.v, b.v); }
FR_FN F32 max(F32 a, F32 b) { return _mm512_max_ps(a.v, b.v); }
FR_FN F64 max(F64 a, F64 b) { return _mm512_max_pd(a.v, b.v); }
FR_FN F32 square_root(F32 a) { return _mm512_sqrt_ps(a.v); }
FR_FN F64 square_root(F64 a) { return _mm512_sqrt_pd(a.v); }
FR_FN F32 low_bits_to_exponent(F32 a) { return (__m512)_mm512_slli_epi32((__m512i)a.v, 23); }
FR_FN F64 low_bits_to_exponent(F64 a) { return (__m512d)_mm512_slli_epi64((__m512i)a.v, 52); }
FR_FN F32 where_positive(F32 y, F32 a) {
  return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(y.v, F32(0).v, _CMP_GT_OQ), a.v);
}
FR_FN F64 where_positive(F64 y, F64 a) {
  return _mm512_maskz_mov_pd(_mm512_cmp_pd_mask(y.v, F64(0).v, _CMP_GT_OQ), a.v);
}
FR_FN int beyond(F32 a, F32 limit) {
  return __builtin_popcount(_mm512_cmp_ps_mask(_mm512_abs_ps(a.v), limit.v, _CMP_GT_OQ));
}
FR_FN int beyond(F64 a, F64 limit) {
  return __builtin_popcount(_mm512_cmp_pd_mask(_mm512_abs_pd(a.v), limit.v, _CMP_GT_OQ));
}
// One Newton step from 14 bits: half the time of a division, which is not pipelined.
FR_FN F32 reciprocal(F32 a) {
  const F32 y = _mm512_rcp14_ps(a.v);
  return fma(y, fma(-a, y, F32(1)), y);
}
FR_FN F64 reciprocal(F64 a) { return F64(1).v / a.v; }

FR_FN unsigned first_lanes(ptrdiff_t n, int lanes) { return n >= lanes ? (1u << lanes) - 1 : (1u << n) - 1; }
FR_FN F32 load_first(const float* p, ptrdiff_t n) { return _mm512_maskz_loadu_ps(first_lanes(n, 16), p); }
FR_FN F64 load_first(const double* p, ptrdiff_t n) { return _mm512_maskz_loadu_pd(first_lanes(n, 8), p); }
FR_FN void store_first(float* p, F32 a, ptrdiff_t n) { _mm512_mask_storeu_ps(p, first_lanes(n, 16), a.v); }
FR_FN void store_first(double* p, F64 a, ptrdiff_t n) { _mm512_mask_storeu_pd(p, first_lanes(n, 8), a.v); }
FR_NAMESPACE_END
