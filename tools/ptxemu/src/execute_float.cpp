// SPDX-License-Identifier: MIT
// Floating-point arithmetic: f16, f16x2, bf16, bf16x2, f32 and f64.
//
// Instructions without modifiers get a handler of their own; those with .ftz, .sat, .relu or a
// directed rounding share a slower one. The approximate functions (ex2, rcp, tanh.approx ...) are
// computed to full precision: they do not show the error of the hardware.

#include <algorithm>
#include <cmath>

#include "execute_compute.h"

namespace ptxemu {
namespace {

struct FloatAdd {
  template <typename V>
  static V Apply(V a, V b, V) {
    return a + b;
  }
};
struct FloatSubtract {
  template <typename V>
  static V Apply(V a, V b, V) {
    return a - b;
  }
};
struct FloatMultiply {
  template <typename V>
  static V Apply(V a, V b, V) {
    return a * b;
  }
};
struct FusedMultiplyAdd {
  template <typename V>
  static V Apply(V a, V b, V c) {
    return std::fma(a, b, c);
  }
};
struct FloatDivide {
  template <typename V>
  static V Apply(V a, V b, V) {
    return a / b;
  }
};
struct FloatAbsolute {
  template <typename V>
  static V Apply(V a, V, V) {
    return std::fabs(a);
  }
};
struct FloatNegate {
  template <typename V>
  static V Apply(V a, V, V) {
    return -a;
  }
};
struct FloatMinimum {
  template <typename V>
  static V Apply(V a, V b, V) {
    return std::fmin(a, b);
  }
};
struct FloatMaximum {
  template <typename V>
  static V Apply(V a, V b, V) {
    return std::fmax(a, b);
  }
};
struct FloatMinimumNan {
  template <typename V>
  static V Apply(V a, V b, V) {
    return std::isnan(a) || std::isnan(b) ? static_cast<V>(NAN) : std::fmin(a, b);
  }
};
struct FloatMaximumNan {
  template <typename V>
  static V Apply(V a, V b, V) {
    return std::isnan(a) || std::isnan(b) ? static_cast<V>(NAN) : std::fmax(a, b);
  }
};
struct CopySign {  // the sign comes from the first operand
  template <typename V>
  static V Apply(V a, V b, V) {
    return std::copysign(b, a);
  }
};
struct Reciprocal {
  template <typename V>
  static V Apply(V a, V, V) {
    return V(1) / a;
  }
};
struct SquareRoot {
  template <typename V>
  static V Apply(V a, V, V) {
    return std::sqrt(a);
  }
};

// These are computed in double precision and rounded once.
template <double (*kFunction)(double)>
struct ViaDouble {
  template <typename V>
  static V Apply(V a, V, V) {
    return static_cast<V>(kFunction(static_cast<double>(a)));
  }
};
double ReciprocalSquareRoot(double x) { return 1 / std::sqrt(x); }
using SineOperation = ViaDouble<std::sin>;
using CosineOperation = ViaDouble<std::cos>;
using Exponent2Operation = ViaDouble<std::exp2>;
using Logarithm2Operation = ViaDouble<std::log2>;
using TangentOperation = ViaDouble<std::tanh>;
using ReciprocalSquareRootOperation = ViaDouble<ReciprocalSquareRoot>;

// Result for one scalar of `type` with all modifiers of the instruction.
template <typename Operation>
uint64_t ComputeWithModifiers(const Instruction& instruction, Type type, const uint64_t (&bits)[3]) {
  if (type == Type::kF32) {
    float x[3];
    for (int i = 0; i < 3; ++i) {
      x[i] = BitsToFloat(bits[i]);
      if (instruction.flush_subnormals) x[i] = FlushSubnormal(x[i]);
    }
    float result;
    if (instruction.rounding == Rounding::kNearest) {
      result = Operation::template Apply<float>(x[0], x[1], x[2]);
    } else {
      result = RoundToFloat(Operation::template Apply<double>(x[0], x[1], x[2]), instruction.rounding);
    }
    if (instruction.saturate) result = result > 0 ? std::min(result, 1.0f) : 0.0f;
    if (instruction.flush_subnormals) result = FlushSubnormal(result);
    return FloatToBits(result);
  }
  double result = Operation::template Apply<double>(DecodeFloat(type, bits[0]), DecodeFloat(type, bits[1]),
                                                    DecodeFloat(type, bits[2]));
  if (instruction.saturate) result = result > 0 ? std::min(result, 1.0) : 0.0;
  if (instruction.relu) result = result > 0 ? result : 0.0;
  return EncodeFloat(type, result);
}

template <typename Operation, int kArity>
void ComputeModified(Context& context, const Instruction& instruction) {
  const Operand* o = instruction.operands;
  uint64_t bits[3] = {};
  for (int i = 0; i < kArity; ++i) bits[i] = context.Read(o[i + 1]);
  const Type type = instruction.type;
  if (!IsPacked(type)) { return context.Write(o[0], ComputeWithModifiers<Operation>(instruction, type, bits)); }
  const Type half = type == Type::kF16x2 ? Type::kF16 : Type::kBf16;
  const uint64_t low = ComputeWithModifiers<Operation>(instruction, half, bits);
  const uint64_t high_bits[3] = {bits[0] >> 16, bits[1] >> 16, bits[2] >> 16};
  const uint64_t high = ComputeWithModifiers<Operation>(instruction, half, high_bits);
  context.Write(o[0], low | high << 16);
}

template <typename Operation, int kArity>
Handler BindFloat(Instruction& i) {
  const bool modified = i.flush_subnormals || i.saturate || i.relu || i.rounding != Rounding::kNearest;
  if (modified) return &ComputeModified<Operation, kArity>;
  switch (i.type) {
    case Type::kF32:
      return &Compute<FloatCodec, Operation, kArity>;
    case Type::kF64:
      return &Compute<DoubleCodec, Operation, kArity>;
    case Type::kF16:
      return &Compute<HalfCodec, Operation, kArity>;
    case Type::kBf16:
      return &Compute<Bfloat16Codec, Operation, kArity>;
    case Type::kF16x2:
      return &ComputePacked<HalfCodec, Operation, kArity>;
    case Type::kBf16x2:
      return &ComputePacked<Bfloat16Codec, Operation, kArity>;
    default:
      return nullptr;
  }
}

enum TestKind : uint8_t { kFinite, kInfinite, kNumber, kNotANumber, kNormal, kSubnormal };

void TestProperty(Context& context, const Instruction& instruction) {
  const double x = DecodeFloat(instruction.type, context.Read(instruction.operands[1]));
  const int classified = instruction.type == Type::kF32 ? std::fpclassify(static_cast<float>(x)) : std::fpclassify(x);
  bool result = false;
  switch (static_cast<TestKind>(instruction.mode)) {
    case kFinite:
      result = std::isfinite(x);
      break;
    case kInfinite:
      result = std::isinf(x);
      break;
    case kNumber:
      result = !std::isnan(x);
      break;
    case kNotANumber:
      result = std::isnan(x);
      break;
    case kNormal:
      result = classified == FP_NORMAL;
      break;
    case kSubnormal:
      result = classified == FP_SUBNORMAL;
      break;
  }
  context.Write(instruction.operands[0], result);
}

Handler BindTestProperty(Instruction& i) {
  static constexpr const char* kNames[] = {"finite", "infinite", "number", "notanumber", "normal", "subnormal"};
  for (uint8_t kind = 0; kind < 6; ++kind) {
    if (!i.Has(kNames[kind])) continue;
    i.mode = kind;
    return &TestProperty;
  }
  return nullptr;
}

}  // namespace

Handler BindFloatArithmetic(Instruction& i) {
  if (i.name == "add") return BindFloat<FloatAdd, 2>(i);
  if (i.name == "sub") return BindFloat<FloatSubtract, 2>(i);
  if (i.name == "mul") return BindFloat<FloatMultiply, 2>(i);
  if (i.name == "mad") return BindFloat<FusedMultiplyAdd, 3>(i);
  if (i.name == "div") return BindFloat<FloatDivide, 2>(i);
  if (i.name == "abs") return BindFloat<FloatAbsolute, 1>(i);
  if (i.name == "neg") return BindFloat<FloatNegate, 1>(i);
  if (i.name == "min") { return i.propagate_nan ? BindFloat<FloatMinimumNan, 2>(i) : BindFloat<FloatMinimum, 2>(i); }
  if (i.name == "max") { return i.propagate_nan ? BindFloat<FloatMaximumNan, 2>(i) : BindFloat<FloatMaximum, 2>(i); }
  return nullptr;
}

void AddFloatBinders(BinderTable* table) {
  table->insert({
      {"fma", &BindFloat<FusedMultiplyAdd, 3>},
      {"rcp", &BindFloat<Reciprocal, 1>},
      {"sqrt", &BindFloat<SquareRoot, 1>},
      {"rsqrt", &BindFloat<ReciprocalSquareRootOperation, 1>},
      {"sin", &BindFloat<SineOperation, 1>},
      {"cos", &BindFloat<CosineOperation, 1>},
      {"ex2", &BindFloat<Exponent2Operation, 1>},
      {"lg2", &BindFloat<Logarithm2Operation, 1>},
      {"tanh", &BindFloat<TangentOperation, 1>},
      {"copysign", &BindFloat<CopySign, 2>},
      {"testp", &BindTestProperty},
  });
}

}  // namespace ptxemu
