// SPDX-License-Identifier: MIT
// Findings and the race detector.

#include "checks.h"

#include <algorithm>
#include <cstdio>

#include "machine.h"

namespace ptxemu {

bool IsRace(Finding finding) { return finding <= Finding::kStreamOrder; }

const char* Describe(Finding finding) {
  switch (finding) {
    case Finding::kReadOfUnsynchronisedWrite:
      return "race(read of unsynchronised write)";
    case Finding::kWriteWrite:
      return "race(write-write)";
    case Finding::kWriteAfterUnsynchronisedRead:
      return "race(write after unsynchronised read)";
    case Finding::kNonCoherentRead:
      return "race(ld.global.nc of data written in this launch)";
    case Finding::kStreamOrder:
      return "race(not ordered after an operation in another stream)";
    case Finding::kAsyncCopyNotWaited:
      return "warning(cp.async never waited for)";
    case Finding::kDivergentBarrier:
      return "warning(divergent barrier: threads of a block arrive at different bar instructions)";
    case Finding::kShuffleFromAbsentLane:
      return "warning(shfl reads a lane that does not take part)";
    case Finding::kPartialMatrixOp:
      return "error(warp-wide matrix operation without all 32 lanes)";
    case Finding::kActiveMask:
      return "note(activemask used: the result depends on scheduling)";
  }
  return "";
}

void Reporter::Report(Finding finding, const std::string& instruction, const std::string& message) {
  ++(IsRace(finding) ? races_ : others_);
  if (printed_.size() >= kMostMessages) return;
  if (!printed_.insert(std::string(Describe(finding)) + "|" + instruction).second) return;
  std::fprintf(stderr, "[ptxemu] %s: %s\n", Describe(finding), message.c_str());
}

AccessRecord RaceDetector::MakeRecord(const Block& block, const Thread& thread) const {
  AccessRecord record;
  record.block = block.id;
  record.block_epoch = block.epoch;
  record.warp_epoch = block.warps[thread.warp].epoch;
  record.release_index = static_cast<uint32_t>(releases_[block.id].size());
  record.thread = static_cast<uint16_t>(thread.index);
  record.kind = AccessKind::kOneThread;
  return record;
}

void RaceDetector::OnAccess(ShadowMemory& shadow, uint64_t offset, int size, bool is_write, bool is_shared,
                            uint64_t address, const Block& block, const Thread& thread,
                            const Instruction& instruction) {
  const Access access{is_write, is_shared, address, block, thread, instruction, MakeRecord(block, thread)};
  ShadowCell* cell = &shadow.At(offset);
  ShadowCell* last = &shadow.At(offset + size - 1);
  for (; cell <= last; ++cell) Touch(*cell, access);
}

void RaceDetector::OnDelivery(ShadowMemory& shadow, uint64_t offset, int size, const Block& issuer,
                              const Thread& thread, const Instruction& instruction, uint64_t time) {
  const Access access{true, true, offset, issuer, thread, instruction, MakeRecord(issuer, thread)};
  AccessRecord delivered = access.record;
  delivered.block = copy_engine_;
  delivered.release_index = static_cast<uint32_t>(releases_[copy_engine_].size());
  ShadowCell* last = &shadow.At(offset + size - 1);
  for (ShadowCell* cell = &shadow.At(offset); cell <= last; ++cell) {
    if (cell->read.kind != AccessKind::kNone) { Report(Finding::kWriteAfterUnsynchronisedRead, cell->read, access); }
    cell->operation = operation_;
    cell->write = delivered;
    cell->read.kind = AccessKind::kNone;
  }
  OnRelease(copy_engine_, time);
}

void RaceDetector::Touch(ShadowCell& cell, const Access& access) {
  if (cell.operation != operation_) StartCell(cell, access);
  if (cell.write.kind != AccessKind::kNone) {
    if (access.instruction.non_coherent) Report(Finding::kNonCoherentRead, cell.write, access);
    if (!IsOrdered(cell.write, access)) {
      Report(access.is_write ? Finding::kWriteWrite : Finding::kReadOfUnsynchronisedWrite, cell.write, access);
    }
  }
  if (!access.is_write) return RecordRead(cell, access);
  if (!IsOrdered(cell.read, access)) { Report(Finding::kWriteAfterUnsynchronisedRead, cell.read, access); }
  cell.write = access.record;
  cell.read.kind = AccessKind::kNone;
}

// First touch of the cell in this launch: what earlier operations did must be ordered before it.
void RaceDetector::StartCell(ShadowCell& cell, const Access& access) {
  const uint32_t earlier = cell.operation;
  const bool conflict = access.is_write || cell.write.kind != AccessKind::kNone;
  if (earlier != 0 && earlier != last_ordered_ && conflict && ordered_ != nullptr) {
    if (ordered_(earlier)) {
      last_ordered_ = earlier;
    } else {
      launch_.Report(Finding::kStreamOrder, access.block, access.thread, access.instruction,
                     AllocationTable::Get().Describe(access.address));
    }
  }
  cell = ShadowCell();
  cell.operation = operation_;
}

// Keeps one record for all readers: of the readers of one block in one epoch it notes whether they
// are one thread, one warp or more; of unordered readers in different blocks it keeps one by
// chance.
void RaceDetector::RecordRead(ShadowCell& cell, const Access& access) {
  const AccessRecord& old = cell.read;
  AccessRecord record = access.record;
  if (old.kind != AccessKind::kNone) {
    if (old.block == record.block) {
      if (old.block_epoch == record.block_epoch && old.thread != record.thread) {
        const bool same_warp =
            old.kind != AccessKind::kSeveralWarps && old.thread / kWarpSize == record.thread / kWarpSize;
        record.kind = same_warp ? AccessKind::kOneWarp : AccessKind::kSeveralWarps;
      }
    } else if ((launch_.time() & 1) != 0 && !IsOrdered(old, access)) {
      return;
    }
  }
  cell.read = record;
}

bool RaceDetector::IsOrdered(const AccessRecord& earlier, const Access& access) const {
  if (earlier.kind == AccessKind::kNone) return true;
  const AccessRecord& now = access.record;
  if (earlier.block == now.block) {
    if (earlier.block_epoch != now.block_epoch) return true;
    if (earlier.kind == AccessKind::kOneThread && earlier.thread == now.thread) return true;
    return earlier.kind != AccessKind::kSeveralWarps && earlier.thread / kWarpSize == now.thread / kWarpSize &&
           earlier.warp_epoch < now.warp_epoch;
  }
  const uint64_t acquired = earlier.block == copy_engine_
                                ? std::max(access.thread.last_mbarrier_wait, access.block.last_mbarrier_wait)
                                : access.block.last_acquire;
  const std::vector<uint64_t>& releases = releases_[earlier.block];
  return earlier.release_index < releases.size() && acquired > releases[earlier.release_index];
}

void RaceDetector::Report(Finding finding, const AccessRecord& earlier, const Access& access) {
  const std::string place = access.is_shared ? "shared offset " + std::to_string(access.address - kSharedStart)
                                             : AllocationTable::Get().Describe(access.address);
  launch_.Report(
      finding, access.block, access.thread, access.instruction,
      "at " + place + ", other: block " + std::to_string(earlier.block) + " thread " + std::to_string(earlier.thread));
}

}  // namespace ptxemu
