// SPDX-License-Identifier: MIT
// Layouts inside the library. L lanes; unit block u holds units u L ... u L + L - 1, the last one padded with zeros.
//
//   weights, forward   [panel][k][unit block of the panel][gate][lane]   k over I or H      (pack_rows)
//   weights, backward  [panel][unit block, gate, lane = k][column block of the panel][lane] (pack_columns)
//   bias               [unit block][slot][lane]         b_ih and b_hh summed where they meet in a slot
//   unit parameters    [unit block][parameter][lane]
//   gates              [row][unit block][slot][lane]    pre-activations, overwritten by saved, overwritten by dpre
//   states             [row][state][padded H]           first B rows: s0; then the R rows, each after its step
//
// k counts elements (simd/pairs.h): with pairs of bfloat16 an element holds two rows of B, an odd last one with zeros.
// Rows of A are then neighbours in memory, rounded: of h behind the states of its row, the others in scratch.
//
// All gates of a unit are neighbours, so the sums of one tile are the pre-activations of whole units and the cell
// runs on them in registers. Panels hold kPanel unit blocks so that every cell fills about four columns. Bias has the
// stride of gates, so that a product starts from either by the same address.
#pragma once
#include "api.h"
#include "cells/slots.h"
#include "gemm.h"
FR_NAMESPACE_BEGIN
template <class Cell, class Vec, class E>
struct Layout {
  using T = typename Vec::Scalar;
  static constexpr bool kHalf = ElementOf<E>::kNumbers == 2;
  static constexpr int L = Vec::kLanes, kGates = Cell::kGates;
  static constexpr int kX = first_slot<Cell>(true), kH = first_slot<Cell>(false);  // first slot fed by x, by h
  static constexpr int kPanel = 4 / kGates > 1 ? 4 / kGates : 1;                   // unit blocks of a forward panel
  static constexpr int kColumnPanel = 4;                                           // blocks of a backward panel
  static constexpr int kSlots = Cell::kSaved;
  static_assert(gate_of_slot<Cell>(true, kX + kGates - 1) >= 0, "slots fed by x must be consecutive");
  static_assert(gate_of_slot<Cell>(false, kH + kGates - 1) >= 0, "slots fed by h must be consecutive");
  static_assert(Cell::kSaved >= Cell::kPre, "dpre overwrites saved");

  Dims dims;
  FR_FN Index blocks() const { return (dims.H + L - 1) / L; }
  FR_FN Index input_blocks() const { return (dims.I + L - 1) / L; }
  FR_FN Index padded() const { return blocks() * L; }
  FR_FN Index gates_ld() const { return blocks() * kSlots * L; }
  FR_FN Index gate_rows() const { return padded() * kGates; }  // rows of W, every gate padded
  FR_FN Index h_at() const { return kHalf ? Cell::kState * padded() : 0; }  // the operand h of a row of states
  FR_FN Index state_ld() const { return Cell::kState * padded() + (kHalf ? elements<E>(padded()) : 0); }

  // packed weights: W_ih, W_hh, bias, unit parameters
  FR_FN Index W_hh_rows() const { return Cell::kRecurrent ? elements<E>(dims.H) : 0; }
  FR_FN Index W_hh_at() const { return gate_rows() * elements<E>(dims.I); }
  FR_FN Index bias_at() const { return W_hh_at() + gate_rows() * W_hh_rows(); }
  FR_FN Index unit_at() const { return bias_at() + gates_ld(); }
  FR_FN Index packed_size() const { return unit_at() + padded() * Cell::kUnit; }

  static FR_FN Index rounded_ld(Index n) { return kHalf ? elements<E>(n) : 0; }  // words of a row as an operand

  // tape: gates, states
  FR_FN Index states_at() const { return dims.R * gates_ld(); }
  FR_FN Index tape_size() const { return states_at() + (dims.B + dims.R) * state_ld(); }
};

// Two rows of B, of which the second may be missing, as a row of elements
template <class E, class Vec>
FR_FN void store_rows(E* to, Vec row, Vec next) {
  if constexpr (ElementOf<E>::kNumbers == 2) pack_pairs(row, next).store(to);
  else row.store(to);
}

// Transposes the block rows x columns at `from` (both at most L), padded with zeros, and stores its columns as rows of B
template <class Vec, class E, class T = typename Vec::Scalar>
FR_FN void copy_transposed(const T* from, Index from_ld, Index rows, Index columns, E* to, Index to_ld) {
  constexpr int kNumbers = ElementOf<E>::kNumbers;
  Vec block[Vec::kLanes];
  FR_UNROLL for (int r = 0; r < Vec::kLanes; ++r)
    block[r] = r < rows ? load_first(from + r * from_ld, columns) : Vec(0);
  transpose<T>(block);
  FR_UNROLL for (int c = 0; c < Vec::kLanes; c += kNumbers)
    if (c < columns) store_rows(to + c / kNumbers * to_ld, block[c], block[c + kNumbers - 1]);
}

// W (G*H,K) -> forward panels
template <class Cell, class Vec, class E, bool kOfX, class T = typename Vec::Scalar>
void pack_rows(const Dims dims, const T* W, Index K, E* packed, Range panels) {
  using Map = Layout<Cell, Vec, E>;
  constexpr int L = Map::L, G = Map::kGates;
  const Index blocks = Map{dims}.blocks(), count = panel_count<Map::kPanel>(blocks);
  for (Index panel = panels.begin; panel < panels.end; ++panel) {
    const Range units = part(blocks, panel, count);
    const Index ld = (units.end - units.begin) * G * L;
    for (Index u = units.begin; u < units.end; ++u)
      for (int c = 0; c < G; ++c) {
        const int gate = gate_of_slot<Cell>(kOfX, (kOfX ? Map::kX : Map::kH) + c);
        const T* from = W + (gate * dims.H + u * L) * K;
        E* to = packed + units.begin * G * L * elements<E>(K) + ((u - units.begin) * G + c) * L;
        for (Index k = 0; k < K; k += L)
          copy_transposed<Vec>(from + k, K, dims.H - u * L, K - k < L ? K - k : L, to + elements<E>(k) * ld, ld);
      }
  }
}

