// SPDX-License-Identifier: MIT
// The loop over time of any recurrent cell of one phase, in one launch.
//
//   fetch h_{s-1} | W_ih x of the next turn starts | W_hh h_{s-1} | cell | publish h_s | store y, saved, states
//
// blockIdx = (block of the group, group). A block owns Tile::kBlockUnits units of all rows of its group's tiles, and
// takes the tiles of a step by turns. What has to be fast stands between fetch and publish; what is stored for others
// comes after it, in the shadow of the round trip. The thread of a cell keeps its states in floats, in a place of its
// own in shared memory; only the h that is multiplied is rounded. W_ih x is copied by the thread that will use it
// (cp.async to its own place: no barrier), one group AFTER the fetch of h, so that waiting for h never waits for it.
#pragma once
#include "pack.cuh"
#include "rows.cuh"
FR_NAMESPACE_BEGIN
namespace persistent {

template <class Scalar>
struct ForwardCall {
  LoopForward<float, Scalar> loop;
  const Scalar* packed;
  Scalar* buffers;
  unsigned *flags, *deadlock;
  int tiles;  // of all groups
};

template <class Cell, class Tile>
struct Forward {
  static constexpr int G = Cell::kGates, Q = Cell::kState, kX = first_slot<Cell>(true), kH = first_slot<Cell>(false);
  using Scalar = typename Tile::Scalar;
  using Call = ForwardCall<Scalar>;
  struct Shared {
    typename Tile::Shared product;
    alignas(16) Scalar slice[kTileRows * Tile::kBlockUnits];
    float pre[2][G][kThreads];  // W_ih x + b of this turn and the next one
  };
  struct Kept {  // of a tile
    float state[Q][kThreads];
    TileRows rows;
  };

  const Call& call;
  Shared& shared;
  Kept* const kept;
  const Walk walk;
  const Exchange exchange;
  const int unit, columns;
  typename Tile::Weights weights;
  float bias[G];  // of slots that h feeds and x does not
  UnitParameters<float, Cell::kUnit> parameters;

  FR_DEVICE Forward(const Call& c, Shared& s, Kept* k)
      : call(c), shared(s), kept(k), walk{c.loop.dims, c.loop.steps}, exchange{c.flags, c.deadlock, gridDim.x},
        unit(blockIdx.x * Tile::kBlockUnits + Tile::unit()), columns(gridDim.x * Tile::kBlockUnits) {}

  FR_DEVICE bool has_cell() const { return Tile::owns_cell() && unit < walk.d.H; }
  static constexpr FR_FN bool of_x(int slot) { return slot >= kX && slot < kX + G; }
  static constexpr FR_FN bool of_h(int slot) { return slot >= kH && slot < kH + G; }
  FR_DEVICE Scalar* rows_of(Index version, int tile) const {
    return exchange_rows(call.buffers, version, tile, call.tiles, columns);
  }

  FR_DEVICE void run() {
    Tile::clear(shared.product);
    load();
    for (int j = 0; tile_of(j) < call.tiles; ++j) begin_tile(j);
    run_steps();
    wait_copies<0>();
  }

  FR_DEVICE void load() {
    Tile::load(weights, call.packed);
    parameters = unit_parameters<Cell>(call.loop.unit, walk.d.H, unit);
    FR_UNROLL for (int slot = kH; slot < kH + G; ++slot) {
      if (of_x(slot)) continue;
      const bool biased = call.loop.bias_h && unit < walk.d.H;
      bias[slot - kH] = biased ? call.loop.bias_h[gate_of_slot<Cell>(false, slot) * walk.d.H + unit] : 0.f;
    }
  }

  // The states that enter, h as version 0
  FR_DEVICE void begin_tile(int j) {
    const int tile = tile_of(j), b = tile * kTileRows + Tile::row();
    const bool mine = has_cell() && b < walk.d.B;
    kept[j].rows.fill(walk, tile);
    FR_UNROLL for (int q = 0; q < Q; ++q)
      kept[j].state[q][threadIdx.x] = mine ? call.loop.states[q][b * walk.d.H + unit] : 0.f;
    publish_h(0, tile, kept[j].state[0][threadIdx.x]);
    if (kBug != Bug::no_slice_barrier) __syncthreads();  // in the loop the barriers of fetch free the slice
  }

  FR_DEVICE Scalar publish_h(Index version, int tile, float h) {
    const Scalar rounded = round_to<Scalar>(h);
    if (Tile::owns_cell()) shared.slice[Tile::row() * Tile::kBlockUnits + Tile::unit()] = rounded;
    publish<1, Tile::kBlockUnits>(exchange, tile, shared.slice,
                                  rows_of(version, tile) + blockIdx.x * Tile::kBlockUnits, columns);
    return rounded;
  }

