// SPDX-License-Identifier: MIT
// What the vector extension of the compiler can express of the operations listed in vec.h; shared by the instruction
// sets that need no words of their own for them. The including header has defined kVectorBytes and kAccumulators.
#pragma once
#include <math.h>
#include "vec.h"
FR_NAMESPACE_BEGIN
template <class T> FR_FN Vec<T> min(Vec<T> a, Vec<T> b) { return a.v < b.v ? a.v : b.v; }
template <class T> FR_FN Vec<T> max(Vec<T> a, Vec<T> b) { return a.v > b.v ? a.v : b.v; }
template <class T> FR_FN Vec<T> reciprocal(Vec<T> a) { return Vec<T>(1).v / a.v; }
template <class T> FR_FN Vec<T> where_positive(Vec<T> y, Vec<T> a) { return y.v > Vec<T>(0).v ? a.v : Vec<T>(0).v; }
template <class T> FR_FN int beyond(Vec<T> a, Vec<T> limit) {
  const auto found = max(a, -a).v > limit.v;
  int count = 0;
  for (int l = 0; l < Vec<T>::kLanes; ++l) count -= int(found[l]);
  return count;
}
FR_FN Vec<float> square_root(Vec<float> a) {
  for (int l = 0; l < Vec<float>::kLanes; ++l) a.v[l] = sqrtf(a.v[l]);
  return a;
}
FR_FN Vec<double> square_root(Vec<double> a) {
  for (int l = 0; l < Vec<double>::kLanes; ++l) a.v[l] = sqrt(a.v[l]);
  return a;
}
FR_FN Vec<float> low_bits_to_exponent(Vec<float> a) {
  typedef unsigned Bits __attribute__((vector_size(kVectorBytes)));
  return (Vec<float>::Native)((Bits)a.v << 23);
}
FR_FN Vec<double> low_bits_to_exponent(Vec<double> a) {
  typedef unsigned long long Bits __attribute__((vector_size(kVectorBytes)));
  return (Vec<double>::Native)((Bits)a.v << 52);
}
template <class T> FR_FN Vec<T> load_first(const T* p, ptrdiff_t n) {
  if (n >= Vec<T>::kLanes) return Vec<T>::load(p);
  Vec<T> a(0);
  for (int l = 0; l < n; ++l) a.v[l] = p[l];
  return a;
}
template <class T> FR_FN void store_first(T* p, Vec<T> a, ptrdiff_t n) {
  if (n >= Vec<T>::kLanes) return a.store(p);
  for (int l = 0; l < n; ++l) p[l] = a.v[l];
}
FR_NAMESPACE_END
