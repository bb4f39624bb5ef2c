// SPDX-License-Identifier: MIT
// The time loop of any cell.
//
//   for each chunk of steps:  gates = W_ih x + b          one product over the rows of all its steps
//     for s in the chunk:     h_s, c_s = cell(gates_s + W_hh h_{s-1}, c_{s-1})     the cell is the epilogue
//
// The input product is hoisted because rows of several steps fill the tile and use the weights from L2 once; only
// by a chunk, so that the recurrent product still finds the gates in L2. With a tape the gates of all steps stay.
//
// h is kept among the states of the library beside the y of the user: y may have any strides, past the end of a row
// it is 0 where the state goes on, and backward must not depend on what the user does with it.
#pragma once
#include "pack.h"
FR_NAMESPACE_BEGIN
constexpr Index kChunkRows = 192;  // rows of the hoisted product
constexpr Index kChunkK = 512;     // of the reduction: the rows of a tile and a panel fit L1 and L2 together

FR_FN Index smaller(Index a, Index b) { return a < b ? a : b; }
FR_FN Index chunk_steps(const Dims& d) { return d.B >= kChunkRows ? 1 : kChunkRows / (d.B > 0 ? d.B : 1); }
FR_FN Index chunk_rows(const Dims& d) { return smaller(d.T, chunk_steps(d)) * d.B; }

// What one thread of the team works on
struct Share {
  Range rows, panels;
};

template <int kPanel>
FR_FN Share share_of(const Walk& walk, Index blocks, const Team& team) {
  const Index panels = panel_count<kPanel>(blocks);
  return team.split_units ? Share{{0, walk.d.B}, part(panels, team.rank, team.size)}
                          : Share{walk.share(team.rank, team.size), {0, panels}};
}

// Writes the slots fed by x: what `from` holds, bias or the sum so far, and what `also` holds, plus the product
template <class Cell, class Vec, class T = typename Vec::Scalar>
struct InputEpilogue {
  using Map = Layout<Cell, Vec, T>;
  const T* const* from;
  const T* const* also;  // null: nothing
  T* const* gates;
  FR_FN Index offset(Index unit, int c) const {
    return ((unit + c / Map::kGates) * Map::kSlots + Map::kX + c % Map::kGates) * Map::L;
  }
  template <int kRows, int kColumns>
  FR_FN void begin(Vec (&sums)[kRows][kColumns], Index row, Index unit) const {
    FR_UNROLL for (int r = 0; r < kRows; ++r) FR_UNROLL for (int c = 0; c < kColumns; ++c) {
      prefetch_to_write(gates[row + r] + offset(unit, c));
      sums[r][c] = Vec::load(from[row + r] + offset(unit, c));
    }
    if (!also) return;
    FR_UNROLL for (int r = 0; r < kRows; ++r)
      FR_UNROLL for (int c = 0; c < kColumns; ++c)
        sums[r][c] = sums[r][c] + Vec::load(also[row + r] + offset(unit, c));
  }
  template <int kRows, int kColumns>
  FR_FN void end(Vec (&sums)[kRows][kColumns], Index row, Index unit) const {
    FR_UNROLL for (int r = 0; r < kRows; ++r)
      FR_UNROLL for (int c = 0; c < kColumns; ++c) sums[r][c].store(gates[row + r] + offset(unit, c));
  }
};

// Runs the cell on the sums W_hh h + gates, and stores the states, y and, with a tape, what is saved
template <class Cell, class Vec, class E, class T = typename Vec::Scalar>
struct StepEpilogue {
  using Map = Layout<Cell, Vec, E>;
  T* gates;              // rows of this step
  const T *bias, *unit_parameters;  // packed; of the bias, slots that only h feeds
  const T* const* prev;  // rows of states before the step
  T* states;             // after the step
  T* const* y;
  Index gates_ld, state_ld, padded, H;
  bool keep;             // store saved

