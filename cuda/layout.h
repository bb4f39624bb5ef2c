// SPDX-License-Identifier: MIT
// Where things lie in the buffers of the library. S = kSaved slots of the cell; Real: what sums are; Scalar: what
// products multiply.
//
//   slots   (R,S,H)   pre-activations, overwritten by saved, overwritten by dpre
//   states  (B+R,H)   for each state of the cell: B initial rows, then the R rows, each after its step
//   W_ih    (G*H,I)   rows in the order of the slots that x feeds, so that W_ih x has the layout of slots, and
//                     backward finds the rows of dG in one order with those of W_ih
//   W_hh    (G*H,P)   in the order of the user, which is that of the slots that h feeds
#pragma once
#include "loop.h"
#include "cells/slots.h"
FR_NAMESPACE_BEGIN
// Small numbers by gate or slot, which kernels get as a value: an array in an argument cannot be indexed for free
struct SlotOrder {
  unsigned digits = 0;
  FR_FN int operator[](Index k) const { return static_cast<int>(digits >> (4 * k) & 15); }
  FR_FN void set(int k, int value) { digits |= static_cast<unsigned>(value) << (4 * k); }
};
inline SlotOrder identity_order() { return {0x76543210u}; }

template <class Cell>
struct Slots {
  static constexpr int G = Cell::kGates, S = Cell::kSaved, kX = first_slot<Cell>(true), kH = first_slot<Cell>(false);
  static_assert(gate_of_slot<Cell>(true, kX + G - 1) >= 0, "slots fed by x must be consecutive");
  static_assert(Cell::h_slot(0) == kH && Cell::h_slot(G - 1) == kH + G - 1,
                "slots fed by h, in the order of the gates");
  static_assert(S >= Cell::kPre && G <= 8, "dpre overwrites saved, and a SlotOrder has eight digits");

  static SlotOrder gate_of_x() {  // of slot kX + c
    SlotOrder order;
    for (int c = 0; c < G; ++c) order.set(c, gate_of_slot<Cell>(true, kX + c));
    return order;
  }
  static SlotOrder slot_of(bool of_x, int from) {  // of a gate, counted from slot `from`
    SlotOrder order;
    for (int g = 0; g < G; ++g) order.set(g, (of_x ? Cell::x_slot(g) : Cell::h_slot(g)) - from);
    return order;
  }
};

// Row number n of R: where its states before the step lie, -1 where a reset cuts them off, and its place at the user
struct Place {
  Index before, time, user;
  template <class T>
  FR_FN T* at(const Rows<T>& rows) const {
    return rows.p + time * rows.step + user * rows.row;
  }
};

template <class Cell, class Math>
struct Packed {
  using Real = typename Math::Real;
  using Scalar = typename Math::Scalar;
  Carve<Real> carve;
  Scalar *W_ih, *W_hh;
  Real *bias_x, *bias_h;  // (G*H) b of the slots that x feeds; b_hh of the gates whose slot x does not feed, else 0
  Real* unit;  // (kUnit,H)
  unsigned char* persistent;
  Packed(Dims d, Index persistent_bytes, Real* p) : carve{p} {
    constexpr int G = Cell::kGates;
    W_ih = carve.template take_as<Scalar>(G * d.H * d.I);
    W_hh = carve.template take_as<Scalar>(Cell::kRecurrent ? G * d.H * d.P : 0);
    bias_x = carve.take(G * d.H), bias_h = carve.take(G * d.H);
    unit = carve.take(Cell::kUnit * d.H);
    persistent = carve.template take_as<unsigned char>(persistent_bytes);
  }
};

template <class Cell, class Math>
struct Tape {
  using Real = typename Math::Real;
  using Scalar = typename Math::Scalar;
  static constexpr bool kRounded = sizeof(Scalar) < sizeof(Real);
  Carve<Real> carve;
  Real *slots, *states[Cell::kState];
  Scalar* h = nullptr;  // states[0] as products multiply it; null where Scalar is Real
  Place* places;
  Scalar* x;  // (R,I)
  Tape(Dims d, Real* p) : carve{p} {
    slots = carve.take(d.R * Cell::kSaved * d.H);
    for (Real*& state : states) state = carve.take((d.B + d.R) * d.H);
    if (kRounded && Cell::kRecurrent) h = carve.template take_as<Scalar>((d.B + d.R) * d.H);
    places = carve.template take_as<Place>(d.R);
    x = carve.template take_as<Scalar>(d.R * d.I);
  }
  const Scalar* operand_h() const {
    if constexpr (kRounded) return h;
    else return states[0];
  }
};
FR_NAMESPACE_END
