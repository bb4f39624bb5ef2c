// SPDX-License-Identifier: MIT
// The mbarrier object: 64 bits in shared memory that count arrivals and transferred bytes by phase.

#ifndef PTXEMU_MBARRIER_H_
#define PTXEMU_MBARRIER_H_

#include <cstdint>
#include <cstring>

#include "machine.h"

namespace ptxemu {

// The layout is private to the emulator; programs only pass the 64 bits around.
class MbarrierWord {
 public:
  MbarrierWord() = default;
  explicit MbarrierWord(uint64_t bits)
      : pending(bits & kCountMask), expected(bits >> kCountBits & kCountMask), phase(bits >> (2 * kCountBits) & 1),
        missing_bytes(static_cast<int64_t>(bits) >> (2 * kCountBits + 1)) {}

  uint64_t Bits() const {
    return static_cast<uint64_t>(missing_bytes) << (2 * kCountBits + 1) |
           static_cast<uint64_t>(phase) << (2 * kCountBits) |
           static_cast<uint64_t>(expected & kCountMask) << kCountBits | (pending & kCountMask);
  }

  uint32_t pending = 0;       // arrivals missing in this phase
  uint32_t expected = 0;      // arrivals of a whole phase
  uint32_t phase = 0;         // parity
  int64_t missing_bytes = 0;  // announced by expect_tx and not transferred yet

 private:
  static constexpr int kCountBits = 20;
  static constexpr uint64_t kCountMask = (uint64_t{1} << kCountBits) - 1;
};

// A barrier at its place in the shared memory of a block. Changes are written back at once.
class Mbarrier {
 public:
  Mbarrier(Block* block, uint64_t offset) : block_(*block), memory_(&block->shared[offset]) {
    uint64_t bits;
    std::memcpy(&bits, memory_, sizeof(bits));
    word_ = MbarrierWord(bits);
  }

  const MbarrierWord& word() const { return word_; }

  void Initialize(uint32_t count) {
    word_ = MbarrierWord();
    word_.pending = word_.expected = count;
    WriteBack();
  }

  // False if more arrive than the phase still waits for.
  bool Arrive(uint32_t count) {
    if (count > word_.pending) return false;
    word_.pending -= count;
    CompletePhaseIfDone();
    return true;
  }
  void ExpectBytes(int64_t bytes) {
    word_.missing_bytes += bytes;
    WriteBack();
  }
  void CompleteBytes(int64_t bytes) {
    word_.missing_bytes -= bytes;
    CompletePhaseIfDone();
  }
  void DropExpected(uint32_t count) {
    word_.expected -= count;
    WriteBack();
  }

 private:
  // For the race rules the end of a phase counts as a barrier of the block.
  void CompletePhaseIfDone() {
    if (word_.pending == 0 && word_.missing_bytes == 0) {
      word_.phase ^= 1;
      word_.pending = word_.expected;
      ++block_.epoch;
    }
    WriteBack();
  }
  void WriteBack() {
    const uint64_t bits = word_.Bits();
    std::memcpy(memory_, &bits, sizeof(bits));
  }

  Block& block_;
  uint8_t* memory_;
  MbarrierWord word_;
};

}  // namespace ptxemu

#endif  // PTXEMU_MBARRIER_H_
