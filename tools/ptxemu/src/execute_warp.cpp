// SPDX-License-Identifier: MIT
// Warp-wide instructions without matrices: shfl, vote, match, redux, elect, bar.warp.
//
// A lane that reaches such an instruction waits; when all lanes of its mask are there, the function
// bound as warp_handler runs once for all of them.

#include <algorithm>

#include "execute.h"
#include "numeric.h"

namespace ptxemu {
namespace {

enum ShuffleMode : uint8_t { kUp, kDown, kButterfly, kIndex };
enum VoteMode : uint8_t { kBallot, kAny, kAll, kUniform };

// The member mask is the last operand.
void EnterWithMask(Context& context, const Instruction& instruction) {
  const Operand& mask = instruction.operands[instruction.operand_count - 1];
  context.launch.ArriveAtWarpOp(context, instruction, static_cast<uint32_t>(context.Read(mask)));
}

Handler BindMasked(Instruction& i, WarpHandler handler) {
  i.warp_handler = handler;
  return &EnterWithMask;
}

// What one lane waited for at an mbarrier is there for all that meet it here.
void PassWarpBarrier(Launch& launch, Block& block, int warp, uint32_t active, const Instruction&) {
  ++block.warps[warp].epoch;
  uint64_t last_wait = 0;
  ForEachLane(launch, block, warp, active,
              [&](int, Context& context) { last_wait = std::max(last_wait, context.thread.last_mbarrier_wait); });
  ForEachLane(launch, block, warp, active,
              [&](int, Context& context) { context.thread.last_mbarrier_wait = last_wait; });
}

// Source lane of a shuffle; *in_range is the predicate that the instruction gives back.
int ShuffleSource(ShuffleMode mode, int lane, uint32_t b, uint32_t c, bool* in_range) {
  const int clamp = c & 31, segment = c >> 8 & 31, amount = b & 31;
  const int highest = (lane & segment) | (clamp & ~segment);
  const int lowest = lane & segment;
  int source = 0;
  switch (mode) {
    case kUp:
      source = lane - amount;
      *in_range = source >= highest;
      break;
    case kDown:
      source = lane + amount;
      *in_range = source <= highest;
      break;
    case kButterfly:
      source = lane ^ amount;
      *in_range = source <= highest;
      break;
    case kIndex:
      source = lowest | (amount & ~segment);
      *in_range = source <= highest;
      break;
  }
  return *in_range ? source : lane;
}

void Shuffle(Launch& launch, Block& block, int warp, uint32_t active, const Instruction& instruction) {
  const Operand* o = instruction.operands;
  uint32_t values[kWarpSize] = {};
  ForEachLane(launch, block, warp, active,
              [&](int lane, Context& context) { values[lane] = static_cast<uint32_t>(context.Read(o[1])); });
  ForEachLane(launch, block, warp, active, [&](int lane, Context& context) {
    bool in_range = false;
    const int source =
        ShuffleSource(static_cast<ShuffleMode>(instruction.mode), lane, static_cast<uint32_t>(context.Read(o[2])),
                      static_cast<uint32_t>(context.Read(o[3])), &in_range);
    if ((active >> source & 1) == 0) {
      launch.Report(Finding::kShuffleFromAbsentLane, block, context.thread, instruction);
    }
    context.Write(o[0], values[source]);
    context.WriteSecond(o[0], in_range);
  });
}

Handler BindShuffle(Instruction& i) {
  i.mode = i.Has("up") ? kUp : i.Has("down") ? kDown : i.Has("bfly") ? kButterfly : kIndex;
  return BindMasked(i, &Shuffle);
}

void Vote(Launch& launch, Block& block, int warp, uint32_t active, const Instruction& instruction) {
  uint32_t ballot = 0;
  ForEachLane(launch, block, warp, active, [&](int lane, Context& context) {
    if ((context.Read(instruction.operands[1]) & 1) != 0) ballot |= 1u << lane;
  });
  uint32_t result = ballot;
  if (instruction.mode == kAny) result = ballot != 0;
  if (instruction.mode == kAll) result = ballot == active;
  if (instruction.mode == kUniform) result = ballot == active || ballot == 0;
  ForEachLane(launch, block, warp, active,
              [&](int, Context& context) { context.Write(instruction.operands[0], result); });
}

Handler BindVote(Instruction& i) {
  i.mode = i.Has("ballot") ? kBallot : i.Has("any") ? kAny : i.Has("all") ? kAll : kUniform;
  return BindMasked(i, &Vote);
}

void Reduce(Launch& launch, Block& block, int warp, uint32_t active, const Instruction& instruction) {
  uint64_t result = 0;
  bool is_first = true;
  ForEachLane(launch, block, warp, active, [&](int, Context& context) {
    const uint64_t value = context.Read(instruction.operands[1]);
    result = is_first ? value : Combine(instruction.atomic_op, instruction.type, result, value);
    is_first = false;
  });
  ForEachLane(launch, block, warp, active, [&](int, Context& context) {
    context.Write(instruction.operands[0], ZeroExtend(result, SizeOf(instruction.type)));
  });
}

Handler BindReduce(Instruction& i) {
  i.atomic_op = i.Has("add")   ? AtomicOp::kAdd
                : i.Has("min") ? AtomicOp::kMin
                : i.Has("max") ? AtomicOp::kMax
                : i.Has("and") ? AtomicOp::kAnd
                : i.Has("or")  ? AtomicOp::kOr
                               : AtomicOp::kXor;
  return BindMasked(i, &Reduce);
}

// mode 1: match.all; else match.any.
void Match(Launch& launch, Block& block, int warp, uint32_t active, const Instruction& instruction) {
  const Operand* o = instruction.operands;
  const int size = SizeOf(instruction.type);
  uint64_t values[kWarpSize] = {};
  ForEachLane(launch, block, warp, active,
              [&](int lane, Context& context) { values[lane] = ZeroExtend(context.Read(o[1]), size); });
  ForEachLane(launch, block, warp, active, [&](int lane, Context& context) {
    uint32_t same = 0;
    for (int other = 0; other < kWarpSize; ++other) {
      if ((active >> other & 1) != 0 && values[other] == values[lane]) same |= 1u << other;
    }
    const bool all = same == active;
    context.Write(o[0], instruction.mode == 0 ? same : all ? active : 0);
    if (instruction.mode == 1) context.WriteSecond(o[0], all);
  });
}

Handler BindMatch(Instruction& i) {
  i.mode = i.Has("all") ? 1 : 0;
  return BindMasked(i, &Match);
}

void Elect(Launch& launch, Block& block, int warp, uint32_t active, const Instruction& instruction) {
  const int leader = __builtin_ctz(active);
  ForEachLane(launch, block, warp, active, [&](int lane, Context& context) {
    context.Write(instruction.operands[0], leader);
    context.WriteSecond(instruction.operands[0], lane == leader);
  });
}

}  // namespace

Handler BindWarpBarrier(Instruction& i) { return BindMasked(i, &PassWarpBarrier); }

void AddWarpBinders(BinderTable* table) {
  table->insert({
      {"shfl", &BindShuffle},
      {"vote", &BindVote},
      {"redux", &BindReduce},
      {"match", &BindMatch},
      {"elect", [](Instruction& i) -> Handler { return BindMasked(i, &Elect); }},
  });
}

}  // namespace ptxemu