  template <int kRows, int kColumns>
  FR_FN void begin(Vec (&sums)[kRows][kColumns], Index row, Index unit) const {
    FR_UNROLL for (int r = 0; r < kRows; ++r) FR_UNROLL for (int c = 0; c < kColumns; ++c) {
      const int slot = Map::kH + c % Map::kGates;
      const T* from = gate_of_slot<Cell>(true, slot) >= 0 ? gates + (row + r) * gates_ld : bias;
      sums[r][c] = Vec::load(from + ((unit + c / Map::kGates) * Map::kSlots + slot) * Map::L);
    }
    if (!keep) return;  // in inference all of it is in the cache
    FR_UNROLL for (int r = 0; r < kRows; ++r) FR_UNROLL for (int u = 0; u < kColumns / Map::kGates; ++u) {
      prefetch_to_write(y[row + r] + (unit + u) * Map::L);
      FR_UNROLL for (int q = 0; q < Cell::kState; ++q)
        prefetch_to_write(states + (row + r) * state_ld + q * padded + (unit + u) * Map::L);
    }
  }

  template <int kRows, int kColumns>
  FR_FN void end(Vec (&sums)[kRows][kColumns], Index row, Index unit) const {
    Vec copy[kRows][kColumns];
    copy_to_memory(sums, copy);
    FR_LOOP for (int r = 0; r < kRows; ++r)
      FR_LOOP for (int u = 0; u < kColumns / Map::kGates; ++u) run_cell(&copy[r][u * Map::kGates], row + r, unit + u);
  }

  FR_FN void run_cell(const Vec* sums, Index b, Index unit) const {
    const Index j = unit * Map::L;
    T* const gate = gates + b * gates_ld + unit * Map::kSlots * Map::L;
    Vec pre[Cell::kPre], state[Cell::kState], saved[Cell::kSaved];
    FR_UNROLL for (int s = 0; s < Cell::kPre; ++s)
      pre[s] = gate_of_slot<Cell>(false, s) >= 0 ? sums[s - Map::kH] : Vec::load(gate + s * Map::L);
    FR_UNROLL for (int q = 0; q < Cell::kState; ++q) state[q] = Vec::load(prev[b] + q * padded + j);
    Cell::update(pre, load_unit<Cell, Vec>(unit_parameters, unit), state, saved);
    Cell::output(state[Cell::kMemory], state, saved);
    store_first(y[b] + j, state[0], H - j);
    T* const after = states + b * state_ld;
    FR_UNROLL for (int q = 0; q < Cell::kState; ++q) state[q].store(after + q * padded + j);
    if constexpr (Map::kHalf)  // lanes beyond the last unit may be NaN, and share a pair with it
      store_halves(halves(after + Cell::kState * padded) + elements<E>(j), load_first(after + j, H - j));
    if (keep)
      FR_UNROLL for (int s = 0; s < Cell::kSaved; ++s) saved[s].store(gate + s * Map::L);
  }
};

// H elements of the user, null for zeros, and zeros up to whole vectors
template <class Vec, class T = typename Vec::Scalar>
FR_FN void copy_padded(const T* from, T* to, Index H) {
  for (Index j = 0; j < H; j += Vec::kLanes) (from ? load_first(from + j, H - j) : Vec(0)).store(to + j);
}

template <class T>
FR_FN void copy_or_zero(const T* from, T* to, Index n) {
  if (from) __builtin_memcpy(to, from, size_t(n) * sizeof(T));
  else __builtin_memset(to, 0, size_t(n) * sizeof(T));
}

template <class Cell, class Vec, class E, class T = typename Vec::Scalar>
struct Forward {
  using Map = Layout<Cell, Vec, E>;

  struct Scratch {
    Carve<T> carve;
    // of the team: biases with the constant input of each row. Inference only: gates of a chunk, states before and after
    // a step
    T *constant, *gates, *states;
    // of the thread: zeros, rounded inputs of the chunk, rows of the chunk and what they start from, rows of the step
    T *zeros = nullptr, *rounded_x = nullptr;
    const T **x = nullptr, **from = nullptr, **also = nullptr;
    T** gate_rows = nullptr;
    const T** prev = nullptr;
    T** y = nullptr;
    Scratch(const Dims& d, bool training, int rank, T* p) : carve{p} {
      constant = carve.take(d.B * Map{d}.gates_ld());
      gates = carve.take(training ? 0 : chunk_rows(d) * Map{d}.gates_ld());
      states = carve.take(training ? 0 : 2 * d.B * Map{d}.state_ld());
      for (int i = 0; i <= rank; ++i) {
        zeros = carve.take(Map{d}.state_ld());
        rounded_x = carve.take(Map::kHalf ? chunk_rows(d) * rounded_ld(d) : 0);
        x = carve.template take_as<const T*>(chunk_rows(d));
        from = carve.template take_as<const T*>(chunk_rows(d));
        also = carve.template take_as<const T*>(chunk_rows(d));
        gate_rows = carve.template take_as<T*>(chunk_rows(d));
        prev = carve.template take_as<const T*>(d.B);
        y = carve.template take_as<T*>(d.B);
      }
    }
  };
  static Index rounded_ld(Dims d) { return elements<E>(Map{d}.input_blocks() * Map::L); }
  static Index scratch_size(Dims d, int threads, bool training) {
    return Scratch(d, training, threads - 1, nullptr).carve.used;
  }

