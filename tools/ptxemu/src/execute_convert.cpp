// SPDX-License-Identifier: MIT
// cvt: conversions between all integer and float types; cvta and isspacep for address spaces.

#include <algorithm>
#include <cmath>

#include "execute.h"
#include "numeric.h"

namespace ptxemu {
namespace {

double RoundToInteger(IntegerRounding rounding, double value) {
  switch (rounding) {
    case IntegerRounding::kNearest:
      return std::nearbyint(value);
    case IntegerRounding::kZero:
      return std::trunc(value);
    case IntegerRounding::kDown:
      return std::floor(value);
    case IntegerRounding::kUp:
      return std::ceil(value);
    case IntegerRounding::kNone:
      break;
  }
  return value;
}

// --- Integer to integer ---------------------------------------------------------------

template <typename From, typename To>
void ConvertInteger(Context& context, const Instruction& instruction) {
  const auto value = static_cast<From>(context.Read(instruction.operands[1]));
  context.Write(instruction.operands[0], static_cast<To>(value));
}

template <typename From>
Handler BindIntegerTo(int size) {
  switch (size) {
    case 1:
      return &ConvertInteger<From, uint8_t>;
    case 2:
      return &ConvertInteger<From, uint16_t>;
    case 4:
      return &ConvertInteger<From, uint32_t>;
    default:
      return &ConvertInteger<From, uint64_t>;
  }
}

Handler BindInteger(Type from, Type to) {
  const int size = SizeOf(to);
  switch (from) {
    case Type::kS8:
      return BindIntegerTo<int8_t>(size);
    case Type::kS16:
      return BindIntegerTo<int16_t>(size);
    case Type::kS32:
      return BindIntegerTo<int32_t>(size);
    case Type::kS64:
      return BindIntegerTo<int64_t>(size);
    default:
      break;
  }
  switch (SizeOf(from)) {
    case 1:
      return BindIntegerTo<uint8_t>(size);
    case 2:
      return BindIntegerTo<uint16_t>(size);
    case 4:
      return BindIntegerTo<uint32_t>(size);
    default:
      return BindIntegerTo<uint64_t>(size);
  }
}

// Clamps to the range of the destination type.
void ConvertIntegerSaturated(Context& context, const Instruction& instruction) {
  const Type to = instruction.type, from = instruction.source_type;
  const int bits = 8 * SizeOf(to);
  const uint64_t extended = ExtendAs(from, context.Read(instruction.operands[1]));
  const __int128 value =
      IsSigned(from) ? static_cast<__int128>(static_cast<int64_t>(extended)) : static_cast<__int128>(extended);
  const __int128 one = 1;
  const __int128 low = IsSigned(to) ? -(one << (bits - 1)) : 0;
  const __int128 high = IsSigned(to) ? (one << (bits - 1)) - 1 : (one << bits) - 1;
  const auto clamped = static_cast<uint64_t>(std::clamp(value, low, high));
  context.Write(instruction.operands[0], ZeroExtend(clamped, SizeOf(to)));
}

// --- Between floats and integers ------------------------------------------------------

void ConvertIntegerToFloat(Context& context, const Instruction& instruction) {
  const Type to = instruction.type, from = instruction.source_type;
  const uint64_t value = ExtendAs(from, context.Read(instruction.operands[1]));
  const bool is_signed = IsSigned(from);
  uint64_t result;
  if (to == Type::kF32 && instruction.rounding == Rounding::kNearest) {
    result = FloatToBits(is_signed ? static_cast<float>(static_cast<int64_t>(value)) : static_cast<float>(value));
  } else {
    const double exact = is_signed ? static_cast<double>(static_cast<int64_t>(value)) : static_cast<double>(value);
    result = EncodeFloat(to, exact, instruction.rounding);
  }
  context.Write(instruction.operands[0], result);
}

// Out of range clamps, NaN gives zero; without a rounding modifier it truncates.
void ConvertFloatToInteger(Context& context, const Instruction& instruction) {
  const Type to = instruction.type;
  const int size = SizeOf(to), bits = 8 * size;
  double value = DecodeFloat(instruction.source_type, context.Read(instruction.operands[1]));
  const IntegerRounding rounding = instruction.integer_rounding;
  value = RoundToInteger(rounding == IntegerRounding::kNone ? IntegerRounding::kZero : rounding, value);
  const bool is_signed = IsSigned(to);
  const double limit = std::ldexp(1.0, is_signed ? bits - 1 : bits);
  uint64_t result;
  if (std::isnan(value)) {
    result = 0;
  } else if (value >= limit) {
    result = is_signed ? (uint64_t{1} << (bits - 1)) - 1 : ~uint64_t{0};
  } else if (is_signed) {
    result = value <= -limit ? uint64_t{1} << (bits - 1) : static_cast<uint64_t>(static_cast<int64_t>(value));
  } else {
    result = value <= 0 ? 0 : static_cast<uint64_t>(value);
  }
  context.Write(instruction.operands[0], ZeroExtend(result, size));
}

// --- Float to float -------------------------------------------------------------------

void ConvertFloat(Context& context, const Instruction& instruction) {
  const Type to = instruction.type, from = instruction.source_type;
  double value = DecodeFloat(from, context.Read(instruction.operands[1]));
  if (instruction.flush_subnormals) value = FlushSubnormal(static_cast<float>(value));
  value = RoundToInteger(instruction.integer_rounding, value);
  if (instruction.saturate) value = value > 0 ? std::min(value, 1.0) : 0.0;
  if (instruction.relu) value = value > 0 ? value : 0.0;
  context.Write(instruction.operands[0], EncodeFloat(to, value, instruction.rounding));
}

// "cvt.rn.bf16x2.f32 d, a, b": a goes to the upper half.
void ConvertTwoFloats(Context& context, const Instruction& instruction) {
  const Operand* o = instruction.operands;
  const Type half = instruction.type == Type::kF16x2 ? Type::kF16 : Type::kBf16;
  uint64_t result = 0;
  for (int i = 0; i < 2; ++i) {
    float value = BitsToFloat(context.Read(o[1 + i]));
    if (instruction.relu) value = value > 0 ? value : 0.0f;
    result = result << 16 | EncodeFloat(half, value, instruction.rounding);
  }
  context.Write(o[0], result);
}

// Rounds to the 10-bit mantissa of tf32, ties away from zero (cvt.rna).
void ConvertToTf32(Context& context, const Instruction& instruction) {
  const auto bits = static_cast<uint32_t>(context.Read(instruction.operands[1]));
  context.Write(instruction.operands[0], (bits + 0x1000) & ~0x1fffu);
}

Handler BindConvert(Instruction& i) {
  if (i.types.size() != 2) return nullptr;
  const Type to = i.type = i.types[0];
  const Type from = i.source_type = i.types[1];
  if (to == Type::kTf32) return &ConvertToTf32;
  if (IsPacked(to)) return from == Type::kF32 && i.operand_count == 3 ? &ConvertTwoFloats : nullptr;
  if (IsFloat(to)) return IsFloat(from) ? &ConvertFloat : &ConvertIntegerToFloat;
  if (IsFloat(from)) return &ConvertFloatToInteger;
  return i.saturate ? &ConvertIntegerSaturated : BindInteger(from, to);
}

// --- Address spaces -------------------------------------------------------------------

template <bool kToSpace>
void ConvertAddress(Context& context, const Instruction& instruction) {
  const uint64_t address = context.Read(instruction.operands[1]);
  const uint64_t window = WindowOf(instruction.space);
  const uint64_t result = kToSpace ? address - window : address + window;
  context.Write(instruction.operands[0], ZeroExtend(result, SizeOf(instruction.type)));
}

Handler BindConvertAddress(Instruction& i) { return i.Has("to") ? &ConvertAddress<true> : &ConvertAddress<false>; }

void IsInSpace(Context& context, const Instruction& instruction) {
  const uint64_t address = context.Read(instruction.operands[1]);
  Space space = Space::kGlobal;
  if (address >= kParameterWindow) {
    space = Space::kParameter;
  } else if (address >= kLocalWindow) {
    space = Space::kLocal;
  } else if (address >= kSharedWindow) {
    space = Space::kShared;
  }
  context.Write(instruction.operands[0], space == instruction.space);
}

}  // namespace

void AddConversionBinders(BinderTable* table) {
  table->insert({
      {"cvt", &BindConvert},
      {"cvta", &BindConvertAddress},
      {"isspacep", [](Instruction&) -> Handler { return &IsInSpace; }},
  });
}

}  // namespace ptxemu
