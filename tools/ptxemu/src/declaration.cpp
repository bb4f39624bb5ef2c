// SPDX-License-Identifier: MIT
// Parses PTX variable and parameter declarations.

#include "declaration.h"

#include <algorithm>
#include <cstdlib>

#include "text_cursor.h"

namespace ptxemu {
namespace {

// Next token: a directive with its dot, a name or number, or a single other character.
std::string NextToken(std::string_view text, size_t* position) {
  size_t& i = *position;
  while (i < text.size() && IsBlank(text[i])) ++i;
  const size_t begin = i;
  if (i < text.size() && text[i] == '.') ++i;
  while (i < text.size() && IsNameCharacter(text[i])) ++i;
  if (i == begin && i < text.size()) ++i;
  return std::string(text.substr(begin, i - begin));
}

bool ParseSpace(const std::string& token, Space* space) {
  if (token == ".global") *space = Space::kGlobal;
  else if (token == ".const") *space = Space::kConstant;
  else if (token == ".shared") *space = Space::kShared;
  else if (token == ".local") *space = Space::kLocal;
  else if (token == ".param") *space = Space::kParameter;
  else return false;
  return true;
}

}  // namespace

Declaration ParseDeclaration(std::string_view text) {
  Declaration result;
  const size_t equals = text.find('=');
  if (equals != std::string_view::npos) {
    result.initializer = Trim(text.substr(equals + 1));
    text = text.substr(0, equals);
  }
  uint64_t count = 1;
  int vector = 1;
  int alignment = 0;
  bool is_pointer = false;  // ".ptr .global .align 4": describes what a parameter points to
  Space ignored;
  size_t i = 0;
  while (i < text.size()) {
    const std::string token = NextToken(text, &i);
    if (token.empty()) break;
    if (token == ".align") {
      const int value = std::atoi(NextToken(text, &i).c_str());
      if (!is_pointer) alignment = value;
    } else if (token == ".ptr") {
      is_pointer = true;
    } else if (token == ".extern") {
      result.is_extern = true;
    } else if (token == ".v2" || token == ".v4") {
      vector = token[2] - '0';
    } else if (token == ".attribute") {
      i = std::min(text.find(')', i), text.size() - 1) + 1;
    } else if (token == "[") {
      const size_t end = std::min(text.find(']', i), text.size() - 1);
      count *= std::strtoull(Trim(text.substr(i, end - i)).c_str(), nullptr, 0);
      i = end + 1;
    } else if (token[0] == '.') {
      const bool is_space = ParseSpace(token, is_pointer ? &ignored : &result.space);
      const Type type = is_space ? Type::kNone : ParseType(token.substr(1));
      if (type != Type::kNone) result.type = type;
    } else {
      result.name = token;
    }
  }
  const int element = SizeOf(result.type) * vector;
  result.size = count * element;
  result.alignment = alignment != 0 ? alignment : std::max(1, element);
  return result;
}

}  // namespace ptxemu
