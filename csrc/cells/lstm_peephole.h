// SPDX-License-Identifier: MIT
// LSTM with peepholes (Gers, Schraudolph and Schmidhuber 2002): each unit's gates also see its own memory.
//
//   update   i = sigmoid(pre_i + p_i c)  f = sigmoid(pre_f + p_f c)  g = tanh(pre_g)
//            c' = f c + i g              o = sigmoid(pre_o + p_o c')
//   output   h' = o tanh(m)
//
// Parameters of a unit: p_i p_f p_o, the order of i, f and o among the gates. Saved for backward: i f g o.
#pragma once
#include "lstm.h"
FR_NAMESPACE_BEGIN
struct LstmPeephole : Lstm {
  static constexpr int kUnit = 3;
  template <class V> using Unit = UnitParameters<V, kUnit>;

  template <class V>
  static FR_FN void update(const V (&pre)[kPre], const Unit<V>& p, V (&state)[kState], V (&saved)[kSaved]) {
    const V c = state[1], i = sigmoid(pre[0] + p[0] * c), f = sigmoid(pre[1] + p[1] * c), g = tanh_(pre[2]);
    state[1] = f * c + i * g;
    saved[0] = i, saved[1] = f, saved[2] = g, saved[3] = sigmoid(pre[3] + p[2] * state[1]);
  }

  // dh -> dm, dpre_o. c' is seen by the output gate as well.
  template <class V>
  static FR_FN void output_backward(const V (&saved)[kSaved], const Unit<V>& p, const V after, const V dh, V& dm,
                                    V (&dpre)[kPre]) {
    Lstm::output_backward(saved, {}, after, dh, dm, dpre);
    dm = dm + dpre[3] * p[2];
  }

  // dc' in dstate[1] -> dpre_{i,f,g}, and dc for step t-1 in dstate[1]
  template <class V>
  static FR_FN void update_backward(const V (&saved)[kSaved], const Unit<V>& p, const V (&prev)[kState],
                                    V (&dstate)[kState], V (&dpre)[kPre]) {
    Lstm::update_backward(saved, {}, prev, dstate, dpre);
    dstate[1] = dstate[1] + dpre[0] * p[0] + dpre[1] * p[1];
  }

  template <class V>
  static FR_FN void unit_gradients(const V (&dpre)[kPre], const V (&prev)[kState], const V (&after)[kState],
                                   Unit<V>& dp) {
    dp[0] = dpre[0] * prev[1];
    dp[1] = dpre[1] * prev[1];
    dp[2] = dpre[3] * after[1];
  }
};
FR_NAMESPACE_END
