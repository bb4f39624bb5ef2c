// SPDX-License-Identifier: MIT
// What the tape of a forward call tells of its steps, in the order of the user: zeros past the end of a row.
#pragma once
#include "pack.h"
#include "rows.h"
FR_NAMESPACE_BEGIN
// cells (T,B,H): state[kMemory] after each step; gates (T,B,G*H): activations. Null: not wanted
template <class Cell, class Vec, class E, class T = typename Vec::Scalar>
void read_tape(Dims d, Steps steps, const T* tape, T* cells, T* gates) {
  using Map = Layout<Cell, Vec, E>;
  constexpr Index L = Map::L, G = Cell::kGates;
  const Map map{d};
  const Walk walk{d, steps};
  if (cells) __builtin_memset(cells, 0, size_t(d.T * d.B * d.H) * sizeof(T));
  if (gates) __builtin_memset(gates, 0, size_t(d.T * d.B * G * d.H) * sizeof(T));
  for (Index s = 0; s < d.T; ++s)
    for (Index b = 0; b < walk.active(s); ++b) {
      const Index row = walk.first(s) + b, to = walk.time(s, b) * d.B + walk.user_row(b);
      const T* const state = tape + map.states_at() + (d.B + row) * map.state_ld() + Cell::kMemory * map.padded();
      if (cells) __builtin_memcpy(cells + to * d.H, state, size_t(d.H) * sizeof(T));
      for (Index g = 0; gates && g < G; ++g)
        for (Index u = 0; u < map.blocks(); ++u) {
          const T* const saved = tape + row * map.gates_ld() + (u * Map::kSlots + Cell::gate_slot(int(g))) * L;
          store_first(gates + (to * G + g) * d.H + u * L, Vec::load(saved), d.H - u * L);
        }
    }
}
FR_NAMESPACE_END
