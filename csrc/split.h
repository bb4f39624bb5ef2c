// SPDX-License-Identifier: MIT
// How many threads a kernel call gets, and what each of them owns.
#pragma once
#include "api.h"
namespace fastrnn {

struct Split {
  int threads;
  bool units;       // each thread owns units, with a barrier a step; else batch rows, without
  Index patience;   // nanoseconds that a barrier of a step may take before it counts as late (threads.h)
};

// passes: 1 for forward, 3 for backward. barriers: whether threads can count on processors of their own.
Split choose_split(const Dims& d, int gates, int passes, int available, bool barriers);

// For tests: all calls are split so, whatever their size; kAlone: by units, and rank 0 is left alone after a few
// steps. Automatic is the rule.
enum class ForcedSplit { kAutomatic, kBatch, kUnits, kAlone };
void force_split(ForcedSplit split);

}  // namespace fastrnn
