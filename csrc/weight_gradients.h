// SPDX-License-Identifier: MIT
// dW_hh = dG^T Hprev,  dW_ih = dG^T X,  db = column sums of dG, and the gradients of unit parameters, over all R rows.
//
//     dW[gate, unit j][column n] += sum over rows k of dG[k][gate, unit j] (H|X)[k][n]
//
// Tiles are tiles of dW itself: up to 6 units of a gate are broadcast, up to 4 vectors of columns fill the lanes. The
// sums start from what the caller passed and end there, so nothing is transposed and no copy of dW is kept.
//
// A narrow X (I = 1: audio, one pixel) would leave most lanes empty. There the roles are turned: columns of X are
// broadcast, gates fill the lanes, and C (I x gates) is transposed at the end.
//
// Rows come in chunks: the chunk of H|X is packed once, shared, as [panel][k][column block][lane], and a panel of dG
// is packed by the thread that owns its units, summed into db on the way.
//
// Row R-1 comes first and row 0 last, in one chain of sums: the same bits for any team, and for any segments, which
// back-propagation meets from the last to the first. What is summed in scratch stays there from segment to segment.
#pragma once
#include "forward.h"
FR_NAMESPACE_BEGIN
constexpr Index kMostChunkRows = 512;

// A stretch of the rows, the last of which comes first
struct Chunk {
  Index begin, end;
  bool first, last;  // of all chunks of all segments
  FR_FN Index rows() const { return end - begin; }
};

// The rows of a call in chunks of about equal size, from the last row to the first; even, for an element may hold a pair
struct Chunks {
  const Walk& walk;
  Index size, count;
  explicit Chunks(const Walk& walk_) : walk(walk_) {
    const Index R = walk.d.R, least = R ? (R + kMostChunkRows - 1) / kMostChunkRows : 1;
    size = (R + least - 1) / least;
    size += size % 2;
    count = R ? (R + size - 1) / size : 1;
  }
  Chunk operator[](Index number) const {
    const Index end = walk.d.R - number * size;
    return {end > size ? end - size : 0, end, number == 0 && walk.last_segment(),
            number == count - 1 && walk.first_segment()};
  }
};

// Gradients that are complete are clamped, and summed by their squares
template <class Vec, class T = typename Vec::Scalar>
struct Finish {
  T limit;
  SquareSum<T> kept, over, clamped;  // vectors that stay; the others before and after
  double count = 0;

  // Stores n numbers of a; those beyond may be NaN. sum: `kept`, which a tile holds in a register
  FR_FN void store(T* to, Vec a, Index n, SquareSum<T>& sum) {
    store_first(to, a, n);
    if (n < Vec::kLanes) a = load_first(to, n);
    if (const int beyond_limit = beyond(a, Vec(limit))) return clamp_all(to, a, n, beyond_limit);
    sum.add(a);
  }
  FR_TILE void clamp_all(T* to, Vec a, Index n, int beyond_limit) {  // stands once and not once a tile
    const Vec inside = clamp(a, limit);
    store_first(to, inside, n);
    over.add(a), clamped.add(inside);
    count += beyond_limit;
  }
  FR_FN GradientSums sums() const { return {kept.total() + over.total(), kept.total() + clamped.total(), count}; }
};

// dW += the sums, or = where nothing stands there yet, and what is done at the end
template <class Vec, class T = typename Vec::Scalar>
struct AddEpilogue {
  T* dW;
  Index ld, n;  // n columns are left
  bool fresh;
  Finish<Vec>* finish;  // null before the last chunk
  template <int kRows, int kColumns>
  FR_FN void begin(Vec (&sums)[kRows][kColumns], Index, Index) const {
    FR_UNROLL for (int r = 0; r < kRows; ++r) FR_UNROLL for (int c = 0; c < kColumns; ++c)
      sums[r][c] = fresh ? Vec(0) : load_first(dW + r * ld + c * Vec::kLanes, n - c * Vec::kLanes);
  }
  template <int kRows, int kColumns>
  FR_FN void end(Vec (&sums)[kRows][kColumns], Index, Index) const {
    if (finish) return finish_all(sums);
    FR_UNROLL for (int r = 0; r < kRows; ++r) FR_UNROLL for (int c = 0; c < kColumns; ++c)
      store_first(dW + r * ld + c * Vec::kLanes, sums[r][c], n - c * Vec::kLanes);
  }
  template <int kRows, int kColumns>
  FR_FN void finish_all(Vec (&sums)[kRows][kColumns]) const {
    SquareSum<T> kept = finish->kept;
    FR_UNROLL for (int r = 0; r < kRows; ++r) FR_UNROLL for (int c = 0; c < kColumns; ++c)
      finish->store(dW + r * ld + c * Vec::kLanes, sums[r][c], n - c * Vec::kLanes, kept);
    finish->kept = kept;
  }
};

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

