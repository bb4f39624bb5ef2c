// SPDX-License-Identifier: MIT
// The loop over time by one launch a step, for weights of any size:
//
//   forward    sums = h_{s-1} W_hh^T with all gates of a unit in one lane; the epilogue adds what the input product
//              left in the slots, runs the cell in registers, and writes states, y and saved
//   backward   sums = dG_{s+1} W_hh; the epilogue adds dy and runs the cell's backward: saved becomes dpre.
//              The last step, which is the first to run, has K = 0: the same kernel, no sums
//
// The boundary of a launch is the only synchronisation. Step s reads what step s - 1 wrote at another place, and each
// (b, j) of the slots and of the carried gradients belongs to one thread. Rows join at their last step, and where a
// reset cuts, the epilogue takes 0 for the sums and the states. The host reads nothing of the device.
//
// A cell without W_hh has no product, and no unit waits for another one: one launch runs all steps.
#pragma once
#include "gemm.cuh"
#include "launch.cuh"
#include "layout.h"
#include "reduce.cuh"

FR_NAMESPACE_BEGIN
// Few rows (the batch), many blocks along the units; long tiles, for the weights come from far away
template <int G>
using ForwardTile = Tile<32, 16 * G*(G < 3 ? 4 / G : 1), 2, 2, 128, 3>;
using BackwardTile = Tile<32, 32, 2, 2, 128, 4>;

template <class Cell, class Real>
FR_DEVICE UnitParameters<Real, Cell::kUnit> load_unit(const Real* unit, Index H, Index j) {
  UnitParameters<Real, Cell::kUnit> own;
  if constexpr (Cell::kUnit > 0) {
#pragma unroll
    for (int p = 0; p < Cell::kUnit; ++p) own[p] = unit[p * H + j];
  }
  return own;
}

template <class Cell, class Real, class Scalar>
struct StepForward {
  static constexpr int kGates = Cell::kGates, S = Cell::kSaved;
  static constexpr bool kStarts = false;
  LoopForward<Real, Scalar> loop;
  Index step, first, before;  // row 0 of the step: its number of R, and where its states before the step lie

  FR_DEVICE void operator()(Index b, Index j, const Real (&sums)[kGates][2], int count) const {
    const bool cut = Walk{loop.dims, loop.steps}.cut(step, b);
    each_column(count, [&](int e) {
      Real own[kGates];
#pragma unroll
      for (int g = 0; g < kGates; ++g) own[g] = cut ? Real(0) : sums[g][e];
      run(b, j + e, own, cut);
    });
  }

  FR_DEVICE void run(Index b, Index j, const Real (&sums)[kGates], bool cut) const {
    const Index H = loop.dims.H, was = (before + b) * H + j, now = (loop.dims.B + first + b) * H + j;
    Real* const slots = loop.slots + (first + b) * S * H + j;
    Real pre[Cell::kPre], state[Cell::kState], saved[S];
#pragma unroll
    for (int s = 0; s < Cell::kPre; ++s) pre[s] = gate_of_slot<Cell>(true, s) >= 0 ? slots[s * H] : Real(0);
    if constexpr (Cell::kRecurrent) {  // in braces: a compiler drops a loop with a pragma too many
#pragma unroll
      for (int g = 0; g < kGates; ++g) {
        pre[Cell::h_slot(g)] += sums[g];
        if (gate_of_slot<Cell>(true, Cell::h_slot(g)) < 0 && loop.bias_h)
          pre[Cell::h_slot(g)] += loop.bias_h[g * H + j];
      }
    }
#pragma unroll
    for (int q = 0; q < Cell::kState; ++q) state[q] = cut ? Real(0) : loop.states[q][was];
    Cell::update(pre, load_unit<Cell>(loop.unit, H, j), state, saved);
    Cell::output(state[Cell::kMemory], state, saved);
#pragma unroll
    for (int q = 0; q < Cell::kState; ++q) loop.states[q][now] = state[q];
    if constexpr (Cell::kRecurrent && sizeof(Scalar) < sizeof(Real)) loop.h[now] = round_to<Scalar>(state[0]);
    Walk{loop.dims, loop.steps}.at(loop.y, step, b)[j] = state[0];
#pragma unroll
    for (int s = 0; s < S; ++s) slots[s * H] = saved[s];
  }
};

