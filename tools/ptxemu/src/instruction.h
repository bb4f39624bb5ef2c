// SPDX-License-Identifier: MIT
// Decoded PTX: operands, instructions, kernels and modules, as the parser makes them and the
// execution engine reads them.

#ifndef PTXEMU_INSTRUCTION_H_
#define PTXEMU_INSTRUCTION_H_

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "numeric.h"
#include "types.h"

namespace ptxemu {

struct Context;
struct Instruction;

// Executes one instruction for one thread. The program counter already points behind it.
using Handler = void (*)(Context&, const Instruction&);

// Executes a warp-wide instruction once, for the lanes in `active`.
class Launch;
struct Block;
using WarpHandler = void (*)(Launch&, Block&, int warp, uint32_t active, const Instruction&);

enum class OperandKind : uint8_t { kNone, kValue, kVector, kAddress, kLabel };

// Every readable operand is an index into one of two banks: the thread's registers, or the kernel's
// constants. Special registers and negated predicates are copied to a register by an extra
// instruction, so that the hot loop never has to look at the kind of an operand.
enum Bank : uint8_t { kRegisterBank = 0, kConstantBank = 1 };

struct Operand {
  OperandKind kind = OperandKind::kNone;
  Bank bank = kRegisterBank;
  int16_t first_element = 0;  // kVector: the elements are instruction.elements[first .. + count)
  int16_t element_count = 0;
  int32_t index = -1;   // in the bank; kAddress: the base; kLabel: the target instruction
  int32_t second = -1;  // second destination register of "a|b"
  int64_t offset = 0;   // kAddress: bytes to add
};

enum class Compare : uint8_t {
  kNone,
  kEq,
  kNe,
  kLt,
  kLe,
  kGt,
  kGe,
  kEqu,
  kNeu,
  kLtu,
  kLeu,
  kGtu,
  kGeu,
  kNum,
  kNan,
};
enum class BoolOp : uint8_t { kNone, kAnd, kOr, kXor };
enum class IntegerRounding : uint8_t { kNone, kNearest, kZero, kDown, kUp };
enum class AtomicOp : uint8_t {
  kNone,
  kAdd,
  kMin,
  kMax,
  kAnd,
  kOr,
  kXor,
  kExchange,
  kCompareAndSwap,
  kIncrement,
  kDecrement,
};

// What a block barrier does; Instruction::mode of "bar".
enum class BarrierMode : uint8_t { kSync, kArrive, kReducePopc, kReduceAnd, kReduceOr };

constexpr int kMaxOperands = 8;

struct Instruction {
  // What the hot loop needs.
  Handler handler = nullptr;
  int32_t predicate = -1;  // register that guards the instruction, -1 for none
  bool predicate_negated = false;
  Type type = Type::kNone;         // type of the operation and of the result
  Type source_type = Type::kNone;  // cvt and set: type of the source
  Space space = Space::kGeneric;
  uint8_t vector_size = 1;
  uint8_t operand_count = 0;
  Compare compare = Compare::kNone;
  BoolOp bool_op = BoolOp::kNone;
  Rounding rounding = Rounding::kNearest;
  IntegerRounding integer_rounding = IntegerRounding::kNone;
  AtomicOp atomic_op = AtomicOp::kNone;
  uint8_t mode = 0;  // meaning is private to the instruction family
  bool saturate = false, flush_subnormals = false, relu = false, propagate_nan = false;
  bool strong = false;  // volatile, relaxed, acquire or release: no data race by itself
  bool acquire = false, release = false, non_coherent = false;
  Operand operands[kMaxOperands];
  std::vector<Operand> elements;  // of vector operands
  WarpHandler warp_handler = nullptr;

  // What decoding and messages need.
  std::string name;  // first part of the mnemonic: "ld" of "ld.global.f32"
  std::vector<std::string> modifiers;
  std::vector<Type> types;               // all types among the modifiers
  std::array<int, 3> shape = {0, 0, 0};  // m, n, k of matrix instructions
  std::string text;
  int ptx_line = 0;
  int source_line = 0;  // from .loc, 0 if unknown

  bool Has(std::string_view modifier) const {
    for (const std::string& each : modifiers) {
      if (each == modifier) return true;
    }
    return false;
  }
  const Operand& Element(const Operand& vector, int i) const { return elements[vector.first_element + i]; }
  // Element i of a vector operand, or the operand itself if it is a scalar.
  const Operand& ElementOrSelf(const Operand& operand, int i) const {
    return operand.kind == OperandKind::kVector ? Element(operand, i) : operand;
  }
};

struct Symbol {
  Space space = Space::kGlobal;
  uint64_t address = 0;  // host address, or offset in the space
  uint64_t size = 0;
  int alignment = 1;
  bool dynamic_shared = false;
};

struct Parameter {
  std::string name;
  int offset = 0, size = 0;
};

struct Kernel {
  std::string name;
  std::vector<Parameter> parameters;
  int parameter_bytes = 0;
  std::vector<Instruction> code;
  std::vector<uint64_t> constants;
  std::vector<int> dynamic_shared_constants;  // constants that get the dynamic shared offset added
  int register_count = 0;                     // virtual registers
  uint32_t shared_bytes = 0, local_bytes = 0;
  int dynamic_shared_alignment = 16;
  int max_threads = kMaxThreadsPerBlock;
  Dim3 required_cluster;
};

struct Module {
  std::map<std::string, std::shared_ptr<Kernel>> kernels;
  std::map<std::string, Symbol> symbols;
  std::vector<std::unique_ptr<uint64_t[]>> storage;  // of module-scope variables
};

}  // namespace ptxemu

#endif  // PTXEMU_INSTRUCTION_H_
