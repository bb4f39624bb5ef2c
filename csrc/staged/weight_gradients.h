// SPDX-License-Identifier: MIT
// Gradients of the weights of a cell run in stages, C (N,n) += A^T B for up to four of them, and of its biases and unit
// parameters, sums over rows.
//
//          A, of a row                     B, of a row
//   dW_ih  gradient of W_ih x              x
//   dW_hh  gradient of W_hh h              h before the step; of the last gate what it multiplied (kResetBefore)
//   dW_hr  gradient of h                   what W_hr multiplied   (kProjected)
//
// As in ../weight_gradients.h rows come in chunks, row R-1 first and row 0 last, in one chain of sums; B is packed
// for all threads, A by the one that owns its panel.
#pragma once
#include "layout.h"
FR_NAMESPACE_BEGIN
namespace staged {
template <class Cell, class Vec, bool kMasked, class T = typename Vec::Scalar>
struct WeightGradients {
  using Map = Layout<Cell, Vec, kMasked>;
  static constexpr int L = Map::L, G = Map::G;
  static constexpr int kTileRows = rows_per_tile(kPanel);
  static constexpr int kTerms = 2 + Cell::kResetBefore + Cell::kProjected;

  // One of the products
  struct Term {
    Index A_at;  // in a row
    GateRows<T> C;  // dW as gates of it; W is dW
    const T** B;  // rows of a chunk
    T* packed;  // B as panels
    FR_FN Index of_gate() const { return Map::blocks_of(C.H); }
    FR_FN Index blocks() const { return of_gate() * C.count; }
    FR_FN Index panels() const { return panel_count<kPanel>(blocks()); }
    FR_FN Index columns() const { return Map::blocks_of(C.n); }
    FR_FN Index column_panels() const { return panel_count<kPanel>(columns()); }
  };

  struct Scratch {
    Carve<T> carve;
    // of the team: sums of dpre and of the gradients of unit parameters, sums over gradients of each panel and block of
    // units, B of a chunk. What stays for the next segment comes before what depends on R.
    T *slot_sums, *unit_sums, *B;
    GradientSums* sums;
    // of the thread: zeros, a packed panel of A, rows of a chunk, states before their steps
    T *zeros = nullptr, *A = nullptr;
    const T **rows = nullptr, **prev = nullptr;
    Scratch(const Dims& d, int rank, T* p) : carve{p} {
      const Map map{d};
      const Index most = smaller(d.R, kMostChunkRows), units = Map::blocks_of(d.H), h = Map::blocks_of(d.P);
      slot_sums = carve.take(Cell::kPre * map.padded());
      unit_sums = carve.take(Map::kUnit * map.padded());
      sums = carve.template take_as<GradientSums>((2 * G + 1) * units + h);
      B = carve.take((Map::blocks_of(d.I) + h + units) * L * most);
      for (int i = 0; i <= rank; ++i) {
        zeros = carve.take(map.state_ld());
        A = carve.take(kPanel * L * most);
        rows = carve.template take_as<const T*>(kTerms * most);
        prev = carve.template take_as<const T*>(most);
      }
    }
  };
  static Index scratch_size(Dims d, int threads) { return Scratch(d, threads - 1, nullptr).carve.used; }

  const BackwardArgs<T>& args;
  const Team& team;
  T* const scratch_at;
  const Dims d = args.dims;
  const Walk walk{args.dims, args.steps};
  const Map map{args.dims};
  const Index padded = map.padded(), most = smaller(d.R, kMostChunkRows);
  const Scratch scratch{d, team.rank, scratch_at};
  const T* const states = args.tape + map.states_at();
  const Chunks chunks{walk};
  Term terms[kTerms] = {};
  Index all_panels = 0;

  void add_term(int number, Index A_at, GateRows<T> C) {
    const bool first = number == 0;
    terms[number] = {A_at, C, scratch.rows + number * most,
                     first ? scratch.B : terms[number - 1].packed + terms[number - 1].columns() * L * most};
    all_panels += terms[number].panels();
  }
  void name_terms() {
    const Weights<T>& to = args.gradients;
    add_term(0, map.dx_at(), gate_rows<Cell, T>(true, to.W_ih, d.H, d.I, 0, G));
    add_term(1, map.dh_at(), gate_rows<Cell, T>(false, to.W_hh, d.H, d.P, 0, Map::kDirect));
    if constexpr (Cell::kResetBefore)
      add_term(2, map.dh_at() + Map::kDirect * padded, gate_rows<Cell, T>(false, to.W_hh, d.H, d.H, Map::kDirect, 1));
    if constexpr (Cell::kProjected) add_term(kTerms - 1, map.dprojected_at(), GateRows<T>{to.W_hr, d.P, d.H, 1, {}});
  }

