// SPDX-License-Identifier: MIT
// Decoding of modifiers that many instruction families share. What is private to a family is
// decoded by the function that binds its handler (see execute.h).

#include "decode.h"

#include <cctype>
#include <cstdio>
#include <unordered_map>

#include "execute.h"

namespace ptxemu {
namespace {

using FlagSetter = void (*)(Instruction&);

// Modifiers that set one or two fields.
const std::unordered_map<std::string_view, FlagSetter>& FlagModifiers() {
  static const auto* table = new std::unordered_map<std::string_view, FlagSetter>{
      {"global", [](Instruction& i) { i.space = Space::kGlobal; }},
      {"shared", [](Instruction& i) { i.space = Space::kShared; }},
      {"shared::cta", [](Instruction& i) { i.space = Space::kShared; }},
      {"shared::cluster", [](Instruction& i) { i.space = Space::kShared; }},
      {"local", [](Instruction& i) { i.space = Space::kLocal; }},
      {"const", [](Instruction& i) { i.space = Space::kConstant; }},
      {"param", [](Instruction& i) { i.space = Space::kParameter; }},
      {"param::entry", [](Instruction& i) { i.space = Space::kParameter; }},
      {"sat", [](Instruction& i) { i.saturate = true; }},
      {"satfinite", [](Instruction& i) { i.saturate = true; }},
      {"ftz", [](Instruction& i) { i.flush_subnormals = true; }},
      {"relu", [](Instruction& i) { i.relu = true; }},
      {"NaN", [](Instruction& i) { i.propagate_nan = true; }},
      {"nc", [](Instruction& i) { i.non_coherent = true; }},
      {"volatile", [](Instruction& i) { i.strong = true; }},
      {"relaxed", [](Instruction& i) { i.strong = true; }},
      {"mmio", [](Instruction& i) { i.strong = true; }},
      {"acquire", [](Instruction& i) { i.strong = i.acquire = true; }},
      {"release", [](Instruction& i) { i.strong = i.release = true; }},
      {"acq_rel", [](Instruction& i) { i.acquire = i.release = true; }},
      {"v2", [](Instruction& i) { i.vector_size = 2; }},
      {"v4", [](Instruction& i) { i.vector_size = 4; }},
      {"v8", [](Instruction& i) { i.vector_size = 8; }},
      {"rz", [](Instruction& i) { i.rounding = Rounding::kZero; }},
      {"rm", [](Instruction& i) { i.rounding = Rounding::kDown; }},
      {"rp", [](Instruction& i) { i.rounding = Rounding::kUp; }},
      {"rni", [](Instruction& i) { i.integer_rounding = IntegerRounding::kNearest; }},
      {"rzi", [](Instruction& i) { i.integer_rounding = IntegerRounding::kZero; }},
      {"rmi", [](Instruction& i) { i.integer_rounding = IntegerRounding::kDown; }},
      {"rpi", [](Instruction& i) { i.integer_rounding = IntegerRounding::kUp; }},
  };
  return *table;
}

// "m16n8k16"
bool ParseShape(const std::string& modifier, std::array<int, 3>* shape) {
  if (modifier.size() < 4 || modifier[0] != 'm' || !std::isdigit(modifier[1])) return false;
  std::sscanf(modifier.c_str(), "m%dn%dk%d", &(*shape)[0], &(*shape)[1], &(*shape)[2]);
  return true;
}

void DecodeModifiers(Instruction* instruction) {
  for (const std::string& modifier : instruction->modifiers) {
    const Type type = ParseType(modifier);
    if (type != Type::kNone) {
      instruction->types.push_back(type);
    } else if (!ParseShape(modifier, &instruction->shape)) {
      const auto flag = FlagModifiers().find(modifier);
      if (flag != FlagModifiers().end()) flag->second(*instruction);
    }
  }
  if (!instruction->types.empty()) instruction->type = instruction->types.back();
}

void FailUnsupported(Context& context, const Instruction& instruction) {
  context.launch.Fail(instruction.name, context, instruction);
}

}  // namespace

void MakeUnsupported(Instruction* instruction, const std::string& reason) {
  instruction->name = reason;
  instruction->handler = &FailUnsupported;
  instruction->operand_count = 0;
}

void Decode(Instruction* instruction) {
  DecodeModifiers(instruction);
  const auto binder = Binders().find(instruction->name);
  if (binder == Binders().end()) throw EmulationError("unsupported instruction");
  instruction->handler = binder->second(*instruction);
  if (instruction->handler == nullptr) throw EmulationError("unsupported form of instruction");
}

}  // namespace ptxemu
