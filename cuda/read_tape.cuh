// SPDX-License-Identifier: MIT
// What a whole tape that backward has not destroyed tells the user: read_tape of api.h.
#pragma once
#include "user_rows.cuh"
FR_NAMESPACE_BEGIN
template <class Real>
struct ReadRows {
  const Real* from;  // row 0
  Index ld, width, H;
  SlotOrder slots;  // of gates
  const Place* places;
  Index B;
  Real* to;  // (T,B,width)
  FR_DEVICE void operator()(Index k) const {
    const auto [row, c] = divide(k, width);
    const Place& at = places[row];
    to[(at.time * B + at.user) * width + c] = from[row * ld + slots[c / H] * H + c % H];
  }
};

// memory: (B+R,H) state[kMemory]
template <class Cell, class Real>
Status read_rows(const Walk& walk, const Real* slots, const Real* memory, const Place* places, Real* cells, Real* gates,
                 cudaStream_t stream) {
  constexpr int G = Cell::kGates;
  const Dims d = walk.d;
  SlotOrder order;
  for (int g = 0; g < G; ++g) order.set(g, Cell::gate_slot(g));
  const auto read = [&](const Real* at, Index ld, Index width, SlotOrder slots_of, Real* to) -> Status {
    if (!to) return cudaSuccess;
    FR_TRY(clear_padding(walk, Rows<Real>{to, d.B * width, width}, width, stream));
    return each(d.R * width, ReadRows<Real>{at, ld, width, d.H, slots_of, places, d.B, to}, stream);
  };
  FR_TRY(read(memory + d.B * d.H, d.H, d.H, SlotOrder{}, cells));
  return read(slots, Cell::kSaved * d.H, G * d.H, order, gates);
}
FR_NAMESPACE_END
