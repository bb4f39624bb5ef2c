// SPDX-License-Identifier: MIT
// What is drawn: a hash of where it is drawn, as masks of dropout are (mask.h), so that it depends neither on the batch nor
// on threads.
#pragma once
#include "mask.h"
namespace fastrnn {

// In [0,1), of a row and step; what: number of the draw there
inline double uniform(uint64_t seed, Index row, Index step, Index what) {
  const uint64_t place = mix(mix(mix(seed) ^ uint64_t(row)) ^ uint64_t(step));
  return double(mix(place ^ uint64_t(what)) >> 11) * 0x1p-53;
}

}  // namespace fastrnn
