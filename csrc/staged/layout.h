// SPDX-License-Identifier: MIT
// Layouts of the staged driver, which runs cells that need more than one phase a step (cells/cell.h).
//
// A product and what follows it do not meet in registers here, but in rows: each of the R rows has one, of slots, each
// of them the H units padded to whole vectors. A norm then walks one stretch, and all products have the same epilogue.
//
//   row      [slot][padded H]    pre-activations, overwritten by saved, overwritten by dpre; then, where there are any:
//              x, h              W_ih x and W_hh h, normalised                                         (kNormPre)
//              memory            what output() sees, before gains where it is normalised
//              reset             what the last gate multiplies                                         (kResetBefore)
//              output            what W_hr multiplies                                                  (kProjected)
//              masked            h as it is multiplied, where some of it is dropped                    (kMasked)
//              scalars           1 / standard deviation of each norm
//            and of backward only:
//              dx, dh            gradients of W_ih x and W_hh h                                        (kNormPre)
//              dmemory           gradient of the memory as output() sees it                            (kNormMemory)
//              dprojected        gradient of h                                                         (kProjected)
//   states   h [padded P], then each other state [padded H]. First B rows: s0; then the R rows, each after its step
//   packed   weights as columns of B [panel][k][column block][lane], bias [slot][padded H], unit parameters likewise
#pragma once
#include "../backward.h"
#include "masks.h"
FR_NAMESPACE_BEGIN
namespace staged {
constexpr int kPanel = 4;  // column blocks of a panel, of any product

// kMasked: with StateMasks (api.h), also of cells of one phase
template <class Cell, class Vec, bool kMasked>
struct Layout {
  using T = typename Vec::Scalar;
  static constexpr int L = Vec::kLanes, G = Cell::kGates;
  static constexpr bool kNorm = Cell::kNormPre;
  static constexpr int kX = first_slot<Cell>(true), kH = first_slot<Cell>(false);  // first slot fed by x, by h
  static constexpr int kDirect = !Cell::kRecurrent    ? 0
                                 : Cell::kResetBefore ? G - 1
                                                      : G;  // gates that multiply h itself
  static constexpr int kUnit = kUnitParameters<Cell>;
  static constexpr int kNorms = Cell::kUnit;  // the first unit parameter that is of a norm
  static_assert(Cell::kSaved >= Cell::kPre, "dpre overwrites saved");
  static_assert(!Cell::kNormMemory || !Cell::kProjected, "backward has one row for what is H wide");
  static_assert(!Cell::kResetBefore || (Cell::x_slot(G - 1) == kX + G - 1 && Cell::h_slot(G - 1) == kH + G - 1),
                "the gate of the second product has the last slot");

  Dims dims;
  static FR_FN Index blocks_of(Index n) { return (n + L - 1) / L; }
  FR_FN Index padded() const { return blocks_of(dims.H) * L; }
  FR_FN Index h_padded() const { return blocks_of(dims.P) * L; }

  FR_FN Index x_at() const { return (kNorm ? Cell::kSaved : kX) * padded(); }
  FR_FN Index h_at() const { return (kNorm ? Cell::kSaved + G : kH) * padded(); }
  FR_FN Index memory_at() const { return (Cell::kSaved + (kNorm ? 2 * G : 0)) * padded(); }
  FR_FN Index reset_at() const { return memory_at() + padded(); }
  FR_FN Index output_at() const { return reset_at() + Cell::kResetBefore * padded(); }
  FR_FN Index masked_at() const { return output_at() + Cell::kProjected * padded(); }
  FR_FN Index scalars_at() const { return masked_at() + kMasked * h_padded(); }
  FR_FN Index forward_ld() const { return scalars_at() + (kNorm || Cell::kNormMemory ? blocks_of(3) * L : 0); }
  FR_FN Index dx_at() const { return kNorm ? forward_ld() : x_at(); }
  FR_FN Index dh_at() const { return kNorm ? forward_ld() + G * padded() : h_at(); }
  FR_FN Index dmemory_at() const { return forward_ld() + (kNorm ? 2 * G : 0) * padded(); }
  FR_FN Index dprojected_at() const { return dmemory_at() + Cell::kNormMemory * padded(); }
  FR_FN Index ld() const { return dprojected_at() + (Cell::kProjected ? h_padded() : 0); }

