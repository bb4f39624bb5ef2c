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
// That is one phase a step, and a product can end in it (forward.h). A cell that needs more of them says which, in
// constants that OnePhase has for all others, and is run by staged/ instead:
//
//   kNormPre       W_ih x and W_hh h are layer-normalised over all gates, each with gains of its own, before the biases
//   kNormMemory    output() sees as m the layer-normalised memory, with gains and biases; output_backward() as `after`
//   kProjected     what output() leaves in state[0] is not h but what W_hr multiplies to h; update() does not read h
//   kResetBefore   the last gate multiplies reset() instead of h:
//   reset(pre, h)                                         from the slots of the gates before it
//   reset_backward(saved, h, dreset, dh, dpre)            adds to dpre of those slots; dh: what h gets by this way.
//                                                         saved[kPre] and on are still there, dpre is before them
//
// Gains and biases of the norms are parameters of single units that follow those of the cell: gains of W_ih x and of
// W_hh h (kGates each, in the order of the gates), then the gain and the bias of the memory.
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

struct OnePhase {
  static constexpr bool kNormPre = false, kNormMemory = false, kResetBefore = false, kProjected = false;
};
template <class Cell>
constexpr bool kStaged = Cell::kNormPre || Cell::kNormMemory || Cell::kResetBefore || Cell::kProjected;
template <class Cell>
constexpr int kUnitParameters = Cell::kUnit + (Cell::kNormPre ? 2 * Cell::kGates : 0) + (Cell::kNormMemory ? 2 : 0);
FR_NAMESPACE_END
