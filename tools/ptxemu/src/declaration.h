// SPDX-License-Identifier: MIT
// Variable and parameter declarations of PTX, such as ".global .align 4 .b8 name[24] = {1, 2}".

#ifndef PTXEMU_DECLARATION_H_
#define PTXEMU_DECLARATION_H_

#include <string>
#include <string_view>

#include "types.h"

namespace ptxemu {

struct Declaration {
  std::string name;  // "" if the text declares nothing
  Space space = Space::kGlobal;
  Type type = Type::kNone;
  int alignment = 1;
  uint64_t size = 0;  // bytes; 0 for "name[]"
  bool is_extern = false;
  std::string initializer;  // text behind '=', "" if none
};

Declaration ParseDeclaration(std::string_view text);

}  // namespace ptxemu

#endif  // PTXEMU_DECLARATION_H_
