// SPDX-License-Identifier: MIT
// Back-propagation through time of a cell that needs more than one phase a step.
//
//   for s = T-1 ... 0:   dh = dy_s + W_hh^T (gradient of W_hh h)_{s+1} + carried      product, rows
//                        doutput = W_hr^T dh                                          product   (kProjected)
//                        output and update backward, through the norm of the memory   rows
//                        dreset = gradient of the last gate times its W_hh            product, rows   (kResetBefore)
//                        gradients of W_ih x and W_hh h, through their norms          rows   (kNormPre)
//
// dpre replaces what was saved. dX and the gradients of the weights wait until after the loop (weight_gradients.h). A
// row joins the loop at its last step, resets cut it, steps are controlled and segments follow each other as in
// ../backward.h; only does each thread own rows here, whatever the team, and a row that is too long is scaled at the
// end of its step in all that backward has written of it.
#pragma once
#include "forward.h"
#include "weight_gradients.h"
FR_NAMESPACE_BEGIN
namespace staged {
template <class Cell, class Vec, bool kMasked, class T = typename Vec::Scalar>
struct Backward {
  using Map = Layout<Cell, Vec, kMasked>;
  static constexpr int L = Map::L, G = Map::G;

  struct Scratch {
    Carve<T> carve;
    // of the team: rows of weights, unit parameters, dstates on their way from step to step, dh and what is H wide of
    // the step, gradient of W_hh h of the first step of the segment after this one, factors of h, sums of the gradient of W_ih x over the
    // steps with the constant input, norms of the step
    T *W_ih, *W_hh, *W_reset, *W_hr, *unit, *carried, *dh, *wide, *entering, *factors, *constant;
    StepNorms* norms;
    // of the thread: zeros, weights of what is new in a state of a row, operands and results of the product at work,
    // rows of the step
    T *zeros = nullptr, *fresh = nullptr;
    const T** in = nullptr;
    T** out = nullptr;
    const T** prev = nullptr;
    Scratch(const Dims& d, int rank, T* p) : carve{p} {
      const Map map{d};
      W_hh = carve.take(Map::kDirect * d.H * map.h_padded());
      W_reset = carve.take(Cell::kResetBefore ? d.H * map.padded() : 0);
      W_hr = carve.take(Cell::kProjected ? d.P * map.padded() : 0);
      W_ih = carve.take(G * d.H * Map::blocks_of(d.I) * L);
      unit = carve.take(Map::kUnit * map.padded());
      carried = carve.take(d.B * map.state_ld());
      dh = carve.take(d.B * map.h_padded());
      wide = carve.take(d.B * map.padded());
      entering = carve.take(d.B * Map::kDirect * map.padded());
      factors = carve.take(kMasked ? d.B * map.h_padded() : 0);
      constant = carve.take(d.B * G * map.padded());
      norms = carve.template take_as<StepNorms>(d.B);
      const Index rows = d.B > kChunkRows ? d.B : kChunkRows;
      for (int i = 0; i <= rank; ++i) {
        zeros = carve.take(zero_count(d));
        fresh = carve.take(kMasked ? map.h_padded() + map.padded() : 0);
        in = carve.template take_as<const T*>(rows);
        out = carve.template take_as<T*>(rows);
        prev = carve.template take_as<const T*>(d.B);
      }
    }
  };
  static Index zero_count(Dims d) {  // a row of states, or of the gradient of W_hh h
    const Map map{d};
    const Index gates = Map::kDirect * map.padded();
    return gates > map.state_ld() ? gates : map.state_ld();
  }
  static Index scratch_size(Dims d, int threads) {
    return Scratch(d, threads - 1, nullptr).carve.used + WeightGradients<Cell, Vec, kMasked>::scratch_size(d, threads);
  }

  const BackwardArgs<T>& args;
  const Team& team;
  const Dims d = args.dims;
  const Walk walk{args.dims, args.steps};
  const Masks<T> masks{args.masks, walk};
  const Map map{args.dims};
  const Range share = walk.share(team.rank, team.size);
  const Scratch scratch{d, team.rank, args.scratch};
  const Index padded = map.padded();

