// SPDX-License-Identifier: MIT
// Checks of memory ranges that transfers (memcpy, memset, free) touch.

#include <algorithm>

#include "memory.h"
#include "options.h"
#include "runtime.h"
#include "types.h"

namespace ptxemu {
namespace {

// Checking every cell of a large range would be slow and use much memory: then some are skipped.
constexpr uint64_t kMostCells = 65536;

// True if the access of the cell conflicts with an operation that is not ordered before this one.
bool RecordInCell(ShadowCell* cell, const Operation& operation, bool is_write) {
  const uint32_t earlier = cell->operation;
  const bool conflict = is_write || cell->write.kind != AccessKind::kNone;
  const bool race =
      earlier != 0 && earlier != operation.id && conflict && !WorkQueue::Get().IsOrdered(earlier, operation);
  if (earlier != operation.id) *cell = ShadowCell();
  cell->operation = operation.id;
  (is_write ? cell->write : cell->read).kind = AccessKind::kOneThread;
  return race;
}

}  // namespace

void CheckTransfer(const Operation& operation, const void* address, size_t bytes, bool is_write, const char* what) {
  const auto begin = reinterpret_cast<uint64_t>(address);
  Allocation* allocation = AllocationTable::Get().Find(begin, bytes);
  if (allocation == nullptr) {
    throw EmulationError(std::string(what) + " is no device memory or out of bounds: " +
                         AllocationTable::Get().Describe(begin) + ", " + std::to_string(bytes) + " bytes");
  }
  if (!WorkQueue::Get().HasSeveralLanes() || !Options::FromEnvironment().check_races) return;
  ShadowMemory& shadow = allocation->Shadow();
  const uint64_t step = std::max<uint64_t>(kShadowGranule, bytes / kMostCells);
  bool race = false;
  for (uint64_t offset = 0; offset < bytes; offset += step) {
    race |= RecordInCell(&shadow.At(begin - allocation->base + offset), operation, is_write);
  }
  if (race) CountTransferRace(std::string(what) + " " + AllocationTable::Get().Describe(begin));
}

}  // namespace ptxemu