  const ForwardArgs<T>& args;
  const Team& team;
  const Dims d = args.dims;
  const Walk walk{args.dims, args.steps};
  const Map map{args.dims};
  const Share share = share_of<Map::kPanel>(walk, map.blocks(), team);
  const Scratch scratch{d, args.tape != nullptr, team.rank, args.scratch};
  bool alone = false;  // see step_barrier, api.h

  Range panels() const { return alone ? Range{0, panel_count<Map::kPanel>(map.blocks())} : share.panels; }
  T* gates(Index s, Index chunk) const {  // row 0
    if (args.tape) return args.tape + walk.first(s) * map.gates_ld();
    // Every step has room for all of B: a thread may be a chunk ahead of another one, and their rows never meet.
    return scratch.gates + (s - chunk) * d.B * map.gates_ld();
  }
  T* states_before(Index s) const {  // row 0; in inference two sets take turns
    if (!args.tape) return scratch.states + s % 2 * d.B * map.state_ld();
    return args.tape + map.states_at() + walk.row_before(s) * map.state_ld();
  }
  const E* weights_at(Index at) const { return reinterpret_cast<const E*>(args.packed + at); }
  Range active_rows(Index s) const { return {share.rows.begin, smaller(share.rows.end, walk.active(s))}; }

  // gates = from + also + W_ih x, over `columns` of n rows of x
  static void multiply_inputs(const Map& map, const T* packed, const T* const* x, Index n, Range columns, Range panels,
                              const T* const* from, const T* const* also, T* const* gates) {
    const Index K = elements<E>(map.dims.I);
    for (Index k = columns.begin; k == columns.begin || k < columns.end; k += kChunkK) {  // without any, too
      const bool first = k == columns.begin;
      const InputEpilogue<Cell, Vec> epilogue{first ? from : gates, first ? also : nullptr, gates};
      product<Vec, Map::kPanel, Map::kGates>(RowOperand<E>{x, smaller(columns.end - k, kChunkK), k},
                                             Packed<E>{reinterpret_cast<const E*>(packed), map.blocks(), K, k}, {0, n},
                                             panels, epilogue);
    }
  }

  static Index begun_size(Dims d) { return Map{d}.gates_ld(); }
  static void begin_rows(const BegunArgs<T>& a) {
    const Map map{a.dims};
    const Range panels{0, panel_count<Map::kPanel>(map.blocks())};
    const T* from[kChunkRows];
    T* to[kChunkRows];
    for (Index begin = 0; begin < a.n; begin += kChunkRows) {
      const Index n = smaller(a.n - begin, kChunkRows);
      for (Index r = 0; r < n; ++r) {
        from[r] = a.packed + map.bias_at(), to[r] = a.out + (begin + r) * map.gates_ld();
        if (a.constant)
          pack_constant<Cell, Vec, T>(a.dims, a.constant + (begin + r) * Map::kGates * a.dims.H, nullptr, to[r]);
      }
      if (!a.constant) multiply_inputs(map, a.packed, a.x + begin, n, {0, a.columns}, panels, from, nullptr, to);
    }
  }

  // What row n of a chunk starts from
  void start(Index n, Index s, Index b) const {
    const bool constant = args.constant && args.steps.begin + s < args.constant_steps;
    scratch.from[n] = constant ? scratch.constant + b * map.gates_ld() : args.packed + map.bias_at();
    if (!args.begun) return;
    const Index at = walk.time(s, b) * d.B + walk.user_row(b);
    scratch.from[n] = args.begun[at];
    if (args.also) scratch.also[n] = args.also[at];
  }

