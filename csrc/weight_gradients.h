// SPDX-License-Identifier: MIT
// dW_hh = dG^T Hprev,  dW_ih = dG^T X,  db = column sums of dG, and the gradients of unit parameters, over all R rows.
//
// The roles are turned: columns of Hprev and X are broadcast, gates fill the lanes,
//     C[column of H | X][unit block][gate][lane] = sum over rows k of H|X[k][column] dG[k][unit block][gate][lane],
// so that a narrow input (I = 1) costs one row of C and not a padded vector. C is transposed into dW at the end.
//
// Rows come in chunks of kRowChunk: the chunk of H|X is packed once, shared, as [group of columns][k][column]
// (a power-of-two stride between rows would leave it two sets of the cache), and a panel of dG is packed by the
// thread that owns the panel and summed into db on the way. Chunks follow each other in order: the same bits
// for any team.
#pragma once
#include "forward.h"
FR_NAMESPACE_BEGIN
constexpr Index kRowChunk = 256;

// C = or += the sums; C is scratch, full vectors
template <class Vec, class T = typename Vec::Scalar>
struct PartialEpilogue {
  T* C;
  Index ld;
  bool first;
  template <int kRows, int kColumns>
  FR_FN void begin(Vec (&sums)[kRows][kColumns], Index, Index) const {
    FR_UNROLL for (int r = 0; r < kRows; ++r) FR_UNROLL for (int c = 0; c < kColumns; ++c)
      sums[r][c] = first ? Vec(0) : Vec::load(C + r * ld + c * Vec::kLanes);
  }
  template <int kRows, int kColumns>
  FR_FN void end(Vec (&sums)[kRows][kColumns], Index, Index) const {
    FR_UNROLL for (int r = 0; r < kRows; ++r)
      FR_UNROLL for (int c = 0; c < kColumns; ++c) sums[r][c].store(C + r * ld + c * Vec::kLanes);
  }
};

template <class Cell, class Vec, class T = typename Vec::Scalar>
struct WeightGradients {
  using Map = Layout<Cell, Vec>;
  static constexpr int L = Map::L, G = Map::kGates;
  static constexpr int kGroup = rows_per_tile(4);  // columns of H|X in one tile

  struct Scratch {
    Carve<T> carve;
    // of the team: C, sums of dG and of the gradients of unit parameters, packed H|X of a chunk, squares of each panel
    T *C, *slot_sums, *unit_sums, *columns;
    double* squares;
    // of the thread: a packed panel of dG, rows of a chunk
    T *zeros, *panel_dG;
    const T **prev, **x;
    Scratch(const Dims& d, int rank, T* p) : carve{p} {
      const Map map{d};
      C = carve.take((d.H + d.I) * map.gate_rows());
      slot_sums = carve.take(map.padded() * Cell::kPre);
      unit_sums = carve.take(map.padded() * Cell::kUnit);
      columns = carve.take(groups(d) * group_size());
      squares = carve.template take_as<double>(panel_count<Map::kPanel>(map.blocks()));
      for (int i = 0; i <= rank; ++i) {
        zeros = carve.take(map.state_ld());
        panel_dG = carve.take(kRowChunk * Map::kPanel * Cell::kPre * L);
        prev = carve.template take_as<const T*>(kRowChunk);
        x = carve.template take_as<const T*>(kRowChunk);
      }
    }
  };
  static Index groups_of(Index n) { return (n + kGroup - 1) / kGroup; }
  static Index groups(Dims d) { return groups_of(d.H) + groups_of(d.I); }
  static Index group_size() { return kRowChunk * kGroup + L; }  // + L: groups do not share sets of the cache
  static Index scratch_size(Dims d, int threads) { return Scratch(d, threads - 1, nullptr).carve.used; }

  const BackwardArgs<T>& args;
  const Team& team;
  T* const scratch_at;
  const Dims d = args.dims;
  const Walk walk{args.dims, args.steps};
  const Map map{args.dims};
  const Index panels = panel_count<Map::kPanel>(map.blocks());
  const Range own = part(panels, team.rank, team.size);
  const Scratch scratch{d, team.rank, scratch_at};
  const T* const states = args.tape + map.states_at();

