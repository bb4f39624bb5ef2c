// SPDX-License-Identifier: MIT
// Back-propagation through time of any recurrent cell of one phase, on the engine of forward.cuh.
//
//   fetch dG_{s+1} | inputs of the next turn start | W_hh^T dG_{s+1} + dy_s + carried | cell | publish dG_s | store
//
// K runs over the slots fed by h of all units, so a unit is ONE row of weights (W_hh transposed).
//
// What blocks exchange is a copy of dG in two buffers, as in forward, and not the dG that the products after the loop
// read: that one has no padding, so that its rows begin at no multiple of 16 bytes, holds the slots that only x feeds
// as well, and does not exist in float32. The copy stays in L2, and its rows are 0 where no gradient flows on: where
// the row has not begun, and where a reset cuts it. The product then needs to know of neither.
#pragma once
#include "pack.cuh"
#include "rows.cuh"
FR_NAMESPACE_BEGIN
namespace persistent {

template <class Scalar>
struct BackwardCall {
  LoopBackward<float, Scalar> loop;
  const Scalar* packed;
  Scalar* buffers;
  unsigned *flags, *deadlock;
  int tiles;  // of all groups
};

template <class Cell, class Tile>
struct Backward {
  static constexpr int G = Cell::kGates, Q = Cell::kState, S = Cell::kSaved, P = Cell::kPre;
  static constexpr int kH = first_slot<Cell>(false), kInputs = S + Q + 2;
  using Scalar = typename Tile::Scalar;
  using Call = BackwardCall<Scalar>;
  struct Shared {
    typename Tile::Shared product;
    alignas(16) Scalar slice[kTileRows * G * Tile::kBlockUnits];
    float inputs[2][kInputs][kThreads];  // of this turn and the next one: saved, states before, memory after, dy
  };
  struct Kept {  // of a tile
    float dstate[Q][kThreads];
    TileRows rows;
  };

  const Call& call;
  Shared& shared;
  Kept* const kept;
  const Walk walk;
  const Exchange exchange;
  const int unit, columns;
  typename Tile::Weights weights;
  UnitParameters<float, Cell::kUnit> parameters;

  FR_DEVICE Backward(const Call& c, Shared& s, Kept* k)
      : call(c), shared(s), kept(k), walk{c.loop.dims, c.loop.steps}, exchange{c.flags, c.deadlock, gridDim.x},
        unit(blockIdx.x * Tile::kBlockUnits + Tile::unit()), columns(gridDim.x * Tile::kBlockUnits) {}

  FR_DEVICE bool has_cell() const { return Tile::owns_cell() && unit < walk.d.H; }
  FR_DEVICE Scalar* rows_of(Index version, int tile) const {
    return exchange_rows(call.buffers, version, tile, call.tiles, G * columns);
  }
  // Steps of the tile: those of its first row
  FR_DEVICE Index length(int j) const { return kept[j].rows.walk(walk).length(0); }

  FR_DEVICE void run() {
    Tile::clear(shared.product);
    Tile::load(weights, call.packed);
    parameters = unit_parameters<Cell>(call.loop.unit, walk.d.H, unit);
    for (int j = 0; tile_of(j) < call.tiles; ++j) begin_tile(j);
    __syncthreads();
    if (run_steps()) end();
    wait_copies<0>();
  }

  FR_DEVICE void begin_tile(int j) {
    const int b = tile_of(j) * kTileRows + Tile::row();
    const bool mine = has_cell() && b < walk.d.B;
    kept[j].rows.fill(walk, tile_of(j));
    FR_UNROLL for (int q = 0; q < Q; ++q)
      kept[j].dstate[q][threadIdx.x] = mine ? call.loop.dstates[q][b * walk.d.H + unit] : 0.f;
  }

  // From the last step of the group's longest row
  FR_DEVICE bool run_steps() {
    int parity = 0, begun = 0;  // rows that took part in step s+1
    Index s = length(0) - 1;
    Span rows = span_of(walk, s);
    prefetch({s, 0, rows}, 0);
    for (; s >= 0; --s) {
      const Span earlier = span_of(walk, s - 1);
      for (Turn turn{s, 0, rows}; turn.exists(); ++turn.j, parity ^= 1) {
        Turn next{s, turn.j + 1, rows};
        if (!next.exists()) next = {s - 1, 0, earlier};
        if (!step(turn, begun, next, parity)) return false;
      }
      begun = rows.active;
      rows = earlier;
    }
    return true;
  }

  FR_DEVICE void prefetch(const Turn& turn, int parity) {
    const int b = turn.first_row() + Tile::row();
    if (has_cell() && b < turn.rows.active) {
      const Index H = walk.d.H, row = turn.rows.first + b;
      const Index before = (turn.rows.entering + b) * H + unit, after = (walk.d.B + row) * H + unit;
      const float* const saved = call.loop.slots + row * S * H + unit;
      FR_UNROLL for (int k = 0; k < S; ++k) copy(parity, k, saved + k * H);
      FR_UNROLL for (int q = 0; q < Q; ++q) copy(parity, S + q, call.loop.states[q] + before);
      copy(parity, S + Q, call.loop.states[Cell::kMemory] + after);
      copy(parity, S + Q + 1, kept[turn.j].rows.walk(walk).at(call.loop.dy, turn.s, Tile::row()) + unit);
    }
    commit_copies();
  }
  FR_DEVICE void copy(int parity, int input, const float* from) {
    copy_float_async(&shared.inputs[parity][input][threadIdx.x], from);
  }

