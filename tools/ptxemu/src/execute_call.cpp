// SPDX-License-Identifier: MIT
// call: only the functions of the CUDA device library that programs use for messages, vprintf
// (device printf) and __assertfail. Other functions must be inlined by the compiler.

#include <cstdio>
#include <cstring>
#include <string>

#include "execute.h"

namespace ptxemu {
namespace {

// Argument i of the call: its parameter variable lies in local memory.
template <typename T>
T Argument(Context& context, const Instruction& instruction, int i) {
  T value;
  context.launch.Load(context, instruction, Space::kLocal, context.Read(instruction.operands[i]), sizeof(T), &value);
  return value;
}

// A zero-terminated string in device memory.
std::string ReadString(Context& context, const Instruction& instruction, uint64_t address) {
  constexpr size_t kLongest = 4096;
  std::string text;
  while (text.size() < kLongest) {
    char c;
    context.launch.Load(context, instruction, Space::kGeneric, address + text.size(), 1, &c, Launch::Strength::kAtomic);
    if (c == '\0') break;
    text += c;
  }
  return text;
}

// Reads the arguments of printf one after the other from the buffer that the compiler made.
class ArgumentBuffer {
 public:
  ArgumentBuffer(Context& context, const Instruction& instruction, uint64_t address)
      : context_(context), instruction_(instruction), address_(address) {}

  uint64_t Next(int size) {
    address_ = (address_ + size - 1) / size * size;
    uint64_t bits = 0;
    context_.launch.Load(context_, instruction_, Space::kGeneric, address_, size, &bits, Launch::Strength::kAtomic);
    address_ += size;
    return bits;
  }

 private:
  Context& context_;
  const Instruction& instruction_;
  uint64_t address_;
};

template <typename T>
std::string Format(const std::string& specification, T value) {
  char buffer[512];
  std::snprintf(buffer, sizeof(buffer), specification.c_str(), value);
  return buffer;
}

// One conversion such as "%5.2f" with the next argument.
std::string FormatArgument(Context& context, const Instruction& instruction, const std::string& specification,
                           ArgumentBuffer* arguments) {
  const char conversion = specification.back();
  if (std::strchr("eEfFgGaA", conversion) != nullptr) {
    return Format(specification, BitsToDouble(arguments->Next(8)));
  }
  if (conversion == 's') {
    const std::string text = ReadString(context, instruction, arguments->Next(8));
    return Format(specification, text.c_str());
  }
  if (conversion == 'p') return Format(specification, reinterpret_cast<void*>(arguments->Next(8)));
  if (specification.find('l') != std::string::npos) {
    return Format(specification, static_cast<long long>(arguments->Next(8)));
  }
  return Format(specification, static_cast<int>(arguments->Next(4)));
}

void Print(Context& context, const Instruction& instruction) {
  const std::string format = ReadString(context, instruction, Argument<uint64_t>(context, instruction, 0));
  ArgumentBuffer arguments(context, instruction, Argument<uint64_t>(context, instruction, 1));
  std::string out;
  for (size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%') {
      out += format[i];
      continue;
    }
    const size_t end = format.find_first_of("%diouxXeEfFgGaAcsp", i + 1);
    if (end == std::string::npos) break;
    const std::string specification = format.substr(i, end - i + 1);
    out += format[end] == '%' ? "%" : FormatArgument(context, instruction, specification, &arguments);
    i = end;
  }
  std::fputs(out.c_str(), stdout);
}

// Arguments: message, file, line, function, size of a character.
void FailAssertion(Context& context, const Instruction& instruction) {
  const auto text = [&](int i) {
    return ReadString(context, instruction, Argument<uint64_t>(context, instruction, i));
  };
  const auto line = Argument<uint32_t>(context, instruction, 2);
  context.launch.Fail(
      "assertion failed: " + text(0) + " (" + text(1) + ":" + std::to_string(line) + ", " + text(3) + ")", context,
      instruction);
}

void CallUnknown(Context& context, const Instruction& instruction) {
  context.launch.Fail("call of a function that is not inlined", context, instruction);
}

Handler BindCall(Instruction& i) {
  if (i.Has("vprintf")) return &Print;
  return i.Has("__assertfail") ? &FailAssertion : &CallUnknown;
}

}  // namespace

void AddCallBinders(BinderTable* table) { table->insert({{"call", &BindCall}}); }

}  // namespace ptxemu
