// SPDX-License-Identifier: MIT
// Independently recurrent network (Li, Li, Cook, Zhu and Gao 2018, arXiv:1803.04831): each unit sees its own h alone.
//
//   h' = phi(pre + u h)   with phi = relu or tanh
//
// Nothing is multiplied by W_hh. Parameter of a unit: u. Saved for backward: h'.
#pragma once
#include "elman.h"
FR_NAMESPACE_BEGIN
template <class Phi>
struct IndRnn : Elman<Phi> {
  static constexpr int kPre = 1, kUnit = 1, kState = 1, kSaved = 1, kCarried = 0;
  static constexpr bool kRecurrent = false;
  template <class V> using Unit = UnitParameters<V, kUnit>;

  template <class V>
  static FR_FN void update(const V (&pre)[kPre], const Unit<V>& u, V (&state)[kState], V (&)[kSaved]) {
    state[0] = pre[0] + u[0] * state[0];
  }
  template <class V>
  static FR_FN void output_backward(const V (&saved)[kSaved], const Unit<V>&, const V, const V dh, V& dm, V (&)[kPre]) {
    dm = Phi::backward(saved[0], dh);
  }
  template <class V>
  static FR_FN void update_backward(const V (&)[kSaved], const Unit<V>& u, const V (&)[kState], V (&dstate)[kState],
                                    V (&dpre)[kPre]) {
    dpre[0] = dstate[0];
    dstate[0] = dpre[0] * u[0];
  }
  template <class V>
  static FR_FN void unit_gradients(const V (&dpre)[kPre], const V (&prev)[kState], const V (&)[kState], Unit<V>& du) {
    du[0] = dpre[0] * prev[0];
  }
};
FR_NAMESPACE_END
