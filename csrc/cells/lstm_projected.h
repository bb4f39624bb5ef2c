// SPDX-License-Identifier: MIT
// LSTM with a recurrent projection (Sak, Senior and Beaufays 2014), torch.nn.LSTM(proj_size=P):
//
//   update   as in lstm.h
//   output   o tanh(m)       m = c'       and then h' = W_hr (o tanh(m)), of width P
#pragma once
#include "lstm.h"
FR_NAMESPACE_BEGIN
struct LstmProjected : Lstm {
  static constexpr bool kProjected = true;
};
FR_NAMESPACE_END
