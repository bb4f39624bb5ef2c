// SPDX-License-Identifier: MIT
// Thread block clusters: addresses of distributed shared memory.

#include "execute.h"

namespace ptxemu {
namespace {

uint64_t ClusterBits(int rank) { return static_cast<uint64_t>(rank + 1) << kClusterRankShift; }
uint64_t OffsetBits(uint64_t address) { return address & ((uint64_t{1} << kClusterRankShift) - 1); }

// mapa: the address of the same variable in the block with the given rank.
void MapAddress(Context& context, const Instruction& instruction) {
  const Operand* o = instruction.operands;
  const uint64_t address = context.Read(o[1]);
  const int rank = static_cast<int>(context.Read(o[2]));
  context.launch.BlockOfCluster(context, instruction, rank);  // checks the rank
  const uint64_t window = instruction.space == Space::kShared ? 0 : kSharedWindow;
  context.Write(o[0], window + (ClusterBits(rank) | OffsetBits(address - window)));
}

// getctarank: the rank of the block that an address belongs to.
void GetRank(Context& context, const Instruction& instruction) {
  uint64_t address = context.Read(instruction.operands[1]);
  if (instruction.space != Space::kShared) address -= kSharedWindow;
  const uint64_t bits = address >> kClusterRankShift;
  context.Write(instruction.operands[0], bits == 0 ? context.block.cluster_rank : bits - 1);
}

}  // namespace

void AddClusterBinders(BinderTable* table) {
  table->insert({
      {"mapa", [](Instruction&) -> Handler { return &MapAddress; }},
      {"getctarank", [](Instruction&) -> Handler { return &GetRank; }},
  });
}

}  // namespace ptxemu
