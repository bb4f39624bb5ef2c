// SPDX-License-Identifier: MIT
// Branches, exits, block and cluster barriers, special registers, and instructions without effect.

#include "execute.h"
#include "special_registers.h"

namespace ptxemu {
namespace {

// --- Branches and exits ---------------------------------------------------------------

void Branch(Context& context, const Instruction& instruction) { context.thread.pc = instruction.operands[0].index; }

void BranchByTable(Context& context, const Instruction& instruction) {
  const Operand& table = instruction.operands[1];
  const auto index = static_cast<uint32_t>(context.Read(instruction.operands[0]));
  if (index >= static_cast<uint32_t>(table.element_count)) {
    context.launch.Fail("branch table index out of range", context, instruction);
  }
  context.thread.pc = instruction.Element(table, static_cast<int>(index)).index;
}

void Exit(Context& context, const Instruction& instruction) { context.launch.ExitThread(context, instruction); }

void Trap(Context& context, const Instruction& instruction) { context.launch.Fail("trap", context, instruction); }

void DoNothing(Context&, const Instruction&) {}

void EndTurn(Context& context, const Instruction&) { context.ShortenTurn(0); }

// --- Barriers -------------------------------------------------------------------------

// Operands: [destination of a reduction,] barrier [, thread count] [, predicate of a reduction].
void BlockBarrierOperation(Context& context, const Instruction& instruction) {
  const auto mode = static_cast<BarrierMode>(instruction.mode);
  const bool reduces = mode >= BarrierMode::kReducePopc;
  const Operand* o = instruction.operands + (reduces ? 1 : 0);
  const int count = instruction.operand_count - (reduces ? 2 : 0);  // without those of the reduction
  const int id = static_cast<int>(context.Read(o[0])) & (kBarrierCount - 1);
  const int expected = count > 1 ? static_cast<int>(context.Read(o[1])) : 0;
  BlockBarrier& barrier = context.block.barriers[id];
  const int pc = context.thread.pc - 1;
  if (barrier.arrived > 0 && barrier.last_pc != pc && mode != BarrierMode::kArrive && expected == 0) {
    context.launch.Report(Finding::kDivergentBarrier, context.block, context.thread, instruction);
  }
  barrier.last_pc = pc;
  ++barrier.arrived;
  if (expected > 0) barrier.expected = expected;
  if (reduces) {
    const bool value = (context.Read(o[count]) & 1) != 0;
    barrier.true_count += value;
    barrier.all &= value;
    barrier.any |= value;
  }
  if (mode != BarrierMode::kArrive) {
    context.thread.state = ThreadState::kAtBarrier;
    barrier.waiting.push_back(context.thread.index);
  }
  context.launch.CompleteBarrierIfFull(context.block, id);
}

void ArriveAtCluster(Context& context, const Instruction& instruction) {
  context.launch.ArriveAtClusterBarrier(context, instruction.release);
}

void WaitAtCluster(Context& context, const Instruction& instruction) {
  context.launch.WaitAtClusterBarrier(context, instruction, instruction.acquire);
}

// Without a qualifier arrive releases and wait acquires.
Handler BindClusterBarrier(Instruction& i) {
  i.release = !i.Has("relaxed");
  i.acquire = true;
  return i.Has("arrive") ? &ArriveAtCluster : &WaitAtCluster;
}

BarrierMode ParseBarrierMode(const Instruction& i) {
  if (i.Has("arrive")) return BarrierMode::kArrive;
  if (!i.Has("red")) return BarrierMode::kSync;
  if (i.Has("popc")) return BarrierMode::kReducePopc;
  return i.Has("and") ? BarrierMode::kReduceAnd : BarrierMode::kReduceOr;
}

Handler BindBarrier(Instruction& i) {
  if (i.Has("warp")) return BindWarpBarrier(i);
  if (i.Has("cluster")) return BindClusterBarrier(i);
  i.mode = static_cast<uint8_t>(ParseBarrierMode(i));
  return &BlockBarrierOperation;
}

// --- Special registers ----------------------------------------------------------------

void ReadSpecial(Context& context, const Instruction& instruction) {
  context.Write(instruction.operands[0], ReadSpecialRegister(context, instruction.mode));
}

void ActiveMask(Context& context, const Instruction& instruction) {
  const Thread& thread = context.thread;
  context.Write(instruction.operands[0], context.block.warps[thread.warp].present);
  context.launch.Report(Finding::kActiveMask, context.block, thread, instruction);
}

template <Handler kHandler>
Handler Always(Instruction&) {
  return kHandler;
}

}  // namespace

void AddControlBinders(BinderTable* table) {
  table->insert({
      {"bra", &Always<&Branch>},
      {"brx", &Always<&BranchByTable>},
      {"ret", &Always<&Exit>},
      {"exit", &Always<&Exit>},
      {"trap", &Always<&Trap>},
      {"brkpt", &Always<&Trap>},
      {"bar", &BindBarrier},
      {"barrier", &BindBarrier},
      {kReadSpecialName, &Always<&ReadSpecial>},
      {"activemask", &Always<&ActiveMask>},
      {"nanosleep", &Always<&EndTurn>},
      {"prefetch", &Always<&DoNothing>},
      {"prefetchu", &Always<&DoNothing>},
      {"griddepcontrol", &Always<&DoNothing>},
      {"pmevent", &Always<&DoNothing>},
      {"createpolicy", &Always<&DoNothing>},
      {"applypriority", &Always<&DoNothing>},
      {"discard", &Always<&DoNothing>},
      {"setmaxnreg", &Always<&DoNothing>},
  });
}

}  // namespace ptxemu
