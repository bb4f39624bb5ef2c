// SPDX-License-Identifier: MIT
// Bit-level helpers: registers are 64-bit integers, these functions give them a meaning as integers
// of a given width, as IEEE floats, as half precision or as bfloat16.

#ifndef PTXEMU_NUMERIC_H_
#define PTXEMU_NUMERIC_H_

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "types.h"

namespace ptxemu {

template <typename To, typename From>
To BitCast(From from) {
  static_assert(sizeof(To) == sizeof(From), "sizes differ");
  To to;
  std::memcpy(&to, &from, sizeof(to));
  return to;
}

inline float BitsToFloat(uint64_t bits) { return BitCast<float>(static_cast<uint32_t>(bits)); }
inline uint64_t FloatToBits(float value) { return BitCast<uint32_t>(value); }
inline double BitsToDouble(uint64_t bits) { return BitCast<double>(bits); }
inline uint64_t DoubleToBits(double value) { return BitCast<uint64_t>(value); }

inline uint64_t ZeroExtend(uint64_t value, int bytes) {
  return bytes >= 8 ? value : value & ((uint64_t{1} << (8 * bytes)) - 1);
}

inline int64_t SignExtend(uint64_t value, int bytes) {
  const int shift = 64 - 8 * bytes;
  return shift <= 0 ? static_cast<int64_t>(value) : static_cast<int64_t>(value << shift) >> shift;
}

// Value of a register read as an integer of `type`, extended to 64 bits as the type says.
inline uint64_t ExtendAs(Type type, uint64_t value) {
  return IsSigned(type) ? static_cast<uint64_t>(SignExtend(value, SizeOf(type))) : ZeroExtend(value, SizeOf(type));
}

inline float FlushSubnormal(float value) {
  return std::fpclassify(value) == FP_SUBNORMAL ? std::copysign(0.0f, value) : value;
}

// Directed roundings as PTX names them; kNearest is round-to-nearest-even.
enum class Rounding : uint8_t { kNearest, kZero, kDown, kUp };

inline float RoundToFloat(double value, Rounding rounding) {
  const float nearest = static_cast<float>(value);
  const double back = nearest;
  switch (rounding) {
    case Rounding::kNearest:
      return nearest;
    case Rounding::kZero:
      return std::fabs(back) > std::fabs(value) ? std::nextafterf(nearest, 0.0f) : nearest;
    case Rounding::kDown:
      return back > value ? std::nextafterf(nearest, -INFINITY) : nearest;
    case Rounding::kUp:
      return back < value ? std::nextafterf(nearest, INFINITY) : nearest;
  }
  return nearest;
}

// Rounds to odd: a later rounding to fewer bits then gives the correctly rounded result.
inline float RoundToOddFloat(double value) {
  const float truncated = RoundToFloat(value, Rounding::kZero);
  if (std::isnan(value) || static_cast<double>(truncated) == value) return truncated;
  return BitCast<float>(BitCast<uint32_t>(truncated) | 1u);
}

inline float HalfToFloat(uint64_t bits) { return static_cast<float>(BitCast<_Float16>(static_cast<uint16_t>(bits))); }

inline uint16_t DoubleToHalf(double value, Rounding rounding = Rounding::kNearest) {
  const uint16_t bits = BitCast<uint16_t>(static_cast<_Float16>(value));
  const bool too_big = std::fabs(static_cast<double>(HalfToFloat(bits))) > std::fabs(value);
  return rounding == Rounding::kZero && too_big ? bits - 1 : bits;
}

inline float Bfloat16ToFloat(uint64_t bits) { return BitsToFloat((bits & 0xffff) << 16); }

inline uint16_t DoubleToBfloat16(double value, Rounding rounding = Rounding::kNearest) {
  if (std::isnan(value)) return 0x7fff;
  const uint32_t bits = BitCast<uint32_t>(RoundToOddFloat(value));
  if (rounding == Rounding::kZero) return static_cast<uint16_t>(bits >> 16);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// One 16-bit float: half precision or bfloat16.
inline float SmallFloat(Type type, uint64_t bits) {
  return type == Type::kF16 || type == Type::kF16x2 ? HalfToFloat(bits) : Bfloat16ToFloat(bits);
}

// A register read as a float of `type`; zero for types that are no scalar floats.
inline double DecodeFloat(Type type, uint64_t bits) {
  switch (type) {
    case Type::kF32:
    case Type::kTf32:
      return BitsToFloat(bits);
    case Type::kF64:
      return BitsToDouble(bits);
    case Type::kF16:
      return HalfToFloat(bits);
    case Type::kBf16:
      return Bfloat16ToFloat(bits);
    default:
      return 0;
  }
}

inline uint64_t EncodeFloat(Type type, double value, Rounding rounding = Rounding::kNearest) {
  switch (type) {
    case Type::kF32:
      return FloatToBits(RoundToFloat(value, rounding));
    case Type::kF64:
      return DoubleToBits(value);
    case Type::kF16:
      return DoubleToHalf(value, rounding);
    case Type::kBf16:
      return DoubleToBfloat16(value, rounding);
    default:
      return 0;
  }
}

// Codecs: how a typed value lies in a register. Value is the type to compute in.
template <typename T>
struct IntegerCodec {
  using Value = T;
  static T Decode(uint64_t bits) { return static_cast<T>(bits); }
  static uint64_t Encode(T value) { return static_cast<std::make_unsigned_t<T>>(value); }
};
struct FloatCodec {
  using Value = float;
  static float Decode(uint64_t bits) { return BitsToFloat(bits); }
  static uint64_t Encode(float value) { return FloatToBits(value); }
};
struct DoubleCodec {
  using Value = double;
  static double Decode(uint64_t bits) { return BitsToDouble(bits); }
  static uint64_t Encode(double value) { return DoubleToBits(value); }
};
struct HalfCodec {
  using Value = double;
  static double Decode(uint64_t bits) { return HalfToFloat(bits); }
  static uint64_t Encode(double value) { return DoubleToHalf(value); }
};
struct Bfloat16Codec {
  using Value = double;
  static double Decode(uint64_t bits) { return Bfloat16ToFloat(bits); }
  static uint64_t Encode(double value) { return DoubleToBfloat16(value); }
};

}  // namespace ptxemu

#endif  // PTXEMU_NUMERIC_H_