  // W_hh^T dG of step s; false where a peer is missing. The caller may have one group of cp.async under way after it.
  template <class StartNext>
  FR_DEVICE bool product(Index s, int j, float (&dh)[1], StartNext&& start_next) {
    const int tile = tile_of(j);
    const Index version = length(j) - 1 - s;
    if (!fetch(exchange, tile, version, rows_of(version, tile), G * columns, shared.product.rows, Tile::kSharedLd))
      return false;
    start_next();
    wait_copies<1>();
    if (kBug != Bug::no_barrier) __syncthreads();
    Tile::multiply(weights, shared.product, dh);
    return true;
  }

  FR_DEVICE bool step(const Turn& turn, int begun, const Turn& next, int parity) {
    const bool active = has_cell() && turn.first_row() + Tile::row() < turn.rows.active;
    const bool cut = active && kept[turn.j].rows.walk(walk).cut(turn.s, Tile::row());
    float dh[1] = {0};
    const auto start_next = [&] { prefetch(next, parity ^ 1); };
    if (turn.first_row() < begun) {
      if (!product(turn.s + 1, turn.j, dh, start_next)) return false;
    } else {
      start_next();
      wait_copies<1>();
      if (kBug != Bug::no_slice_barrier) __syncthreads();  // frees the slice, as the barriers of a fetch do
    }
    float dpre[P] = {};
    if (active) run_cell(dh[0], cut, parity, kept[turn.j], dpre);
    if (Tile::owns_cell()) FR_UNROLL for (int r = 0; r < G; ++r)
      shared.slice[(Tile::row() * G + r) * Tile::kBlockUnits + Tile::unit()] =
          round_to<Scalar>(active && !cut ? dpre[kH + r] : 0.f);
    const Index version = length(turn.j) - 1 - turn.s;
    publish<G, Tile::kBlockUnits>(exchange, turn.tile(), shared.slice,
                                  rows_of(version, turn.tile()) + blockIdx.x * Tile::kBlockUnits, columns);
    if (active) store(turn.rows.first + turn.first_row() + Tile::row(), dpre);
    return true;
  }

  FR_DEVICE void run_cell(float dh, bool cut, int parity, Kept& carried, float (&dpre)[P]) const {
    const auto& inputs = shared.inputs[parity];
    float saved[S], before[Q], dstate[Q], dm;
    FR_UNROLL for (int k = 0; k < S; ++k) saved[k] = inputs[k][threadIdx.x];
    FR_UNROLL for (int q = 0; q < Q; ++q) before[q] = cut ? 0.f : inputs[S + q][threadIdx.x];
    FR_UNROLL for (int q = 0; q < Q; ++q) dstate[q] = carried.dstate[q][threadIdx.x];
    // In this order: a segment that begins here gets the sum of the first two
    dstate[0] = (dstate[0] + dh) + inputs[S + Q + 1][threadIdx.x];
    Cell::output_backward(saved, parameters, inputs[S + Q][threadIdx.x], dstate[0], dm, dpre);
    dstate[Cell::kMemory] = Cell::kMemory == 0 ? dm : dstate[Cell::kMemory] + dm;
    Cell::update_backward(saved, parameters, before, dstate, dpre);
    FR_UNROLL for (int q = 0; q < Q; ++q) carried.dstate[q][threadIdx.x] = cut ? 0.f : dstate[q];
  }

  FR_DEVICE void store(Index row, const float (&dpre)[P]) const {
    const Index H = walk.d.H;
    FR_UNROLL for (int k = 0; k < P; ++k) {
      call.loop.slots[(row * S + k) * H + unit] = dpre[k];
      if (call.loop.dG) call.loop.dG[(row * P + k) * H + unit] = round_to<Scalar>(dpre[k]);
    }
  }

  // Gradients of the states that enter the first step
  FR_DEVICE void end() {
    const Span rows = span_of(walk, 0);
    for (Turn turn{0, 0, rows}; turn.exists(); ++turn.j) {
      float dh[1];
      if (!product(0, turn.j, dh, [] { commit_copies(); })) return;
      const int b = turn.first_row() + Tile::row();
      if (!has_cell() || b >= rows.active) continue;
      FR_UNROLL for (int q = 0; q < Q; ++q)
        call.loop.dstates[q][b * walk.d.H + unit] = kept[turn.j].dstate[q][threadIdx.x] + (q == 0 ? dh[0] : 0.f);
    }
  }
};

template <class Kernel>
__global__ void __launch_bounds__(kThreads, 1) backward_kernel(const __grid_constant__ typename Kernel::Call call) {
  extern __shared__ __align__(16) unsigned char memory[];
  auto* const shared = reinterpret_cast<typename Kernel::Shared*>(memory);
  Kernel(call, *shared, reinterpret_cast<typename Kernel::Kept*>(shared + 1)).run();
}

}  // namespace persistent
FR_NAMESPACE_END
