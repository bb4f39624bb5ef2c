// SPDX-License-Identifier: MIT
// Which rows of the weights feed which slots of a cell (cell.h).
#pragma once
#include "cell.h"
FR_NAMESPACE_BEGIN
// The first of the consecutive slots that x (of_x) or h feeds
template <class Cell>
FR_FN constexpr int first_slot(bool of_x) {
  int first = Cell::kPre;
  for (int g = 0; g < Cell::kGates; ++g) {
    const int slot = of_x ? Cell::x_slot(g) : Cell::h_slot(g);
    if (slot < first) first = slot;
  }
  return first;
}

// The gate whose row of W_ih (of_x) or W_hh feeds this slot; -1 where none does
template <class Cell>
FR_FN constexpr int gate_of_slot(bool of_x, int slot) {
  for (int g = 0; g < Cell::kGates; ++g)
    if ((of_x ? Cell::x_slot(g) : Cell::h_slot(g)) == slot) return g;
  return -1;
}
FR_NAMESPACE_END
