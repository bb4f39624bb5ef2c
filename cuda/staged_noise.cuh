// SPDX-License-Identifier: MIT
// StateMasks in a kernel: what csrc/staged/masks.h says, number by number. No mask is ever stored.
#pragma once
#include "layout.h"
#include "mask.h"
#include "ptx.cuh"
FR_NAMESPACE_BEGIN
// Factors of the numbers of one row: 0 or `scale` where they are drawn, else all `scale`
template <class Real>
struct RowFactors {
  uint64_t row;
  int32_t least;
  Real scale;
  bool drawn;
  FR_DEVICE Real operator()(Index j) const {
    return drawn ? mask_factor(row, static_cast<uint32_t>(j), least, scale) : scale;
  }
};

template <class Real>
struct Noise {
  bool masked;
  StateMasks masks;
  explicit Noise(const StateMasks* given) : masked(given != nullptr), masks(given ? *given : StateMasks{}) {}

  // Of h as W_hh multiplies it
  FR_DEVICE RowFactors<Real> dropout(Index user) const {
    const double p = masked && masks.training ? masks.dropout : 0;
    return draw(Masked::kRecurrent, p, 0, user, static_cast<Real>(1 / (1 - p)));
  }
  // Of what is new in state q
  FR_DEVICE RowFactors<Real> fresh(int q, const Place& at) const {
    const double p = masked ? masks.zoneout[q] : 0;
    if (!masks.training) return {0, 0, static_cast<Real>(1 - p), false};
    return draw(q ? Masked::kMemory : Masked::kState, p, at.time + 1, at.user, Real(1));
  }
  // What a state becomes: `value` with the weight w, what it was with the rest
  FR_DEVICE Real zone(Real w, Real value, Real previous) const {
    return masked ? w * value + (Real(1) - w) * previous : value;
  }

 private:
  FR_DEVICE RowFactors<Real> draw(Masked what, double p, Index step, Index user, Real scale) const {
    if (!(p > 0)) return {0, 0, scale, false};
    return {mask_row(masks.seed, what, masks.part, step, user), mask_level(p).least, scale, true};
  }
};
FR_NAMESPACE_END
