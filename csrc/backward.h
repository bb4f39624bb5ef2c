// SPDX-License-Identifier: MIT
// Back-propagation through time of any cell.
//
//   for s = T-1 ... 0:   dh = dy_s + dG_{s+1} W_hh (+ carried)      a product; its epilogue is the cell's backward,
//                        dG_s = cell'(dh, dc)                       which overwrites what forward saved
//   dh0 = dG_0 W_hh (+ carried)     dX = dG W_ih     dW_ih = dG^T X     dW_hh = dG^T Hprev     db = sum of dG
//
// The last four wait until after the loop, where all R rows make large products (weight_gradients.h). Each is
// summed in one fixed order whatever the team, so that the gradients have the same bits.
//
// A row joins the loop at its last step, and a reset cuts it: there dG_{s+1} is a pointer to zeros.
//
// StepControl: dh and dc are clamped and squared where the cell runs. The backward of a cell is linear in them, so a row
// that turns out too long is scaled afterwards, by its dG and what it carries.
//
// A segment begins where the one after it in time ended: dG of that one's step 0, and what is carried, stay in scratch.
#pragma once
#include "weight_gradients.h"
FR_NAMESPACE_BEGIN
// Clamps dh and dc of a block of units of one row, and measures them
template <class Vec, class T = typename Vec::Scalar>
struct BlockControl {
  const StepControl<T>* const limits;  // null: neither
  const Index n;  // units are left: sums beyond may be NaN
  StepNorms norms = {};
  Vec kept[2] = {Vec(0), Vec(0)};  // dh and dc as clamped

  FR_FN Vec dh(Vec d) { return limits ? control(d, norms.dh, kept[0]) : d; }
  FR_FN Vec dc(Vec d) { return limits ? control(d, norms.dc, kept[1]) : d; }

  // d as it goes on; the square of its norm goes to `arrived`
  FR_FN Vec control(Vec d, double& arrived, Vec& clamped) {
    if (n < Vec::kLanes) d = units(d);
    if (limits->trace) arrived = wide_square(d);
    if (const int count = beyond(d, Vec(limits->value))) d = clamp(d, limits->value), norms.count += count;
    return clamped = d;
  }
  FR_FN Vec units(const Vec a) const {
    T lanes[Vec::kLanes];
    a.store(lanes);
    return load_first(lanes, n);
  }
  static FR_FN double wide_square(const Vec a) {
    SquareSum<T> sum;
    sum.add(a);
    return sum.total();
  }
  // In T, which takes half the time, unless that is too small or too large for squares
  FR_FN double square() const {
    T sums[Vec::kLanes];
    fma(kept[0], kept[0], kept[1] * kept[1]).store(sums);
    FR_UNROLL for (int k = Vec::kLanes / 2; k; k /= 2) FR_UNROLL for (int l = 0; l < k; ++l) sums[l] += sums[l + k];
    if (sums[0] > T(1e-30) && sums[0] < T(__builtin_inf())) return double(sums[0]);
    return wide_square(kept[0]) + wide_square(kept[1]);
  }
  FR_FN void store(StepNorms* to) {
    if (!limits) return;
    if (limits->norm < __builtin_inf()) norms.clamped = square();
    *to = norms;
  }
};

// Runs the backward of the cell on the sums dG_{s+1} W_hh
template <class Cell, class Vec, class E, class T = typename Vec::Scalar>
struct StepBackwardEpilogue {
  using Map = Layout<Cell, Vec, E>;
  T* gates;  // rows of this step: saved in, dpre out
  const T* const* prev;  // rows of states before the step
  const T* states;  // after the step
  const T* unit_parameters;
  const T* const* dy;
  T* carried;  // [row][state][padded H]: dstate of s+1 in, of s out
  Index gates_ld, state_ld, padded, H;
  T* rounded;  // rows of dpre as the operand of the next product, where it is rounded
  Index joining;  // rows from here on are at their last step: the gradient of hT arrives in carried even
  // where the cell carries no h
  const StepControl<T>* limits;  // null: neither clipped nor measured
  StepNorms* blocks;  // [row][unit block] out

