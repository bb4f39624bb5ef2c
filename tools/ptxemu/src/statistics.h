// SPDX-License-Identifier: MIT
// Instruction statistics of a launch, as a machine-independent measure of its work.

#ifndef PTXEMU_STATISTICS_H_
#define PTXEMU_STATISTICS_H_

#include "machine.h"

namespace ptxemu {

// Appends one line of JSON to the file named by PTXEMU_STATS ("-": stderr); does nothing without
// it.
void WriteStatistics(const Launch& launch);

}  // namespace ptxemu

#endif  // PTXEMU_STATISTICS_H_
