// SPDX-License-Identifier: MIT
// Logic, bit counting, shifts and bit fields.

#include <algorithm>

#include "execute_compute.h"

namespace ptxemu {
namespace {

// --- Logic and bit counting -----------------------------------------------------------

struct And {
  template <typename T>
  static T Apply(T a, T b, T) {
    return a & b;
  }
};
struct Or {
  template <typename T>
  static T Apply(T a, T b, T) {
    return a | b;
  }
};
struct Xor {
  template <typename T>
  static T Apply(T a, T b, T) {
    return a ^ b;
  }
};
struct Not {
  template <typename T>
  static T Apply(T a, T, T) {
    return static_cast<T>(~a);
  }
};
struct LogicalNot {
  template <typename T>
  static T Apply(T a, T, T) {
    return a == 0;
  }
};
struct CountOnes {
  template <typename T>
  static T Apply(T a, T, T) {
    return static_cast<T>(__builtin_popcountll(a));
  }
};
struct CountLeadingZeros {
  template <typename T>
  static T Apply(T a, T, T) {
    constexpr int kBits = 8 * sizeof(T);
    return static_cast<T>(a == 0 ? kBits : __builtin_clzll(a) - (64 - kBits));
  }
};
struct ReverseBits {
  template <typename T>
  static T Apply(T a, T, T) {
    T result = 0;
    for (size_t i = 0; i < 8 * sizeof(T); ++i) result = static_cast<T>(result << 1 | (a >> i & 1));
    return result;
  }
};

template <typename Operation, int kArity>
Handler BindBits(Instruction& i) {
  return BindUnsigned<Operation, kArity>(i.type);
}

Handler BindNot(Instruction& i) {
  return i.type == Type::kPred ? BindUnsigned<LogicalNot, 1>(i.type) : BindUnsigned<Not, 1>(i.type);
}

// Position of the highest bit that differs from the sign; mode 1 (shiftamt) counts from the top.
void FindLeadingBit(Context& context, const Instruction& instruction) {
  const Type type = instruction.type;
  const int bits = 8 * SizeOf(type);
  uint64_t value = ExtendAs(type, context.Read(instruction.operands[1]));
  if (IsSigned(type) && static_cast<int64_t>(value) < 0) value = ~value;
  uint32_t result = 0xffffffff;
  if (value != 0) {
    result = 63 - __builtin_clzll(value);
    if (instruction.mode == 1) result = bits - 1 - result;
  }
  context.Write(instruction.operands[0], result);
}

Handler BindFindLeadingBit(Instruction& i) {
  i.mode = i.Has("shiftamt") ? 1 : 0;
  return &FindLeadingBit;
}

// --- Shifts and fields ----------------------------------------------------------------

// Shift amounts are 32-bit and clamp at the width.
template <typename T>
void ShiftLeft(Context& context, const Instruction& instruction) {
  const Operand* o = instruction.operands;
  const auto amount = static_cast<uint32_t>(context.Read(o[2]));
  const auto value = static_cast<T>(context.Read(o[1]));
  const bool all_out = amount >= 8 * sizeof(T);
  context.Write(o[0], all_out ? 0 : static_cast<T>(uint64_t{value} << amount));
}

template <typename T>
void ShiftRight(Context& context, const Instruction& instruction) {
  const Operand* o = instruction.operands;
  const uint32_t most = 8 * sizeof(T) - 1;
  const auto amount = static_cast<uint32_t>(context.Read(o[2]));
  auto value = static_cast<T>(context.Read(o[1]));
  if (amount > most) {
    value = static_cast<T>(value < 0 ? -1 : 0);
  } else {
    value = static_cast<T>(value >> amount);
  }
  context.Write(o[0], IntegerCodec<T>::Encode(value));
}

Handler BindShiftLeft(Instruction& i) {
  const int size = SizeOf(i.type);
  if (size == 2) return &ShiftLeft<uint16_t>;
  return size == 4 ? &ShiftLeft<uint32_t> : &ShiftLeft<uint64_t>;
}

Handler BindShiftRight(Instruction& i) {
  const int size = SizeOf(i.type);
  if (IsSigned(i.type)) {
    if (size == 2) return &ShiftRight<int16_t>;
    return size == 4 ? &ShiftRight<int32_t> : &ShiftRight<int64_t>;
  }
  if (size == 2) return &ShiftRight<uint16_t>;
  return size == 4 ? &ShiftRight<uint32_t> : &ShiftRight<uint64_t>;
}

template <bool kRight, bool kWrap>
void FunnelShift(Context& context, const Instruction& instruction) {
  const Operand* o = instruction.operands;
  const uint64_t low = static_cast<uint32_t>(context.Read(o[1]));
  const uint64_t high = static_cast<uint32_t>(context.Read(o[2]));
  auto amount = static_cast<uint32_t>(context.Read(o[3]));
  amount = kWrap ? amount & 31 : std::min(amount, 32u);
  const uint64_t both = high << 32 | low;
  const uint64_t result = kRight ? both >> amount : (both << amount) >> 32;
  context.Write(o[0], static_cast<uint32_t>(result));
}

Handler BindFunnelShift(Instruction& i) {
  const bool wrap = i.Has("wrap");
  if (i.Has("l")) return wrap ? &FunnelShift<false, true> : &FunnelShift<false, false>;
  return wrap ? &FunnelShift<true, true> : &FunnelShift<true, false>;
}

// Low `length` bits set.
uint64_t LowMask(uint32_t length) { return length >= 64 ? ~uint64_t{0} : (uint64_t{1} << length) - 1; }

void ExtractField(Context& context, const Instruction& instruction) {
  const Operand* o = instruction.operands;
  const Type type = instruction.type;
  const uint32_t width = 8 * SizeOf(type);
  const uint64_t value = ZeroExtend(context.Read(o[1]), SizeOf(type));
  const uint32_t position = context.Read(o[2]) & 255, length = context.Read(o[3]) & 255;
  uint64_t result = position >= width ? 0 : value >> position & LowMask(length);
  if (IsSigned(type) && length > 0) {
    const uint32_t sign_bit = std::min(position + length - 1, width - 1);
    const uint32_t used = position >= width ? 0 : std::min(length, width - position);
    if ((value >> sign_bit & 1) != 0) result |= ~LowMask(used);
  }
  context.Write(o[0], length == 0 ? 0 : ZeroExtend(result, SizeOf(type)));
}

void InsertField(Context& context, const Instruction& instruction) {
  const Operand* o = instruction.operands;
  const int size = SizeOf(instruction.type);
  const uint64_t field = context.Read(o[1]), into = context.Read(o[2]);
  const uint32_t position = context.Read(o[3]) & 255, length = context.Read(o[4]) & 255;
  const uint64_t mask = position >= 64 ? 0 : LowMask(length) << position;
  const uint64_t shifted = position >= 64 ? 0 : field << position;
  context.Write(o[0], ZeroExtend((into & ~mask) | (shifted & mask), size));
}

// Builds a word from four of eight bytes; bit 3 of a selector replicates the sign of the byte.
void PermuteBytes(Context& context, const Instruction& instruction) {
  const Operand* o = instruction.operands;
  const uint64_t bytes = static_cast<uint32_t>(context.Read(o[1])) | context.Read(o[2]) << 32;
  const auto selectors = static_cast<uint32_t>(context.Read(o[3]));
  uint32_t result = 0;
  for (int i = 0; i < 4; ++i) {
    const uint32_t selector = selectors >> (4 * i) & 15;
    uint32_t byte = bytes >> (8 * (selector & 7)) & 255;
    if ((selector & 8) != 0) byte = (byte & 128) != 0 ? 255 : 0;
    result |= byte << (8 * i);
  }
  context.Write(o[0], result);
}

Handler BindPermute(Instruction& i) {
  for (const char* mode : {"f4e", "b4e", "rc8", "ecl", "ecr", "rc16"}) {
    if (i.Has(mode)) return nullptr;
  }
  return &PermuteBytes;
}

// Any function of three bits, given by its truth table.
void LogicThree(Context& context, const Instruction& instruction) {
  const Operand* o = instruction.operands;
  const auto a = static_cast<uint32_t>(context.Read(o[1]));
  const auto b = static_cast<uint32_t>(context.Read(o[2]));
  const auto c = static_cast<uint32_t>(context.Read(o[3]));
  const auto table = static_cast<uint32_t>(context.Read(o[4]));
  uint32_t result = 0;
  for (int row = 0; row < 8; ++row) {
    if ((table >> row & 1) == 0) continue;
    result |= ((row & 4) != 0 ? a : ~a) & ((row & 2) != 0 ? b : ~b) & ((row & 1) != 0 ? c : ~c);
  }
  context.Write(o[0], result);
}

}  // namespace

void AddBitBinders(BinderTable* table) {
  table->insert({
      {"and", &BindBits<And, 2>},
      {"or", &BindBits<Or, 2>},
      {"xor", &BindBits<Xor, 2>},
      {"not", &BindNot},
      {"cnot", &BindBits<LogicalNot, 1>},
      {"popc", &BindBits<CountOnes, 1>},
      {"clz", &BindBits<CountLeadingZeros, 1>},
      {"brev", &BindBits<ReverseBits, 1>},
      {"bfind", &BindFindLeadingBit},
      {"shl", &BindShiftLeft},
      {"shr", &BindShiftRight},
      {"shf", &BindFunnelShift},
      {"bfe", [](Instruction&) -> Handler { return &ExtractField; }},
      {"bfi", [](Instruction&) -> Handler { return &InsertField; }},
      {"prmt", &BindPermute},
      {"lop3", [](Instruction& i) -> Handler { return i.Has("and") || i.Has("or") ? nullptr : &LogicThree; }},
  });
}

}  // namespace ptxemu