  template <int kRows, int kColumns>
  FR_FN void begin(Vec (&sums)[kRows][kColumns], Index row, Index unit) const {
    FR_UNROLL for (int r = 0; r < kRows; ++r)
      FR_UNROLL for (int c = 0; c < kColumns; ++c) {
        const Index j = (unit + c) * Map::L;
        sums[r][c] = load_first(dy[row + r] + j, H - j);
      }
    if (Cell::kCarried > 0 && row + kRows <= joining) return;
    FR_UNROLL for (int r = 0; r < kRows; ++r) {
      if (Cell::kCarried > 0 && row + r < joining) continue;
      FR_UNROLL for (int c = 0; c < kColumns; ++c)
        sums[r][c] = sums[r][c] + Vec::load(carried + (row + r) * state_ld + (unit + c) * Map::L);
    }
  }

  template <int kRows, int kColumns>
  FR_FN void end(Vec (&sums)[kRows][kColumns], Index row, Index unit) const {
    Vec copy[kRows][kColumns];
    copy_to_memory(sums, copy);
    FR_LOOP for (int r = 0; r < kRows; ++r)
      FR_LOOP for (int c = 0; c < kColumns; ++c) run_cell(copy[r][c], row + r, unit + c);
  }

  FR_FN void run_cell(const Vec dh, Index b, Index unit) const {
    if (!limits) return run<false>(dh, b, unit);
    const StepBackwardEpilogue copy = *this;  // the epilogue of the tile must have no address
    run_controlled(copy, dh, b, unit);
  }
  // Stands once a cell and not once a tile
  static FR_TILE void run_controlled(const StepBackwardEpilogue& epilogue, const Vec dh, Index b, Index unit) {
    epilogue.template run<true>(dh, b, unit);
  }

  template <bool kControlled>
  FR_FN void run(Vec dh, Index b, Index unit) const {
    const Index j = unit * Map::L;
    T* const gate = gates + b * gates_ld + unit * Map::kSlots * Map::L;
    T* const carry = carried + b * state_ld + j;
    Vec saved[Cell::kSaved], before[Cell::kState], dstate[Cell::kState], dpre[Cell::kPre], dm;
    FR_UNROLL for (int s = 0; s < Cell::kSaved; ++s) saved[s] = Vec::load(gate + s * Map::L);
    FR_UNROLL for (int q = 0; q < Cell::kState; ++q) before[q] = Vec::load(prev[b] + q * padded + j);
    BlockControl<Vec> control{limits, H - j};
    if (kControlled) dh = control.dh(dh);
    dstate[0] = dh;
    FR_UNROLL for (int q = 1; q < Cell::kState; ++q) dstate[q] = Vec::load(carry + q * padded);
    const auto own = load_unit<Cell, Vec>(unit_parameters, unit);
    const Vec after = Vec::load(states + b * state_ld + Cell::kMemory * padded + j);
    Cell::output_backward(saved, own, after, dh, dm, dpre);
    dstate[Cell::kMemory] = Cell::kMemory == 0 ? dm : dstate[Cell::kMemory] + dm;
    if (kControlled && Cell::kMemory > 0) dstate[Cell::kMemory] = control.dc(dstate[Cell::kMemory]);
    if (kControlled) control.store(blocks + b * (padded / Map::L) + unit);
    Cell::update_backward(saved, own, before, dstate, dpre);
    FR_UNROLL for (int s = 0; s < Cell::kPre; ++s) {
      store_units(gate + s * Map::L, dpre[s], H - j);
      if constexpr (Map::kHalf)
        store_halves(halves(rounded + b * Map::rounded_ld(gates_ld)) + (unit * Map::kSlots + s) * Map::L / 2,
                     Vec::load(gate + s * Map::L));
    }
    FR_UNROLL for (int q = Cell::kCarried; q < Cell::kState; ++q) store_units(carry + q * padded, dstate[q], H - j);
  }

