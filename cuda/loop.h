// SPDX-License-Identifier: MIT
// What the loop over time is given, by forward and backward, whichever engine runs it: a launch a step (streaming), or
// one launch for all of them (persistent). Plain data; arrays are of the device unless they say otherwise.
//
// Real: of sums, states and epilogues, float or double. Scalar: what products multiply, Real or 16 bits.
//
// Rows of the recurrence lie one after the other, step by step: row s, b is number walk.first(s) + b of R (csrc/rows.h),
// and a step works on the walk.active(s) rows that have not ended. Where they lie in arrays of the user, Walk::at says.
#pragma once
#include "rows.h"
namespace fastrnn {

template <class Real, class Scalar>
struct LoopForward {
  Dims dims;
  Steps steps, host;  // the same, with arrays of the device and of the host
  const Scalar* W_hh;  // (G*H,P) as the user has it, rounded
  const void* persistent;  // W_hh as persistent kernels want it; null where none may run
  const Real* bias_h;  // (G*H) b_hh of the gates whose slot x does not feed, else 0; null: no biases
  const Real* unit;  // (kUnit,H) or null
  Real* slots;  // (R,kSaved,H) in: W_ih x + b in the slots that x feeds. Out: what backward needs of each row
  Real* states[kMaxState];  // (B+R,H): B initial ones, then of each row of the recurrence those after its step
  Scalar* h;  // (B+R,H) states[0] rounded, the initial ones too; null where Scalar is Real
  Rows<Real> y;  // of the user; written where a row takes part in a step
  void* exchange;  // scratch of the engine
};

template <class Real, class Scalar>
struct LoopBackward {
  Dims dims;
  Steps steps, host;
  const Scalar* W_hh;
  const void* persistent;
  const Real* unit;
  Real* slots;  // (R,kSaved,H) of forward; out: dpre in the first kPre of each row
  Scalar* dG;  // (R,kPre,H) out: dpre rounded; null where Scalar is Real
  const Real* states[kMaxState];  // of forward
  Rows<const Real> dy;
  // (B,H) of internal rows. In: gradients of the states after the last step that a row takes part in, of this segment.
  // Out: of those that enter its first step, the product with W_hh included
  Real* dstates[kMaxState];
  const StepControl<Real>* control;  // of the host, with norms of the device; null: neither clipped nor measured
  void* exchange;  // scratch of the engine
};

}  // namespace fastrnn
