// SPDX-License-Identifier: MIT
// The one product of the library: C = A B in register tiles, with what is done to C left to an epilogue.
//
//   A  rows whose elements are broadcast one at a time (inputs, states, gradients): RowOperand, ColumnOperand
//   B  packed panels [panel][k][column][lane], see pack.h: one panel is kColumns vectors wide
//      of E: the scalar of C, or Pair, two bfloat16 numbers that stand for k and k + 1 (simd/pairs.h)
//   C  kRows x kColumns sums in registers. epilogue.begin loads or zeroes them, epilogue.end consumes them: in
//      the time loop it runs the cell on them, so that nothing is written between product and gates
//
// Rows of A are given by a table of pointers: rows of the user may lie anywhere and in any order, and a state that a
// reset has cut is a pointer to zeros.
//
// A tile works on its own COPY of the epilogue: stores of vectors may alias anything, so fields read through the
// reference would be read again after every store. Loops over sums are unrolled by pragma, or the array would
// live in memory.
#pragma once
#include "rows.h"
#include "simd/math.h"
#include "simd/pairs.h"
FR_NAMESPACE_BEGIN
// What an epilogue will write after the sums: it comes from memory while they are made.
FR_FN void prefetch_to_write(const void* p) { __builtin_prefetch(p, 1); }

template <int kValue> struct Constant {
  static constexpr int value = kValue;
};

// Calls f(Constant<n>) for 1 <= n <= kMax: from a runtime count to a template
template <int kMax, class F>
FR_FN void with_constant(Index n, const F& f) {
  if constexpr (kMax == 1) f(Constant<1>());
  else if (n == kMax) f(Constant<kMax>());
  else with_constant<kMax - 1>(n, f);
}

// A by rows: element k of row r is rows[r][start + k]. The reduction goes over `runs` runs of `length` elements whose
// starts are `hop` apart: gradients of gates lie between slots that do not take part. All in elements.
template <class E>
struct RowOperand {
  const typename ElementOf<E>::Word* const* rows;
  Index length, start = 0, runs = 1, hop = 0;

  template <int kRows>
  struct Tile {
    const E* p[kRows];
    FR_FN E at(int r, Index k) const { return p[r][k]; }
  };
  template <int kRows>
  FR_FN Tile<kRows> tile() const {
    Tile<kRows> tile;
    FR_UNROLL for (int r = 0; r < kRows; ++r) tile.p[r] = reinterpret_cast<const E*>(rows[r]) + start;
    return tile;
  }
};

// A by columns: element k of row r is p[k ld + r]
template <class E>
struct ColumnOperand {
  const E* p;
  Index ld, length, runs = 1, hop = 0;
  FR_FN E at(int r, Index k) const { return p[k * ld + r]; }
  template <int kRows>
  FR_FN ColumnOperand tile() const { return *this; }
};

// For epilogues that run a cell on each sum: in a loop over a copy, the cell is compiled once a tile and not once a sum,
// which makes the library half as large.
template <class Vec, int kRows, int kColumns>
FR_FN void copy_to_memory(const Vec (&sums)[kRows][kColumns], Vec (&copy)[kRows][kColumns]) {
  FR_UNROLL for (int r = 0; r < kRows; ++r)
    FR_UNROLL for (int c = 0; c < kColumns; ++c) copy[r][c] = sums[r][c];
}

// sums += column k of A times row k of B, held in registers on the shorter side
template <class Vec, int kRows, int kColumns, class A, class E>
FR_FN void rank_one(Vec (&sums)[kRows][kColumns], const A& a, Index k, const E* b) {
  using Values = Operand<Vec, E>;
  FR_UNROLL for (int part = 0; part < Values::kParts; ++part) {
    if constexpr (kRows < kColumns) {
      typename Values::Type rows[kRows];
      FR_UNROLL for (int r = 0; r < kRows; ++r) rows[r] = Values::of(a.at(r, k), part);
      FR_UNROLL for (int c = 0; c < kColumns; ++c) {
        const auto column = Values::load(b + c * Vec::kLanes, part);
        FR_UNROLL for (int r = 0; r < kRows; ++r) sums[r][c] = fma(rows[r], column, sums[r][c]);
      }
    } else {
      typename Values::Type columns[kColumns];
      FR_UNROLL for (int c = 0; c < kColumns; ++c) columns[c] = Values::load(b + c * Vec::kLanes, part);
      FR_UNROLL for (int r = 0; r < kRows; ++r) {
        const auto row = Values::of(a.at(r, k), part);
        FR_UNROLL for (int c = 0; c < kColumns; ++c) sums[r][c] = fma(row, columns[c], sums[r][c]);
      }
    }
  }
}

