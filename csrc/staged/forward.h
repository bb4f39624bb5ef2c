// SPDX-License-Identifier: MIT
// The time loop of a cell that needs more than one phase a step.
//
//   for each chunk of steps:  x = W_ih x                 one product over the rows of all its steps, as in ../forward.h
//     for s in the chunk:     h = W_hh h_{s-1}           product
//                             norms of x and h           rows   (kNormPre)
//                             reset(), last gate += W_hh reset    rows, product   (kResetBefore)
//                             update, norm of the memory, output  rows
//                             h_s = W_hr output          product   (kProjected)
//
// A team always divides the rows of the batch: rows never meet, so there are no barriers. Products run over all rows of
// a thread before the next phase begins.
#pragma once
#include "layout.h"
#include "norm.h"
FR_NAMESPACE_BEGIN
namespace staged {
template <class Cell, class Vec, bool kMasked, class T = typename Vec::Scalar>
struct Forward {
  using Map = Layout<Cell, Vec, kMasked>;
  static constexpr int L = Map::L, G = Map::G;

  struct Scratch {
    Carve<T> carve;
    // of the team: rows of a chunk and states before and after a step, inference only; factors of h; constant inputs
    T *rows, *states, *factors, *constant;
    // of the thread: zeros, weights of what is new in a state of a row, operands and results of the product at work and
    // what it starts from, rows of the step
    T *zeros = nullptr, *fresh = nullptr;
    const T **in = nullptr, **from = nullptr;
    T** out = nullptr;
    const T** prev = nullptr;
    Scratch(const Dims& d, bool training, int rank, T* p) : carve{p} {
      const Map map{d};
      rows = carve.take(training ? 0 : chunk_rows(d) * map.forward_ld());
      states = carve.take(training ? 0 : 2 * d.B * map.state_ld());
      factors = carve.take(kMasked ? d.B * map.h_padded() : 0);
      constant = carve.take(d.B * G * map.padded());
      const Index most = chunk_rows(d) > d.B ? chunk_rows(d) : d.B;
      for (int i = 0; i <= rank; ++i) {
        zeros = carve.take(map.state_ld() > G * map.padded() ? map.state_ld() : G * map.padded());
        from = carve.template take_as<const T*>(most);
        fresh = carve.take(kMasked ? map.state_ld() : 0);
        in = carve.template take_as<const T*>(most);
        out = carve.template take_as<T*>(most);
        prev = carve.template take_as<const T*>(d.B);
      }
    }
  };
  static Index scratch_size(Dims d, int threads, bool training) {
    return Scratch(d, training, threads - 1, nullptr).carve.used;
  }

  const ForwardArgs<T>& args;
  const Team& team;
  const Dims d = args.dims;
  const Walk walk{args.dims, args.steps};
  const Masks<T> masks{args.masks, walk};
  const Map map{args.dims};
  const Range share = walk.share(team.rank, team.size);
  const Scratch scratch{d, args.tape != nullptr, team.rank, args.scratch};
  const Index padded = map.padded();
  const T *const bias = args.packed + map.bias_at(), *const unit = args.packed + map.unit_at();

  T* row(Index s, Index chunk, Index b) const {
    if (args.tape) return args.tape + (walk.first(s) + b) * map.ld();
    // Every step has room for all of B: a thread may be a chunk ahead of another one, and their rows never meet.
    return scratch.rows + ((s - chunk) * d.B + b) * map.forward_ld();
  }
  T* states_before(Index s) const {  // row 0; in inference two sets take turns
    if (!args.tape) return scratch.states + s % 2 * d.B * map.state_ld();
    return args.tape + map.states_at() + walk.row_before(s) * map.state_ld();
  }
  Range active_rows(Index s) const { return {share.begin, smaller(share.end, walk.active(s))}; }
  const T* gain(int k) const { return unit + (Map::kNorms + k) * padded; }  // parameter k of the norms

  // In the order of the slots that x feeds; those of x are consecutive
  void pack_constant_row(Index b) const {
    T* const to = scratch.constant + b * G * padded;
    for (int c = 0; c < G; ++c)
      copy_padded<Vec>(args.constant + (walk.user_row(b) * G + gate_of_slot<Cell>(true, Map::kX + c)) * d.H,
                       to + c * padded, d.H);
  }

  void input_product(Index begin, Index end) const {
    Index n = 0;
    for (Index s = begin; s < end; ++s)
      for (Index b = share.begin; b < active_rows(s).end; ++b, ++n) {
        scratch.in[n] = walk.at(args.x, s, b);
        scratch.out[n] = row(s, begin, b) + map.x_at();
        const bool constant = args.constant && args.steps.begin + s < args.constant_steps;
        scratch.from[n] = constant ? scratch.constant + b * G * padded : scratch.zeros;
      }
    const Index blocks = G * padded / L;
    for (Index k = 0; k == 0 || k < d.I; k += kChunkK)
      product<Vec, kPanel, 1>(RowOperand<T>{scratch.in, smaller(d.I - k, kChunkK), k},
                              Packed<T>{args.packed, blocks, d.I, k}, {0, n}, {0, panel_count<kPanel>(blocks)},
                              StoreEpilogue<Vec>{k ? scratch.out : scratch.from, scratch.out, G * padded});
  }

