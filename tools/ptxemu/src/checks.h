// SPDX-License-Identifier: MIT
// What the emulator checks beyond running the program: findings and their report, and the race
// detector. Bounds, deadlock, step limit and divergence checks sit where they arise and report
// here.

#ifndef PTXEMU_CHECKS_H_
#define PTXEMU_CHECKS_H_

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "instruction.h"
#include "memory.h"

namespace ptxemu {

struct Block;
struct Thread;
class Launch;

enum class Finding {
  kReadOfUnsynchronisedWrite,
  kWriteWrite,
  kWriteAfterUnsynchronisedRead,
  kNonCoherentRead,
  kStreamOrder,
  kAsyncCopyNotWaited,
  kDivergentBarrier,
  kShuffleFromAbsentLane,
  kPartialMatrixOp,
  kActiveMask,
};

bool IsRace(Finding finding);
const char* Describe(Finding finding);

// Prints each finding once per instruction and counts all of them.
class Reporter {
 public:
  void Report(Finding finding, const std::string& instruction, const std::string& message);
  uint64_t races() const { return races_; }
  uint64_t others() const { return others_; }

 private:
  static constexpr size_t kMostMessages = 12;
  std::set<std::string> printed_;
  uint64_t races_ = 0, others_ = 0;
};

// Whether the operation with this number is ordered (by streams, events, host) before the current
// one.
using OrderQuery = std::function<bool(uint32_t operation)>;

// Block-level happens-before rules, a heuristic for the PTX memory model:
//   same block: ordered by any barrier of the block, or within a warp by bar.warp.sync;
//   other block: ordered if the block of the first access made a release (fence) afterwards, and
//   the block of the second access made an acquire (fence) later than that; bulk copies: they write
//   like a block of their own, and only a thread that has waited at an mbarrier since the delivery,
//   or has met such a thread at a barrier, may read the data.
// Between launches the order of streams and events counts.
class RaceDetector {
 public:
  RaceDetector(Launch* launch, uint32_t operation, uint32_t block_count, OrderQuery ordered)
      : launch_(*launch), operation_(operation), ordered_(std::move(ordered)), copy_engine_(block_count),
        releases_(block_count + 1) {}

  // Checks and records the access of [address, address + size); `offset` is its place in `shadow`.
  void OnAccess(ShadowMemory& shadow, uint64_t offset, int size, bool is_write, bool is_shared, uint64_t address,
                const Block& block, const Thread& thread, const Instruction& instruction);

  void OnRelease(uint32_t block, uint64_t time) { releases_[block].push_back(time); }

  // Delivery of a bulk copy at `time`. The write as such was checked when the copy was issued;
  // reads since then are races.
  void OnDelivery(ShadowMemory& shadow, uint64_t offset, int size, const Block& issuer, const Thread& thread,
                  const Instruction& instruction, uint64_t time);

 private:
  struct Access {
    bool is_write, is_shared;
    uint64_t address;
    const Block& block;
    const Thread& thread;
    const Instruction& instruction;
    AccessRecord record;
  };
  AccessRecord MakeRecord(const Block& block, const Thread& thread) const;
  void Touch(ShadowCell& cell, const Access& access);
  void StartCell(ShadowCell& cell, const Access& access);
  void RecordRead(ShadowCell& cell, const Access& access);
  bool IsOrdered(const AccessRecord& earlier, const Access& access) const;
  void Report(Finding finding, const AccessRecord& earlier, const Access& access);

  Launch& launch_;
  const uint32_t operation_;
  const OrderQuery ordered_;
  uint32_t last_ordered_ = 0;                    // operation that ordered_ said yes to
  const uint32_t copy_engine_;                   // number of the block that stands for bulk copies
  std::vector<std::vector<uint64_t>> releases_;  // times, by block
};

}  // namespace ptxemu

#endif  // PTXEMU_CHECKS_H_