// Clamps dh and dc of a unit, and measures them
template <class Real>
struct UnitControl {
  Real limit;
  StepNorms norms;
  FR_DEVICE Real operator()(Real gradient, double& arrived) {
    const Real kept = clamp_to(gradient, limit);
    arrived += static_cast<double>(gradient) * static_cast<double>(gradient);
    norms.clamped += static_cast<double>(kept) * static_cast<double>(kept);
    norms.count += kept != gradient && gradient == gradient;
    return kept;
  }
};

template <class Cell, class Real, class Scalar>
struct StepBackward {
  static constexpr int kGates = 1, S = Cell::kSaved;
  static constexpr bool kStarts = false;
  LoopBackward<Real, Scalar> loop;
  Index step, first, before;
  Index joining;  // rows from here on are at their last step: no sums, and the gradient of h arrives in dstates
  bool controlled;
  Real limit;
  StepNorms* norms;  // (B,ceil(H/2)) of pairs of units

  FR_DEVICE void operator()(Index b, Index j, const Real (&sums)[1][2], int count) const {
    const Walk walk{loop.dims, loop.steps};
    const bool cut = walk.cut(step, b), flows = b < joining && !walk.cut(step + 1, b);
    UnitControl<Real> control = {limit, {0, 0, 0, 0}};
    each_column(count, [&](int e) { run(b, j + e, flows ? sums[0][e] : Real(0), cut, control); });
    if (controlled) norms[b * ((loop.dims.H + 1) / 2) + j / 2] = control.norms;
  }

  FR_DEVICE void run(Index b, Index j, Real dh, bool cut, UnitControl<Real>& control) const {
    const Index H = loop.dims.H, at = b * H + j, was = (before + b) * H + j, now = (loop.dims.B + first + b) * H + j;
    Real* const slots = loop.slots + (first + b) * S * H + j;
    Real saved[S], prev[Cell::kState], dstate[Cell::kState], dpre[Cell::kPre], dm;
#pragma unroll
    for (int s = 0; s < S; ++s) saved[s] = slots[s * H];
#pragma unroll
    for (int q = 0; q < Cell::kState; ++q) {
      prev[q] = cut ? Real(0) : loop.states[q][was];
      dstate[q] = q > 0 ? loop.dstates[q][at] : Real(0);
    }
    if (Cell::kCarried == 0 || b >= joining) dh += loop.dstates[0][at];
    dh += Walk{loop.dims, loop.steps}.at(loop.dy, step, b)[j];
    if (controlled) dh = control(dh, control.norms.dh);
    dstate[0] = dh;
    const auto unit = load_unit<Cell>(loop.unit, H, j);
    Cell::output_backward(saved, unit, loop.states[Cell::kMemory][now], dh, dm, dpre);
    dstate[Cell::kMemory] = Cell::kMemory == 0 ? dm : dstate[Cell::kMemory] + dm;
    if (controlled && Cell::kMemory > 0) dstate[Cell::kMemory] = control(dstate[Cell::kMemory], control.norms.dc);
    Cell::update_backward(saved, unit, prev, dstate, dpre);
#pragma unroll
    for (int q = Cell::kCarried; q < Cell::kState; ++q) loop.dstates[q][at] = cut ? Real(0) : dstate[q];
#pragma unroll
    for (int s = 0; s < Cell::kPre; ++s) {
      slots[s * H] = dpre[s];
      if constexpr (sizeof(Scalar) < sizeof(Real))
        loop.dG[((first + b) * Cell::kPre + s) * H + j] = round_to<Scalar>(dpre[s]);
    }
  }
};

