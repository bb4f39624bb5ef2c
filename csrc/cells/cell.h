// SPDX-License-Identifier: MIT
// The cell contract. A cell is pure mathematics for ONE hidden unit: no loops, no memory, no instruction set.
//
//   pre[kPre]     pre-activations of this unit. Slot x_slot(g) receives row g of W_ih x + b_ih, slot h_slot(g)
//                 row g of W_hh h + b_hh; equal slots are summed. The slots fed by x are consecutive and so are
//                 those fed by h: the driver then runs over either group as one stretch of memory.
//   unit[kUnit]   parameters that belong to this unit alone (peepholes); most cells have none.
//   state[kState] recurrent state of this unit; state[0] is the h that W_hh multiplies.
//   saved[kSaved] what backward needs from forward. It overwrites pre in place, and dpre overwrites it, hence
//                 kSaved >= kPre.
//   kCarried      first state whose gradient also flows from t to t-1 outside W_hh; update_backward returns zero
//                 for the states before it, and the driver then neither stores nor reads them.
//   kMemory       the state that output() sees as m.
//   kRecurrent    whether there is a W_hh; false: h reaches the next step through the state alone.
//   gate_slot(g)  where saved holds the activation of gate g.
//
//   update(pre, unit, state, saved)                       pre-activations -> new memory
//   output(m, state, saved)                               memory -> new h
//   output_backward(saved, unit, after, dh, dm, dpre)     after: state[kMemory] when the step was done
//   update_backward(saved, unit, prev, dstate, dpre)      prev: the states before the step
//   unit_gradients(dpre, prev, after, dunit)              this step's share of d(unit); after: states after the
//                                                         step. Only where kUnit > 0
//
// V is any type with + - * and the functions of cells/math.h: float and double (reference), Vec<float> and
// Vec<double> (CPU lanes), float in a CUDA thread, Dual (tests).
#pragma once
#include <stddef.h>
#if defined(__CUDACC__)
#define FR_FN __host__ __device__ __forceinline__
#else
#define FR_FN inline __attribute__((always_inline))
#endif
#ifndef FR_ISA
#define FR_ISA baseline
#endif
// Every definition lives in a per-ISA inline namespace, so that two objects built with different
// -m flags never share a symbol (the linker would otherwise keep either copy: SIGILL on old CPUs).
#define FR_NAMESPACE_BEGIN namespace fastrnn { inline namespace FR_ISA {
#define FR_NAMESPACE_END } }

FR_NAMESPACE_BEGIN
template <class V, int kCount>
struct UnitParameters {
  V value[kCount];
  FR_FN const V& operator[](int k) const { return value[k]; }
  FR_FN V& operator[](int k) { return value[k]; }
};
template <class V> struct UnitParameters<V, 0> {};
FR_NAMESPACE_END
