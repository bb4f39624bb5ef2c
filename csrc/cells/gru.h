// SPDX-License-Identifier: MIT
// GRU, reset applied after the recurrent product: torch.nn.GRU, cuDNN (oneDNN calls it lbr_gru).
//
//   r = sigmoid(pre_r)  z = sigmoid(pre_z)  n = tanh(nx + r nh)  h' = n + z (h - n)
//
// Slots nx r z nh: nx is fed by x only and nh by h only. That is all that makes GRU special.
// Saved for backward: n r z nh.
#pragma once
#include "math.h"
FR_NAMESPACE_BEGIN
struct Gru : OnePhase {
  static constexpr int kGates = 3, kPre = 4, kUnit = 0, kState = 1, kSaved = 4;
  static constexpr int kMemory = 0, kCarried = 0;
  static constexpr bool kRecurrent = true;
  static FR_FN constexpr int x_slot(int gate) { return (gate + 1) % 3; }  // r 1, z 2, n 0
  static FR_FN constexpr int h_slot(int gate) { return gate + 1; }        // r 1, z 2, n 3
  static FR_FN constexpr int gate_slot(int gate) { return x_slot(gate); }
  template <class V> using Unit = UnitParameters<V, kUnit>;

  template <class V>
  static FR_FN void update(const V (&pre)[kPre], const Unit<V>&, V (&state)[kState], V (&saved)[kSaved]) {
    const V r = sigmoid(pre[1]), z = sigmoid(pre[2]), n = tanh_(pre[0] + r * pre[3]);
    state[0] = n + z * (state[0] - n);
    saved[0] = n, saved[1] = r, saved[2] = z, saved[3] = pre[3];
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
    const V n = saved[0], r = saved[1], z = saved[2], nh = saved[3], dh = dstate[0];
    const V dn = dh * (V(1) - z) * dtanh(n);
    dpre[0] = dn;
    dpre[1] = dn * nh * dsigmoid(r);
    dpre[2] = dh * (prev[0] - n) * dsigmoid(z);
    dpre[3] = dn * r;
    dstate[0] = dh * z;
  }
};
FR_NAMESPACE_END