  // Lanes beyond the last unit stay 0: products sum over them, and 0 * inf there would be NaN everywhere
  static FR_FN void store_units(T* p, const Vec v, Index n) {
    if (n >= Map::L) return v.store(p);
    Vec(0).store(p);
    store_first(p, v, n);
  }
};

// Writes rows of C (n columns) of the user: what `from` holds, plus the product
template <class Vec, class T = typename Vec::Scalar>
struct StoreEpilogue {
  const T* const* from;  // null: 0
  T* const* C;
  Index n;
  template <int kRows, int kColumns>
  FR_FN void begin(Vec (&sums)[kRows][kColumns], Index row, Index unit) const {
    FR_UNROLL for (int r = 0; r < kRows; ++r) FR_UNROLL for (int c = 0; c < kColumns; ++c) {
      const Index j = (unit + c) * Vec::kLanes;
      sums[r][c] = from ? load_first(from[row + r] + j, n - j) : Vec(0);
    }
  }
  template <int kRows, int kColumns>
  FR_FN void end(Vec (&sums)[kRows][kColumns], Index row, Index unit) const {
    FR_UNROLL for (int r = 0; r < kRows; ++r) FR_UNROLL for (int c = 0; c < kColumns; ++c) {
      const Index j = (unit + c) * Vec::kLanes;
      store_first(C[row + r] + j, sums[r][c], n - j);
    }
  }
};

template <class Cell, class Vec, class E, class T = typename Vec::Scalar>
struct Backward {
  using Map = Layout<Cell, Vec, E>;
  static constexpr int kPanel = Map::kColumnPanel;

  struct Scratch {
    Carve<T> carve;
    // of the team: columns of W_hh and W_ih, unit parameters, dstates on their way from step to step, rounded dG of
    // two steps that take turns, dG of the first step of the segment after this one, sums of dG over the steps with the
    // constant input, norms of the step
    T *W_hh, *W_ih, *unit_parameters, *carried, *rounded, *entering, *constant;
    StepNorms* norms;
    // of the thread: zeros, rounded dG of a chunk of dX, rows of the step, rows of the chunk
    T *zeros = nullptr, *rounded_chunk = nullptr;
    const T **dG = nullptr, **prev = nullptr, **dy = nullptr;
    T** dx = nullptr;
    Scratch(const Dims& d, int rank, T* p) : carve{p} {
      const Map map{d};
      W_hh = carve.take(Cell::kRecurrent ? elements<E>(map.gate_rows()) * map.padded() : 0);
      W_ih = carve.take(elements<E>(map.gate_rows()) * map.input_blocks() * Map::L);
      unit_parameters = carve.take(map.padded() * Cell::kUnit);
      carried = carve.take(d.B * map.state_ld());
      rounded = carve.take(2 * d.B * rounded_ld(d));
      entering = carve.take(Map::kHalf ? 0 : d.B * map.gates_ld());
      constant = carve.take(d.B * map.gate_rows());
      norms = carve.template take_as<StepNorms>(d.B * map.blocks());
      const Index rows = d.B > kChunkRows ? d.B : kChunkRows;
      for (int i = 0; i <= rank; ++i) {
        zeros = carve.take(zero_count(d));
        rounded_chunk = carve.take(kChunkRows * rounded_ld(d));
        dG = carve.template take_as<const T*>(rows);
        prev = carve.template take_as<const T*>(d.B);
        dy = carve.template take_as<const T*>(d.B);
        dx = carve.template take_as<T*>(rows);
      }
    }
  };
  static Index rounded_ld(Dims d) { return Map::rounded_ld(Map{d}.gates_ld()); }
  static Index zero_count(Dims d) {  // a row of dG or of states
    const Map map{d};
    return map.gates_ld() > map.state_ld() ? map.gates_ld() : map.state_ld();
  }
  static Index scratch_size(Dims d, int threads) {
    return Scratch(d, threads - 1, nullptr).carve.used + WeightGradients<Cell, Vec, E>::scratch_size(d, threads);
  }

