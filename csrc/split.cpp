// SPDX-License-Identifier: MIT
#include "split.h"
#include <atomic>
namespace fastrnn {
namespace {
constexpr double kLeastWork = 1e8;      // floating-point operations: ~1 ms; below it waking threads costs more
constexpr double kLeastStepWork = 1e6;  // of a thread between two barriers: ~10 us
constexpr Index kLeastRows = 4;         // of a thread: fewer leave the register tile half empty

std::atomic<ForcedSplit> forced{ForcedSplit::kAutomatic};
}  // namespace

void force_split(ForcedSplit split) { forced.store(split); }

Split choose_split(const Dims& d, int gates, int passes, int available) {
  const ForcedSplit force = forced.load();
  if (force != ForcedSplit::kAutomatic) return {available, force == ForcedSplit::kUnits};
  const double step_work = 2.0 * double(gates) * double(d.H) * double(d.H) * double(d.B);
  const double work = 2.0 * passes * double(gates) * double(d.H) * double(d.I + d.H) * double(d.R);
  if (available < 2 || work < kLeastWork) return {1, false};
  if (d.B >= kLeastRows * available) return {available, false};
  if (step_work >= kLeastStepWork * available) return {available, true};
  if (d.B >= 2) return {static_cast<int>(d.B < available ? d.B : available), false};
  return {1, false};
}
}  // namespace fastrnn
