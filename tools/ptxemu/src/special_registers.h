// SPDX-License-Identifier: MIT
// PTX special registers (%tid.x and so on): their names and their values for a thread.

#ifndef PTXEMU_SPECIAL_REGISTERS_H_
#define PTXEMU_SPECIAL_REGISTERS_H_

#include <cstdint>
#include <string>

namespace ptxemu {

struct Context;

// Name of the pseudo instruction that reads a special register.
constexpr const char* kReadSpecialName = "read_special";

// Number of the special register of that name, -1 if there is none.
int FindSpecialRegister(const std::string& name);

uint64_t ReadSpecialRegister(const Context& context, int number);

}  // namespace ptxemu

#endif  // PTXEMU_SPECIAL_REGISTERS_H_