  T* row(Index s, Index b) const { return args.tape + (walk.first(s) + b) * map.ld(); }
  const T* states_before(Index s) const { return args.tape + map.states_at() + walk.row_before(s) * map.state_ld(); }
  T* carried(Index b, int q) const { return scratch.carried + b * map.state_ld() + map.state_at(q); }
  T* dh(Index b) const { return scratch.dh + b * map.h_padded(); }
  T* wide(Index b) const { return scratch.wide + b * padded; }
  const T* gain(int k) const { return scratch.unit + (Map::kNorms + k) * padded; }
  // Gradient of W_hh h of a step, which may be the first one of the segment after this one
  const T* dgates_of(Index s, Index b) const {
    return s < d.T ? row(s, b) + map.dh_at() : scratch.entering + b * Map::kDirect * padded;
  }

  void prepare() const {
    copy_or_zero<T>(nullptr, scratch.zeros, zero_count(d));
    if (walk.last_segment()) begin();
    team.barrier(team.context);
  }

  void begin() const {
    const Weights<const T>& w = args.weights;
    pack_as_rows<Vec>(gate_rows<Cell>(false, w.W_hh, d.H, d.P, 0, Map::kDirect), scratch.W_hh, team);
    if constexpr (Cell::kResetBefore)
      pack_as_rows<Vec>(gate_rows<Cell>(false, w.W_hh, d.H, d.H, Map::kDirect, 1), scratch.W_reset, team);
    if constexpr (Cell::kProjected) pack_as_rows<Vec>(GateRows<T>{w.W_hr, d.P, d.H, 1, {}}, scratch.W_hr, team);
    if (args.dx.p && d.I) pack_as_rows<Vec>(gate_rows<Cell>(true, w.W_ih, d.H, d.I, 0, G), scratch.W_ih, team);
    if constexpr (Map::kUnit > 0)
      if (team.rank == 0) pack_parameters<Cell, Vec>(d, w.unit, scratch.unit);
    for (Index b = share.begin; b < share.end; ++b) {
      if constexpr (kMasked) masks.dropout(b, d.P, map.h_padded(), scratch.factors + b * map.h_padded());
      for (int q = 0; q < Cell::kState; ++q)
        copy_padded<Vec>(args.dsT[q] ? args.dsT[q] + walk.user_row(b) * map.width(q) : nullptr, carried(b, q),
                         map.width(q));
      if (args.d_constant) copy_or_zero<T>(nullptr, scratch.constant + b * G * padded, G * padded);
    }
  }

  // dh = W_hh^T (gradient of W_hh h) of step s for rows that take part in it and are not cut from it
  void state_product(Index s, Range rows) const {
    const Index joined = walk.active(s);
    for (Index b = rows.begin; b < rows.end; ++b) {
      scratch.in[b] = b < joined && !walk.cut(s, b) ? dgates_of(s, b) : scratch.zeros;
      scratch.out[b] = dh(b);
    }
    multiply<Vec>(d.B, RowOperand<T>{scratch.in, d.H, 0, joined ? Map::kDirect : 0, padded}, scratch.W_hh, d.P, rows,
                  nullptr, scratch.out);
  }

  // Factors of h (masked: what it is dropped by) at what W_hh has given back
  FR_FN Vec through_mask(Vec dh, Index b, Index j) const {
    return kMasked ? dh * Vec::load(scratch.factors + b * map.h_padded() + j) : dh;
  }