  // The gates that multiply h. Without norms their sums go on from those of x, or from 0 where x feeds none.
  void state_product(Index s, Index chunk, Range rows) const {
    const T* before = states_before(s);
    for (Index b = rows.begin; b < rows.end; ++b) {
      T* const at = row(s, chunk, b);
      scratch.in[b] = scratch.prev[b] = walk.cut(s, b) ? scratch.zeros : before + b * map.state_ld();
      scratch.out[b] = at + map.h_at();
      if constexpr (kMasked) scratch.in[b] = mask(b, at + map.masked_at());
      for (int slot = 0; !Map::kNorm && slot < Cell::kPre; ++slot)
        if (gate_of_slot<Cell>(true, slot) < 0) copy_or_zero<T>(nullptr, at + slot * padded, padded);
    }
    multiply<Vec>(d.B, RowOperand<T>{scratch.in, d.P}, args.packed + map.W_hh_at(), Map::kDirect * padded, rows,
                  Map::kNorm ? nullptr : scratch.out, scratch.out);
  }

  const T* mask(Index b, T* to) const {
    const T* const factors = scratch.factors + b * map.h_padded();
    for (Index j = 0; j < d.P; j += L) (Vec::load(scratch.prev[b] + j) * Vec::load(factors + j)).store(to + j);
    return to;
  }
  void find_fresh(Index s, Index b) const {
    for (int q = 0; q < Cell::kState; ++q) {
      const Index n = map.width(q);
      masks.zoneout(q, s, b, n, Map::blocks_of(n) * L, scratch.fresh + map.state_at(q));
    }
  }
  // A number of state q as it goes on
  FR_FN Vec zoned(Vec value, int q, const T* prev, Index j) const {
    if (!kMasked) return value;
    const Index at = map.state_at(q) + j;
    return zone(Vec::load(scratch.fresh + at), value, Vec::load(prev + at));
  }

  FR_FN void load_pre(const T* at, Index j, Vec (&pre)[Cell::kPre]) const {
    FR_UNROLL for (int s = 0; s < Cell::kPre; ++s) {
      const Vec b = Vec::load(bias + s * padded + j);
      if constexpr (Map::kNorm) {
        pre[s] = b;
        const int x = s - Map::kX, h = s - Map::kH;
        if (gate_of_slot<Cell>(true, s) >= 0) pre[s] = fma(load(gain(x), j), load(at + map.x_at(), x, j), pre[s]);
        if (gate_of_slot<Cell>(false, s) >= 0) pre[s] = fma(load(gain(G + h), j), load(at + map.h_at(), h, j), pre[s]);
      } else {
        pre[s] = Vec::load(at + s * padded + j) + b;
      }
    }
  }
  FR_FN Vec load(const T* p, Index j) const { return Vec::load(p + j); }
  FR_FN Vec load(const T* p, int slot, Index j) const { return Vec::load(p + slot * padded + j); }

  void normalise_gates(T* at) const {
    const Norm<Vec> norm{G, d.H, padded};
    at[map.scalars_at()] = norm.normalise(at + map.x_at());
    at[map.scalars_at() + 1] = norm.normalise(at + map.h_at());
  }

  // The last gate and its product with reset()
  void reset_product(Index s, Index chunk, Range rows) const {
    for (Index b = rows.begin; b < rows.end; ++b) {
      T* const at = row(s, chunk, b);
      for (Index j = 0; j < d.H; j += L) {
        Vec pre[Cell::kPre];
        load_pre(at, j, pre);
        Cell::reset(pre, Vec::load(scratch.in[b] + j)).store(at + map.reset_at() + j);
      }
      scratch.in[b] = at + map.reset_at();
      scratch.out[b] = at + map.h_at() + Map::kDirect * padded;
    }
    multiply<Vec>(d.B, RowOperand<T>{scratch.in, d.H}, args.packed + map.W_reset_at(), padded, rows, scratch.out,
                  scratch.out);
  }

  // Pre-activations -> new memory and other states, and h where nothing stands between
  void update(T* at, const T* prev, T* after, T* y) const {
    for (Index j = 0; j < d.H; j += L) {
      Vec pre[Cell::kPre], state[Cell::kState], saved[Cell::kSaved];
      load_pre(at, j, pre);
      state[0] = Cell::kProjected ? Vec(0) : Vec::load(prev + j);
      FR_UNROLL for (int q = 1; q < Cell::kState; ++q) state[q] = Vec::load(prev + map.state_at(q) + j);
      Cell::update(pre, load_parameters<Cell, Vec>(unit, padded, j), state, saved);
      const Vec memory = state[Cell::kMemory];
      memory.store(at + map.memory_at() + j);
      FR_UNROLL for (int q = 1; q < Cell::kState; ++q) zoned(state[q], q, prev, j).store(after + map.state_at(q) + j);
      if (!Cell::kNormMemory) output(memory, state, saved, j, at, prev, after, y);
      FR_UNROLL for (int s = 0; s < Cell::kSaved; ++s) saved[s].store(at + s * padded + j);
    }
  }

