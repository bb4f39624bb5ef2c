// SPDX-License-Identifier: MIT
// How many threads a kernel call gets, and what each of them owns.
#pragma once
#include "api.h"
namespace fastrnn {

struct Split {
  int threads;
  bool units;  // each thread owns units, with a barrier a step; else batch rows, without
};

// passes: 1 for forward, 3 for backward
Split choose_split(const Dims& d, int gates, int passes, int available);

// For tests: all calls are split so, whatever their size. Automatic is the rule.
enum class ForcedSplit { kAutomatic, kBatch, kUnits };
void force_split(ForcedSplit split);

}  // namespace fastrnn