  // Where the rows of a chunk have their states before the step, and their inputs
  void find_rows(Range chunk) const {
    Cursor at(walk, chunk.begin);
    for (Index k = 0; at.row < chunk.end; ++k, at.next()) {
      const Index before = walk.row_before(at.step) + at.b;
      scratch.prev[k] = walk.cut(at.step, at.b) ? scratch.zeros : states + before * map.state_ld();
      scratch.x[k] = walk.at(args.x, at.step, at.b);
    }
  }

  // Columns [kGroup group, ...) of H (or X) for the rows of a chunk, zero-padded to whole groups
  void pack_group(Index group, Index rows) const {
    const bool of_h = group < groups_of(d.H);
    const Index column = (of_h ? group : group - groups_of(d.H)) * kGroup, left = (of_h ? d.H : d.I) - column;
    const T* const* from = of_h ? scratch.prev : scratch.x;
    T* to = scratch.columns + group * group_size();
    for (Index k = 0; k < rows; ++k, to += kGroup) {
      if (left >= kGroup) __builtin_memcpy(to, from[k] + column, kGroup * sizeof(T));
      else for (Index c = 0; c < kGroup; ++c) to[c] = c < left ? from[k][column + c] : T(0);
    }
  }

  // The dpre of a panel for the rows of a chunk -> panel_dG [k][unit block][slot][lane], and their sums
  template <int kUnits>
  void pack_panel(Index unit, Range chunk) const {
    constexpr int n = kUnits * Cell::kPre;
    T* const sums_at = scratch.slot_sums + unit * Cell::kPre * L;
    Vec sums[n];
    FR_UNROLL for (int c = 0; c < n; ++c) sums[c] = chunk.begin ? Vec::load(sums_at + c * L) : Vec(0);
    T* to = scratch.panel_dG;
    for (Index k = chunk.begin; k < chunk.end; ++k, to += n * L) {
      const T* from = args.tape + k * map.gates_ld() + unit * Map::kSlots * L;
      FR_UNROLL for (int c = 0; c < n; ++c) {
        const Vec v = Vec::load(from + (c / Cell::kPre * Map::kSlots + c % Cell::kPre) * L);
        v.store(to + c * L);
        sums[c] = sums[c] + v;
      }
    }
    FR_UNROLL for (int c = 0; c < n; ++c) sums[c].store(sums_at + c * L);
  }

  // Sums what each row of a chunk gives to the parameters of a block of units
  void sum_unit_gradients(Index unit, Range chunk) const {
    T* const sums_at = scratch.unit_sums + unit * Cell::kUnit * L;
    UnitParameters<Vec, Cell::kUnit> sums;
    FR_UNROLL for (int p = 0; p < Cell::kUnit; ++p) sums[p] = chunk.begin ? Vec::load(sums_at + p * L) : Vec(0);
    for (Index k = chunk.begin; k < chunk.end; ++k) {
      const T* gate = args.tape + k * map.gates_ld() + unit * Map::kSlots * L;
      const T* after_at = states + (d.B + k) * map.state_ld() + unit * L;
      Vec dpre[Cell::kPre], prev[Cell::kState], after[Cell::kState];
      UnitParameters<Vec, Cell::kUnit> share;
      FR_UNROLL for (int s = 0; s < Cell::kPre; ++s) dpre[s] = Vec::load(gate + s * L);
      FR_UNROLL for (int q = 0; q < Cell::kState; ++q) {
        prev[q] = Vec::load(scratch.prev[k - chunk.begin] + q * map.padded() + unit * L);
        after[q] = Vec::load(after_at + q * map.padded());
      }
      Cell::unit_gradients(dpre, prev, after, share);
      FR_UNROLL for (int p = 0; p < Cell::kUnit; ++p) sums[p] = sums[p] + share[p];
    }
    FR_UNROLL for (int p = 0; p < Cell::kUnit; ++p) sums[p].store(sums_at + p * L);
  }