template <class Cell, class Vec, class E, class T = typename Vec::Scalar>
struct WeightGradients {
  using Map = Layout<Cell, Vec, E>;
  static constexpr int kNumbers = ElementOf<E>::kNumbers;
  static constexpr int L = Map::L, G = Map::kGates;
  static constexpr int kColumnPanel = Map::kColumnPanel;
  static constexpr int kTileRows = rows_per_tile(kColumnPanel);

  static bool narrow(Dims d) { return d.I > 0 && d.I <= kTileRows && d.I <= L; }

  struct Scratch {
    Carve<T> carve;
    // of the team: sums of dG and of the gradients of unit parameters, C of a narrow X, sums over the gradients of each
    // panel, packed H|X of a chunk. What stays for the next segment comes before what depends on R.
    T *slot_sums, *unit_sums, *C;
    E* columns;
    GradientSums* sums;
    // of the thread: a packed panel of dG, rows of a chunk
    T* zeros = nullptr;
    E* panel_dG = nullptr;
    const T **prev = nullptr, **x = nullptr;
    Scratch(const Dims& d, int rank, T* p) : carve{p} {
      const Map map{d};
      const Index most = smaller(d.R, kMostChunkRows);
      slot_sums = carve.take(map.padded() * Cell::kPre);
      unit_sums = carve.take(map.padded() * Cell::kUnit);
      C = carve.take(smaller(d.I, kTileRows) * map.gate_rows());  // also where X is wide: sizes must grow with I
      sums = carve.template take_as<GradientSums>(panel_count<Map::kPanel>(map.blocks()));
      columns = carve.template take_as<E>((map.blocks() + map.input_blocks()) * L * most);
      for (int i = 0; i <= rank; ++i) {
        zeros = carve.take(map.state_ld());
        panel_dG = carve.template take_as<E>(most * Map::kPanel * Cell::kPre * L);
        prev = carve.template take_as<const T*>(most);
        x = carve.template take_as<const T*>(most);
      }
    }
  };
  static Index scratch_size(Dims d, int threads) { return Scratch(d, threads - 1, nullptr).carve.used; }

  // The columns of H or of X
  struct Columns {
    Index n, blocks;
    E* packed;
    const T* const* rows;
    T* dW;
    bool of_x;
    Index panels() const { return panel_count<kColumnPanel>(blocks); }
  };

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
  const Chunks chunks{walk};
  const Columns H{d.H, map.blocks(), scratch.columns, scratch.prev, args.gradients.W_hh, false};
  const Columns X{d.I,       map.input_blocks(), scratch.columns + map.padded() * smaller(d.R, kMostChunkRows),
                  scratch.x, args.gradients.W_ih, true};

  // Where the rows of a chunk have their states before the step, and their inputs
  void find_rows(const Chunk& chunk) const {
    Cursor at(walk, chunk.begin);
    for (Index k = chunk.rows() - 1; k >= 0; --k, at.next()) {
      const Index before = walk.row_before(at.step) + at.b;
      scratch.prev[k] = walk.cut(at.step, at.b) ? scratch.zeros : states + before * map.state_ld();
      scratch.x[k] = walk.at(args.x, at.step, at.b);
    }
  }

  // The vector at `column` of rows k, k + 1, ... of H or X that make one element
  FR_FN void store_columns(const Columns& side, Index k, Index rows, Index column, E* to) const {
    const Index left = side.n - column;
    store_rows(to, load_first(side.rows[k] + column, left),
               kNumbers == 2 && k + 1 < rows ? load_first(side.rows[k + 1] + column, left) : Vec(0));
  }

  // A panel of columns for the rows of a chunk, zero-padded to whole vectors
  void pack_columns_of(const Columns& side, Index panel, Index rows) const {
    const Range blocks = part(side.blocks, panel, side.panels());
    E* to = side.packed + blocks.begin * L * elements<E>(rows);
    for (Index k = 0; k < rows; k += kNumbers)
      for (Index block = blocks.begin; block < blocks.end; ++block, to += L)
        store_columns(side, k, rows, block * L, to);
  }

  // Whole vectors are stored, of which the next ones overwrite what is too much
  void pack_narrow(Index rows) const {
    for (Index k = 0; k < rows; k += kNumbers) store_columns(X, k, rows, 0, X.packed + k / kNumbers * d.I);
  }

  void pack_shared(Index rows) const {
    const Index of_h = Cell::kRecurrent ? H.panels() : 0, all = of_h + (narrow(d) ? 1 : X.panels());
    const Range mine = part(all, team.rank, team.size);
    for (Index panel = mine.begin; panel < mine.end; ++panel) {
      if (panel < of_h) pack_columns_of(H, panel, rows);
      else if (narrow(d)) pack_narrow(rows);
      else pack_columns_of(X, panel - of_h, rows);
    }
  }

