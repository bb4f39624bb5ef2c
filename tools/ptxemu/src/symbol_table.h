// SPDX-License-Identifier: MIT
// The variables that a kernel can name, and their places in its memory.

#ifndef PTXEMU_SYMBOL_TABLE_H_
#define PTXEMU_SYMBOL_TABLE_H_

#include <cstdint>
#include <string>
#include <unordered_map>

#include "declaration.h"
#include "instruction.h"
#include "text_cursor.h"

namespace ptxemu {

class SymbolTable {
 public:
  SymbolTable(const Module* module, Kernel* kernel) : module_(*module), kernel_(*kernel) {}

  // Gives a variable declared in the kernel its place; `cursor` names the line of what cannot be placed.
  void Declare(const Declaration& declaration, const TextCursor& cursor);

  // A variable of the kernel, one of its parameters or a variable of the module, nullptr if there is none. The pointer
  // stays valid as long as the table and the module.
  const Symbol* Find(const std::string& name);

 private:
  void PlaceShared(Symbol* symbol);
  const Symbol* AddParameter(const Parameter& parameter);

  const Module& module_;
  Kernel& kernel_;
  std::unordered_map<std::string, Symbol> symbols_;
};

}  // namespace ptxemu

#endif  // PTXEMU_SYMBOL_TABLE_H_