  // All columns of H|X against one panel
  template <int kUnits>
  void panel_product(Index unit, Range chunk) const {
    static_assert(Map::kPanel == 1 || Cell::kPre == G, "a panel of several unit blocks needs adjoining gates");
    for (Index group = 0; group < groups(d); ++group) {
      const bool of_h = group < groups_of(d.H);
      const Index column = (of_h ? group : group - groups_of(d.H)) * kGroup;
      const Index left = (of_h ? d.H : d.I) - column;
      T* const to = scratch.C + ((of_h ? 0 : d.H) + column) * map.gate_rows() + unit * G * L;
      const ColumnOperand<T> a{scratch.columns + group * group_size(), kGroup, chunk.end - chunk.begin};
      const T* dG = scratch.panel_dG + (of_h ? Map::kH : Map::kX) * L;
      const PartialEpilogue<Vec> epilogue{to, map.gate_rows(), chunk.begin == 0};
      with_constant<kGroup>(left < kGroup ? left : kGroup, [&](auto height) {
        tile<Vec, decltype(height)::value, kUnits * G, 1, kUnits * Cell::kPre>(a, dG, epilogue, 0, 0);
      });
    }
  }

  FR_FN static void add(T* to, Vec a, Index n, SquareSum<T>& squares) {
    const Vec sum = load_first(to, n) + a;
    store_first(to, sum, n);
    squares.add(n < L ? load_first(to, n) : sum);
  }

  // Rows of C for one gate and unit block, transposed and added to dW (G*H,N)
  void add_transposed(const T* from, T* dW, Index N, int gate, Index unit, SquareSum<T>& squares) const {
    const Index j = unit * L;
    for (Index n = 0; n < N; n += L) {
      Vec block[L];
      FR_UNROLL for (int c = 0; c < L; ++c)
        block[c] = n + c < N ? Vec::load(from + (n + c) * map.gate_rows()) : Vec(0);
      transpose<T>(block);
      for (int l = 0; l < L && j + l < d.H; ++l) add(dW + (gate * d.H + j + l) * N + n, block[l], N - n, squares);
    }
  }

  void finish(Index unit, SquareSum<T>& squares) const {
    const Index j = unit * L, n = d.H - j;
    for (int c = 0; c < G; ++c) {
      const T* from = scratch.C + (unit * G + c) * L;
      const int x = gate_of_slot<Cell>(true, Map::kX + c), h = gate_of_slot<Cell>(false, Map::kH + c);
      add_transposed(from, args.gradients.W_hh, d.H, h, unit, squares);
      add_transposed(from + d.H * map.gate_rows(), args.gradients.W_ih, d.I, x, unit, squares);
      if (!args.gradients.b_ih) continue;
      const T* sums = scratch.slot_sums + (unit * Cell::kPre + c) * L;
      add(args.gradients.b_ih + x * d.H + j, Vec::load(sums + Map::kX * L), n, squares);
      add(args.gradients.b_hh + h * d.H + j, Vec::load(sums + Map::kH * L), n, squares);
    }
    for (int p = 0; p < Cell::kUnit; ++p)
      add(args.gradients.unit + p * d.H + j, Vec::load(scratch.unit_sums + (unit * Cell::kUnit + p) * L), n, squares);
  }

  void work_on_panel(Index panel, Range chunk) const {
    const Range units = part(map.blocks(), panel, panels);
    with_constant<Map::kPanel>(units.end - units.begin, [&](auto width) {
      pack_panel<decltype(width)::value>(units.begin, chunk);
      panel_product<decltype(width)::value>(units.begin, chunk);
    });
    if constexpr (Cell::kUnit > 0)
      for (Index unit = units.begin; unit < units.end; ++unit) sum_unit_gradients(unit, chunk);
    if (chunk.end < d.R) return;
    SquareSum<T> squares;  // here, while the panel of C is in L2
    for (Index unit = units.begin; unit < units.end; ++unit) finish(unit, squares);
    scratch.squares[panel] = squares.total();
  }

  void run() const {
    copy_or_zero<T>(nullptr, scratch.zeros, map.state_ld());
    const Range mine = part(groups(d), team.rank, team.size);
    for (Index k = 0; k == 0 || k < d.R; k += kRowChunk) {
      const Range chunk = {k, smaller(d.R, k + kRowChunk)};
      find_rows(chunk);
      team.barrier(team.context);  // the columns of the chunk before are no longer read
      for (Index group = mine.begin; group < mine.end; ++group) pack_group(group, chunk.end - chunk.begin);
      team.barrier(team.context);
      for (Index panel = own.begin; panel < own.end; ++panel) work_on_panel(panel, chunk);
    }
    team.barrier(team.context);
    if (team.rank) return;
    *args.square_sum = 0;
    for (Index panel = 0; panel < panels; ++panel) *args.square_sum += scratch.squares[panel];
  }
};
FR_NAMESPACE_END
