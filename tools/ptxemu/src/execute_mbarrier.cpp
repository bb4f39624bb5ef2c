// SPDX-License-Identifier: MIT
// mbarrier, and the asynchronous copies that complete on one: cp.async.bulk and st.async.

#include <cstring>

#include "execute.h"
#include "mbarrier.h"

namespace ptxemu {
namespace {

constexpr int kMbarrierBytes = 8;

// Offset in the shared window, for operands that may be generic addresses.
uint64_t SharedAddress(Context& context, const Instruction& instruction, uint64_t address) {
  if (address < kSharedWindow) return address;
  if (address >= kLocalWindow) context.launch.Fail("no shared address", context, instruction);
  return address - kSharedWindow;
}

Mbarrier BarrierAt(Context& context, const Instruction& instruction, const Operand& operand) {
  const uint64_t address = SharedAddress(context, instruction, context.Address(operand));
  if (address % kMbarrierBytes != 0) context.launch.Fail("misaligned mbarrier", context, instruction);
  const auto place = context.launch.ResolveShared(context, instruction, address, kMbarrierBytes);
  return Mbarrier(place.block, place.offset);
}

// Between blocks of a cluster, arriving releases and a successful wait acquires.
bool InCluster(const Context& context) { return context.block.cluster->blocks.size() > 1; }

// --- mbarrier -------------------------------------------------------------------------

void Initialize(Context& context, const Instruction& instruction) {
  const Operand* o = instruction.operands;
  BarrierAt(context, instruction, o[0]).Initialize(static_cast<uint32_t>(context.Read(o[1])));
}

void DoNothing(Context&, const Instruction&) {}

enum ArriveMode : uint8_t { kPlain, kWithBytes, kDrop };

// Operands: [state,] address [, count, or bytes with expect_tx].
void Arrive(Context& context, const Instruction& instruction) {
  const Operand* o = instruction.operands;
  const int first = o[0].kind == OperandKind::kAddress ? 0 : 1;
  const bool has_amount = instruction.operand_count > first + 1;
  const auto amount = has_amount ? static_cast<uint32_t>(context.Read(o[first + 1])) : 1u;
  if (InCluster(context)) context.launch.Release(context.block);
  Mbarrier barrier = BarrierAt(context, instruction, o[first]);
  const uint64_t state = barrier.word().Bits();
  if (instruction.mode == kWithBytes) barrier.ExpectBytes(amount);
  if (instruction.mode == kDrop) barrier.DropExpected(amount);
  if (!barrier.Arrive(instruction.mode == kWithBytes ? 1 : amount)) {
    context.launch.Fail("more arrivals than the mbarrier expects", context, instruction);
  }
  if (first == 1) context.Write(o[0], state);
}

void ExpectBytes(Context& context, const Instruction& instruction) {
  const Operand* o = instruction.operands;
  BarrierAt(context, instruction, o[0]).ExpectBytes(static_cast<uint32_t>(context.Read(o[1])));
}

void CompleteBytes(Context& context, const Instruction& instruction) {
  const Operand* o = instruction.operands;
  BarrierAt(context, instruction, o[0]).CompleteBytes(static_cast<uint32_t>(context.Read(o[1])));
}

// Operands: result, address, state or parity of the phase that should be over.
template <bool kParity>
void TestWait(Context& context, const Instruction& instruction) {
  const Operand* o = instruction.operands;
  const uint64_t argument = context.Read(o[2]);
  const uint32_t phase = kParity ? argument & 1 : MbarrierWord(argument).phase;
  const bool done = BarrierAt(context, instruction, o[1]).word().phase != phase;
  if (done) {
    context.launch.OnMbarrierWait(context);
  } else {
    context.ShortenTurn(0);
  }
  context.Write(o[0], done);
}

void PendingCount(Context& context, const Instruction& instruction) {
  const Operand* o = instruction.operands;
  context.Write(o[0], MbarrierWord(context.Read(o[1])).pending);
}

Handler BindMbarrier(Instruction& i) {
  if (i.Has("init")) return &Initialize;
  if (i.Has("inval")) return &DoNothing;
  if (i.Has("test_wait") || i.Has("try_wait")) { return i.Has("parity") ? &TestWait<true> : &TestWait<false>; }
  if (i.Has("pending_count")) return &PendingCount;
  if (i.Has("arrive") || i.Has("arrive_drop")) {
    i.mode = i.Has("expect_tx") ? kWithBytes : i.Has("arrive_drop") ? kDrop : kPlain;
    return &Arrive;
  }
  if (i.Has("expect_tx")) return &ExpectBytes;
  return i.Has("complete_tx") ? &CompleteBytes : nullptr;
}

// --- cp.async.bulk and st.async -------------------------------------------------------

enum BulkMode : uint8_t { kGlobalToShared, kSharedToShared, kSharedToGlobal };

void CheckBulkAlignment(Context& context, const Instruction& instruction, uint64_t bits) {
  constexpr uint64_t kBulkAlignment = 16;
  if (bits % kBulkAlignment != 0) {
    context.launch.Fail("bulk copy needs multiples of 16 bytes", context, instruction);
  }
}

// Operands: destination, source, size, mbarrier.
void CopyBulkToShared(Context& context, const Instruction& instruction) {
  const Operand* o = instruction.operands;
  Launch& launch = context.launch;
  BulkCopy copy(context, instruction);
  const uint64_t to = SharedAddress(context, instruction, context.Address(o[0]));
  const uint64_t from = context.Address(o[1]);
  const auto size = static_cast<uint32_t>(context.Read(o[2]));
  CheckBulkAlignment(context, instruction, to | from | size);
  copy.data.resize(size);
  copy.target = launch.ResolveShared(context, instruction, to, size);
  if (instruction.mode == kGlobalToShared) {
    copy.source = launch.CheckRange(context, instruction, from, size, /*is_write=*/false);
  } else {
    const auto place = launch.ResolveShared(context, instruction, SharedAddress(context, instruction, from), size);
    copy.source = &place.block->shared[place.offset];
  }
  copy.barrier = launch.ResolveShared(context, instruction, SharedAddress(context, instruction, context.Address(o[3])),
                                      kMbarrierBytes);
  launch.StartBulkCopy(std::move(copy));
}

// Shared to global completes by groups of the thread, as cp.async does; here it moves at the wait.
void CopyBulkToGlobal(Context& context, const Instruction& instruction) {
  const Operand* o = instruction.operands;
  AsyncCopy copy;
  copy.destination = context.Address(o[0]);
  copy.source = SharedAddress(context, instruction, context.Address(o[1]));
  copy.size = static_cast<int>(context.Read(o[2]));
  CheckBulkAlignment(context, instruction, copy.destination | copy.source | copy.size);
  context.launch.CheckRange(context, instruction, copy.destination, copy.size, /*is_write=*/true);
  context.launch.ResolveShared(context, instruction, copy.source, copy.size);
  context.thread.open_bulk_copies.push_back(copy);
}

void CommitBulkGroup(Context& context, const Instruction&) {
  Thread& thread = context.thread;
  thread.committed_bulk_copies.push_back(std::move(thread.open_bulk_copies));
  thread.open_bulk_copies.clear();
}

void WaitForBulkGroups(Context& context, const Instruction& instruction) {
  const size_t may_remain = context.Read(instruction.operands[0]);
  auto& groups = context.thread.committed_bulk_copies;
  constexpr int kChunk = 16;
  while (groups.size() > may_remain) {
    for (const AsyncCopy& copy : groups.front()) {
      for (int done = 0; done < copy.size; done += kChunk) {
        uint8_t buffer[kChunk];
        context.launch.Load(context, instruction, Space::kShared, copy.source + done, kChunk, buffer);
        context.launch.Store(context, instruction, Space::kGlobal, copy.destination + done, kChunk, buffer);
      }
    }
    groups.erase(groups.begin());
  }
}

Handler BindBulkCopy(Instruction& i) {
  if (i.Has("commit_group")) return &CommitBulkGroup;
  if (i.Has("wait_group")) return &WaitForBulkGroups;
  if (i.Has("prefetch")) return &DoNothing;
  if (i.Has("tensor") || i.Has("multicast::cluster") || i.modifiers.size() < 4) return nullptr;
  const std::string &to = i.modifiers[2], &from = i.modifiers[3];
  if (to == "global") return &CopyBulkToGlobal;
  i.mode = from == "global" ? kGlobalToShared : kSharedToShared;
  return &CopyBulkToShared;
}

// Operands: address, value or vector, mbarrier of the same block.
void StoreAsync(Context& context, const Instruction& instruction) {
  const Operand* o = instruction.operands;
  Launch& launch = context.launch;
  BulkCopy copy(context, instruction);
  const int size = SizeOf(instruction.type);
  const int count = o[1].kind == OperandKind::kVector ? o[1].element_count : 1;
  for (int i = 0; i < count; ++i) {
    const uint64_t value = context.Read(instruction.ElementOrSelf(o[1], i));
    const auto* bytes = reinterpret_cast<const uint8_t*>(&value);
    copy.data.insert(copy.data.end(), bytes, bytes + size);
  }
  copy.target = launch.ResolveShared(context, instruction, SharedAddress(context, instruction, context.Address(o[0])),
                                     copy.data.size());
  copy.barrier = launch.ResolveShared(context, instruction, SharedAddress(context, instruction, context.Address(o[2])),
                                      kMbarrierBytes);
  launch.StartBulkCopy(std::move(copy));
}

// cp.async.mbarrier.arrive: arrives when the earlier cp.async of the thread are complete, here at
// once. Without .noinc the barrier expects one arrival more, so that nothing changes.
void ArriveAfterCopies(Context& context, const Instruction& instruction) {
  CompleteAsyncCopies(context, instruction);
  Mbarrier barrier = BarrierAt(context, instruction, instruction.operands[0]);
  if (instruction.mode == 1 && !barrier.Arrive(1)) {
    context.launch.Fail("more arrivals than the mbarrier expects", context, instruction);
  }
}

Handler BindCopy(Instruction& i) {
  if (!i.Has("async") || i.Has("reduce")) return nullptr;
  if (i.Has("bulk")) return BindBulkCopy(i);
  if (!i.Has("mbarrier")) return BindAsyncCopy(i);
  i.mode = i.Has("noinc") ? 1 : 0;
  return &ArriveAfterCopies;
}

}  // namespace

Handler BindStoreAsync(Instruction&) { return &StoreAsync; }

void AddMbarrierBinders(BinderTable* table) {
  table->insert({
      {"mbarrier", &BindMbarrier},
      {"cp", &BindCopy},
  });
}

}  // namespace ptxemu
