// SPDX-License-Identifier: MIT
// Sums the execution counts of instructions by class and writes them as JSON.

#include "statistics.h"

#include <cstdio>
#include <map>
#include <string>

namespace ptxemu {
namespace {

const char* SpaceName(Space space) {
  switch (space) {
    case Space::kGlobal:
      return "global";
    case Space::kShared:
      return "shared";
    case Space::kLocal:
      return "local";
    case Space::kConstant:
      return "const";
    case Space::kParameter:
      return "param";
    case Space::kGeneric:
      break;
  }
  return "generic";
}

// Instructions of the same class are counted together: "ld.global", "fma.f32", "mma.m16n8k16.bf16",
// ...
std::string ClassOf(const Instruction& instruction) {
  const std::string& name = instruction.name;
  if (name == "ld" || name == "st" || name == "atom" || name == "red") {
    return name + "." + SpaceName(instruction.space);
  }
  if (name == "cp") return instruction.Has("bulk") ? "cp.async.bulk" : "cp.async";
  if (name == "bar" || name == "barrier") {
    if (instruction.Has("warp")) return "barrier.warp";
    return instruction.Has("cluster") ? "barrier.cluster" : "barrier.block";
  }
  if (name == "mma" || name == "wmma") {
    if (instruction.Has("load") || instruction.Has("store")) return "wmma.memory";
    const auto [m, n, k] = instruction.shape;
    return "mma.m" + std::to_string(m) + "n" + std::to_string(n) + "k" + std::to_string(k);
  }
  if (name == "mbarrier" || name == "fence" || name == "membar") return name;
  if (name == "shfl" || name == "vote" || name == "redux" || name == "match") return "warp." + name;
  if (name == "ldmatrix" || name == "stmatrix") return name;
  if (name == "bra" || name == "brx") return "branch";
  if (name == "cvt") return "convert";
  if (IsFloat(instruction.type)) {
    if (name == "fma" || name == "mad") return "fma";
    if (name == "add" || name == "sub" || name == "mul") return "float." + name;
    if (name != "mov" && name != "selp" && name != "setp") return "float.other";
  }
  return "integer.and.other";
}

// Bytes moved by one execution for one thread; 0 if the instruction moves none or they are not
// known.
uint64_t BytesOf(const Instruction& instruction, const std::vector<uint64_t>& constants) {
  const std::string& name = instruction.name;
  if (name == "cp" && instruction.operand_count >= 3) {
    const Operand& size = instruction.operands[2];
    return size.bank == kConstantBank ? constants[size.index] : 0;
  }
  if (name == "ld" || name == "st") {
    const Operand& data = instruction.operands[name == "ld" ? 0 : 1];
    const int count = data.kind == OperandKind::kVector ? data.element_count : 1;
    return static_cast<uint64_t>(SizeOf(instruction.type)) * count;
  }
  if (name == "atom" || name == "red") return SizeOf(instruction.type);
  if (name == "ldmatrix" || name == "stmatrix") { return instruction.Has("x4") ? 16 : instruction.Has("x2") ? 8 : 4; }
  return 0;
}

struct Totals {
  uint64_t count = 0, bytes = 0;
};

}  // namespace

void WriteStatistics(const Launch& launch) {
  const char* path = launch.options().statistics;
  if (path == nullptr) return;
  std::map<std::string, Totals> classes;
  for (size_t i = 0; i < launch.execution_counts().size(); ++i) {
    const uint64_t count = launch.execution_counts()[i];
    const Instruction& instruction = launch.kernel().code[i];
    Totals& totals = classes[ClassOf(instruction)];
    totals.count += count;
    totals.bytes += count * BytesOf(instruction, launch.constants());
  }
  std::FILE* file = std::string(path) == "-" ? stderr : std::fopen(path, "a");
  if (file == nullptr) return;
  const Dim3 &grid = launch.request().grid, &block = launch.request().block;
  std::fprintf(file,
               "{\"kernel\": \"%s\", \"grid\": [%u, %u, %u], \"block\": [%u, %u, %u], "
               "\"dynamic_shared\": %u, \"steps\": %llu, \"classes\": {",
               launch.kernel().name.c_str(), grid.x, grid.y, grid.z, block.x, block.y, block.z,
               launch.request().dynamic_shared, static_cast<unsigned long long>(launch.steps()));
  const char* separator = "";
  for (const auto& [name, totals] : classes) {
    if (totals.count == 0) continue;
    std::fprintf(file, "%s\"%s\": {\"count\": %llu", separator, name.c_str(),
                 static_cast<unsigned long long>(totals.count));
    if (totals.bytes > 0) { std::fprintf(file, ", \"bytes\": %llu", static_cast<unsigned long long>(totals.bytes)); }
    std::fprintf(file, "}");
    separator = ", ";
  }
  std::fprintf(file, "}}\n");
  if (file != stderr) std::fclose(file);
}

}  // namespace ptxemu