  // gates = W_ih x + bias for the steps [begin, end)
  void input_product(Index begin, Index end) const {
    Index n = 0;
    for (Index s = begin; s < end; ++s)
      for (Index b = share.rows.begin; b < active_rows(s).end; ++b, ++n) {
        scratch.x[n] = walk.at(args.x, s, b);
        if constexpr (Map::kHalf) {
          T* const rounded = scratch.rounded_x + n * rounded_ld(d);
          copy_halves<Vec>(scratch.x[n], halves(rounded), d.I);
          scratch.x[n] = rounded;
        }
        start(n, s, b);
        scratch.gate_rows[n] = gates(s, begin) + b * map.gates_ld();
      }
    multiply_inputs(map, args.packed, scratch.x, n, {args.begun ? args.begun_columns : 0, elements<E>(d.I)}, panels(),
                    scratch.from, args.begun && args.also ? scratch.also : nullptr, scratch.gate_rows);
  }

  void step(Index s, Index chunk) const {
    const Range rows = active_rows(s);
    const T* before = states_before(s);
    for (Index b = rows.begin; b < rows.end; ++b) {
      scratch.prev[b] = walk.cut(s, b) ? scratch.zeros : before + b * map.state_ld();
      scratch.y[b] = walk.at(args.y, s, b);
    }
    const StepEpilogue<Cell, Vec, E> epilogue{
        gates(s, chunk), args.packed + map.bias_at(), args.packed + map.unit_at(), scratch.prev, states_before(s + 1),
        scratch.y, map.gates_ld(), map.state_ld(), map.padded(), d.H, args.tape != nullptr};
    const Packed<E> weights{weights_at(map.W_hh_at()), map.blocks(), map.W_hh_rows(), 0, s % 2 != 0};
    const RowOperand<E> h{scratch.prev, map.W_hh_rows(), map.h_at()};
    // Chosen by B, not by the rows of this thread: the bits must not depend on the split.
    if (d.B == 1) product<Vec, Map::kPanel, Map::kGates, 2>(h, weights, rows, panels(), epilogue);
    else product<Vec, Map::kPanel, Map::kGates>(h, weights, rows, panels(), epilogue);
  }

  void begin(Range rows) const {
    copy_padded<Vec, T>(nullptr, scratch.zeros, map.state_ld());
    for (Index b = rows.begin; b < rows.end; ++b) {
      T* const to = states_before(0) + b * map.state_ld();
      for (int q = 0; q < Cell::kState; ++q)
        copy_padded<Vec>(args.s0[q] ? args.s0[q] + walk.user_row(b) * d.H : nullptr, to + q * map.padded(), d.H);
      if constexpr (Map::kHalf) copy_halves<Vec>(to, halves(to + map.h_at()), d.H);
      if (args.constant)
        pack_constant<Cell, Vec>(d, args.constant + walk.user_row(b) * Map::kGates * d.H, args.packed + map.bias_at(),
                                 scratch.constant + b * map.gates_ld());
    }
  }

  void end(Range rows) const {
    for (Index b = rows.begin; b < rows.end; ++b) {
      const Index user = walk.user_row(b), length = walk.length(b);
      for (int q = 0; q < Cell::kState; ++q)
        copy_or_zero(states_before(length) + b * map.state_ld() + q * map.padded(), args.sT[q] + user * d.H, d.H);
      for (Index t = walk.whole_length(b); walk.last_segment() && t < args.steps.total; ++t)
        copy_or_zero<T>(nullptr, args.y.p + t * args.y.step + user * args.y.row, d.H);
    }
  }

  void steps() {
    for (Index s = 0; s < d.T && walk.active(s); ) {
      const Index chunk = s, end = smaller(d.T, s + chunk_steps(d));
      input_product(chunk, end);
      if (team.split_units && !alone) team.barrier(team.context);  // which takes longer than a step, and is not late
      for (; s < end; ++s) {
        step(s, chunk);
        if (!team.split_units || alone) continue;
        alone = team.step_barrier(team.context);
        if (alone && team.rank) return;
      }
    }
  }

  void run() {
    const Range rows = team.split_units ? part(d.B, team.rank, team.size) : share.rows;
    begin(rows);
    if (team.split_units) team.barrier(team.context);
    steps();
    if (alone) team.barrier(team.context);
    end(rows);
  }
};
FR_NAMESPACE_END
