// SPDX-License-Identifier: MIT
// Which rows a block works on, step by step, and where they lie.
#pragma once
#include "../loop.h"
#include "../exchange.cuh"
FR_NAMESPACE_BEGIN
namespace persistent {

// Rows of a step: number `first` and on of R, those that enter it at `entering` among the states
struct Span {
  Index first, entering;
  int active;
};
// Outside of the call no row takes part
FR_DEVICE Span span_of(const Walk& walk, Index s) {
  if (s < 0 || s >= walk.d.T) return {0, 0, 0};
  return {walk.first(s), walk.row_before(s), int(walk.active(s))};
}

// Tile number j of a group. Tiles are dealt out one by one, so that no group has all of the long rows.
FR_DEVICE int tile_of(int j) { return int(blockIdx.y) + j * int(gridDim.y); }

// A tile and step, which takes one turn of the block
struct Turn {
  Index s;
  int j;
  Span rows;
  FR_DEVICE bool exists() const { return tile_of(j) * kTileRows < rows.active; }
  FR_DEVICE int tile() const { return tile_of(j); }
  FR_DEVICE int first_row() const { return tile() * kTileRows; }
};

// Places of the rows of a tile with the user, in shared memory. Walk reads them as those of a batch of eight.
struct TileRows {
  Index order[kTileRows], lengths[kTileRows];

  FR_DEVICE void fill(const Walk& whole, int tile) {
    const int row = threadIdx.x, b = tile * kTileRows + row;
    if (row >= kTileRows) return;
    order[row] = b < whole.d.B ? whole.user_row(b) : 0;
    lengths[row] = b < whole.d.B ? whole.whole_length(b) : 0;
  }
  FR_DEVICE Walk walk(const Walk& whole) const {
    Walk rows = whole;
    rows.s.order = order, rows.s.lengths = lengths;
    return rows;
  }
};

template <class Cell>
FR_DEVICE UnitParameters<float, Cell::kUnit> unit_parameters(const float* unit, Index H, int j) {
  UnitParameters<float, Cell::kUnit> own;
  if constexpr (Cell::kUnit > 0) FR_UNROLL for (int p = 0; p < Cell::kUnit; ++p) own[p] = j < H ? unit[p * H + j] : 0.f;
  return own;
}

}  // namespace persistent
FR_NAMESPACE_END
