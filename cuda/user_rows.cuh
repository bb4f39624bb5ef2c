// SPDX-License-Identifier: MIT
// Between arrays of the user and rows of the recurrence: places, inputs, initial and final states, padding.
#pragma once
#include "launch.cuh"
#include "layout.h"
FR_NAMESPACE_BEGIN
struct FindPlaces {
  Walk walk;
  Place* places;
  FR_DEVICE void operator()(Index row) const {
    const Cursor at(walk, row);
    places[row] = {walk.cut(at.step, at.b) ? -1 : walk.row_before(at.step) + at.b, walk.time(at.step, at.b),
                   walk.user_row(at.b)};
  }
};

template <class Real, class Scalar>
struct GatherInputs {
  Rows<const Real> from;
  const Place* places;
  Scalar* to;
  Index I;
  FR_DEVICE void operator()(Index k) const {
    const Quotient row = divide(k, I);
    to[k] = round_to<Scalar>(places[row.whole].at(from)[row.rest]);
  }
};

// Rows (B,n) of the user to internal rows; null: zeros. rounded: a copy of what products multiply, or null
template <class Real, class Scalar>
struct GatherStates {
  Walk walk;
  const Real* from;
  Real* to;
  Scalar* rounded;
  Index n;
  FR_DEVICE void operator()(Index k) const {
    const Quotient row = divide(k, n);
    const Real value = from ? from[walk.user_row(row.whole) * n + row.rest] : Real(0);
    to[k] = value;
    if (rounded) rounded[k] = round_to<Scalar>(value);
  }
};

template <class Real>
struct ScatterStates {
  Walk walk;
  const Real* from;  // (B,n) of internal rows; of a tape: what is there after the last step of each row
  Real* to;
  Index n;
  bool of_tape;
  FR_DEVICE void operator()(Index k) const {
    const auto [b, j] = divide(k, n);
    const Index row = of_tape ? walk.row_before(walk.length(b)) + b : b;
    to[walk.user_row(b) * n + j] = from[row * n + j];
  }
};

// Row b of states becomes what is there after the last step of row b: nobody reads what another one writes
template <class T>
struct HandOn {
  Walk walk;
  T* states;
  Index n;
  FR_DEVICE void operator()(Index k) const {
    const auto [b, j] = divide(k, n);
    states[k] = states[(walk.row_before(walk.length(b)) + b) * n + j];
  }
};

// Zeros past the end of rows
template <class Real>
struct ClearPadding {
  Walk walk;
  Rows<Real> rows;
  Index n;
  FR_DEVICE void operator()(Index k) const {  // of (B,n): steps may share their memory where nobody wants them
    const auto [b, j] = divide(k, n);
    Real* const to = rows.p + walk.user_row(b) * rows.row + j;
    for (Index t = walk.whole_length(b); t < walk.s.total; ++t) to[t * rows.step] = 0;
  }
};

template <class Real>
cudaError_t clear_padding(const Walk& walk, Rows<Real> rows, Index n, cudaStream_t stream) {
  if (!walk.s.lengths || !walk.last_segment()) return cudaSuccess;
  return each(walk.d.B * n, ClearPadding<Real>{walk, rows, n}, stream);
}
FR_NAMESPACE_END
