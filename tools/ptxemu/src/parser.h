// SPDX-License-Identifier: MIT
// PTX text -> Module. Supports the PTX that nvcc 13 emits for compute_80 to compute_90a; anything
// that is not understood raises EmulationError with the PTX line.

#ifndef PTXEMU_PARSER_H_
#define PTXEMU_PARSER_H_

#include <string>

#include "instruction.h"

namespace ptxemu {

void ParseModule(const std::string& ptx, Module* module);

}  // namespace ptxemu

#endif  // PTXEMU_PARSER_H_