  const BackwardArgs<T>& args;
  const Team& team;
  const Dims d = args.dims;
  const Walk walk{args.dims, args.steps};
  const Map map{args.dims};
  const Share share = share_of<kPanel>(walk, map.blocks(), team);
  const Scratch scratch{d, team.rank, args.scratch};
  bool alone = false;  // see step_barrier, api.h

  Range panels() const { return alone ? Range{0, panel_count<kPanel>(map.blocks())} : share.panels; }
  T* gates(Index s) const { return args.tape + walk.first(s) * map.gates_ld(); }
  const T* states_before(Index s) const {
    return args.tape + map.states_at() + walk.row_before(s) * map.state_ld();
  }
  T* carried(Index b, int q) const { return scratch.carried + b * map.state_ld() + q * map.padded(); }

  // Rows of dG as the operand of a product: only the slots fed by x, or by h, take part
  RowOperand<E> dG_operand(bool of_x) const {
    constexpr Index block = elements<E>(Map::L);
    const Index runs = of_x || Cell::kRecurrent ? map.blocks() : 0;
    return {scratch.dG, Map::kGates * block, (of_x ? Map::kX : Map::kH) * block, runs, Map::kSlots * block};
  }
  Packed<E> columns(const T* packed, Index blocks, bool descending = false) const {
    return {reinterpret_cast<const E*>(packed), blocks, elements<E>(map.gate_rows()), 0, descending};
  }
  // dG of row b of a step as the operand of a product
  T* operand_of(Index s, Index b) const {
    if (Map::kHalf) return scratch.rounded + ((args.steps.begin + s) % 2 * d.B + b) * rounded_ld(d);
    return (s < d.T ? gates(s) : scratch.entering) + b * map.gates_ld();
  }

  void prepare(Range rows) const {
    copy_or_zero<T>(nullptr, scratch.zeros, zero_count(d));
    if (walk.last_segment()) begin(rows);
    team.barrier(team.context);
  }

  void begin(Range rows) const {
    if constexpr (Cell::kRecurrent)
      pack_columns<Cell, Vec, E, false>(d, args.weights.W_hh, d.H, reinterpret_cast<E*>(scratch.W_hh),
                                   part(panel_count<kPanel>(map.blocks()), team.rank, team.size));
    if (args.dx.p && d.I)
      pack_columns<Cell, Vec, E, true>(d, args.weights.W_ih, d.I, reinterpret_cast<E*>(scratch.W_ih),
                                    part(panel_count<kPanel>(map.input_blocks()), team.rank, team.size));
    if constexpr (Cell::kUnit > 0)
      if (team.rank == 0) pack_unit<Cell, Vec>(d, args.weights.unit, scratch.unit_parameters);
    for (Index b = rows.begin; b < rows.end; ++b) {
      for (int q = 0; q < Cell::kState; ++q)
        copy_padded<Vec>(args.dsT[q] ? args.dsT[q] + walk.user_row(b) * d.H : nullptr, carried(b, q), d.H);
      if (args.d_constant) copy_or_zero<T>(nullptr, scratch.constant + b * map.gate_rows(), map.gate_rows());
    }
  }

  void step(Index s) const {
    const Range rows = {share.rows.begin, smaller(share.rows.end, walk.active(s))};
    const Index joining = walk.active(s + 1);
    const T* before = states_before(s);
    for (Index b = rows.begin; b < rows.end; ++b) {
      scratch.dG[b] = b < joining && !walk.cut(s + 1, b) ? operand_of(s + 1, b) : scratch.zeros;
      scratch.prev[b] = walk.cut(s, b) ? scratch.zeros : before + b * map.state_ld();
      scratch.dy[b] = walk.at(args.dy, s, b);
    }
    const StepBackwardEpilogue<Cell, Vec, E> epilogue{
        gates(s), scratch.prev, states_before(s + 1), scratch.unit_parameters, scratch.dy, scratch.carried,
        map.gates_ld(), map.state_ld(), map.padded(), d.H, operand_of(s, 0), joining,
        args.control, scratch.norms};
    const Packed<E> weights = columns(scratch.W_hh, map.blocks(), s % 2 != 0);
    RowOperand<E> dG = dG_operand(false);
    if (!joining) dG.runs = 0;
    if (d.B == 1) product<Vec, kPanel, 1, 2>(dG, weights, rows, panels(), epilogue);
    else product<Vec, kPanel, 1>(dG, weights, rows, panels(), epilogue);
    if (args.control) control(s, rows);
    if (args.d_constant && args.steps.begin + s < args.constant_steps) add_constant(s, rows);
    if (args.steps.reset) cut_carried(s, rows);
  }