  // dL/dh of a row and step, controlled. Zoneout gives some of it to the h before.
  void arrive(Index s, Index b) const {
    const T* const dy = walk.at(args.dy, s, b);
    T *const sum = dh(b), *const carry = carried(b, 0);
    if constexpr (kMasked) masks.zoneout(0, s, b, d.P, map.h_padded(), scratch.fresh);
    for (Index j = 0; j < d.P; j += L) {
      Vec v = load_first(dy + j, d.P - j) + Vec::load(carry + j) + through_mask(Vec::load(sum + j), b, j);
      if (args.control) {
        BlockControl<Vec> block{args.control, d.P - j};
        v = block.dh(v);
        add(scratch.norms[b], block);
      }
      const Vec whole = v;
      if constexpr (kMasked) v = v * Vec::load(scratch.fresh + j);
      (kMasked ? whole - v : Vec(0)).store(carry + j);
      v.store(sum + j);
      if (Cell::kProjected) v.store(row(s, b) + map.dprojected_at() + j);
    }
  }
  static FR_FN void add(StepNorms& sum, BlockControl<Vec>& control) {
    StepNorms block;
    control.store(&block);
    sum.dh += block.dh, sum.dc += block.dc;
    sum.clamped += block.clamped, sum.count += block.count;
  }

  void unproject(Range rows) const {
    for (Index b = rows.begin; b < rows.end; ++b) scratch.in[b] = dh(b), scratch.out[b] = wide(b);
    multiply<Vec>(d.B, RowOperand<T>{scratch.in, d.P}, scratch.W_hr, d.H, rows, nullptr, scratch.out);
  }

  // What the cell's output backward needs and gives, of the units from j on
  struct Units {
    Vec saved[Cell::kSaved], dpre[Cell::kPre], dm;
    UnitParameters<Vec, Cell::kUnit> own;
  };
  FR_FN void output_backward(const T* at, Vec dh, Index j, Units& u) const {
    FR_UNROLL for (int s = 0; s < Cell::kSaved; ++s) u.saved[s] = Vec::load(at + s * padded + j);
    u.own = load_parameters<Cell, Vec>(scratch.unit, padded, j);
    Vec m = Vec::load(at + map.memory_at() + j);
    if constexpr (Cell::kNormMemory) m = fma(Vec::load(gain(2 * G) + j), m, Vec::load(gain(2 * G + 1) + j));
    Cell::output_backward(u.saved, u.own, m, dh, u.dm, u.dpre);
  }

  // Gradient of the memory, through its norm, in what is H wide
  void memory_backward(T* at, const T* dh, T* to) const {
    T* const dm = at + map.dmemory_at();
    for (Index j = 0; j < d.H; j += L) {
      Units u;
      output_backward(at, Vec::load(dh + j), j, u);
      u.dm.store(dm + j);
    }
    Norm<Vec>{1, d.H, padded}.backward(dm, gain(2 * G), at + map.memory_at(), at[map.scalars_at() + 2], to);
  }

  void update_backward(Index s, T* at, const T* dh, const T* dmemory, Index b) const {
    const T* const fresh = scratch.fresh;
    if constexpr (kMasked && Cell::kState > 1) masks.zoneout(1, s, b, d.H, padded, scratch.fresh);
    for (Index j = 0; j < d.H; j += L) {
      Units u;
      Vec before[Cell::kState], dstate[Cell::kState], kept[Cell::kState];
      before[0] = Cell::kProjected ? Vec(0) : Vec::load(scratch.prev[b] + j);
      dstate[0] = Vec::load(dh + j);
      FR_UNROLL for (int q = 1; q < Cell::kState; ++q) {
        before[q] = Vec::load(scratch.prev[b] + map.state_at(q) + j);
        dstate[q] = Vec::load(carried(b, q) + j);
        if constexpr (kMasked) {
          kept[q] = (Vec(1) - Vec::load(fresh + j)) * dstate[q];
          dstate[q] = Vec::load(fresh + j) * dstate[q];
        }
      }
      output_backward(at, dstate[0], j, u);
      if constexpr (Cell::kNormMemory) u.dm = Vec::load(dmemory + j);
      dstate[Cell::kMemory] = Cell::kMemory == 0 ? u.dm : dstate[Cell::kMemory] + u.dm;
      if (args.control && Cell::kMemory > 0) {
        BlockControl<Vec> block{args.control, d.H - j};
        dstate[Cell::kMemory] = block.dc(dstate[Cell::kMemory]);
        add(scratch.norms[b], block);
      }
      Cell::update_backward(u.saved, u.own, before, dstate, u.dpre);
      FR_UNROLL for (int s = 0; s < Cell::kPre; ++s) u.dpre[s].store(at + s * padded + j);
      if (!Cell::kProjected) (kMasked ? Vec::load(carried(b, 0) + j) + dstate[0] : dstate[0]).store(carried(b, 0) + j);
      FR_UNROLL for (int q = 1; q < Cell::kState; ++q)
        (kMasked ? dstate[q] + kept[q] : dstate[q]).store(carried(b, q) + j);
    }
  }

