// SPDX-License-Identifier: MIT
// What a tape of the staged driver tells of its steps: see ../read_tape.h.
#pragma once
#include "layout.h"
FR_NAMESPACE_BEGIN
namespace staged {
template <class Cell, class Vec, bool kMasked, class T = typename Vec::Scalar>
void read_tape(Dims d, Steps steps, const T* tape, T* cells, T* gates) {
  constexpr Index G = Cell::kGates;
  const Layout<Cell, Vec, kMasked> map{d};
  const Walk walk{d, steps};
  if (cells) copy_or_zero<T>(nullptr, cells, d.T * d.B * d.H);
  if (gates) copy_or_zero<T>(nullptr, gates, d.T * d.B * G * d.H);
  for (Index s = 0; s < d.T; ++s)
    for (Index b = 0; b < walk.active(s); ++b) {
      const Index row = walk.first(s) + b, to = walk.time(s, b) * d.B + walk.user_row(b);
      const T *const saved = tape + row * map.ld(), *const state =
                                                        tape + map.states_at() + (d.B + row) * map.state_ld();
      if (cells) copy_or_zero<T>(state + map.state_at(Cell::kMemory), cells + to * d.H, d.H);
      for (Index g = 0; gates && g < G; ++g)
        copy_or_zero<T>(saved + Cell::gate_slot(int(g)) * map.padded(), gates + (to * G + g) * d.H, d.H);
    }
}
}  // namespace staged
FR_NAMESPACE_END
