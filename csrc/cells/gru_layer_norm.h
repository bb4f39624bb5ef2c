// SPDX-License-Identifier: MIT
// GRU with layer normalisation (Ba, Kiros and Hinton 2016) of W_ih x and of W_hh h, each over its three gates. The rest
// is the GRU of torch:
//
//   pre = g_ih LN(W_ih x) + b_ih,  g_hh LN(W_hh h) + b_hh       LN(a) = (a - mean a) / sqrt(variance a + 1e-5)
#pragma once
#include "gru.h"
FR_NAMESPACE_BEGIN
struct GruLayerNorm : Gru {
  static constexpr bool kNormPre = true;
};
FR_NAMESPACE_END