  // Through the product of the last gate with reset()
  void reset_backward(Index s, Range rows) const {
    for (Index b = rows.begin; b < rows.end; ++b) {
      scratch.in[b] = row(s, b) + map.dh_at() + Map::kDirect * padded;
      scratch.out[b] = wide(b);
    }
    multiply<Vec>(d.B, RowOperand<T>{scratch.in, d.H}, scratch.W_reset, d.H, rows, nullptr, scratch.out);
    for (Index b = rows.begin; b < rows.end; ++b)
      for (Index j = 0; j < d.H; j += L) {
        T *const at = row(s, b) + j, *const carry = carried(b, 0) + j;
        Vec saved[Cell::kSaved], dpre[Cell::kPre], dh(0);
        FR_UNROLL for (int k = 0; k < Cell::kSaved; ++k) saved[k] = Vec::load(at + k * padded);
        FR_UNROLL for (int k = 0; k < Cell::kPre; ++k) dpre[k] = saved[k];
        const T* const h = kMasked ? row(s, b) + map.masked_at() : scratch.prev[b];
        Cell::reset_backward(saved, Vec::load(h + j), Vec::load(wide(b) + j), dh, dpre);
        FR_UNROLL for (int k = 0; k < Cell::kPre; ++k) dpre[k].store(at + k * padded);
        (Vec::load(carry) + through_mask(dh, b, j)).store(carry);
      }
  }

  void gates_backward(T* at) const {
    const Norm<Vec> norm{G, d.H, padded};
    const T* const scales = at + map.scalars_at();
    norm.backward(at + Map::kX * padded, gain(0), at + map.x_at(), scales[0], at + map.dx_at());
    norm.backward(at + Map::kH * padded, gain(G), at + map.h_at(), scales[1], at + map.dh_at());
  }

  void step(Index s) const {
    const Range rows = {share.begin, smaller(share.end, walk.active(s))};
    const T* before = states_before(s);
    state_product(s + 1, rows);
    for (Index b = rows.begin; b < rows.end; ++b) {
      scratch.prev[b] = walk.cut(s, b) ? scratch.zeros : before + b * map.state_ld();
      scratch.norms[b] = {};
      arrive(s, b);
    }
    if constexpr (Cell::kProjected) unproject(rows);
    for (Index b = rows.begin; b < rows.end; ++b) {
      const T* const doutput = Cell::kProjected ? wide(b) : dh(b);
      if constexpr (Cell::kNormMemory) memory_backward(row(s, b), doutput, wide(b));
      update_backward(s, row(s, b), doutput, wide(b), b);
    }
    if constexpr (Cell::kResetBefore) reset_backward(s, rows);
    for (Index b = rows.begin; b < rows.end; ++b) {
      if constexpr (Cell::kNormPre) gates_backward(row(s, b));
      if (args.control) control(s, b);
      if (args.d_constant && args.steps.begin + s < args.constant_steps) add_constant(s, b);
      if (walk.cut(s, b)) copy_or_zero<T>(nullptr, carried(b, 0), map.state_ld());  // nothing is carried across a reset
    }
  }