// Joins the norms of a row of a step, a block a row, and scales the row if it is too long
template <class Cell, class Real, class Scalar>
__global__ void __launch_bounds__(kThreads)
    control_kernel(const StepBackward<Cell, Real, Scalar> s, double most, StepNorms* to) {
  __shared__ double shared[kThreads];
  __shared__ double joined[4];
  const LoopBackward<Real, Scalar>& loop = s.loop;
  const Walk walk{loop.dims, loop.steps};
  const Index b = blockIdx.x, H = loop.dims.H, pairs = (H + 1) / 2;
  double own[4] = {};
  for (Index k = threadIdx.x; k < pairs; k += kThreads) {
    const StepNorms& n = s.norms[b * pairs + k];
    own[0] += n.dh, own[1] += n.dc, own[2] += n.clamped, own[3] += n.count;
  }
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const double sum = block_sum<kThreads>(own[k], shared);
    if (threadIdx.x == 0) joined[k] = sum;
    __syncthreads();
  }
  if (threadIdx.x == 0)
    to[walk.time(s.step, b) * loop.dims.B + walk.user_row(b)] = {joined[0], joined[1], joined[2], joined[3]};
  if (!(joined[2] > most * most)) return;
  const Real factor = static_cast<Real>(most / sqrt(joined[2]));
  for (Index j = threadIdx.x; j < H; j += kThreads) {
#pragma unroll
    for (int q = Cell::kCarried; q < Cell::kState; ++q) loop.dstates[q][b * H + j] *= factor;
#pragma unroll
    for (int k = 0; k < Cell::kPre; ++k) {
      Real& dpre = loop.slots[((s.first + b) * Cell::kSaved + k) * H + j];
      dpre *= factor;
      if constexpr (sizeof(Scalar) < sizeof(Real))
        loop.dG[((s.first + b) * Cell::kPre + k) * H + j] = round_to<Scalar>(dpre);
    }
  }
}

// dh that enters the first step: the product, unless a reset cuts it, and what the cell carried
template <class Real>
struct EnterFirstStep {
  static constexpr int kGates = 1;
  static constexpr bool kStarts = false;
  Walk walk;
  Real* dh;
  bool carried;
  FR_DEVICE void operator()(Index b, Index j, const Real (&sums)[1][2], int count) const {
    const bool cut = walk.cut(0, b);
    Real* const to = dh + b * walk.d.H + j;
    each_column(count, [&](int e) { to[e] = (cut ? Real(0) : sums[0][e]) + (carried ? to[e] : Real(0)); });
  }
};

// Lines that exist, then zeros
struct FirstLines {
  Index count;
  FR_DEVICE Index operator()(Index n) const { return n < count ? n : -1; }
};

// All steps of a pair of units of a row, for cells without W_hh
template <class Cell, class Real, class Scalar>
struct UnitsForward {
  LoopForward<Real, Scalar> loop;
  FR_DEVICE void operator()(Index k) const {
    const Walk walk{loop.dims, loop.steps};
    const auto [b, pair] = divide(k, (loop.dims.H + 1) / 2);
    const Index j = pair * 2;
    const Real sums[Cell::kGates][2] = {};
    for (Index s = 0, length = walk.length(b); s < length; ++s)
      StepForward<Cell, Real, Scalar>{loop, s, walk.first(s), walk.row_before(s)}(b, j, sums,
                                                                                  j + 1 < loop.dims.H ? 2 : 1);
  }
};
template <class Cell, class Real, class Scalar>
struct UnitsBackward {
  StepBackward<Cell, Real, Scalar> at;  // of the step that is last in time
  Index steps;  // how many, down from that
  FR_DEVICE void operator()(Index k) const {
    const Walk walk{at.loop.dims, at.loop.steps};
    const auto [b, pair] = divide(k, (walk.d.H + 1) / 2);
    const Index j = pair * 2, length = walk.length(b);
    const Real sums[1][2] = {};
    for (Index s = at.step < length - 1 ? at.step : length - 1; s > at.step - steps; --s) {
      StepBackward<Cell, Real, Scalar> own = at;
      own.step = s, own.first = walk.first(s), own.before = walk.row_before(s);
      own.joining = s + 1 < walk.d.T ? walk.active(s + 1) : 0;
      own(b, j, sums, j + 1 < walk.d.H ? 2 : 1);
    }
  }
};

template <class Cell, class Math>
struct Streaming {
  using Real = typename Math::Real;
  using Scalar = typename Math::Scalar;
  using Forward = StepForward<Cell, Real, Scalar>;
  using Backward = StepBackward<Cell, Real, Scalar>;
  static constexpr int G = Cell::kGates, kPre = Cell::kPre;
  static constexpr bool kRounded = sizeof(Scalar) < sizeof(Real);

  static Index backward_exchange_size(Dims d) {
    return Index(sizeof(StepNorms) / sizeof(Real)) * d.B * ((d.H + 1) / 2);
  }

