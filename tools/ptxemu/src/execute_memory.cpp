// SPDX-License-Identifier: MIT
// Loads, stores, atomics, fences and cp.async.

#include <cstring>

#include "execute.h"
#include "numeric.h"

namespace ptxemu {
namespace {

constexpr int kMaxAccessBytes = 32;

// --- Loads and stores -----------------------------------------------------------------

// Polling loops read with strong loads: the polled threads should get their turn soon.
void FinishLoad(Context& context, const Instruction& instruction) {
  constexpr int kTurnAfterStrongLoad = 16;
  if (instruction.acquire) context.launch.Acquire(context.block);
  if (instruction.strong) context.ShortenTurn(kTurnAfterStrongLoad);
}

// Signed values are extended to the whole register, as a wider destination needs.
template <typename T>
void LoadScalar(Context& context, const Instruction& instruction) {
  const Operand* o = instruction.operands;
  T value;
  context.launch.Load(context, instruction, instruction.space, context.Address(o[1]), sizeof(T), &value);
  context.Write(o[0], static_cast<uint64_t>(static_cast<int64_t>(value)));
  FinishLoad(context, instruction);
}

void LoadVector(Context& context, const Instruction& instruction) {
  const Operand* o = instruction.operands;
  const int size = SizeOf(instruction.type);
  uint8_t buffer[kMaxAccessBytes];
  context.launch.Load(context, instruction, instruction.space, context.Address(o[1]), size * o[0].element_count,
                      buffer);
  for (int i = 0; i < o[0].element_count; ++i) {
    uint64_t value = 0;
    std::memcpy(&value, buffer + i * size, size);
    context.Write(instruction.Element(o[0], i), ExtendAs(instruction.type, value));
  }
  FinishLoad(context, instruction);
}

Handler BindLoad(Instruction& i) {
  if (i.operands[0].kind == OperandKind::kVector) return &LoadVector;
  switch (SizeOf(i.type)) {
    case 1:
      return IsSigned(i.type) ? &LoadScalar<int8_t> : &LoadScalar<uint8_t>;
    case 2:
      return IsSigned(i.type) ? &LoadScalar<int16_t> : &LoadScalar<uint16_t>;
    case 4:
      return IsSigned(i.type) ? &LoadScalar<int32_t> : &LoadScalar<uint32_t>;
    case 8:
      return &LoadScalar<uint64_t>;
  }
  return nullptr;
}

void Store(Context& context, const Instruction& instruction) {
  const Operand* o = instruction.operands;
  const int size = SizeOf(instruction.type);
  const int count = o[1].kind == OperandKind::kVector ? o[1].element_count : 1;
  uint8_t buffer[kMaxAccessBytes + sizeof(uint64_t)];
  for (int i = 0; i < count; ++i) {
    const uint64_t value = context.Read(instruction.ElementOrSelf(o[1], i));
    std::memcpy(buffer + i * size, &value, sizeof(value));
  }
  if (instruction.release) context.launch.Release(context.block);
  context.launch.Store(context, instruction, instruction.space, context.Address(o[0]), size * count, buffer);
}

Handler BindStore(Instruction& i) { return i.Has("async") ? BindStoreAsync(i) : &Store; }

// --- Atomics --------------------------------------------------------------------------

// kReturns: atom gives the old value back, red does not.
template <bool kReturns>
void Atomic(Context& context, const Instruction& instruction) {
  constexpr int kLongestTurnAfterAtomic = 4;
  const Operand* o = instruction.operands + (kReturns ? 1 : 0);  // address, value, value for cas
  Launch& launch = context.launch;
  const Type type = instruction.type;
  const int size = SizeOf(type);
  const uint64_t address = context.Address(o[0]);
  if (instruction.release) launch.Release(context.block);
  uint64_t old = 0;
  launch.Load(context, instruction, instruction.space, address, size, &old, Launch::Strength::kAtomic);
  const uint64_t operand = context.Read(o[1]);
  uint64_t updated;
  if (instruction.atomic_op == AtomicOp::kCompareAndSwap) {
    updated = ZeroExtend(operand, size) == old ? context.Read(o[2]) : old;
  } else {
    updated = Combine(instruction.atomic_op, type, old, operand);
  }
  launch.Store(context, instruction, instruction.space, address, size, &updated, Launch::Strength::kAtomic);
  if (instruction.acquire) launch.Acquire(context.block);
  if (kReturns) context.Write(instruction.operands[0], old);
  context.ShortenTurn(static_cast<int>(launch.Random() % kLongestTurnAfterAtomic));
}

AtomicOp ParseAtomicOp(const Instruction& instruction) {
  static const std::unordered_map<std::string, AtomicOp> kNames = {
      {"add", AtomicOp::kAdd},       {"min", AtomicOp::kMin},
      {"max", AtomicOp::kMax},       {"and", AtomicOp::kAnd},
      {"or", AtomicOp::kOr},         {"xor", AtomicOp::kXor},
      {"exch", AtomicOp::kExchange}, {"cas", AtomicOp::kCompareAndSwap},
      {"inc", AtomicOp::kIncrement}, {"dec", AtomicOp::kDecrement}};
  for (const std::string& modifier : instruction.modifiers) {
    const auto found = kNames.find(modifier);
    if (found != kNames.end()) return found->second;
  }
  return AtomicOp::kNone;
}

template <bool kReturns>
Handler BindAtomic(Instruction& i) {
  i.atomic_op = ParseAtomicOp(i);
  if (i.atomic_op == AtomicOp::kNone || i.vector_size > 1 || i.Has("async")) return nullptr;
  return &Atomic<kReturns>;
}

// --- Fences ---------------------------------------------------------------------------

void Fence(Context& context, const Instruction& instruction) {
  constexpr int kLongestTurnAfterFence = 8;
  if (instruction.release) context.launch.Release(context.block);
  if (instruction.acquire) context.launch.Acquire(context.block);
  context.ShortenTurn(static_cast<int>(context.launch.Random() % kLongestTurnAfterFence));
}

// Fences within the block and between proxies order nothing that the race rules look at.
Handler BindFence(Instruction& i) {
  bool counts = !i.Has("cta");
  for (const std::string& modifier : i.modifiers) {
    if (modifier.rfind("proxy", 0) == 0 || modifier == "mbarrier_init") counts = false;
  }
  i.acquire = i.release = counts;
  return &Fence;
}

// --- cp.async -------------------------------------------------------------------------

// Operands: destination, source, size [, bytes to read] [, cache policy].
void IssueAsyncCopy(Context& context, const Instruction& instruction) {
  const Operand* o = instruction.operands;
  AsyncCopy copy;
  copy.destination = context.Address(o[0]);
  copy.source = context.Address(o[1]);
  copy.size = copy.source_size = static_cast<int>(context.Read(o[2]));
  if (instruction.mode != 0) copy.source_size = static_cast<int>(context.Read(o[3]));
  Launch& launch = context.launch;
  launch.CheckAccess(context, instruction, Space::kShared, copy.destination, copy.size, true);
  if (copy.source_size > 0) {
    launch.CheckAccess(context, instruction, Space::kGlobal, copy.source, copy.source_size, false);
  }
  context.thread.open_copies.push_back(copy);
}

void CommitAsyncCopies(Context& context, const Instruction&) {
  Thread& thread = context.thread;
  thread.committed_copies.push_back(std::move(thread.open_copies));
  thread.open_copies.clear();
}

void PerformAsyncCopy(Context& context, const Instruction& instruction, const AsyncCopy& copy) {
  uint8_t buffer[kMaxAccessBytes] = {};
  if (copy.source_size > 0) {
    context.launch.Load(context, instruction, Space::kGlobal, copy.source, copy.source_size, buffer,
                        Launch::Strength::kAtomic);
  }
  context.launch.Store(context, instruction, Space::kShared, copy.destination, copy.size, buffer);
}

// The data of a copy moves here, as late as the program allows.
void PerformGroups(Context& context, const Instruction& instruction, size_t may_remain) {
  Thread& thread = context.thread;
  while (thread.committed_copies.size() > may_remain) {
    const AsyncCopyGroup group = std::move(thread.committed_copies.front());
    thread.committed_copies.erase(thread.committed_copies.begin());
    for (const AsyncCopy& copy : group) PerformAsyncCopy(context, instruction, copy);
  }
}

// cp.async.wait_group N; wait_all has no operand.
void WaitForAsyncCopies(Context& context, const Instruction& instruction) {
  if (instruction.operand_count == 0) return CompleteAsyncCopies(context, instruction);
  PerformGroups(context, instruction, context.Read(instruction.operands[0]));
}

}  // namespace

void CompleteAsyncCopies(Context& context, const Instruction& instruction) {
  CommitAsyncCopies(context, instruction);
  PerformGroups(context, instruction, 0);
}

Handler BindAsyncCopy(Instruction& i) {
  if (i.Has("commit_group")) return &CommitAsyncCopies;
  if (i.Has("wait_group") || i.Has("wait_all")) return &WaitForAsyncCopies;
  const bool has_policy = i.Has("L2::cache_hint");
  i.mode = i.operand_count - (has_policy ? 1 : 0) > 3 ? 1 : 0;
  return &IssueAsyncCopy;
}

void AddMemoryBinders(BinderTable* table) {
  table->insert({
      {"ld", &BindLoad},
      {"ldu", &BindLoad},
      {"st", &BindStore},
      {"atom", &BindAtomic<true>},
      {"red", &BindAtomic<false>},
      {"fence", &BindFence},
      {"membar", &BindFence},
  });
}

}  // namespace ptxemu
