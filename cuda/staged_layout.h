// SPDX-License-Identifier: MIT
// Layouts of cells that need more than one phase a step (cells/cell.h), and of all cells with StateMasks: those of
// layout.h, without rounded copies, and what stands between the phases of each of the R rows. A product and what
// follows it meet in these arrays, so that no product has to know a cell.
//
//   of_x, of_h  (R,G,H)  W_ih x and W_hh h, normalised, in the order of the slots that they feed   (kNormPre)
//   scales      (R,3)    1 / standard deviation of W_ih x, W_hh h and the memory              (kNormPre, kNormMemory)
//   memory      (R,H)    what output() sees, before gains of its norm and before zoneout          (kNormMemory, masked)
//   reset       (R,H)    what the last gate multiplies                                             (kResetBefore)
//   output      (R,H)    what W_hr multiplies                                                      (kProjected)
//   operand     (B+R,P)  h as W_hh multiplies it, some of it dropped; else states[0]                (masked)
//
// of backward alone, in its scratch:
//
//   dx, dh      (R,G,H)  gradients of W_ih x and of W_hh h, through the norms                      (kNormPre)
//   dmemory     (R,H)    gradient of the memory as output() sees it                                (kNormMemory)
//   dprojected  (R,P)    gradient of h                                                             (kProjected)
#pragma once
#include "layout.h"
FR_NAMESPACE_BEGIN
template <class Cell>
struct Stages {
  static constexpr int G = Cell::kGates, kX = Slots<Cell>::kX, kH = Slots<Cell>::kH;
  static constexpr int kDirect = !Cell::kRecurrent    ? 0
                                 : Cell::kResetBefore ? G - 1
                                                      : G;  // gates that multiply h itself
  static constexpr int kUnit = kUnitParameters<Cell>;
  // The first parameters of units that are of norms: gains of W_ih x and of W_hh h; the gain and the bias of the memory
  static constexpr int kGainX = Cell::kUnit, kGainH = kGainX + G, kGainMemory = kGainX + (Cell::kNormPre ? 2 * G : 0);
  static constexpr bool kNorms = Cell::kNormPre || Cell::kNormMemory;  // sums over rows
  static_assert(!Cell::kProjected || (Cell::kMemory > 0 && !kNorms && !Cell::kResetBefore), "of what is H wide");
};

template <class Cell, class Real>
struct StagedPacked {
  Carve<Real> carve;
  Real *W_ih, *W_hh, *W_hr, *bias_x, *bias_h;  // as in Packed
  Real* unit;  // (kUnitParameters,H)
  StagedPacked(Dims d, Real* p) : carve{p} {
    constexpr int G = Cell::kGates;
    W_ih = carve.take(G * d.H * d.I);
    W_hh = carve.take(Cell::kRecurrent ? G * d.H * d.P : 0);
    W_hr = carve.take(Cell::kProjected ? d.P * d.H : 0);
    bias_x = carve.take(G * d.H), bias_h = carve.take(G * d.H);
    unit = carve.take(Stages<Cell>::kUnit * d.H);
  }
};

template <class Cell, class Real>
struct StagedTape {
  Carve<Real> carve;
  Index B, H, P;
  Real *slots, *states[Cell::kState];
  Real *of_x = nullptr, *of_h = nullptr, *scales = nullptr, *memory = nullptr, *reset = nullptr, *output = nullptr;
  Real* operand;
  Place* places;
  Real* x;  // (R,I)
  StagedTape(Dims d, bool masked, Real* p) : carve{p}, B(d.B), H(d.H), P(d.P) {
    constexpr int G = Cell::kGates;
    slots = carve.take(d.R * Cell::kSaved * H);
    for (int q = 0; q < Cell::kState; ++q) states[q] = carve.take((B + d.R) * width(q));
    if (Cell::kNormPre) of_x = carve.take(d.R * G * H), of_h = carve.take(d.R * G * H);
    if (Stages<Cell>::kNorms) scales = carve.take(d.R * 3);
    if (Cell::kNormMemory || masked) memory = carve.take(d.R * H);
    if (Cell::kResetBefore) reset = carve.take(d.R * H);
    if (Cell::kProjected) output = carve.take(d.R * H);
    operand = masked && Cell::kRecurrent ? carve.take((B + d.R) * P) : states[0];
    places = carve.template take_as<Place>(d.R);
    x = carve.take(d.R * d.I);
  }
  FR_FN Index width(int q) const { return q ? H : P; }
  // Of row number `row`
  FR_FN Real* slot(Index row, int slot) const { return slots + (row * Cell::kSaved + slot) * H; }
  FR_FN Real* gates_of(Real* gates, Index row) const { return gates + row * Cell::kGates * H; }
  FR_FN Real* memory_of(Index row) const { return memory ? memory + row * H : states[Cell::kMemory] + (B + row) * H; }
};
FR_NAMESPACE_END
