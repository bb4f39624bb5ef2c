// SPDX-License-Identifier: MIT
// Packs the virtual registers of a kernel, thousands in large ones, into as few as are live at a
// time: threads need less memory and stay in the caches.

#ifndef PTXEMU_REGISTER_PACKING_H_
#define PTXEMU_REGISTER_PACKING_H_

#include "instruction.h"

namespace ptxemu {

// Needs resolved branch targets.
void PackRegisters(Kernel* kernel);

}  // namespace ptxemu

#endif  // PTXEMU_REGISTER_PACKING_H_
