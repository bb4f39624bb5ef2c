// SPDX-License-Identifier: MIT
// Weights of the user as kernels want them (Packed, layout.h).
#pragma once
#include "launch.cuh"
#include "layout.h"
FR_NAMESPACE_BEGIN
// Rows in the order of slots, from those of gates
template <class Real, class Scalar>
struct PackRows {
  const Real* from;
  Scalar* to;
  Index width, H;
  SlotOrder gates;  // of the slots
  FR_DEVICE void operator()(Index k) const {
    const Quotient row = divide(k, width), slot = divide(row.whole, H);
    to[k] = round_to<Scalar>(from[(gates[slot.whole] * H + slot.rest) * width + row.rest]);
  }
};

template <class Cell, class Real>
struct PackBiases {
  const Real *b_ih, *b_hh;  // null: zeros
  Real *bias_x, *bias_h;
  Index H;
  FR_DEVICE void operator()(Index k) const {
    const Index j = k % H;
    const int of = static_cast<int>(k / H), slot = Slots<Cell>::kX + of;
    const int x = gate_of_slot<Cell>(true, slot), h = gate_of_slot<Cell>(false, slot);
    bias_x[k] = (b_ih ? b_ih[x * H + j] : 0) + (b_hh && h >= 0 ? b_hh[h * H + j] : 0);
    bias_h[k] = b_hh && gate_of_slot<Cell>(true, Cell::h_slot(of)) < 0 ? b_hh[k] : 0;
  }
};

template <class Real>
struct Copy {
  const Real* from;  // null: zeros
  Real* to;
  FR_DEVICE void operator()(Index k) const { to[k] = from ? from[k] : Real(0); }
};

template <class Cell, class Math>
cudaError_t pack_weights(Dims d, const Weights<const typename Math::Real>& w, const Packed<Cell, Math>& to,
                         cudaStream_t stream) {
  using Real = typename Math::Real;
  using Scalar = typename Math::Scalar;
  constexpr int G = Cell::kGates;
  FR_TRY(each(G * d.H * d.I, PackRows<Real, Scalar>{w.W_ih, to.W_ih, d.I, d.H, Slots<Cell>::gate_of_x()}, stream));
  if (Cell::kRecurrent)
    FR_TRY(each(G * d.H * d.P, PackRows<Real, Scalar>{w.W_hh, to.W_hh, d.P, d.H, identity_order()}, stream));
  FR_TRY(each(G * d.H, PackBiases<Cell, Real>{w.b_ih, w.b_hh, to.bias_x, to.bias_h, d.H}, stream));
  return each(Cell::kUnit * d.H, Copy<Real>{w.unit, to.unit}, stream);
}
FR_NAMESPACE_END
