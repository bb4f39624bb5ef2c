// SPDX-License-Identifier: MIT
// Vocabulary shared by the whole emulator: PTX scalar types, state spaces, the layout of the
// generic address space, and the exception that stops a launch.

#ifndef PTXEMU_TYPES_H_
#define PTXEMU_TYPES_H_

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

namespace ptxemu {

// PTX fundamental types. The order matters: signed integers and floats form contiguous ranges.
enum class Type : uint8_t {
  kNone,
  kB8,
  kB16,
  kB32,
  kB64,
  kU8,
  kU16,
  kU32,
  kU64,
  kS8,
  kS16,
  kS32,
  kS64,
  kF16,
  kF16x2,
  kBf16,
  kBf16x2,
  kTf32,
  kF32,
  kF64,
  kPred,
};

enum class Space : uint8_t { kGeneric, kGlobal, kShared, kLocal, kConstant, kParameter };

// Generic addresses. Global memory uses host addresses; the other spaces get windows that no host
// address falls into.
constexpr uint64_t kSharedWindow = 0x0010000000000000ull;
constexpr uint64_t kLocalWindow = 0x0020000000000000ull;
constexpr uint64_t kParameterWindow = 0x0030000000000000ull;
constexpr uint64_t kParameterWindowSize = 65536;

// What cvta adds to an address of the space.
inline uint64_t WindowOf(Space space) {
  switch (space) {
    case Space::kShared:
      return kSharedWindow;
    case Space::kLocal:
      return kLocalWindow;
    case Space::kParameter:
      return kParameterWindow;
    default:
      return 0;
  }
}

// Shared variables start here, so that small offsets (null pointers) are out of bounds.
constexpr uint32_t kSharedStart = 1024;

// A shared::cluster address holds (rank + 1) above this bit; zero there means the thread's own
// block.
constexpr int kClusterRankShift = 24;

constexpr int kWarpSize = 32;
constexpr int kBarrierCount = 16;
constexpr int kMaxThreadsPerBlock = 1024;
constexpr uint32_t kMaxSharedBytes = 232448;  // 227 KiB, sm_90

// Thrown for everything that makes a launch fail: out of bounds, deadlock, unsupported instruction.
class EmulationError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct Dim3 {
  uint32_t x = 1, y = 1, z = 1;
  uint64_t Count() const { return uint64_t{x} * y * z; }
};

inline int SizeOf(Type type) {
  static constexpr uint8_t kSizes[] = {0, 1, 2, 4, 8, 1, 2, 4, 8, 1, 2, 4, 8, 2, 4, 2, 4, 4, 4, 8, 1};
  return kSizes[static_cast<int>(type)];
}
inline bool IsSigned(Type type) { return type >= Type::kS8 && type <= Type::kS64; }
inline bool IsFloat(Type type) { return type >= Type::kF16 && type <= Type::kF64; }
inline bool IsPacked(Type type) { return type == Type::kF16x2 || type == Type::kBf16x2; }

// Returns Type::kNone when the name is no type.
inline Type ParseType(std::string_view name) {
  static constexpr std::string_view kNames[] = {"",      "b8",   "b16",    "b32",  "b64", "u8",  "u16",
                                                "u32",   "u64",  "s8",     "s16",  "s32", "s64", "f16",
                                                "f16x2", "bf16", "bf16x2", "tf32", "f32", "f64", "pred"};
  for (int i = 1; i <= static_cast<int>(Type::kPred); ++i) {
    if (name == kNames[i]) return static_cast<Type>(i);
  }
  return Type::kNone;
}

}  // namespace ptxemu

#endif  // PTXEMU_TYPES_H_
