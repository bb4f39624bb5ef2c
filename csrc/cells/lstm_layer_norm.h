// SPDX-License-Identifier: MIT
// LSTM with layer normalisation (Ba, Kiros and Hinton 2016), each over all units: of W_ih x and of W_hh h over the four
// gates together, and of the memory where the output sees it. The state c stays as it is.
//
//   update   pre = g_ih LN(W_ih x) + b_ih + g_hh LN(W_hh h) + b_hh      LN(a) = (a - mean a) / sqrt(variance a + 1e-5)
//            i f g o and c' = f c + i g as in lstm.h
//   output   h' = o tanh(m)            m = g_c LN(c') + b_c
#pragma once
#include "lstm.h"
FR_NAMESPACE_BEGIN
struct LstmLayerNorm : Lstm {
  static constexpr bool kNormPre = true, kNormMemory = true;
};
FR_NAMESPACE_END
