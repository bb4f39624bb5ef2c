// SPDX-License-Identifier: MIT
// LSTM with forget gate, equations and gate order of torch.nn.LSTM.
//
//   update   i = sigmoid(pre_i)  f = sigmoid(pre_f)  g = tanh(pre_g)  o = sigmoid(pre_o)
//            c' = f c + i g
//   output   h' = o tanh(m)            m = c'
//
// Saved for backward: i f g o. tanh(m) is computed anew: a fifth slot costs more in memory traffic.
#pragma once
#include "math.h"
FR_NAMESPACE_BEGIN
struct Lstm : OnePhase {
  static constexpr int kGates = 4, kPre = 4, kUnit = 0, kState = 2, kSaved = 4;
  static constexpr int kMemory = 1, kCarried = 1;  // state[0] = h, state[1] = c
  static constexpr bool kRecurrent = true;
  static FR_FN constexpr int x_slot(int gate) { return gate; }  // i f g o
  static FR_FN constexpr int h_slot(int gate) { return gate; }
  static FR_FN constexpr int gate_slot(int gate) { return gate; }
  template <class V> using Unit = UnitParameters<V, kUnit>;

  template <class V>
  static FR_FN void update(const V (&pre)[kPre], const Unit<V>&, V (&state)[kState], V (&saved)[kSaved]) {
    const V i = sigmoid(pre[0]), f = sigmoid(pre[1]), g = tanh_(pre[2]), o = sigmoid(pre[3]);
    state[1] = f * state[1] + i * g;
    saved[0] = i, saved[1] = f, saved[2] = g, saved[3] = o;
  }

  template <class V>
  static FR_FN void output(const V m, V (&state)[kState], V (&saved)[kSaved]) {
    state[0] = saved[3] * tanh_(m);
  }

  // dh -> dm, dpre_o
  template <class V>
  static FR_FN void output_backward(const V (&saved)[kSaved], const Unit<V>&, const V after, const V dh, V& dm,
                                    V (&dpre)[kPre]) {
    const V o = saved[3], y = tanh_(after);
    dm = dh * o * dtanh(y);
    dpre[3] = dh * y * dsigmoid(o);
  }

  // dc' in dstate[1] -> dpre_{i,f,g}, and dc for step t-1 in dstate[1]
  template <class V>
  static FR_FN void update_backward(const V (&saved)[kSaved], const Unit<V>&, const V (&prev)[kState],
                                    V (&dstate)[kState], V (&dpre)[kPre]) {
    const V i = saved[0], f = saved[1], g = saved[2], dc = dstate[1];
    dpre[0] = dc * g * dsigmoid(i);
    dpre[1] = dc * prev[1] * dsigmoid(f);
    dpre[2] = dc * i * dtanh(g);
    dstate[0] = V(0);
    dstate[1] = dc * f;
  }
};
FR_NAMESPACE_END