  FR_FN Index state_at(int q) const { return q ? h_padded() + (q - 1) * padded() : 0; }
  FR_FN Index state_ld() const { return state_at(Cell::kState); }
  FR_FN Index width(int q) const { return q ? dims.H : dims.P; }

  // packed: W_ih, rows of W_hh that multiply h, those that multiply reset(), W_hr, bias, unit parameters
  FR_FN Index W_hh_at() const { return G * padded() * dims.I; }
  FR_FN Index W_reset_at() const { return W_hh_at() + kDirect * padded() * dims.P; }
  FR_FN Index W_hr_at() const { return W_reset_at() + Cell::kResetBefore * padded() * dims.H; }
  FR_FN Index bias_at() const { return W_hr_at() + (Cell::kProjected ? h_padded() * dims.H : 0); }
  FR_FN Index unit_at() const { return bias_at() + Cell::kPre * padded(); }
  FR_FN Index packed_size() const { return unit_at() + kUnit * padded(); }

  // tape: rows, states
  FR_FN Index states_at() const { return dims.R * ld(); }
  FR_FN Index tape_size() const { return states_at() + (dims.B + dims.R) * state_ld(); }
};

// Some gates of a matrix W (gates*H, n), in the order of their slots
template <class T>
struct GateRows {
  const T* W;
  Index H, n;
  int count, gate[4];
  FR_FN const T* row(int c, Index j) const { return W + (gate[c] * H + j) * n; }
};

// `count` gates from slot `first` of those fed by x or by h
template <class Cell, class T>
FR_FN GateRows<T> gate_rows(bool of_x, const T* W, Index H, Index n, int first, int count) {
  static_assert(Cell::kGates <= 4, "room for the gates of a matrix");
  GateRows<T> rows{W, H, n, count, {}};
  for (int c = 0; c < count; ++c) rows.gate[c] = gate_of_slot<Cell>(of_x, first_slot<Cell>(of_x) + first + c);
  return rows;
}

// Rows of W become columns of B (n rows): sums over the columns of W. Each member of the team its panels.
template <class Vec, class T = typename Vec::Scalar>
void pack_as_columns(const GateRows<T>& w, T* packed, const Team& team) {
  constexpr int L = Vec::kLanes;
  const Index of_gate = (w.H + L - 1) / L, blocks = of_gate * w.count, panels = panel_count<kPanel>(blocks);
  const Range own = part(panels, team.rank, team.size);
  for (Index panel = own.begin; panel < own.end; ++panel) {
    const Range units = part(blocks, panel, panels);
    const Index ld = (units.end - units.begin) * L;
    for (Index u = units.begin; u < units.end; ++u) {
      const Index j = u % of_gate * L;
      const T* from = w.row(int(u / of_gate), j);
      T* to = packed + units.begin * L * w.n + (u - units.begin) * L;
      for (Index k = 0; k < w.n; k += L)
        copy_transposed<Vec>(from + k, w.n, w.H - j, smaller(w.n - k, L), to + k * ld, ld);
    }
  }
}

// Rows of W are rows of B: sums over the rows of W, gate by gate
template <class Vec, class T = typename Vec::Scalar>
void pack_as_rows(const GateRows<T>& w, T* packed, const Team& team) {
  constexpr int L = Vec::kLanes;
  const Index blocks = (w.n + L - 1) / L, panels = panel_count<kPanel>(blocks);
  const Range own = part(panels, team.rank, team.size);
  for (Index panel = own.begin; panel < own.end; ++panel) {
    const Range columns = part(blocks, panel, panels);
    T* to = packed + columns.begin * L * w.count * w.H;
    for (int c = 0; c < w.count; ++c)
      for (Index j = 0; j < w.H; ++j)
        for (Index n = columns.begin * L; n < columns.end * L; n += L, to += L)
          load_first(w.row(c, j) + n, w.n - n).store(to);
  }
}

// b_ih, b_hh (G*H), or null -> [slot][padded H], summed where they meet
template <class Cell, class Vec, class T = typename Vec::Scalar>
void pack_biases(const Dims d, const Weights<const T>& w, T* packed) {
  for (int slot = 0; slot < Cell::kPre; ++slot) {
    const int x = gate_of_slot<Cell>(true, slot), h = gate_of_slot<Cell>(false, slot);
    for (Index j = 0; j < d.H; j += Vec::kLanes, packed += Vec::kLanes) {
      Vec sum(0);
      if (w.b_ih && x >= 0) sum = sum + load_first(w.b_ih + x * d.H + j, d.H - j);
      if (w.b_hh && h >= 0) sum = sum + load_first(w.b_hh + h * d.H + j, d.H - j);
      sum.store(packed);
    }
  }
}

// Which parameter (H) of Weights.unit stands at place k of the packed ones, where gains have the order of slots
template <class Cell>
FR_FN int unit_parameter(int k) {
  constexpr int G = Cell::kGates, first = Cell::kUnit;
  if (!Cell::kNormPre || k < first || k >= first + 2 * G) return k;
  const bool of_x = k < first + G;
  const int c = (k - first) % G;
  return first + (of_x ? 0 : G) + gate_of_slot<Cell>(of_x, first_slot<Cell>(of_x) + c);
}

// (kUnitParameters*H) -> [parameter][padded H]
template <class Cell, class Vec, class T = typename Vec::Scalar>
void pack_parameters(const Dims d, const T* unit, T* packed) {
  for (int k = 0; k < kUnitParameters<Cell>; ++k)
    for (Index j = 0; j < d.H; j += Vec::kLanes, packed += Vec::kLanes)
      load_first(unit + unit_parameter<Cell>(k) * d.H + j, d.H - j).store(packed);
}

// The parameters of the cell itself for the units from j on
template <class Cell, class Vec, class T = typename Vec::Scalar>
FR_FN UnitParameters<Vec, Cell::kUnit> load_parameters(const T* packed, Index padded, Index j) {
  UnitParameters<Vec, Cell::kUnit> values;
  if constexpr (Cell::kUnit > 0) FR_UNROLL for (int k = 0; k < Cell::kUnit; ++k) values[k] = Vec::load(packed + k * padded + j);
  return values;
}

// All that forward needs
template <class Cell, class Vec, bool kMasked, class T = typename Vec::Scalar>
void pack_all(Dims d, const Weights<const T>& w, T* packed, const Team& team) {
  using Map = Layout<Cell, Vec, kMasked>;
  constexpr int G = Map::G, direct = Map::kDirect;
  const Map map{d};
  pack_as_columns<Vec>(gate_rows<Cell>(true, w.W_ih, d.H, d.I, 0, G), packed, team);
  pack_as_columns<Vec>(gate_rows<Cell>(false, w.W_hh, d.H, d.P, 0, direct), packed + map.W_hh_at(), team);
  if constexpr (Cell::kResetBefore)
    pack_as_columns<Vec>(gate_rows<Cell>(false, w.W_hh, d.H, d.H, direct, 1), packed + map.W_reset_at(), team);
  if constexpr (Cell::kProjected)
    pack_as_columns<Vec>(GateRows<T>{w.W_hr, d.P, d.H, 1, {}}, packed + map.W_hr_at(), team);
  if (team.rank) return;
  pack_biases<Cell, Vec>(d, w, packed + map.bias_at());
  if constexpr (Map::kUnit > 0) pack_parameters<Cell, Vec>(d, w.unit, packed + map.unit_at());
}

// C = from (null: 0) + A B, with rows of C padded to whole vectors. With kChains as forward.h and backward.h choose it:
// by B, not by the rows of a thread.
template <class Vec>
FR_FN void multiply(Index B, const RowOperand<typename Vec::Scalar>& a, const typename Vec::Scalar* packed, Index n,
                    Range rows, const typename Vec::Scalar* const* from, typename Vec::Scalar* const* C) {
  const Index blocks = (n + Vec::kLanes - 1) / Vec::kLanes;
  const Packed<typename Vec::Scalar> b{packed, blocks, a.runs * a.length};
  const Range panels{0, panel_count<kPanel>(blocks)};
  const StoreEpilogue<Vec> epilogue{from, C, blocks * Vec::kLanes};
  if (B == 1) product<Vec, kPanel, 1, 2>(a, b, rows, panels, epilogue);
  else product<Vec, kPanel, 1>(a, b, rows, panels, epilogue);
}
}  // namespace staged
FR_NAMESPACE_END
