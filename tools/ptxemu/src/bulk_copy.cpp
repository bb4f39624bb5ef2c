// SPDX-License-Identifier: MIT
// Copies that run on their own and report to an mbarrier. They are delivered at a random time, so
// that a missing wait is seen.

#include <algorithm>
#include <cstring>

#include "mbarrier.h"

namespace ptxemu {

BulkCopy::BulkCopy(Context& context, const Instruction& i)
    : issuer(&context.block), thread(&context.thread), instruction(&i) {}

uint8_t* Launch::CheckRange(Context& context, const Instruction& instruction, uint64_t address, uint64_t size,
                            bool is_write) {
  const Target target = ResolveGlobal(context, instruction, address, static_cast<int>(size), is_write);
  if (options_.check_races) {
    races_.OnAccess(target.allocation->Shadow(), address - target.allocation->base, static_cast<int>(size), is_write,
                    false, address, context.block, context.thread, instruction);
  }
  return target.memory;
}

void Launch::StartBulkCopy(BulkCopy copy) {
  if (options_.check_races) {
    races_.OnAccess(*copy.target.block->shared_shadow, copy.target.offset, static_cast<int>(copy.data.size()), true,
                    true, copy.target.offset, *copy.issuer, *copy.thread, *copy.instruction);
  }
  ++copy.issuer->copies_in_flight;
  ++copy.target.block->copies_in_flight;
  bulk_copies_.push_back(std::move(copy));
}

void Launch::OnMbarrierWait(Context& context) {
  context.thread.last_mbarrier_wait = ++time_;
  if (context.block.cluster->blocks.size() > 1) Acquire(context.block);
}

void Launch::ShareMbarrierWaits(Block& block) {
  for (const Thread& thread : block.threads) {
    block.last_mbarrier_wait = std::max(block.last_mbarrier_wait, thread.last_mbarrier_wait);
  }
}

// Delivers each copy by chance, or all of them. True if there was one.
bool Launch::DeliverBulkCopies(bool all) {
  constexpr uint64_t kDeliverOneIn = 8;
  bool any = false;
  for (size_t i = 0; i < bulk_copies_.size();) {
    if (!all && random_() % kDeliverOneIn != 0) {
      ++i;
      continue;
    }
    const BulkCopy copy = std::move(bulk_copies_[i]);
    bulk_copies_.erase(bulk_copies_.begin() + static_cast<std::ptrdiff_t>(i));
    Deliver(copy);
    any = true;
  }
  return any;
}

void Launch::Deliver(const BulkCopy& copy) {
  Block& block = *copy.target.block;
  const void* data = copy.source != nullptr ? copy.source : copy.data.data();
  std::memcpy(&block.shared[copy.target.offset], data, copy.data.size());
  ++time_;
  if (options_.check_races) {
    races_.OnDelivery(*block.shared_shadow, copy.target.offset, static_cast<int>(copy.data.size()), *copy.issuer,
                      *copy.thread, *copy.instruction, time_);
  }
  Mbarrier(copy.barrier.block, copy.barrier.offset).CompleteBytes(static_cast<int64_t>(copy.data.size()));
  --copy.issuer->copies_in_flight;
  --block.copies_in_flight;
}

}  // namespace ptxemu
