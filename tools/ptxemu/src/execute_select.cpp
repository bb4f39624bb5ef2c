// SPDX-License-Identifier: MIT
// Comparison, selection and mov.

#include <unordered_map>

#include "execute.h"

namespace ptxemu {
namespace {

// --- Comparison and selection ---------------------------------------------------------

template <typename T>
bool CompareValues(Compare compare, T a, T b) {
  const bool unordered = a != a || b != b;  // NaN
  switch (compare) {
    case Compare::kEq:
      return a == b;
    case Compare::kNe:
      return !unordered && a != b;
    case Compare::kLt:
      return a < b;
    case Compare::kLe:
      return a <= b;
    case Compare::kGt:
      return a > b;
    case Compare::kGe:
      return a >= b;
    case Compare::kEqu:
      return unordered || a == b;
    case Compare::kNeu:
      return a != b;
    case Compare::kLtu:
      return unordered || a < b;
    case Compare::kLeu:
      return unordered || a <= b;
    case Compare::kGtu:
      return unordered || a > b;
    case Compare::kGeu:
      return unordered || a >= b;
    case Compare::kNum:
      return !unordered;
    case Compare::kNan:
      return unordered;
    case Compare::kNone:
      break;
  }
  return false;
}

template <typename Codec>
bool CompareOperands(const Context& context, const Instruction& instruction) {
  return CompareValues(instruction.compare, Codec::Decode(context.Read(instruction.operands[1])),
                       Codec::Decode(context.Read(instruction.operands[2])));
}

bool Combine(BoolOp op, bool a, bool b) {
  if (op == BoolOp::kAnd) return a && b;
  return op == BoolOp::kOr ? a || b : a != b;
}

template <typename Codec>
void SetPredicate(Context& context, const Instruction& instruction) {
  const Operand* o = instruction.operands;
  bool result = CompareOperands<Codec>(context, instruction);
  bool opposite = !result;
  if (instruction.bool_op != BoolOp::kNone) {
    const bool other = (context.Read(o[3]) & 1) != 0;
    result = Combine(instruction.bool_op, result, other);
    opposite = Combine(instruction.bool_op, opposite, other);
  }
  context.Write(o[0], result);
  context.WriteSecond(o[0], opposite);
}

// Two comparisons, one predicate each.
template <typename Codec>
void SetPredicatePacked(Context& context, const Instruction& instruction) {
  const Operand* o = instruction.operands;
  const uint64_t a = context.Read(o[1]), b = context.Read(o[2]);
  context.Write(o[0], CompareValues(instruction.compare, Codec::Decode(a), Codec::Decode(b)));
  context.WriteSecond(o[0], CompareValues(instruction.compare, Codec::Decode(a >> 16), Codec::Decode(b >> 16)));
}

// All ones (or 1.0) where the comparison holds.
template <typename Codec>
void SetValue(Context& context, const Instruction& instruction) {
  uint64_t yes = ZeroExtend(~uint64_t{0}, SizeOf(instruction.type));
  if (instruction.type == Type::kF32) yes = FloatToBits(1.0f);
  context.Write(instruction.operands[0], CompareOperands<Codec>(context, instruction) ? yes : 0);
}

Compare ParseCompare(const Instruction& instruction) {
  static const auto* names = new std::unordered_map<std::string, Compare>{
      {"eq", Compare::kEq},   {"ne", Compare::kNe},   {"lt", Compare::kLt},   {"le", Compare::kLe},
      {"gt", Compare::kGt},   {"ge", Compare::kGe},   {"lo", Compare::kLt},   {"ls", Compare::kLe},
      {"hi", Compare::kGt},   {"hs", Compare::kGe},   {"equ", Compare::kEqu}, {"neu", Compare::kNeu},
      {"ltu", Compare::kLtu}, {"leu", Compare::kLeu}, {"gtu", Compare::kGtu}, {"geu", Compare::kGeu},
      {"num", Compare::kNum}, {"nan", Compare::kNan}};
  for (const std::string& modifier : instruction.modifiers) {
    const auto found = names->find(modifier);
    if (found != names->end()) return found->second;
  }
  return Compare::kNone;
}

BoolOp ParseBoolOp(const Instruction& instruction) {
  if (instruction.Has("and")) return BoolOp::kAnd;
  if (instruction.Has("or")) return BoolOp::kOr;
  return instruction.Has("xor") ? BoolOp::kXor : BoolOp::kNone;
}

// Handler<codec> for the type; Template is SetPredicate or SetValue wrapped in a struct.
template <template <typename> class Bound>
Handler BindByType(Type type) {
  switch (type) {
    case Type::kS16:
      return Bound<IntegerCodec<int16_t>>::kHandler;
    case Type::kS32:
      return Bound<IntegerCodec<int32_t>>::kHandler;
    case Type::kS64:
      return Bound<IntegerCodec<int64_t>>::kHandler;
    case Type::kF16:
      return Bound<HalfCodec>::kHandler;
    case Type::kBf16:
      return Bound<Bfloat16Codec>::kHandler;
    case Type::kF32:
      return Bound<FloatCodec>::kHandler;
    case Type::kF64:
      return Bound<DoubleCodec>::kHandler;
    default:
      break;
  }
  if (SizeOf(type) == 2) return Bound<IntegerCodec<uint16_t>>::kHandler;
  return SizeOf(type) == 4 ? Bound<IntegerCodec<uint32_t>>::kHandler : Bound<IntegerCodec<uint64_t>>::kHandler;
}
template <typename Codec>
struct SetPredicateBound {
  static constexpr Handler kHandler = &SetPredicate<Codec>;
};
template <typename Codec>
struct SetValueBound {
  static constexpr Handler kHandler = &SetValue<Codec>;
};

Handler BindSetPredicate(Instruction& i) {
  i.compare = ParseCompare(i);
  i.bool_op = ParseBoolOp(i);
  if (i.compare == Compare::kNone) return nullptr;
  if (i.type == Type::kF16x2) return &SetPredicatePacked<HalfCodec>;
  if (i.type == Type::kBf16x2) return &SetPredicatePacked<Bfloat16Codec>;
  return BindByType<SetPredicateBound>(i.type);
}

Handler BindSet(Instruction& i) {
  i.compare = ParseCompare(i);
  i.source_type = i.types.back();
  i.type = i.types.front();
  if (i.compare == Compare::kNone || IsPacked(i.type) || ParseBoolOp(i) != BoolOp::kNone) return nullptr;
  return BindByType<SetValueBound>(i.source_type);
}

template <typename T>
void Select(Context& context, const Instruction& instruction) {
  const Operand* o = instruction.operands;
  const bool first = (context.Read(o[3]) & 1) != 0;
  context.Write(o[0], static_cast<T>(context.Read(first ? o[1] : o[2])));
}

Handler BindSelect(Instruction& i) {
  const int size = SizeOf(i.type);
  if (size == 2) return &Select<uint16_t>;
  return size == 4 ? &Select<uint32_t> : &Select<uint64_t>;
}

// --- mov ------------------------------------------------------------------------------

template <typename T>
void Move(Context& context, const Instruction& instruction) {
  context.Write(instruction.operands[0], static_cast<T>(context.Read(instruction.operands[1])));
}

void MovePredicate(Context& context, const Instruction& instruction) {
  context.Write(instruction.operands[0], context.Read(instruction.operands[1]) & 1);
}

// "mov.b64 {a, b}, c"
void Unpack(Context& context, const Instruction& instruction) {
  const Operand& vector = instruction.operands[0];
  const uint64_t value = context.Read(instruction.operands[1]);
  const int size = SizeOf(instruction.type) / vector.element_count;
  for (int i = 0; i < vector.element_count; ++i) {
    context.Write(instruction.Element(vector, i), ZeroExtend(value >> (8 * size * i), size));
  }
}

// "mov.b64 c, {a, b}"
void Pack(Context& context, const Instruction& instruction) {
  const Operand& vector = instruction.operands[1];
  const int size = SizeOf(instruction.type) / vector.element_count;
  uint64_t value = 0;
  for (int i = 0; i < vector.element_count; ++i) {
    value |= ZeroExtend(context.Read(instruction.Element(vector, i)), size) << (8 * size * i);
  }
  context.Write(instruction.operands[0], value);
}

Handler BindMove(Instruction& i) {
  if (i.operands[0].kind == OperandKind::kVector) return &Unpack;
  if (i.operands[1].kind == OperandKind::kVector) return &Pack;
  switch (SizeOf(i.type)) {
    case 1:
      return i.type == Type::kPred ? &MovePredicate : &Move<uint8_t>;
    case 2:
      return &Move<uint16_t>;
    case 4:
      return &Move<uint32_t>;
    case 8:
      return &Move<uint64_t>;
  }
  return nullptr;
}

}  // namespace

void AddSelectBinders(BinderTable* table) {
  table->insert({
      {"setp", &BindSetPredicate},
      {"set", &BindSet},
      {"selp", &BindSelect},
      {"mov", &BindMove},
  });
}

}  // namespace ptxemu