// W (G*H,N) -> backward panels: the product with dG reduces over the rows of W
template <class Cell, class Vec, class E, bool kOfX, class T = typename Vec::Scalar>
void pack_columns(const Dims dims, const T* W, Index N, E* packed, Range panels) {
  using Map = Layout<Cell, Vec, E>;
  constexpr int L = Map::L, G = Map::kGates, kNumbers = ElementOf<E>::kNumbers;
  const Index blocks = (N + L - 1) / L, count = panel_count<Map::kColumnPanel>(blocks);
  for (Index panel = panels.begin; panel < panels.end; ++panel) {
    const Range columns = part(blocks, panel, count);
    E* to = packed + columns.begin * L * elements<E>(Map{dims}.gate_rows());
    for (Index u = 0; u < Map{dims}.blocks(); ++u)
      for (int c = 0; c < G; ++c) {
        const int gate = gate_of_slot<Cell>(kOfX, (kOfX ? Map::kX : Map::kH) + c);
        const auto row = [&](Index j, Index n) {
          return j < dims.H ? load_first(W + (gate * dims.H + j) * N + n, N - n) : Vec(0);
        };
        for (Index j = u * L; j < (u + 1) * L; j += kNumbers)
          for (Index n = columns.begin * L; n < columns.end * L; n += L, to += L)
            store_rows(to, row(j, n), kNumbers == 2 ? row(j + 1, n) : Vec(0));
      }
  }
}

// b_ih, b_hh (G*H), or null -> [unit block][slot][lane]
template <class Cell, class Vec, class T = typename Vec::Scalar>
void pack_bias(const Dims dims, const Weights<const T>& w, T* packed) {
  using Map = Layout<Cell, Vec, T>;
  for (Index u = 0; u < Map{dims}.blocks(); ++u)
    for (int slot = 0; slot < Map::kSlots; ++slot, packed += Map::L) {
      const int x = gate_of_slot<Cell>(true, slot), h = gate_of_slot<Cell>(false, slot);
      const Index j = u * Map::L, n = dims.H - j;
      Vec sum(0);
      if (w.b_ih && x >= 0) sum = sum + load_first(w.b_ih + x * dims.H + j, n);
      if (w.b_hh && h >= 0) sum = sum + load_first(w.b_hh + h * dims.H + j, n);
      sum.store(packed);
    }
}

// A row (G*H) of constant input, and what stands in the packed bias, null: zeros, in the layout of the bias
template <class Cell, class Vec, class T = typename Vec::Scalar>
void pack_constant(const Dims dims, const T* constant, const T* bias, T* packed) {
  using Map = Layout<Cell, Vec, T>;
  for (Index u = 0; u < Map{dims}.blocks(); ++u)
    for (int slot = 0; slot < Map::kSlots; ++slot, packed += Map::L) {
      const int gate = gate_of_slot<Cell>(true, slot);
      const Index j = u * Map::L;
      const Vec own = gate >= 0 ? load_first(constant + gate * dims.H + j, dims.H - j) : Vec(0);
      (bias ? Vec::load(bias + (u * Map::kSlots + slot) * Map::L) + own : own).store(packed);
    }
}

// (kUnit*H) -> [unit block][parameter][lane]
template <class Cell, class Vec, class T = typename Vec::Scalar>
void pack_unit(const Dims dims, const T* unit, T* packed) {
  for (Index j = 0; j < dims.H; j += Vec::kLanes)
    for (int k = 0; k < Cell::kUnit; ++k, packed += Vec::kLanes)
      load_first(unit + k * dims.H + j, dims.H - j).store(packed);
}

template <class Cell, class Vec, class T = typename Vec::Scalar>
FR_FN UnitParameters<Vec, Cell::kUnit> load_unit(const T* packed, Index unit) {
  UnitParameters<Vec, Cell::kUnit> values;
  if constexpr (Cell::kUnit > 0)
    FR_UNROLL for (int k = 0; k < Cell::kUnit; ++k)
      values[k] = Vec::load(packed + (unit * Cell::kUnit + k) * Vec::kLanes);
  return values;
}

// All that forward needs, each member of the team its panels
template <class Cell, class Vec, class E, class T = typename Vec::Scalar>
void pack_forward(Dims d, const Weights<const T>& w, T* packed, const Team& team) {
  using Map = Layout<Cell, Vec, E>;
  const Map map{d};
  const Range panels = part(panel_count<Map::kPanel>(map.blocks()), team.rank, team.size);
  pack_rows<Cell, Vec, E, true>(d, w.W_ih, d.I, reinterpret_cast<E*>(packed), panels);
  if constexpr (Cell::kRecurrent)
    pack_rows<Cell, Vec, E, false>(d, w.W_hh, d.H, reinterpret_cast<E*>(packed + map.W_hh_at()), panels);
  if (team.rank) return;
  pack_bias<Cell, Vec>(d, w, packed + map.bias_at());
  if constexpr (Cell::kUnit > 0) pack_unit<Cell, Vec>(d, w.unit, packed + map.unit_at());
}
FR_NAMESPACE_END
