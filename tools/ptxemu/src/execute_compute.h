// SPDX-License-Identifier: MIT
// Templates for instructions that compute one result from one to three operands of one type.
//
// An Operation is a struct with `static V Apply(V a, V b, V c)`; operands beyond the arity are
// zero.

#ifndef PTXEMU_EXECUTE_COMPUTE_H_
#define PTXEMU_EXECUTE_COMPUTE_H_

#include "execute.h"
#include "numeric.h"

namespace ptxemu {

template <typename Codec, typename Operation, int kArity>
void Compute(Context& context, const Instruction& instruction) {
  using Value = typename Codec::Value;
  const Operand* o = instruction.operands;
  const Value a = Codec::Decode(context.Read(o[1]));
  const Value b = kArity >= 2 ? Codec::Decode(context.Read(o[2])) : Value();
  const Value c = kArity >= 3 ? Codec::Decode(context.Read(o[3])) : Value();
  context.Write(o[0], Codec::Encode(Operation::Apply(a, b, c)));
}

// The same for two 16-bit floats in a register.
template <typename Codec, typename Operation, int kArity>
void ComputePacked(Context& context, const Instruction& instruction) {
  const Operand* o = instruction.operands;
  const uint64_t a = context.Read(o[1]);
  const uint64_t b = kArity >= 2 ? context.Read(o[2]) : 0;
  const uint64_t c = kArity >= 3 ? context.Read(o[3]) : 0;
  uint64_t result = 0;
  for (int shift = 0; shift < 32; shift += 16) {
    const auto value =
        Operation::Apply(Codec::Decode(a >> shift), Codec::Decode(b >> shift), Codec::Decode(c >> shift));
    result |= Codec::Encode(value) << shift;
  }
  context.Write(o[0], result);
}

// Picks the codec by size, for operations that do not depend on signedness.
template <typename Operation, int kArity>
Handler BindUnsigned(Type type) {
  switch (SizeOf(type)) {
    case 1:
      return &Compute<IntegerCodec<uint8_t>, Operation, kArity>;
    case 2:
      return &Compute<IntegerCodec<uint16_t>, Operation, kArity>;
    case 4:
      return &Compute<IntegerCodec<uint32_t>, Operation, kArity>;
    case 8:
      return &Compute<IntegerCodec<uint64_t>, Operation, kArity>;
  }
  return nullptr;
}

// Picks the codec by size and signedness.
template <typename Operation, int kArity>
Handler BindBySign(Type type) {
  switch (type) {
    case Type::kS16:
      return &Compute<IntegerCodec<int16_t>, Operation, kArity>;
    case Type::kS32:
      return &Compute<IntegerCodec<int32_t>, Operation, kArity>;
    case Type::kS64:
      return &Compute<IntegerCodec<int64_t>, Operation, kArity>;
    default:
      return BindUnsigned<Operation, kArity>(type);
  }
}

}  // namespace ptxemu

#endif  // PTXEMU_EXECUTE_COMPUTE_H_
