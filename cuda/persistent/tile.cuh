// SPDX-License-Identifier: MIT
// The product inside a step, for forward and backward alike: 8 batch rows of kK numbers times the weights of this
// block.
//
// Its eight warps are kMWarps groups of rows of weights times kSplit parts of K. A warp holds its weights in
// registers for the whole sequence. Parts are added in shared memory, in one fixed order, and the CELLS are dealt out
// there: a lane has 2 kUnits (unit, batch column) pairs, and part p of the split takes one of them, so that the
// epilogue uses as many threads as there are cells: at 32 units and 8 rows every thread runs one.
#pragma once
#include "../exchange.cuh"
FR_NAMESPACE_BEGIN
namespace persistent {

// How a block divides its product; units 0: no such division has room
struct Shape {
  int units, split, chunks;  // units of a lane, parts of K, chunks of 32 columns of a part
};

constexpr int kWeightRegisters = 128;  // of a lane: with twice as many nothing is left for the rest

// The smallest split of `units` a lane that keeps the weights in registers, gives each thread one cell at most, and a
// block no more than most_units
constexpr Shape shape_of(int units, int rows_per_unit, int K, int words, int most_units) {
  for (int split = 2 * units; split <= kWarps; split *= 2) {
    const int chunks = (K + split * kChunk - 1) / (split * kChunk);
    if (units * rows_per_unit * words * chunks <= kWeightRegisters && units * 8 * kWarps / split <= most_units)
      return {units, split, chunks};
  }
  return {0, 1, 1};
}
// Forward: all gates of a unit, K = H. An odd number of gates takes two units a lane.
constexpr Shape forward_shape(int gates, int H, int words, int most_units) {
  return shape_of(gates % 2 ? 2 : 1, gates, H, words, most_units);
}
// Backward: one row (a column of W_hh) a unit, K = gates * H
constexpr Shape backward_shape(int gates, int H, int words, int most_units) {
  const Shape four = shape_of(4, 1, gates * H, words, most_units);
  return four.units ? four : shape_of(2, 1, gates * H, words, most_units);
}

// kRowsPerUnit: rows of weights behind one unit, kGates in forward, 1 in backward
template <class Operands_, int kRowsPerUnit_, int kUnits_, int kSplit_, int kChunks_>
struct Tile {
  using Operands = Operands_;
  using Scalar = typename Operands::Scalar;
  static constexpr int kRowsPerUnit = kRowsPerUnit_, kUnits = kUnits_, kSplit = kSplit_, kChunks = kChunks_;
  static constexpr int kRows = kRowsPerUnit * kUnits, kMWarps = kWarps / kSplit;
  static constexpr int kBlockUnits = kMWarps * 8 * kUnits;
  static constexpr int kPartK = kChunks * kChunk, kK = kSplit * kPartK, kSharedLd = kK + Operands::kPadding;
  static_assert(kRows % 2 == 0, "an odd number of rows a unit needs two units a lane");
  static_assert(kWarps % kSplit == 0 && kSplit >= 2 * kUnits, "the parts must cover the cells");

  using Weights = typename Operands::template Weights<kRows, kChunks>;
  struct Shared {
    alignas(16) Scalar rows[kTileRows * kSharedLd];
    alignas(16) float sums[kWarps * kRows * 2 * 32];  // [part][group of rows][row][column][lane]
  };

  static FR_DEVICE int lane() { return threadIdx.x % 32; }
  static FR_DEVICE int group() { return threadIdx.x / 32 % kMWarps; }
  static FR_DEVICE int part() { return threadIdx.x / 32 / kMWarps; }

  // The cell of this thread, where it has one: unit of the block, row of the batch tile
  static FR_DEVICE bool owns_cell() { return part() < 2 * kUnits; }
  static FR_DEVICE int unit() { return (group() * kUnits + part() / 2) * 8 + lane_g(); }
  static FR_DEVICE int row() { return 2 * lane_q() + part() % 2; }

  // From packed (columns * kRowsPerUnit, kK): see pack.cuh
  static FR_DEVICE void load(Weights& weights, const Scalar* packed) {
    const Scalar* const first = packed + part() * kPartK +
                                Index(blockIdx.x * kBlockUnits + group() * kUnits * 8 + lane_g()) * kRowsPerUnit * kK;
    weights.load([&](int s) { return first + (s / kRowsPerUnit * 8 * kRowsPerUnit + s % kRowsPerUnit) * kK; });
  }

  // Columns that no block publishes must not hold NaN: their weights are 0. Once, before the first fetch.
  static FR_DEVICE void clear(Shared& shared) {
    for (int i = threadIdx.x; i < kTileRows * kSharedLd; i += kThreads) shared.rows[i] = round_to<Scalar>(0.f);
    __syncthreads();
  }

  // sums of the cell of this thread. A block barrier inside; shared.rows may be overwritten after the next one.
  static FR_DEVICE void multiply(const Weights& weights, Shared& shared, float (&cell)[kRowsPerUnit]) {
    float sums[kRows][2];
    weights.multiply(sums, shared.rows + part() * kPartK, kSharedLd);
    float* const mine = shared.sums + threadIdx.x / 32 * (kRows * 64) + lane();
    FR_UNROLL for (int s = 0; s < kRows; ++s)
      FR_UNROLL for (int c = 0; c < 2; ++c) mine[(s * 2 + c) * 32] = sums[s][c];
    __syncthreads();
    FR_UNROLL for (int r = 0; r < kRowsPerUnit; ++r) cell[r] = 0;
    if (!owns_cell()) return;
    const float* const from =
        shared.sums + (group() * kRows + part() / 2 * kRowsPerUnit) * 64 + part() % 2 * 32 + lane();
    FR_UNROLL for (int p = 0; p < kSplit; ++p)
      FR_UNROLL for (int r = 0; r < kRowsPerUnit; ++r) cell[r] += from[(p * kMWarps * kRows + r) * 64];
  }
};

}  // namespace persistent
FR_NAMESPACE_END