  Range own_blocks() const {
    const Index count = panel_count<kPanel>(map.blocks());
    return {part(map.blocks(), panels().begin, count).begin, part(map.blocks(), panels().end, count).begin};
  }

  // Nothing is carried across a reset. Only the units of this thread: others may still be at work on theirs.
  void cut_carried(Index s, Range rows) const {
    const Range own = own_blocks();
    for (Index b = rows.begin; b < rows.end; ++b)
      if (walk.cut(s, b))
        for (int q = Cell::kCarried; q < Cell::kState; ++q)
          copy_or_zero<T>(nullptr, carried(b, q) + own.begin * Map::L, (own.end - own.begin) * Map::L);
  }

  // The dG of the constant input: of the slots fed by x, while they are in the cache. Only of the units of this thread
  void add_constant(Index s, Range rows) const {
    const Range own = own_blocks();
    for (Index b = rows.begin; b < rows.end; ++b)
      for (Index unit = own.begin; unit < own.end; ++unit)
        for (int c = 0; c < Map::kGates; ++c) {
          T* const sum = scratch.constant + b * map.gate_rows() + (unit * Map::kGates + c) * Map::L;
          const T* const dG = gates(s) + b * map.gates_ld() + (unit * Map::kSlots + Map::kX + c) * Map::L;
          (Vec::load(sum) + Vec::load(dG)).store(sum);
        }
  }

  void store_constant(Range rows) const {
    for (Index b = rows.begin; b < rows.end; ++b)
      for (Index unit = 0; unit < map.blocks(); ++unit)
        for (int c = 0; c < Map::kGates; ++c) {
          const Index j = unit * Map::L, gate = gate_of_slot<Cell>(true, Map::kX + c);
          const T* const sum = scratch.constant + b * map.gate_rows() + (unit * Map::kGates + c) * Map::L;
          T* const to = args.d_constant + (walk.user_row(b) * Map::kGates + gate) * d.H + j;
          store_first(to, Vec::load(sum), d.H - j);
        }
  }

  // The norms of the rows of a step are there, of all units: in the order of the units, so that the bits are the same for
  // any team
  void control(Index s, Range rows) const {
    if (team.split_units && !alone) team.barrier(team.context);
    for (Index b = rows.begin; b < rows.end; ++b) {
      StepNorms sum = {};
      for (const StepNorms *at = scratch.norms + b * map.blocks(), *end = at + map.blocks(); at < end; ++at) {
        sum.dh += at->dh, sum.dc += at->dc;
        sum.clamped += at->clamped, sum.count += at->count;
      }
      if (!team.split_units || team.rank == 0)
        args.control->norms[walk.time(s, b) * d.B + walk.user_row(b)] = sum;
      const double norm = args.control->norm;
      if (sum.clamped > norm * norm) scale_row(s, b, T(norm / __builtin_sqrt(sum.clamped)));
    }
  }

  void scale_row(Index s, Index b, const T factor) const {
    const Range own = own_blocks();
    const auto scale = [&](T* p) { (Vec::load(p) * Vec(factor)).store(p); };
    T* const dG = gates(s) + b * map.gates_ld();
    for (Index unit = own.begin; unit < own.end; ++unit) {
      for (int slot = 0; slot < Cell::kPre; ++slot) {
        const Index at = (unit * Map::kSlots + slot) * Map::L;
        scale(dG + at);
        if constexpr (Map::kHalf) store_halves(halves(operand_of(s, b)) + at / 2, Vec::load(dG + at));
      }
      for (int q = Cell::kCarried; q < Cell::kState; ++q) scale(carried(b, q) + unit * Map::L);
    }
  }

