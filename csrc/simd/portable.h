// SPDX-License-Identifier: MIT
// Any processor: 16-byte vectors, no fused multiply-add. 8 sums keep the tiles, and with them the library, small.
#pragma once
#include "../cells/cell.h"
FR_NAMESPACE_BEGIN
constexpr int kVectorBytes = 16, kAccumulators = 8;
FR_NAMESPACE_END
#include "generic.h"
FR_NAMESPACE_BEGIN
template <class T> FR_FN Vec<T> fma(Vec<T> a, Vec<T> b, Vec<T> c) { return a * b + c; }
FR_NAMESPACE_END