  // Rows of B of a chunk
  void find_rows(const Chunk& chunk) const {
    Cursor at(walk, chunk.begin);
    for (Index k = chunk.rows() - 1; k >= 0; --k, at.next()) {
      const T* const row = args.tape + at.row * map.ld();
      terms[0].B[k] = walk.at(args.x, at.step, at.b);
      scratch.prev[k] =
          walk.cut(at.step, at.b) ? scratch.zeros : states + (walk.row_before(at.step) + at.b) * map.state_ld();
      terms[1].B[k] = kMasked ? row + map.masked_at() : scratch.prev[k];
      if constexpr (Cell::kResetBefore) terms[2].B[k] = row + map.reset_at();
      if constexpr (Cell::kProjected) terms[kTerms - 1].B[k] = row + map.output_at();
    }
  }

  void pack_B(const Term& term, Index panel, Index rows) const {
    const Range blocks = part(term.columns(), panel, term.column_panels());
    T* to = term.packed + blocks.begin * L * rows;
    for (Index k = 0; k < rows; ++k)
      for (Index n = blocks.begin * L; n < blocks.end * L; n += L, to += L)
        load_first(term.B[k] + n, term.C.n - n).store(to);
  }
  void pack_shared(Index rows) const {
    Index all = 0;
    for (const Term& term : terms) all += term.column_panels();
    const Range own = part(all, team.rank, team.size);
    Index first = 0;
    for (const Term& term : terms) {
      for (Index panel = 0; panel < term.column_panels(); ++panel)
        if (first + panel >= own.begin && first + panel < own.end) pack_B(term, panel, rows);
      first += term.column_panels();
    }
  }

  // A panel of A for the rows of a chunk -> [k][block][lane]
  void pack_A(const Term& term, Range blocks, const Chunk& chunk) const {
    T* to = scratch.A;
    for (Index k = chunk.end - 1; k >= chunk.begin; --k) {
      const T* from = args.tape + k * map.ld() + term.A_at;
      for (Index block = blocks.begin; block < blocks.end; ++block, to += L) Vec::load(from + block * L).store(to);
    }
  }

  // A block of A against a panel of B
  template <int kColumns>
  void tiles(const T* A, Index A_ld, const T* B, Index K, Index units, AddEpilogue<Vec> epilogue) const {
    const Index count = (units + kTileRows - 1) / kTileRows;
    for (Index i = 0; i < count; ++i) {
      const Range j = part(units, i, count);
      with_constant<kTileRows>(j.end - j.begin, [&](auto height) {
        tile<Vec, decltype(height)::value, kColumns, 1, kColumns>(ColumnOperand<T>{A + j.begin, A_ld, K}, B, epilogue,
                                                                  0, 0);
      });
      epilogue.dW += (j.end - j.begin) * epilogue.ld;
    }
  }

  void work_on_panel(const Term& term, Index panel, const Chunk& chunk, GradientSums& sums) const {
    const Range blocks = part(term.blocks(), panel, term.panels());
    const Index A_ld = (blocks.end - blocks.begin) * L;
    Finish<Vec> finish{args.value, {}, {}, {}};
    pack_A(term, blocks, chunk);
    for (Index columns = 0; columns < term.column_panels(); ++columns) {
      const Range n = part(term.columns(), columns, term.column_panels());
      for (Index block = blocks.begin; block < blocks.end; ++block) {
        const Index j = block % term.of_gate() * L, left = term.C.n - n.begin * L;
        T* const dW = const_cast<T*>(term.C.row(int(block / term.of_gate()), j)) + n.begin * L;
        const AddEpilogue<Vec> epilogue{dW, term.C.n, left, args.fresh && chunk.first, chunk.last ? &finish : nullptr};
        with_constant<kPanel>(n.end - n.begin, [&](auto width) {
          tiles<decltype(width)::value>(scratch.A + (block - blocks.begin) * L, A_ld,
                                        term.packed + n.begin * L * chunk.rows(), chunk.rows(),
                                        smaller(L, term.C.H - j), epilogue);
        });
      }
    }
    if (chunk.last) sums = finish.sums();
  }

  // Sums of dpre over the rows of a chunk, and of what each row gives to the unit parameters
  void sum_units(Index j, const Chunk& chunk) const {
    T *const slots = scratch.slot_sums + j, *const units = scratch.unit_sums + j;
    Vec dpre[Cell::kPre], sums[Cell::kPre];
    UnitParameters<Vec, Map::kUnit> unit_sums;
    FR_UNROLL for (int s = 0; s < Cell::kPre; ++s) sums[s] = chunk.first ? Vec(0) : Vec::load(slots + s * padded);
    if constexpr (Map::kUnit > 0)
      FR_UNROLL for (int p = 0; p < Map::kUnit; ++p)
        unit_sums[p] = chunk.first ? Vec(0) : Vec::load(units + p * padded);
    for (Index k = chunk.end - 1; k >= chunk.begin; --k) {
      const T* at = args.tape + k * map.ld() + j;
      FR_UNROLL for (int s = 0; s < Cell::kPre; ++s) {
        dpre[s] = Vec::load(at + s * padded);
        sums[s] = sums[s] + dpre[s];
      }
      if constexpr (Map::kUnit > 0) add_norm_gradients(at, dpre, unit_sums);
      if constexpr (Cell::kUnit > 0) add_unit_gradients(at, dpre, scratch.prev[chunk.end - 1 - k] + j, k, j, unit_sums);
    }
    FR_UNROLL for (int s = 0; s < Cell::kPre; ++s) sums[s].store(slots + s * padded);
    if constexpr (Map::kUnit > 0)
      FR_UNROLL for (int p = 0; p < Map::kUnit; ++p) unit_sums[p].store(units + p * padded);
  }

