// SPDX-License-Identifier: MIT
#include "split.h"
#include <atomic>
namespace fastrnn {
namespace {
constexpr double kLeastStepWork = 6e4;   // of a thread between two barriers, ~0.5 us; a barrier is 0.1 us
constexpr Index kLeastRows = 4;          // of a thread: fewer leave the register tile half empty
constexpr double kSlowest = 20;          // operations a nanosecond of a thread at its worst
constexpr Index kLeastPatience = 30000;  // more than a hiccup of the processor, less than a turn of another process

std::atomic<ForcedSplit> forced{ForcedSplit::kAutomatic};
}  // namespace

void force_split(ForcedSplit split) { forced.store(split); }

Split choose_split(const Dims& d, int gates, int passes, int available, bool barriers) {
  const double step_work = 2.0 * double(gates) * double(d.H) * double(d.H) * double(d.B) / available;
  const double work = 2.0 * passes * double(gates) * double(d.H) * double(d.I + d.H) * double(d.R);
  const Index patience = kLeastPatience + Index(step_work / kSlowest);
  const ForcedSplit force = forced.load();
  if (force == ForcedSplit::kAlone) return {available, true, 0, SplitReason::kForced};
  if (force != ForcedSplit::kAutomatic)
    return {available, force == ForcedSplit::kUnits, patience, SplitReason::kForced};
  if (available < 2) return {1, false, 0, SplitReason::kOneAllowed};
  if (work < kLeastWork) return {1, false, 0, SplitReason::kLittleWork};
  if (d.B >= kLeastRows * available) return {available, false, 0, SplitReason::kRows};
  if (barriers && step_work >= kLeastStepWork) return {available, true, patience, SplitReason::kUnits};
  if (d.B >= 2) return {static_cast<int>(d.B < available ? d.B : available), false, 0, SplitReason::kFewRows};
  return {1, false, 0, SplitReason::kOneRow};
}
}  // namespace fastrnn
