// SPDX-License-Identifier: MIT
// Masks of dropout: a function of where a number stands, not of the order in which they are drawn. They are the same for
// any threads, splits and segments, and backward makes them again instead of keeping them.
//
//   row    64 bits of (seed, what is masked, layer, step, row of the user): splitmix64 (Steele, Lea, Flood 2014)
//   word   32 bits of (row, unit): two rounds of multiply and shift (lowbias32), and the other half of row between them;
//          of 32 bits, since vectors below AVX-512 have no product of 64
#pragma once
#include <stdint.h>
#include "api.h"
#include "cells/cell.h"
FR_NAMESPACE_BEGIN
// Outputs of a layer that another one reads; x; h as W_hh multiplies it; what keeps its value of h and of c
enum class Masked : uint64_t { kOutputs, kInputs, kRecurrent, kState, kMemory };

FR_FN uint64_t mix(uint64_t z) {
  z += 0x9e3779b97f4a7c15;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
  z = (z ^ z >> 27) * 0x94d049bb133111eb;
  return z ^ z >> 31;
}

// layer: the one that reads what is masked. step: t + 1, or 0 for one mask of the whole sequence
FR_FN uint64_t mask_row(uint64_t seed, Masked what, Index layer, Index step, Index row) {
  const uint64_t place = mix(mix(seed) ^ uint64_t(layer) << 8 ^ uint64_t(what));
  return mix(mix(place ^ uint64_t(step)) ^ uint64_t(row));
}

FR_FN uint32_t mask_word(uint64_t row, uint32_t unit) {
  uint32_t z = uint32_t(row) + unit;
  z = (z ^ z >> 16) * 0x21f0aaad ^ uint32_t(row >> 32);
  z = (z ^ z >> 15) * 0xd35a2d97;
  return z ^ z >> 15;
}

// What a number is dropped with the probability p by, 0 <= p < 1, and what the others are multiplied by
struct MaskLevel {
  int32_t least;  // of a word without its last bit that keeps its number: a comparison with sign is one instruction
  double scale;
};

FR_FN MaskLevel mask_level(double p) { return {int32_t(p * 2147483648.0), 1 / (1 - p)}; }

template <class T>
FR_FN T mask_factor(uint64_t row, uint32_t unit, int32_t least, T scale) {
  return int32_t(mask_word(row, unit) >> 1) >= least ? scale : T(0);
}
FR_NAMESPACE_END