  static cudaError_t forward(const LoopForward<Real, Scalar>& loop, cudaStream_t stream) {
    const Dims d = loop.dims;
    if constexpr (!Cell::kRecurrent) {
      return each(d.B * ((d.H + 1) / 2), UnitsForward<Cell, Real, Scalar>{loop}, stream);
    } else {
      const Walk walk{d, loop.host};
      const Matrix<Scalar> W_hh(loop.W_hh, d.H);
      for (Index s = 0; s < d.T && walk.active(s); ++s) {
        const Forward step{loop, s, walk.first(s), walk.row_before(s)};
        const Matrix<Scalar> h(operand_h(loop) + step.before * d.H, d.H);

        FR_TRY(product<Math, ForwardTile<G>, true, true>(h, W_hh, {walk.active(s), d.H, d.H, 0}, step, stream));
      }
      return cudaSuccess;
    }
  }

  static cudaError_t backward(const LoopBackward<Real, Scalar>& loop, cudaStream_t stream) {
    const Dims d = loop.dims;
    const Walk walk{d, loop.host};
    const Index last = last_step(walk);
    const auto at = [&](Index s) {
      return Backward{loop,
                      s,
                      walk.first(s),
                      walk.row_before(s),
                      s + 1 < d.T ? walk.active(s + 1) : 0,
                      loop.control != nullptr,
                      loop.control ? loop.control->value : Real(0),
                      static_cast<StepNorms*>(loop.exchange)};
    };
    if constexpr (!Cell::kRecurrent) {
      if (!loop.control && last >= 0)
        return each(d.B * ((d.H + 1) / 2), UnitsBackward<Cell, Real, Scalar>{at(last), last + 1}, stream);
    }
    for (Index s = last; s >= 0; --s) {
      const Backward step = at(s);
      FR_TRY(run(step, walk.active(s), stream));
      if (loop.control) {
        control_kernel<<<static_cast<unsigned>(walk.active(s)), kThreads, 0, stream>>>(step, loop.control->norm,
                                                                                       loop.control->norms);
        FR_TRY(cudaGetLastError());
      }
    }
    if constexpr (Cell::kRecurrent) {
      if (last < 0) return cudaSuccess;
      const EnterFirstStep<Real> enter{{d, loop.steps}, loop.dstates[0], Cell::kCarried == 0};
      return product<Math, BackwardTile, true, false>(dG_of(loop, 0, walk.active(0)), Matrix<Scalar>(loop.W_hh, d.H),
                                                      {walk.active(0), d.H, G * d.H, 0}, enter, stream);
    }
    return cudaSuccess;
  }

 private:
  static const Scalar* operand_h(const LoopForward<Real, Scalar>& loop) {
    if constexpr (kRounded) return loop.h;
    else return loop.states[0];
  }
  // The slots of dG that h feeds, of `count` rows from number `first` on
  static Matrix<Scalar, FirstLines> dG_of(const LoopBackward<Real, Scalar>& loop, Index first, Index count) {
    constexpr int kH = Slots<Cell>::kH;
    const Index H = loop.dims.H;
    if constexpr (kRounded) return {loop.dG + (first * kPre + kH) * H, kPre * H, {count}};
    else return {loop.slots + (first * Cell::kSaved + kH) * H, Cell::kSaved * H, {count}};
  }
  static Index last_step(const Walk& walk) {  // in which any row takes part; -1: none
    Index s = walk.d.T - 1;
    while (s >= 0 && !walk.active(s)) --s;
    return s;
  }
  static cudaError_t run(const Backward& step, Index rows, cudaStream_t stream) {
    const Dims d = step.loop.dims;
    if constexpr (!Cell::kRecurrent) {
      return each(d.B * ((d.H + 1) / 2), UnitsBackward<Cell, Real, Scalar>{step, 1}, stream);
    } else {
      const Index next = step.joining ? step.first + rows : 0;
      return product<Math, BackwardTile, true, false>(dG_of(step.loop, next, step.joining),
                                                      Matrix<Scalar>(step.loop.W_hh, d.H),
                                                      {rows, d.H, step.joining ? G * d.H : 0, 0}, step, stream);
    }
  }
};
FR_NAMESPACE_END