  FR_FN void output(Vec m, Vec (&state)[Cell::kState], Vec (&saved)[Cell::kSaved], Index j, T* at, const T* prev,
                    T* after, T* y) const {
    Cell::output(m, state, saved);
    if (Cell::kProjected) return state[0].store(at + map.output_at() + j);
    const Vec h = zoned(state[0], 0, prev, j);
    h.store(after + j);
    store_first(y + j, h, d.H - j);
  }

  void output_of_norm(T* at, const T* prev, T* after, T* y) const {
    T* const memory = at + map.memory_at();
    at[map.scalars_at() + 2] = Norm<Vec>{1, d.H, padded}.normalise(memory);
    for (Index j = 0; j < d.H; j += L) {
      Vec state[Cell::kState], saved[Cell::kSaved];
      FR_UNROLL for (int q = 0; q < Cell::kState; ++q) state[q] = Vec(0);
      FR_UNROLL for (int s = 0; s < Cell::kSaved; ++s) saved[s] = Vec::load(at + s * padded + j);
      const Vec m = fma(load(gain(2 * G), j), Vec::load(memory + j), load(gain(2 * G + 1), j));
      output(m, state, saved, j, at, prev, after, y);
      FR_UNROLL for (int s = 0; s < Cell::kSaved; ++s) saved[s].store(at + s * padded + j);
    }
  }

  void project(Index s, Index chunk, Range rows, T* after) const {
    for (Index b = rows.begin; b < rows.end; ++b) {
      scratch.in[b] = row(s, chunk, b) + map.output_at();
      scratch.out[b] = after + b * map.state_ld();
    }
    multiply<Vec>(d.B, RowOperand<T>{scratch.in, d.H}, args.packed + map.W_hr_at(), d.P, rows, nullptr, scratch.out);
    for (Index b = rows.begin; b < rows.end; ++b) {
      if constexpr (kMasked) {
        find_fresh(s, b);
        for (Index j = 0; j < d.P; j += L)
          zoned(Vec::load(scratch.out[b] + j), 0, scratch.prev[b], j).store(scratch.out[b] + j);
      }
      copy_or_zero<T>(scratch.out[b], walk.at(args.y, s, b), d.P);
    }
  }

  void step(Index s, Index chunk) const {
    const Range rows = active_rows(s);
    T* const after = states_before(s + 1);
    state_product(s, chunk, rows);
    if constexpr (Cell::kNormPre)
      for (Index b = rows.begin; b < rows.end; ++b) normalise_gates(row(s, chunk, b));
    if constexpr (Cell::kResetBefore) reset_product(s, chunk, rows);
    for (Index b = rows.begin; b < rows.end; ++b) {
      T *const at = row(s, chunk, b), *const y = walk.at(args.y, s, b), *const to = after + b * map.state_ld();
      if constexpr (kMasked) find_fresh(s, b);
      update(at, scratch.prev[b], to, y);
      if constexpr (Cell::kNormMemory) output_of_norm(at, scratch.prev[b], to, y);
    }
    if constexpr (Cell::kProjected) project(s, chunk, rows, after);
  }

  void begin() const {
    copy_padded<Vec, T>(nullptr, scratch.zeros, map.state_ld() > G * padded ? map.state_ld() : G * padded);
    for (Index b = share.begin; b < share.end; ++b) {
      if (args.constant) pack_constant_row(b);
      if constexpr (kMasked) masks.dropout(b, d.P, map.h_padded(), scratch.factors + b * map.h_padded());
      for (int q = 0; q < Cell::kState; ++q)
        copy_padded<Vec>(args.s0[q] ? args.s0[q] + walk.user_row(b) * map.width(q) : nullptr,
                         states_before(0) + b * map.state_ld() + map.state_at(q), map.width(q));
    }
  }

  void end() const {
    for (Index b = share.begin; b < share.end; ++b) {
      const Index user = walk.user_row(b), length = walk.length(b);
      for (int q = 0; q < Cell::kState; ++q)
        copy_or_zero(states_before(length) + b * map.state_ld() + map.state_at(q), args.sT[q] + user * map.width(q),
                     map.width(q));
      for (Index t = walk.whole_length(b); walk.last_segment() && t < args.steps.total; ++t)
        copy_or_zero<T>(nullptr, args.y.p + t * args.y.step + user * args.y.row, d.P);
    }
  }

  void run() const {
    begin();
    for (Index s = 0; s < d.T && walk.active(s);) {
      const Index chunk = s, end = smaller(d.T, s + chunk_steps(d));
      input_product(chunk, end);
      for (; s < end; ++s) step(s, chunk);
    }
    end();
  }
};
}  // namespace staged
FR_NAMESPACE_END