  FR_DEVICE void run_steps() {
    int parity = 0;
    Span rows = span_of(walk, 0);
    prefetch({0, 0, rows}, 0);
    for (Index s = 0; Turn{s, 0, rows}.exists(); ++s) {
      const Span later = span_of(walk, s + 1);
      for (Turn turn{s, 0, rows}; turn.exists(); ++turn.j, parity ^= 1) {
        Turn next{s, turn.j + 1, rows};
        if (!next.exists()) next = {s + 1, 0, later};
        if (!step(turn, next, parity)) return;
      }
      rows = later;
    }
  }

  FR_DEVICE void prefetch(const Turn& turn, int parity) {
    const int b = turn.first_row() + Tile::row();
    if (has_cell() && b < turn.rows.active) {
      const float* const from = call.loop.slots + ((turn.rows.first + b) * Cell::kSaved + kX) * walk.d.H + unit;
      FR_UNROLL for (int r = 0; r < G; ++r) copy_float_async(&shared.pre[parity][r][threadIdx.x], from + r * walk.d.H);
    }
    commit_copies();
  }

  // False where a peer is missing
  FR_DEVICE bool step(const Turn& turn, const Turn& next, int parity) {
    const int tile = turn.tile(), b = turn.first_row() + Tile::row();
    const bool active = has_cell() && b < turn.rows.active;
    const Walk rows = kept[turn.j].rows.walk(walk);
    const bool cut = active && rows.cut(turn.s, Tile::row());
    if (!fetch(exchange, tile, turn.s, rows_of(turn.s, tile), columns, shared.product.rows, Tile::kSharedLd))
      return false;
    prefetch(next, parity ^ 1);
    wait_copies<1>();
    if (kBug != Bug::no_barrier) __syncthreads();
    float sums[G], state[Q], saved[Cell::kSaved];
    Tile::multiply(weights, shared.product, sums);
    FR_UNROLL for (int q = 0; q < Q; ++q) state[q] = kept[turn.j].state[q][threadIdx.x];
    if (active) run_cell(sums, cut, parity, state, saved);
    const Scalar h = publish_h(turn.s + 1, tile, state[0]);
    if (!active) return true;
    FR_UNROLL for (int q = 0; q < Q; ++q) kept[turn.j].state[q][threadIdx.x] = state[q];
    rows.at(call.loop.y, turn.s, Tile::row())[unit] = state[0];
    store(turn.rows.first + b, state, saved, h);
    return true;
  }

  FR_DEVICE void run_cell(const float (&sums)[G], bool cut, int parity, float (&state)[Q],
                          float (&saved)[Cell::kSaved]) const {
    float pre[Cell::kPre];
    FR_UNROLL for (int slot = 0; slot < Cell::kPre; ++slot) {
      pre[slot] = of_x(slot) ? shared.pre[parity][of_x(slot) ? slot - kX : 0][threadIdx.x] : bias[slot - kH];
      if (of_h(slot)) pre[slot] += cut ? 0.f : sums[slot - kH];
    }
    FR_UNROLL for (int q = 0; q < Q; ++q) state[q] = cut ? 0.f : state[q];
    Cell::update(pre, parameters, state, saved);
    Cell::output(state[Cell::kMemory], state, saved);
  }

  // For backward and the products after the loop: row of R
  FR_DEVICE void store(Index row, const float (&state)[Q], const float (&saved)[Cell::kSaved], Scalar h) const {
    const Index H = walk.d.H, at = (walk.d.B + row) * H + unit;
    FR_UNROLL for (int k = 0; k < Cell::kSaved; ++k)
      call.loop.slots[(row * Cell::kSaved + k) * H + unit] = saved[k];
    FR_UNROLL for (int q = 0; q < Q; ++q) call.loop.states[q][at] = state[q];
    if (call.loop.h) call.loop.h[at] = h;
  }
};

template <class Kernel>
__global__ void __launch_bounds__(kThreads, 1) forward_kernel(const __grid_constant__ typename Kernel::Call call) {
  extern __shared__ __align__(16) unsigned char memory[];
  auto* const shared = reinterpret_cast<typename Kernel::Shared*>(memory);
  Kernel(call, *shared, reinterpret_cast<typename Kernel::Kept*>(shared + 1)).run();
}

}  // namespace persistent
FR_NAMESPACE_END
