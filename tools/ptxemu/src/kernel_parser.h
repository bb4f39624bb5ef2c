// SPDX-License-Identifier: MIT
// Body of a PTX kernel -> instructions with resolved registers, symbols and branch targets.

#ifndef PTXEMU_KERNEL_PARSER_H_
#define PTXEMU_KERNEL_PARSER_H_

#include "instruction.h"
#include "text_cursor.h"

namespace ptxemu {

// Reads from behind the opening brace up to and including the closing one.
void ParseKernelBody(TextCursor* cursor, Module* module, Kernel* kernel);

}  // namespace ptxemu

#endif  // PTXEMU_KERNEL_PARSER_H_
