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

template <class Cell, class Math>
Status read_tape_rows(Dims d, Steps steps, const typename Math::Real* from, typename Math::Real* cells,
                      typename Math::Real* gates, cudaStream_t stream) {
  using Real = typename Math::Real;
  constexpr int G = Cell::kGates;
  const Walk walk{d, steps};
  const Tape<Cell, Math> tape(d, const_cast<Real*>(from));
  SlotOrder slots;
  for (int g = 0; g < G; ++g) slots.set(g, Cell::gate_slot(g));
  const auto read = [&](const Real* at, Index ld, Index width, SlotOrder order, Real* to) -> Status {
    if (!to) return cudaSuccess;
    FR_TRY(clear_padding(walk, Rows<Real>{to, d.B * width, width}, width, stream));
    return each(d.R * width, ReadRows<Real>{at, ld, width, d.H, order, tape.places, d.B, to}, stream);
  };
  FR_TRY(read(tape.states[Cell::kMemory] + d.B * d.H, d.H, d.H, SlotOrder{}, cells));
  return read(tape.slots, Cell::kSaved * d.H, G * d.H, slots, gates);
}
FR_NAMESPACE_END