  // The dpre of a panel for the rows of a chunk -> panel_dG [k][unit block][slot][lane], and their sums
  template <int kUnits>
  void pack_panel(Index unit, const Chunk& chunk) const {
    constexpr int n = kUnits * Cell::kPre;
    T* const sums_at = scratch.slot_sums + unit * Cell::kPre * L;
    Vec sums[n];
    FR_UNROLL for (int c = 0; c < n; ++c) sums[c] = chunk.first ? Vec(0) : Vec::load(sums_at + c * L);
    E* to = scratch.panel_dG;
    for (Index k = chunk.end - 1; k >= chunk.begin; k -= kNumbers, to += n * L) {
      const T* from = args.tape + k * map.gates_ld() + unit * Map::kSlots * L;
      const bool two = kNumbers == 2 && k > chunk.begin;
      FR_UNROLL for (int c = 0; c < n; ++c) {
        const T* at = from + (c / Cell::kPre * Map::kSlots + c % Cell::kPre) * L;
        const Vec row = Vec::load(at), next = two ? Vec::load(at - map.gates_ld()) : Vec(0);
        store_rows(to + c * L, row, next);
        sums[c] = sums[c] + row;
        if constexpr (kNumbers == 2) sums[c] = sums[c] + next;
      }
    }
    FR_UNROLL for (int c = 0; c < n; ++c) sums[c].store(sums_at + c * L);
  }

  // Sums what each row of a chunk gives to the parameters of a block of units
  void sum_unit_gradients(Index unit, const Chunk& chunk) const {
    T* const sums_at = scratch.unit_sums + unit * Cell::kUnit * L;
    UnitParameters<Vec, Cell::kUnit> sums;
    FR_UNROLL for (int p = 0; p < Cell::kUnit; ++p) sums[p] = chunk.first ? Vec(0) : Vec::load(sums_at + p * L);
    for (Index k = chunk.end - 1; k >= chunk.begin; --k) {
      const T* gate = args.tape + k * map.gates_ld() + unit * Map::kSlots * L;
      const T* after_at = states + (d.B + k) * map.state_ld() + unit * L;
      Vec dpre[Cell::kPre], prev[Cell::kState], after[Cell::kState];
      UnitParameters<Vec, Cell::kUnit> share;
      FR_UNROLL for (int s = 0; s < Cell::kPre; ++s) dpre[s] = Vec::load(gate + s * L);
      FR_UNROLL for (int q = 0; q < Cell::kState; ++q) {
        prev[q] = Vec::load(scratch.prev[chunk.end - 1 - k] + q * map.padded() + unit * L);
        after[q] = Vec::load(after_at + q * map.padded());
      }
      Cell::unit_gradients(dpre, prev, after, share);
      FR_UNROLL for (int p = 0; p < Cell::kUnit; ++p) sums[p] = sums[p] + share[p];
    }
    FR_UNROLL for (int p = 0; p < Cell::kUnit; ++p) sums[p].store(sums_at + p * L);
  }

  // The columns of one panel against one gate of a block of units
  template <int kColumns>
  void tiles(const E* columns, const E* dG, Index dG_ld, Index K, Index units, AddEpilogue<Vec> epilogue) const {
    const Index count = (units + kTileRows - 1) / kTileRows;
    for (Index i = 0; i < count; ++i) {
      const Range j = part(units, i, count);
      with_constant<kTileRows>(j.end - j.begin, [&](auto height) {
        tile<Vec, decltype(height)::value, kColumns, 1, kColumns>(ColumnOperand<E>{dG + j.begin, dG_ld, K}, columns,
                                                                  epilogue, 0, 0);
      });
      epilogue.dW += (j.end - j.begin) * epilogue.ld;
    }
  }

  // All columns of H or X against the packed panel of dG
  void product_with(const Columns& side, Range units, const Chunk& chunk, Finish<Vec>* finish) const {
    const Index K = elements<E>(chunk.rows()), dG_ld = (units.end - units.begin) * Cell::kPre * L;
    for (Index panel = 0; panel < side.panels(); ++panel) {
      const Range blocks = part(side.blocks, panel, side.panels());
      const E* columns = side.packed + blocks.begin * L * K;
      with_constant<kColumnPanel>(blocks.end - blocks.begin, [&](auto width) {
        for (Index unit = units.begin; unit < units.end; ++unit)
          for (int c = 0; c < G; ++c) {
            const int slot = (side.of_x ? Map::kX : Map::kH) + c, gate = gate_of_slot<Cell>(side.of_x, slot);
            const E* dG = scratch.panel_dG + ((unit - units.begin) * Cell::kPre + slot) * L;
            T* const dW = side.dW + (gate * d.H + unit * L) * side.n + blocks.begin * L;
            tiles<decltype(width)::value>(columns, dG, dG_ld, K, smaller(L, d.H - unit * L),
                                          {dW, side.n, side.n - blocks.begin * L, args.fresh && chunk.first, finish});
          }
      });
    }
  }