  void control(Index s, Index b) const {
    const StepNorms& norms = scratch.norms[b];
    args.control->norms[walk.time(s, b) * d.B + walk.user_row(b)] = norms;
    const double norm = args.control->norm;
    if (!(norms.clamped > norm * norm)) return;
    const T factor = T(norm / __builtin_sqrt(norms.clamped));
    T* const at = row(s, b);
    scale(at, Cell::kPre * padded, factor);
    scale(at + map.forward_ld(), map.ld() - map.forward_ld(), factor);
    scale(carried(b, 0), map.state_ld(), factor);
  }
  static void scale(T* p, Index n, T factor) {
    for (Index k = 0; k < n; k += L) (Vec::load(p + k) * Vec(factor)).store(p + k);
  }

  // The slots fed by x are consecutive
  void add_constant(Index s, Index b) const {
    T* const sum = scratch.constant + b * G * padded;
    const T* const dx = row(s, b) + map.dx_at();
    for (Index k = 0; k < G * padded; k += L) (Vec::load(sum + k) + Vec::load(dx + k)).store(sum + k);
  }
  void store_constant() const {
    for (Index b = share.begin; b < share.end; ++b)
      for (int c = 0; c < G; ++c) {
        const Index gate = gate_of_slot<Cell>(true, Map::kX + c);
        copy_or_zero<T>(scratch.constant + (b * G + c) * padded, args.d_constant + (walk.user_row(b) * G + gate) * d.H,
                        d.H);
      }
  }

  // dh0 = W_hh^T (gradient of W_hh h)_0 + carried
  void initial_states() const {
    state_product(0, share);
    for (Index b = share.begin; b < share.end; ++b) {
      T* const to = args.ds0[0] + walk.user_row(b) * d.P;
      for (Index j = 0; j < d.P; j += L)
        store_first(to + j, through_mask(Vec::load(dh(b) + j), b, j) + Vec::load(carried(b, 0) + j), d.P - j);
      for (int q = 1; q < Cell::kState; ++q)
        copy_or_zero<T>(carried(b, q), args.ds0[q] + walk.user_row(b) * d.H, d.H);
    }
  }

  // The gradient of W_hh h of step 0, for the segment before this one
  void keep_first_step() const {
    for (Index b = share.begin; b < smaller(share.end, walk.active(0)); ++b)
      copy_or_zero<T>(dgates_of(0, b), scratch.entering + b * Map::kDirect * padded, Map::kDirect * padded);
  }

  // dX, in chunks of rows that stay in L2 while all panels pass
  void inputs() const {
    const Range own = part(d.R, team.rank, team.size);
    const Index blocks = Map::blocks_of(d.I);
    Cursor at(walk, own.begin);
    while (at.row < own.end) {
      Index n = 0;
      for (; n < kChunkRows && at.row < own.end; ++n, at.next()) {
        scratch.in[n] = args.tape + at.row * map.ld() + map.dx_at();
        scratch.out[n] = walk.at(args.dx, at.step, at.b);
      }
      product<Vec, kPanel, 1>(RowOperand<T>{scratch.in, d.H, 0, G, padded}, Packed<T>{scratch.W_ih, blocks, G * d.H},
                              {0, n}, {0, panel_count<kPanel>(blocks)},
                              StoreEpilogue<Vec>{args.add_dx ? scratch.out : nullptr, scratch.out, d.I});
    }
    if (args.add_dx || !walk.last_segment()) return;
    for (Index b = share.begin; b < share.end; ++b)
      for (Index t = walk.whole_length(b); t < args.steps.total; ++t)
        copy_or_zero<T>(nullptr, args.dx.p + t * args.dx.step + walk.user_row(b) * args.dx.row, d.I);
  }

  void run() const {
    prepare();
    for (Index s = d.T - 1; s >= 0; --s) step(s);
    if (walk.first_segment()) initial_states();
    else keep_first_step();
    team.barrier(team.context);
    if (args.d_constant && walk.first_segment()) store_constant();
    if (args.dx.p && d.I) inputs();
    WeightGradients<Cell, Vec, kMasked>{args, team, args.scratch + Scratch(d, team.size - 1, nullptr).carve.used}.run();
  }
};
}  // namespace staged
FR_NAMESPACE_END
