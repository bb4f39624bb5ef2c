// SPDX-License-Identifier: MIT
// Turns the modifiers of an instruction into fields and picks the function that executes it.

#ifndef PTXEMU_DECODE_H_
#define PTXEMU_DECODE_H_

#include "instruction.h"

namespace ptxemu {

// Needs name, modifiers and operands; throws EmulationError if the instruction is not supported.
void Decode(Instruction* instruction);

// Makes an instruction that could not be decoded one that fails, with the reason, when it is
// reached: other kernels of the module stay usable.
void MakeUnsupported(Instruction* instruction, const std::string& reason);

}  // namespace ptxemu

#endif  // PTXEMU_DECODE_H_