  // A narrow X against the packed panel of dG
  template <int kUnits>
  void narrow_product(Index unit, const Chunk& chunk) const {
    static_assert(Map::kPanel == 1 || Cell::kPre == G, "a panel of several unit blocks needs adjoining gates");
    const ColumnOperand<E> x{X.packed, d.I, elements<E>(chunk.rows())};
    const PartialEpilogue<Vec> epilogue{scratch.C + unit * G * L, map.gate_rows(), chunk.first};
    with_constant<kTileRows>(d.I, [&](auto height) {
      tile<Vec, decltype(height)::value, kUnits * G, 1, kUnits * Cell::kPre>(
          x, scratch.panel_dG + Map::kX * L, epilogue, 0, 0);
    });
  }

  FR_FN void add(T* to, Vec a, Index n, Finish<Vec>& finish) const {
    finish.store(to, args.fresh ? a + Vec(0) : load_first(to, n) + a, n, finish.kept);  // -0 becomes 0, as by adding
  }

  // C of a narrow X into dW_ih
  void finish_narrow(Index unit, Finish<Vec>& finish) const {
    for (int c = 0; c < G; ++c) {
      T* dW = args.gradients.W_ih + (gate_of_slot<Cell>(true, Map::kX + c) * d.H + unit * L) * d.I;
      const T* from = scratch.C + (unit * G + c) * L;
      Vec block[L];
      FR_UNROLL for (int i = 0; i < L; ++i) block[i] = i < d.I ? Vec::load(from + i * map.gate_rows()) : Vec(0);
      transpose<T>(block);
      for (int l = 0; l < L && unit * L + l < d.H; ++l) add(dW + l * d.I, block[l], d.I, finish);
    }
  }

  void finish_unit(Index unit, Finish<Vec>& finish) const {
    const Index j = unit * L, n = d.H - j;
    if (narrow(d)) finish_narrow(unit, finish);
    for (int c = 0; c < G; ++c) {
      const T* sums = scratch.slot_sums + (unit * Cell::kPre + c) * L;
      const int x = gate_of_slot<Cell>(true, Map::kX + c), h = gate_of_slot<Cell>(false, Map::kH + c);
      if (args.gradients.b_ih) add(args.gradients.b_ih + x * d.H + j, Vec::load(sums + Map::kX * L), n, finish);
      if (args.gradients.b_hh) add(args.gradients.b_hh + h * d.H + j, Vec::load(sums + Map::kH * L), n, finish);
    }
    for (int p = 0; p < Cell::kUnit; ++p)
      add(args.gradients.unit + p * d.H + j, Vec::load(scratch.unit_sums + (unit * Cell::kUnit + p) * L), n, finish);
  }

  void work_on_panel(Index panel, const Chunk& chunk) const {
    const Range units = part(map.blocks(), panel, panels);
    Finish<Vec> finish{args.value, {}, {}, {}};
    Finish<Vec>* const last = chunk.last ? &finish : nullptr;
    with_constant<Map::kPanel>(units.end - units.begin, [&](auto width) {
      pack_panel<decltype(width)::value>(units.begin, chunk);
      if (narrow(d)) narrow_product<decltype(width)::value>(units.begin, chunk);
    });
    if constexpr (Cell::kRecurrent) product_with(H, units, chunk, last);
    if (!narrow(d)) product_with(X, units, chunk, last);
    if constexpr (Cell::kUnit > 0)
      for (Index unit = units.begin; unit < units.end; ++unit) sum_unit_gradients(unit, chunk);
    if (!last) return;
    for (Index unit = units.begin; unit < units.end; ++unit) finish_unit(unit, finish);
    scratch.sums[panel] = finish.sums();
  }

  void run() const {
    copy_or_zero<T>(nullptr, scratch.zeros, map.state_ld());
    for (Index k = 0; k < chunks.count; ++k) {
      const Chunk now = chunks[k];
      find_rows(now);
      team.barrier(team.context);  // the columns of the chunk before are no longer read
      pack_shared(now.rows());
      team.barrier(team.context);
      for (Index panel = own.begin; panel < own.end; ++panel) work_on_panel(panel, now);
    }
    team.barrier(team.context);
    if (team.rank || !walk.first_segment()) return;
    GradientSums total = {};
    for (Index panel = 0; panel < panels; ++panel) {
      const GradientSums& sums = scratch.sums[panel];
      total.before += sums.before, total.after += sums.after, total.clamped += sums.clamped;
    }
    *args.sums = total;
  }
};
FR_NAMESPACE_END
