// SPDX-License-Identifier: MIT
// String tools of the PTX parser.

#include "text_cursor.h"

#include <cstdlib>

#include "numeric.h"

namespace ptxemu {
namespace {

bool Opens(char c) { return c == '{' || c == '[' || c == '('; }
bool Closes(char c) { return c == '}' || c == ']' || c == ')'; }

}  // namespace

std::string Trim(std::string_view text) {
  while (!text.empty() && IsBlank(text.front())) text.remove_prefix(1);
  while (!text.empty() && IsBlank(text.back())) text.remove_suffix(1);
  return std::string(text);
}

std::vector<std::string> Split(std::string_view text, char separator) {
  std::vector<std::string> pieces;
  int depth = 0;
  size_t begin = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (Opens(text[i])) ++depth;
    if (Closes(text[i])) --depth;
    if (text[i] == separator && depth == 0) {
      pieces.push_back(Trim(text.substr(begin, i - begin)));
      begin = i + 1;
    }
  }
  std::string last = Trim(text.substr(begin));
  if (!last.empty()) pieces.push_back(std::move(last));
  return pieces;
}

std::string StripComments(const std::string& text) {
  std::string out = text;
  enum { kCode, kString, kLineComment, kBlockComment } state = kCode;
  for (size_t i = 0; i < out.size(); ++i) {
    const char next = i + 1 < out.size() ? out[i + 1] : '\0';
    const char c = out[i];
    if (state == kCode) {
      if (c == '"') state = kString;
      if (c == '/' && next == '/') state = kLineComment;
      if (c == '/' && next == '*') state = kBlockComment;
    } else if (state == kString && c == '"') {
      state = kCode;
    } else if (state == kLineComment && c == '\n') {
      state = kCode;
    } else if (state == kBlockComment && c == '*' && next == '/') {
      out[i] = out[i + 1] = ' ';
      state = kCode;
    }
    if (state >= kLineComment && out[i] != '\n') out[i] = ' ';
  }
  return out;
}

bool ParseNumber(std::string_view text, uint64_t* value) {
  const bool negative = !text.empty() && text[0] == '-';
  const std::string digits(text.substr(negative ? 1 : 0));
  if (digits.empty() || !std::isdigit(static_cast<unsigned char>(digits[0]))) return false;
  const char kind = digits.size() > 2 ? static_cast<char>(std::tolower(digits[1])) : '\0';
  uint64_t bits;
  if ((kind == 'f' && digits.size() == 10) || (kind == 'd' && digits.size() == 18)) {
    bits = std::strtoull(digits.c_str() + 2, nullptr, 16);
  } else if (digits.find('.') != std::string::npos) {
    bits = DoubleToBits(std::strtod(digits.c_str(), nullptr));
  } else {
    bits = std::strtoull(digits.c_str(), nullptr, 0);
  }
  *value = negative ? 0 - bits : bits;
  return true;
}

void TextCursor::SkipBlockOrStatement() {
  int depth = 0;
  while (!AtEnd()) {
    const char c = Peek();
    Advance();
    if (c == '{') ++depth;
    if (c == '}' && --depth == 0) return;
    if (c == ';' && depth == 0) return;
  }
}

std::string TextCursor::PeekUntilAny(std::string_view stops) const {
  const size_t end = text_.find_first_of(stops, position_);
  return text_.substr(position_, end == std::string::npos ? end : end - position_);
}

std::string TextCursor::ReadUntil(char stop) {
  std::string out;
  int depth = 0;
  bool quoted = false;
  while (!AtEnd()) {
    const char c = Peek();
    if (c == stop && depth == 0 && !quoted) break;
    if (c == '"') quoted = !quoted;
    if (!quoted && Opens(c)) ++depth;
    if (!quoted && Closes(c)) --depth;
    out += c == '\n' ? ' ' : c;
    Advance();
  }
  return out;
}

std::string TextCursor::ReadLabel() {
  size_t end = position_;
  while (end < text_.size() && IsNameCharacter(text_[end])) ++end;
  if (end == position_ || end >= text_.size() || text_[end] != ':') return "";
  std::string name = text_.substr(position_, end - position_);
  position_ = end + 1;
  return name;
}

}  // namespace ptxemu
