// SPDX-License-Identifier: MIT
// Elman network, torch.nn.RNN:   h' = phi(pre)   with phi = tanh or relu.   Saved for backward: h'.
#pragma once
#include "math.h"
FR_NAMESPACE_BEGIN
struct Tanh {
  template <class V> static FR_FN V value(V x) { return tanh_(x); }
  template <class V> static FR_FN V backward(V y, V dy) { return dy * dtanh(y); }
};
struct Relu {
  template <class V> static FR_FN V value(V x) { return relu(x); }
  template <class V> static FR_FN V backward(V y, V dy) { return where_positive(y, dy); }
};

template <class Phi>
struct Elman : OnePhase {
  static constexpr int kGates = 1, kPre = 1, kUnit = 0, kState = 1, kSaved = 1;
  static constexpr int kMemory = 0, kCarried = 1;
  static constexpr bool kRecurrent = true;
  static FR_FN constexpr int x_slot(int) { return 0; }
  static FR_FN constexpr int h_slot(int) { return 0; }
  static FR_FN constexpr int gate_slot(int) { return 0; }
  template <class V> using Unit = UnitParameters<V, kUnit>;

  template <class V>
  static FR_FN void update(const V (&pre)[kPre], const Unit<V>&, V (&state)[kState], V (&)[kSaved]) {
    state[0] = pre[0];
  }
  template <class V>
  static FR_FN void output(const V m, V (&state)[kState], V (&saved)[kSaved]) {
    state[0] = saved[0] = Phi::value(m);
  }
  template <class V>
  static FR_FN void output_backward(const V (&saved)[kSaved], const Unit<V>&, const V, const V dh, V& dm, V (&)[kPre]) {
    dm = Phi::backward(saved[0], dh);
  }
  template <class V>
  static FR_FN void update_backward(const V (&)[kSaved], const Unit<V>&, const V (&)[kState], V (&dstate)[kState],
                                    V (&dpre)[kPre]) {
    dpre[0] = dstate[0];
    dstate[0] = V(0);
  }
};
FR_NAMESPACE_END
