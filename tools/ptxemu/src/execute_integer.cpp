// SPDX-License-Identifier: MIT
// Integer arithmetic, and the combination of values that atomics and reductions share.

#include <algorithm>
#include <climits>

#include "execute_compute.h"

namespace ptxemu {
namespace {

struct Add {
  template <typename T>
  static T Apply(T a, T b, T) {
    return static_cast<T>(uint64_t{a} + b);
  }
};
struct Subtract {
  template <typename T>
  static T Apply(T a, T b, T) {
    return static_cast<T>(uint64_t{a} - b);
  }
};
struct AddSaturated {
  static int32_t Apply(int32_t a, int32_t b, int32_t) {
    return static_cast<int32_t>(std::clamp<int64_t>(int64_t{a} + b, INT_MIN, INT_MAX));
  }
};
struct SubtractSaturated {
  static int32_t Apply(int32_t a, int32_t b, int32_t) {
    return static_cast<int32_t>(std::clamp<int64_t>(int64_t{a} - b, INT_MIN, INT_MAX));
  }
};
struct MultiplyLow {
  template <typename T>
  static T Apply(T a, T b, T) {
    return static_cast<T>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
  }
};
// The low 24 bits of each operand, extended by their sign bit or by zero.
template <typename T>
T Low24(T value) {
  constexpr int kShift = 8;
  return static_cast<T>(static_cast<T>(static_cast<uint32_t>(value) << kShift) >> kShift);
}
struct Multiply24 {
  template <typename T>
  static T Apply(T a, T b, T) {
    return MultiplyLow::Apply<T>(Low24(a), Low24(b), T());
  }
};
struct MultiplyAdd24 {
  template <typename T>
  static T Apply(T a, T b, T c) {
    return static_cast<T>(uint64_t{0} + MultiplyLow::Apply<T>(Low24(a), Low24(b), T()) + c);
  }
};
struct MultiplyAddLow {
  template <typename T>
  static T Apply(T a, T b, T c) {
    return static_cast<T>(uint64_t{a} * b + c);
  }
};
struct MultiplyHigh {
  template <typename T>
  static T Apply(T a, T b, T) {
    using Wide = std::conditional_t<std::is_signed_v<T>, __int128, unsigned __int128>;
    return static_cast<T>((static_cast<Wide>(a) * b) >> (8 * sizeof(T)));
  }
};
struct MultiplyAddHigh {
  template <typename T>
  static T Apply(T a, T b, T c) {
    using Unsigned = std::make_unsigned_t<T>;
    const uint64_t high = static_cast<Unsigned>(MultiplyHigh::Apply(a, b, c));
    return static_cast<T>(high + static_cast<Unsigned>(c));
  }
};
// Division by zero gives all ones, as the hardware does.
struct Divide {
  template <typename T>
  static T Apply(T a, T b, T) {
    if (b == 0) return static_cast<T>(~uint64_t{0});
    if (std::is_signed_v<T> && b == static_cast<T>(-1)) return static_cast<T>(uint64_t{0} - a);
    return static_cast<T>(a / b);
  }
};
struct Remainder {
  template <typename T>
  static T Apply(T a, T b, T) {
    if (b == 0) return a;
    if (std::is_signed_v<T> && b == static_cast<T>(-1)) return 0;
    return static_cast<T>(a % b);
  }
};
struct AbsoluteValue {
  template <typename T>
  static T Apply(T a, T, T) {
    return a < 0 ? static_cast<T>(uint64_t{0} - a) : a;
  }
};
struct Negate {
  template <typename T>
  static T Apply(T a, T, T) {
    return static_cast<T>(uint64_t{0} - a);
  }
};
struct Minimum {
  template <typename T>
  static T Apply(T a, T b, T) {
    return std::min(a, b);
  }
};
struct Maximum {
  template <typename T>
  static T Apply(T a, T b, T) {
    return std::max(a, b);
  }
};
struct SumOfDifference {
  template <typename T>
  static T Apply(T a, T b, T c) {
    return static_cast<T>(uint64_t{0} + c + (a > b ? uint64_t{0} + a - b : uint64_t{0} + b - a));
  }
};

// mul.wide and mad.wide: operands of T, result twice as wide.
template <typename T, typename Wide, bool kAdd>
void MultiplyWide(Context& context, const Instruction& instruction) {
  const Operand* o = instruction.operands;
  const T a = static_cast<T>(context.Read(o[1]));
  const T b = static_cast<T>(context.Read(o[2]));
  uint64_t result = static_cast<uint64_t>(static_cast<Wide>(a)) * static_cast<uint64_t>(static_cast<Wide>(b));
  if (kAdd) result += context.Read(o[3]);
  context.Write(o[0], ZeroExtend(result, sizeof(Wide)));
}

template <bool kAdd>
Handler BindMultiplyWide(Type type) {
  switch (type) {
    case Type::kS16:
      return &MultiplyWide<int16_t, int32_t, kAdd>;
    case Type::kU16:
      return &MultiplyWide<uint16_t, uint32_t, kAdd>;
    case Type::kS32:
      return &MultiplyWide<int32_t, int64_t, kAdd>;
    case Type::kU32:
      return &MultiplyWide<uint32_t, uint64_t, kAdd>;
    default:
      return nullptr;
  }
}

Handler BindAdd(Instruction& i) {
  if (IsFloat(i.type)) return BindFloatArithmetic(i);
  if (i.saturate) return &Compute<IntegerCodec<int32_t>, AddSaturated, 2>;
  return i.Has("cc") ? nullptr : BindUnsigned<Add, 2>(i.type);
}

Handler BindSubtract(Instruction& i) {
  if (IsFloat(i.type)) return BindFloatArithmetic(i);
  if (i.saturate) return &Compute<IntegerCodec<int32_t>, SubtractSaturated, 2>;
  return i.Has("cc") ? nullptr : BindUnsigned<Subtract, 2>(i.type);
}

Handler BindMultiply(Instruction& i) {
  if (IsFloat(i.type)) return BindFloatArithmetic(i);
  if (i.Has("wide")) return BindMultiplyWide<false>(i.type);
  if (i.Has("hi")) return BindBySign<MultiplyHigh, 2>(i.type);
  return BindUnsigned<MultiplyLow, 2>(i.type);
}

Handler BindMultiplyAdd(Instruction& i) {
  if (IsFloat(i.type)) return BindFloatArithmetic(i);
  if (i.Has("cc") || i.saturate) return nullptr;
  if (i.Has("wide")) return BindMultiplyWide<true>(i.type);
  if (i.Has("hi")) return BindBySign<MultiplyAddHigh, 3>(i.type);
  return BindUnsigned<MultiplyAddLow, 3>(i.type);
}

template <typename Operation, int kArity>
Handler BindMultiply24(Instruction& i) {
  if (i.Has("hi") || i.saturate) return nullptr;
  return i.type == Type::kS32 ? &Compute<IntegerCodec<int32_t>, Operation, kArity>
                              : &Compute<IntegerCodec<uint32_t>, Operation, kArity>;
}

template <typename Operation, int kArity>
Handler BindSigned(Instruction& i) {
  return IsFloat(i.type) ? BindFloatArithmetic(i) : BindBySign<Operation, kArity>(i.type);
}

// Dot product of four bytes, accumulated. types: of a, of b.
void DotProductBytes(Context& context, const Instruction& instruction) {
  const Operand* o = instruction.operands;
  const uint64_t a = context.Read(o[1]), b = context.Read(o[2]);
  uint64_t sum = context.Read(o[3]);
  for (int shift = 0; shift < 32; shift += 8) {
    const uint64_t x = a >> shift & 255, y = b >> shift & 255;
    sum += (IsSigned(instruction.source_type) ? SignExtend(x, 1) : x) *
           (IsSigned(instruction.type) ? SignExtend(y, 1) : y);
  }
  context.Write(o[0], static_cast<uint32_t>(sum));
}

Handler BindDotProduct(Instruction& i) {
  i.source_type = i.types.at(0);
  return &DotProductBytes;
}

}  // namespace

uint64_t Combine(AtomicOp op, Type type, uint64_t a, uint64_t b) {
  const int size = SizeOf(type);
  switch (op) {
    case AtomicOp::kAnd:
      return a & b;
    case AtomicOp::kOr:
      return a | b;
    case AtomicOp::kXor:
      return a ^ b;
    case AtomicOp::kExchange:
      return b;
    case AtomicOp::kIncrement:
      return static_cast<uint32_t>(a) >= static_cast<uint32_t>(b) ? 0 : a + 1;
    case AtomicOp::kDecrement:
      return a == 0 || static_cast<uint32_t>(a) > static_cast<uint32_t>(b) ? b : a - 1;
    default:
      break;
  }
  if (IsPacked(type)) {
    const Type half = type == Type::kF16x2 ? Type::kF16 : Type::kBf16;
    return (Combine(op, half, a & 0xffff, b & 0xffff) & 0xffff) | Combine(op, half, a >> 16 & 0xffff, b >> 16 & 0xffff)
                                                                      << 16;
  }
  if (type == Type::kF32 && op == AtomicOp::kAdd) { return FloatToBits(BitsToFloat(a) + BitsToFloat(b)); }
  if (IsFloat(type)) {
    const double x = DecodeFloat(type, a), y = DecodeFloat(type, b);
    if (op == AtomicOp::kAdd) return EncodeFloat(type, x + y);
    return EncodeFloat(type, op == AtomicOp::kMin ? std::fmin(x, y) : std::fmax(x, y));
  }
  const uint64_t x = ExtendAs(type, a), y = ExtendAs(type, b);
  if (op == AtomicOp::kAdd) return ZeroExtend(x + y, size);
  const bool less = IsSigned(type) ? static_cast<int64_t>(x) < static_cast<int64_t>(y) : x < y;
  return ZeroExtend(less == (op == AtomicOp::kMin) ? x : y, size);
}

void AddIntegerBinders(BinderTable* table) {
  table->insert({
      {"add", &BindAdd},
      {"sub", &BindSubtract},
      {"mul", &BindMultiply},
      {"mul24", &BindMultiply24<Multiply24, 2>},
      {"mad", &BindMultiplyAdd},
      {"mad24", &BindMultiply24<MultiplyAdd24, 3>},
      {"div", &BindSigned<Divide, 2>},
      {"rem", &BindSigned<Remainder, 2>},
      {"abs", &BindSigned<AbsoluteValue, 1>},
      {"neg", &BindSigned<Negate, 1>},
      {"min", &BindSigned<Minimum, 2>},
      {"max", &BindSigned<Maximum, 2>},
      {"sad", &BindSigned<SumOfDifference, 3>},
      {"dp4a", &BindDotProduct},
  });
}

}  // namespace ptxemu
