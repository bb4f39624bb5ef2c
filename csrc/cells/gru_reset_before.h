// SPDX-License-Identifier: MIT
// GRU as Cho et al. (2014) have it: the reset gate is applied to h before the recurrent product.
//
//   reset    r = sigmoid(pre_r)   r h                                     W_hn multiplies it
//   update   z = sigmoid(pre_z)   n = tanh(pre_n)   h' = n + z (h - n)
//
// Slots r z n, each fed by x and by h. Saved for backward: r z n, and r once more, since dpre overwrites the first
// three before reset_backward.
#pragma once
#include "math.h"
FR_NAMESPACE_BEGIN
struct GruResetBefore : OnePhase {
  static constexpr bool kResetBefore = true;
  static constexpr int kGates = 3, kPre = 3, kUnit = 0, kState = 1, kSaved = 4;
  static constexpr int kMemory = 0, kCarried = 0;
  static constexpr bool kRecurrent = true;
  static FR_FN constexpr int x_slot(int gate) { return gate; }  // r z n
  static FR_FN constexpr int h_slot(int gate) { return gate; }
  static FR_FN constexpr int gate_slot(int gate) { return gate; }
  template <class V> using Unit = UnitParameters<V, kUnit>;

  template <class V>
  static FR_FN V reset(const V (&pre)[kPre], const V h) {
    return sigmoid(pre[0]) * h;
  }

  template <class V>
  static FR_FN void update(const V (&pre)[kPre], const Unit<V>&, V (&state)[kState], V (&saved)[kSaved]) {
    const V r = sigmoid(pre[0]), z = sigmoid(pre[1]), n = tanh_(pre[2]);
    state[0] = n + z * (state[0] - n);
    saved[0] = r, saved[1] = z, saved[2] = n, saved[3] = r;
  }

  template <class V>
  static FR_FN void output(const V m, V (&state)[kState], V (&)[kSaved]) {
    state[0] = m;
  }

  template <class V>
  static FR_FN void output_backward(const V (&)[kSaved], const Unit<V>&, const V, const V dh, V& dm, V (&)[kPre]) {
    dm = dh;
  }

  template <class V>
  static FR_FN void update_backward(const V (&saved)[kSaved], const Unit<V>&, const V (&prev)[kState],
                                    V (&dstate)[kState], V (&dpre)[kPre]) {
    const V z = saved[1], n = saved[2], dh = dstate[0];
    dpre[0] = V(0);
    dpre[1] = dh * (prev[0] - n) * dsigmoid(z);
    dpre[2] = dh * (V(1) - z) * dtanh(n);
    dstate[0] = dh * z;
  }

  template <class V>
  static FR_FN void reset_backward(const V (&saved)[kSaved], const V h, const V dreset, V& dh, V (&dpre)[kPre]) {
    const V r = saved[3];
    dpre[0] = dpre[0] + dreset * h * dsigmoid(r);
    dh = dreset * r;
  }
};
FR_NAMESPACE_END
