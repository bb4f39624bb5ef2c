// SPDX-License-Identifier: MIT
// Loads and stores of kernels: address spaces, bounds, alignment, race records, weak memory.

#include <cstring>

#include "machine.h"

namespace ptxemu {
namespace {

// memcpy with the usual sizes inlined.
void CopyBytes(void* to, const void* from, int size) {
  switch (size) {
    case 1:
      std::memcpy(to, from, 1);
      break;
    case 2:
      std::memcpy(to, from, 2);
      break;
    case 4:
      std::memcpy(to, from, 4);
      break;
    case 8:
      std::memcpy(to, from, 8);
      break;
    case 16:
      std::memcpy(to, from, 16);
      break;
    default:
      std::memcpy(to, from, size);
  }
}

Space SpaceOfGenericAddress(uint64_t address) {
  if (address < kSharedWindow) return Space::kGlobal;
  if (address < kLocalWindow) return Space::kShared;
  if (address < kParameterWindow) return Space::kLocal;
  if (address < kParameterWindow + kParameterWindowSize) return Space::kParameter;
  return Space::kGlobal;
}

}  // namespace

Launch::Target Launch::Resolve(Context& context, const Instruction& instruction, Space space, uint64_t address,
                               int size, bool is_write, Strength strength) {
  if ((address & (size - 1)) != 0) { Fail("misaligned address " + std::to_string(address), context, instruction); }
  if (space == Space::kGeneric) {
    space = SpaceOfGenericAddress(address);
    address -= WindowOf(space);
  }
  const bool check_races = options_.check_races && strength == Strength::kPlain && !instruction.strong;
  switch (space) {
    case Space::kShared: {
      const SharedLocation place = ResolveShared(context, instruction, address, size);
      if (check_races) {
        races_.OnAccess(*place.block->shared_shadow, place.offset, size, is_write, true, place.offset, context.block,
                        context.thread, instruction);
      }
      return {&place.block->shared[place.offset], space, nullptr};
    }
    case Space::kLocal:
      if (address + size > kernel().local_bytes) Fail("local out of bounds", context, instruction);
      return {context.thread.local + address, space, nullptr};
    case Space::kParameter:
      if (address + size > parameters_.size()) { Fail("parameter out of bounds", context, instruction); }
      return {&parameters_[address], space, nullptr};
    default:
      break;
  }
  const Target target = ResolveGlobal(context, instruction, address, size, is_write);
  if (check_races && space != Space::kConstant) {
    Allocation& allocation = *target.allocation;
    races_.OnAccess(allocation.Shadow(), address - allocation.base, size, is_write, false, address, context.block,
                    context.thread, instruction);
  }
  return target;
}

Launch::Target Launch::ResolveGlobal(Context& context, const Instruction& instruction, uint64_t address, int size,
                                     bool is_write) {
  Allocation*& hint = allocation_hints_[&instruction - kernel().code.data()];
  if (hint == nullptr || !hint->Contains(address, size)) {
    Allocation* found = AllocationTable::Get().Find(address, size);
    if (found == nullptr) {
      Fail(std::string("global ") + (is_write ? "write" : "read") + " out of bounds: " +
               AllocationTable::Get().Describe(address) + " access of " + std::to_string(size) + " bytes",
           context, instruction);
    }
    hint = found;
  }
  return {reinterpret_cast<uint8_t*>(address), Space::kGlobal, hint};
}

SharedLocation Launch::ResolveShared(Context& context, const Instruction& instruction, uint64_t address,
                                     uint64_t size) const {
  Block* block = &context.block;
  if (address >> kClusterRankShift != 0) {
    block = &BlockOfCluster(context, instruction, static_cast<int>(address >> kClusterRankShift) - 1);
    address &= (uint64_t{1} << kClusterRankShift) - 1;
  }
  if (address < kSharedStart || address + size > block->shared.size()) {
    Fail("shared out of bounds: offset " + std::to_string(static_cast<int64_t>(address) - kSharedStart) + " size " +
             std::to_string(size) + " of " + std::to_string(block->shared.size() - kSharedStart),
         context, instruction);
  }
  return {block, address};
}

Block& Launch::BlockOfCluster(Context& context, const Instruction& instruction, int rank) const {
  const auto& blocks = context.block.cluster->blocks;
  if (rank < 0 || rank >= static_cast<int>(blocks.size())) {
    Fail("no block with rank " + std::to_string(rank) + " in the cluster", context, instruction);
  }
  Block* block = blocks[rank];
  if (block == nullptr || block->live_threads == 0) {
    Fail("distributed shared memory of a block that has exited", context, instruction);
  }
  return *block;
}

void Launch::Load(Context& context, const Instruction& instruction, Space space, uint64_t address, int size, void* out,
                  Strength strength) {
  const Target target = Resolve(context, instruction, space, address, size, false, strength);
  if (options_.weak_memory && target.allocation != nullptr) {
    if (strength == Strength::kPlain && !instruction.strong) {
      return context.block.cache.Read(reinterpret_cast<uint64_t>(target.memory), size, out);
    }
    context.block.cache.Evict(reinterpret_cast<uint64_t>(target.memory), size);
  }
  CopyBytes(out, target.memory, size);
}

void Launch::Store(Context& context, const Instruction& instruction, Space space, uint64_t address, int size,
                   const void* in, Strength strength) {
  constexpr uint64_t kEvictOneIn = 64;
  const Target target = Resolve(context, instruction, space, address, size, true, strength);
  if (options_.weak_memory && target.allocation != nullptr) {
    WriteBackCache& cache = context.block.cache;
    const auto place = reinterpret_cast<uint64_t>(target.memory);
    if (strength == Strength::kPlain && !instruction.strong) {
      cache.Write(place, size, in);
      if (random_() % kEvictOneIn == 0) cache.Evict(place, 1);
      return;
    }
    cache.Evict(place, size);
  }
  CopyBytes(target.memory, in, size);
}

void Launch::CheckAccess(Context& context, const Instruction& instruction, Space space, uint64_t address, int size,
                         bool is_write) {
  Resolve(context, instruction, space, address, size, is_write, Strength::kPlain);
}

}  // namespace ptxemu