// sums += A B with kChains partial sums: one row has too few sums to hide the latency of an FMA (4 cycles).
// Rows of B are kStride vectors apart.
template <int kChains, int kStride, class Vec, int kRows, int kColumns, class A, class E>
FR_FN void accumulate(Vec (&sums)[kRows][kColumns], const A& a, const E* b) {
  constexpr Index ldb = kStride * Vec::kLanes;
  const auto rows = a.template tile<kRows>();
  Vec partial[kChains][kRows][kColumns];
  FR_UNROLL for (int s = 0; s < kChains; ++s)
    FR_UNROLL for (int r = 0; r < kRows; ++r)
      FR_UNROLL for (int c = 0; c < kColumns; ++c) partial[s][r][c] = s ? Vec(0) : sums[r][c];
  for (Index run = 0, start = 0; run < a.runs; ++run, start += a.hop) {
    const Index end = start + a.length;
    Index k = start;
    for (; k + kChains <= end; k += kChains, b += kChains * ldb)
      FR_UNROLL for (int s = 0; s < kChains; ++s) rank_one(partial[s], rows, k + s, b + s * ldb);
    if constexpr (kChains > 1)
      for (; k < end; ++k, b += ldb) rank_one(partial[0], rows, k, b);
  }
  FR_UNROLL for (int r = 0; r < kRows; ++r)
    FR_UNROLL for (int c = 0; c < kColumns; ++c) {
      sums[r][c] = partial[0][r][c];
      FR_UNROLL for (int s = 1; s < kChains; ++s) sums[r][c] = sums[r][c] + partial[s][r][c];
    }
}

// Not inlined: each tile gets the whole register file to itself.
#if defined(__clang__)
#define FR_TILE __attribute__((noinline))
#else
#define FR_TILE __attribute__((noinline, noclone))
#endif
template <class Vec, int kRows, int kColumns, int kChains, int kStride, class A, class E, class Epilogue>
FR_TILE void tile(const A& a, const E* b, const Epilogue& shared, Index row, Index unit) {
  const Epilogue epilogue = shared;
  Vec sums[kRows][kColumns];
  epilogue.begin(sums, row, unit);
  accumulate<kChains, kStride>(sums, a, b);
  epilogue.end(sums, row, unit);
}

constexpr Index rows_per_tile(int columns) {  // more than 8 rows gain nothing: 8 sums hide the latency
  return kAccumulators / columns < 8 ? kAccumulators / columns : 8;
}

// B: panels of `blocks` vectors in all, kPanel at most in one, each repeated for kGates gates. A call may take
// part [k, k + a.runs * a.length) of the K rows of B.
//
// `descending` walks the panels from the last to the first. Where weights are larger than the cache and every step
// reads them all, steps that take turns begin with the panels that are still in it; a cache that drops what was used
// longest ago would else never hold what comes next.
template <class E> struct Packed {
  const E* p;
  Index blocks, K, k = 0;
  bool descending = false;
};

template <int kPanel> FR_FN Index panel_count(Index blocks) { return (blocks + kPanel - 1) / kPanel; }

// Rows `rows` of A times panels `panels` of B; with kChains > 1, one row at a time. Bits do not depend on how rows
// and panels are divided among calls.
template <class Vec, int kPanel, int kGates, int kChains = 1, class E, class Epilogue>
void product(const RowOperand<E>& a, const Packed<E> b, Range rows, Range panels, const Epilogue& epilogue) {
  for (Index i = panels.begin; i < panels.end; ++i) {
    const Index panel = b.descending ? panels.begin + panels.end - 1 - i : i;
    const Range blocks = part(b.blocks, panel, panel_count<kPanel>(b.blocks));
    with_constant<kPanel>(blocks.end - blocks.begin, [&](auto width) {
      constexpr int columns = decltype(width)::value * kGates;
      constexpr Index most = kChains > 1 ? 1 : rows_per_tile(columns);
      const E* weights = b.p + (blocks.begin * kGates * b.K + b.k * columns) * Vec::kLanes;
      const Index count = rows.end - rows.begin, tiles = (count + most - 1) / most;
      const Index least = tiles > 1 ? count / tiles : count, taller = count - tiles * least;  // as even as can be
      RowOperand<E> block = a;
      block.rows += rows.begin;
      for (Index i = 0, row = rows.begin; i < tiles; ++i) {
        const Index n = least + (i < taller);
        with_constant<most>(n, [&](auto height) {
          tile<Vec, decltype(height)::value, columns, kChains, columns>(block, weights, epilogue, row,
                                                                        blocks.begin);
        });
        row += n;
        block.rows += n;
      }
    });
  }
}
FR_NAMESPACE_END
