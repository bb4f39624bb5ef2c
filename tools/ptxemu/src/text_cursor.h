// SPDX-License-Identifier: MIT
// Reading position in PTX text, with line counting, and the small string tools of the parser.

#ifndef PTXEMU_TEXT_CURSOR_H_
#define PTXEMU_TEXT_CURSOR_H_

#include <cctype>
#include <string>
#include <string_view>
#include <vector>

#include "types.h"

namespace ptxemu {

// Letters of PTX names. '%' starts register names, '$' compiler labels.
inline bool IsNameCharacter(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '$' || c == '%';
}
inline bool IsBlank(char c) { return std::isspace(static_cast<unsigned char>(c)); }

// Without leading and trailing blanks.
std::string Trim(std::string_view text);

// Splits at `separator` outside of brackets; the pieces are trimmed.
std::vector<std::string> Split(std::string_view text, char separator);

// Replaces comments by blanks (line breaks stay), so that no later stage sees them.
std::string StripComments(const std::string& text);

// PTX literals: decimal, hexadecimal, 0f and 0d bit patterns, decimal doubles. False if not a
// number.
bool ParseNumber(std::string_view text, uint64_t* value);

class TextCursor {
 public:
  explicit TextCursor(std::string text) : text_(std::move(text)) {}

  bool AtEnd() const { return position_ >= text_.size(); }
  char Peek() const { return AtEnd() ? '\0' : text_[position_]; }
  int line() const { return line_; }

  bool StartsWith(std::string_view prefix) const { return text_.compare(position_, prefix.size(), prefix) == 0; }
  void Advance() {
    if (Peek() == '\n') ++line_;
    ++position_;
  }
  void SkipBlanks() {
    while (!AtEnd() && IsBlank(Peek())) Advance();
  }
  void SkipLine() {
    while (!AtEnd() && Peek() != '\n') Advance();
  }
  // Skips a "{...}" block or, without one, up to and including the next ';'.
  void SkipBlockOrStatement();

  // Text up to one of `stops`; nothing is consumed.
  std::string PeekUntilAny(std::string_view stops) const;
  // Text up to `stop` outside of brackets; the stop stays in place.
  std::string ReadUntil(char stop);
  // "name:" at this position is consumed and returned without the colon; "" if there is none.
  std::string ReadLabel();

  [[noreturn]] void Fail(const std::string& message) const {
    throw EmulationError("ptx line " + std::to_string(line_) + ": " + message);
  }

 private:
  std::string text_;
  size_t position_ = 0;
  int line_ = 1;
};

}  // namespace ptxemu

#endif  // PTXEMU_TEXT_CURSOR_H_