  // dh0 = dG_0 W_hh, plus what is carried past the product
  void initial_states(Range rows) const {
    const Index joined = walk.active(0);
    for (Index b = share.rows.begin; b < share.rows.end; ++b) {
      const bool ran = b < joined;
      scratch.dG[b] = ran && !walk.cut(0, b) ? operand_of(0, b) : scratch.zeros;
      scratch.prev[b] = Cell::kCarried == 0 || !ran ? carried(b, 0) : scratch.zeros;
      scratch.dx[b] = args.ds0[0] + walk.user_row(b) * d.H;
    }
    product<Vec, kPanel, 1>(dG_operand(false), columns(scratch.W_hh, map.blocks()), share.rows, share.panels,
                            StoreEpilogue<Vec>{scratch.prev, scratch.dx, d.H});
    for (Index b = rows.begin; b < rows.end; ++b)
      for (int q = 1; q < Cell::kState; ++q)
        copy_or_zero<T>(carried(b, q), args.ds0[q] + walk.user_row(b) * d.H, d.H);
  }

  // dG of step 0, for the segment before this one
  void keep_first_step(Range rows) const {
    const Index end = Map::kHalf ? 0 : smaller(rows.end, walk.active(0));
    for (Index b = rows.begin; b < end; ++b)
      copy_or_zero<T>(gates(0) + b * map.gates_ld(), scratch.entering + b * map.gates_ld(), map.gates_ld());
  }

  // dX = dG W_ih, in chunks of rows that stay in L2 while all panels pass
  void inputs(Range rows) const {
    const Range own = part(d.R, team.rank, team.size);
    Cursor at(walk, own.begin);
    while (at.row < own.end) {
      Index n = 0;
      for (; n < kChunkRows && at.row < own.end; ++n, at.next()) {
        scratch.dG[n] = args.tape + at.row * map.gates_ld();
        if constexpr (Map::kHalf) {
          T* const rounded = scratch.rounded_chunk + n * rounded_ld(d);
          copy_halves<Vec>(scratch.dG[n], halves(rounded), map.gates_ld());
          scratch.dG[n] = rounded;
        }
        scratch.dx[n] = walk.at(args.dx, at.step, at.b);
      }
      product<Vec, kPanel, 1>(dG_operand(true), columns(scratch.W_ih, map.input_blocks()), {0, n},
                              {0, panel_count<kPanel>(map.input_blocks())},
                              StoreEpilogue<Vec>{args.add_dx ? scratch.dx : nullptr, scratch.dx, d.I});
    }
    if (args.add_dx || !walk.last_segment()) return;
    for (Index b = rows.begin; b < rows.end; ++b)
      for (Index t = walk.whole_length(b); t < args.steps.total; ++t)
        copy_or_zero<T>(nullptr, args.dx.p + t * args.dx.step + walk.user_row(b) * args.dx.row, d.I);
  }

  void steps() {
    for (Index s = d.T - 1; s >= 0; --s) {
      step(s);
      if (!team.split_units || alone) continue;
      alone = team.step_barrier(team.context);
      if (alone && team.rank) return;
    }
  }

  void run() {
    const Range rows = team.split_units ? part(d.B, team.rank, team.size) : share.rows;
    prepare(rows);
    steps();
    alone = false;  // what follows has no barrier a step
    team.barrier(team.context);
    if (walk.first_segment()) initial_states(rows);
    else keep_first_step(rows);
    if (args.d_constant && walk.first_segment()) store_constant(rows);
    if (args.dx.p && d.I) inputs(rows);
    WeightGradients<Cell, Vec, E>{args, team, args.scratch + Scratch(d, team.size - 1, nullptr).carve.used}.run();
  }
};
FR_NAMESPACE_END