  // Of the cell itself
  FR_FN void add_unit_gradients(const T* at, const Vec (&dpre)[Cell::kPre], const T* prev, Index row, Index j,
                                UnitParameters<Vec, Map::kUnit>& sums) const {
    Vec before[Cell::kState], after[Cell::kState];
    UnitParameters<Vec, Cell::kUnit> share;
    FR_UNROLL for (int q = 0; q < Cell::kState; ++q) {
      before[q] = Vec::load(prev + map.state_at(q));
      after[q] = Vec::load(states + (d.B + row) * map.state_ld() + map.state_at(q) + j);
    }
    after[Cell::kMemory] = Vec::load(at + map.memory_at());  // as the output saw it: zoneout comes later
    Cell::unit_gradients(dpre, before, after, share);
    FR_UNROLL for (int p = 0; p < Cell::kUnit; ++p) sums[p] = sums[p] + share[p];
  }

  FR_FN void add_norm_gradients(const T* at, const Vec (&dpre)[Cell::kPre],
                                UnitParameters<Vec, Map::kUnit>& sums) const {
    constexpr int first = Map::kNorms;
    if constexpr (Cell::kNormPre)
      FR_UNROLL for (int c = 0; c < G; ++c) {
        const Vec x = Vec::load(at + map.x_at() + c * padded), h = Vec::load(at + map.h_at() + c * padded);
        sums[first + c] = sums[first + c] + dpre[Map::kX + c] * x;
        sums[first + G + c] = sums[first + G + c] + dpre[Map::kH + c] * h;
      }
    if constexpr (Cell::kNormMemory) {
      const Vec dm = Vec::load(at + map.dmemory_at());
      sums[first + 2 * G] = sums[first + 2 * G] + dm * Vec::load(at + map.memory_at());
      sums[first + 2 * G + 1] = sums[first + 2 * G + 1] + dm;
    }
  }

  FR_FN void add(T* to, Vec a, Index n, Finish<Vec>& finish) const {
    finish.store(to, args.fresh ? a + Vec(0) : load_first(to, n) + a, n, finish.kept);  // -0 becomes 0, as by adding
  }
  GradientSums finish_units(Index j) const {
    Finish<Vec> finish{args.value, {}, {}, {}};
    const Weights<T>& to = args.gradients;
    for (int slot = 0; slot < Cell::kPre; ++slot) {
      const Vec sum = Vec::load(scratch.slot_sums + slot * padded + j);
      const int x = gate_of_slot<Cell>(true, slot), h = gate_of_slot<Cell>(false, slot);
      if (to.b_ih && x >= 0) add(to.b_ih + x * d.H + j, sum, d.H - j, finish);
      if (to.b_hh && h >= 0) add(to.b_hh + h * d.H + j, sum, d.H - j, finish);
    }
    for (int k = 0; k < Map::kUnit; ++k)
      add(to.unit + unit_parameter<Cell>(k) * d.H + j, Vec::load(scratch.unit_sums + k * padded + j), d.H - j, finish);
    return finish.sums();
  }

  // Panels of all terms one after the other, then blocks of units
  void work(const Chunk& chunk) const {
    const Index units = padded / L;
    const Range own = part(all_panels + units, team.rank, team.size);
    Index first = 0;
    for (const Term& term : terms) {
      for (Index panel = 0; panel < term.panels(); ++panel)
        if (first + panel >= own.begin && first + panel < own.end)
          work_on_panel(term, panel, chunk, scratch.sums[first + panel]);
      first += term.panels();
    }
    for (Index unit = 0; unit < units; ++unit) {
      if (first + unit < own.begin || first + unit >= own.end) continue;
      sum_units(unit * L, chunk);
      if (chunk.last) scratch.sums[first + unit] = finish_units(unit * L);
    }
  }

  void run() {
    copy_or_zero<T>(nullptr, scratch.zeros, map.state_ld());
    name_terms();
    for (Index k = 0; k < chunks.count; ++k) {
      const Chunk now = chunks[k];
      find_rows(now);
      team.barrier(team.context);  // B of the chunk before is no longer read
      pack_shared(now.rows());
      team.barrier(team.context);
      work(now);
    }
    team.barrier(team.context);
    if (team.rank || !walk.first_segment()) return;
    GradientSums total = {};
    for (Index k = 0; k < all_panels + padded / L; ++k) {
      const GradientSums& sums = scratch.sums[k];
      total.before += sums.before, total.after += sums.after, total.clamped += sums.clamped;
    }
    *args.sums = total;
  }
};
}  // namespace staged
FR_NAMESPACE_END
