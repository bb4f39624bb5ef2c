// SPDX-License-Identifier: MIT
// How many threads a kernel call gets, and what each of them owns.
#pragma once
#include "api.h"
namespace fastrnn {

constexpr double kLeastWork = 2.5e7;  // floating-point operations, ~0.3 ms: below it waking threads costs more

// What decided about a split
enum class SplitReason {
  kForced,  // force_split
  kOneAllowed,  // there is one thread
  kLittleWork,  // less than kLeastWork
  kRows,  // each thread has enough rows of the batch
  kUnits,  // too few rows, and steps long enough for a barrier each
  kFewRows,  // too few rows, and no barriers
  kOneRow,  // which nothing divides without barriers
};

struct Split {
  int threads;
  bool units;       // each thread owns units, with a barrier a step; else batch rows, without
  Index patience;   // nanoseconds that a barrier of a step may take before it counts as late (threads.h)
  SplitReason reason;
};

// passes: 1 for forward, 3 for backward. barriers: whether threads can count on processors of their own.
Split choose_split(const Dims& d, int gates, int passes, int available, bool barriers);

// For tests: all calls are split so, whatever their size; kAlone: by units, and rank 0 is left alone after a few
// steps. Automatic is the rule.
enum class ForcedSplit { kAutomatic, kBatch, kUnits, kAlone };
void force_split(ForcedSplit split);

}  // namespace fastrnn
