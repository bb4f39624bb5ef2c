// SPDX-License-Identifier: MIT
// Special registers: a table from name to the function that computes the value.

#include "special_registers.h"

#include "machine.h"

namespace ptxemu {
namespace {

using Getter = uint64_t (*)(const Context&);

struct SpecialRegisterEntry {
  const char* name;
  Getter get;
};

uint64_t LanesBelow(const Context& c) { return (uint64_t{1} << c.thread.lane) - 1; }
uint64_t LanesUpTo(const Context& c) { return (uint64_t{2} << c.thread.lane) - 1; }

// Cooperative launches pass the address of the grid workspace in %envreg1 (high) and %envreg2
// (low).
uint64_t GridWorkspace(const Context& c) {
  return c.launch.request().cooperative ? c.launch.grid_workspace_address() : 0;
}

const Dim3& Grid(const Context& c) { return c.launch.request().grid; }
const Dim3& BlockSize(const Context& c) { return c.launch.request().block; }
const Dim3& ClusterShape(const Context& c) { return c.launch.request().cluster; }

#define PTXEMU_VALUE(expression) \
  [](const Context& c) -> uint64_t { return static_cast<uint64_t>(expression); }

constexpr SpecialRegisterEntry kEntries[] = {
    {"%tid.x", PTXEMU_VALUE(c.thread.position.x)},
    {"%tid.y", PTXEMU_VALUE(c.thread.position.y)},
    {"%tid.z", PTXEMU_VALUE(c.thread.position.z)},
    {"%ntid.x", PTXEMU_VALUE(BlockSize(c).x)},
    {"%ntid.y", PTXEMU_VALUE(BlockSize(c).y)},
    {"%ntid.z", PTXEMU_VALUE(BlockSize(c).z)},
    {"%ctaid.x", PTXEMU_VALUE(c.block.position.x)},
    {"%ctaid.y", PTXEMU_VALUE(c.block.position.y)},
    {"%ctaid.z", PTXEMU_VALUE(c.block.position.z)},
    {"%nctaid.x", PTXEMU_VALUE(Grid(c).x)},
    {"%nctaid.y", PTXEMU_VALUE(Grid(c).y)},
    {"%nctaid.z", PTXEMU_VALUE(Grid(c).z)},
    {"%laneid", PTXEMU_VALUE(c.thread.lane)},
    {"%warpid", PTXEMU_VALUE(c.thread.warp)},
    {"%nwarpid", PTXEMU_VALUE(c.launch.warps_per_block())},
    {"%lanemask_eq", PTXEMU_VALUE(uint32_t{1} << c.thread.lane)},
    {"%lanemask_lt", PTXEMU_VALUE(LanesBelow(c))},
    {"%lanemask_le", PTXEMU_VALUE(LanesUpTo(c))},
    {"%lanemask_gt", PTXEMU_VALUE(static_cast<uint32_t>(~LanesUpTo(c)))},
    {"%lanemask_ge", PTXEMU_VALUE(static_cast<uint32_t>(~LanesBelow(c)))},
    {"%smid", PTXEMU_VALUE(c.block.id % c.launch.options().resident_blocks)},
    {"%nsmid", PTXEMU_VALUE(c.launch.options().resident_blocks)},
    {"%gridid", PTXEMU_VALUE(c.launch.operation())},
    {"%clock", PTXEMU_VALUE(static_cast<uint32_t>(c.launch.time()))},
    {"%clock_hi", PTXEMU_VALUE(c.launch.time() >> 32)},
    {"%clock64", PTXEMU_VALUE(c.launch.time())},
    {"%globaltimer", PTXEMU_VALUE(c.launch.time())},
    {"%globaltimer_lo", PTXEMU_VALUE(static_cast<uint32_t>(c.launch.time()))},
    {"%globaltimer_hi", PTXEMU_VALUE(c.launch.time() >> 32)},
    {"%envreg1", PTXEMU_VALUE(GridWorkspace(c) >> 32)},
    {"%envreg2", PTXEMU_VALUE(static_cast<uint32_t>(GridWorkspace(c)))},
    {"%dynamic_smem_size", PTXEMU_VALUE(c.launch.request().dynamic_shared)},
    {"%total_smem_size", PTXEMU_VALUE(c.launch.request().dynamic_shared + c.launch.kernel().shared_bytes)},
    {"%cluster_ctarank", PTXEMU_VALUE(c.block.cluster_rank)},
    {"%cluster_nctarank", PTXEMU_VALUE(ClusterShape(c).Count())},
    {"%cluster_ctaid.x", PTXEMU_VALUE(c.block.cluster_position.x)},
    {"%cluster_ctaid.y", PTXEMU_VALUE(c.block.cluster_position.y)},
    {"%cluster_ctaid.z", PTXEMU_VALUE(c.block.cluster_position.z)},
    {"%cluster_nctaid.x", PTXEMU_VALUE(ClusterShape(c).x)},
    {"%cluster_nctaid.y", PTXEMU_VALUE(ClusterShape(c).y)},
    {"%cluster_nctaid.z", PTXEMU_VALUE(ClusterShape(c).z)},
    {"%clusterid.x", PTXEMU_VALUE(c.block.position.x / ClusterShape(c).x)},
    {"%clusterid.y", PTXEMU_VALUE(c.block.position.y / ClusterShape(c).y)},
    {"%clusterid.z", PTXEMU_VALUE(c.block.position.z / ClusterShape(c).z)},
    {"%nclusterid.x", PTXEMU_VALUE(Grid(c).x / ClusterShape(c).x)},
    {"%nclusterid.y", PTXEMU_VALUE(Grid(c).y / ClusterShape(c).y)},
    {"%nclusterid.z", PTXEMU_VALUE(Grid(c).z / ClusterShape(c).z)},
    {"%is_explicit_cluster", PTXEMU_VALUE(ClusterShape(c).Count() > 1)},
};

#undef PTXEMU_VALUE

}  // namespace

int FindSpecialRegister(const std::string& name) {
  if (name.empty() || name[0] != '%') return -1;
  int number = 0;
  for (const SpecialRegisterEntry& entry : kEntries) {
    if (name == entry.name) return number;
    ++number;
  }
  return -1;
}

uint64_t ReadSpecialRegister(const Context& context, int number) { return kEntries[number].get(context); }

}  // namespace ptxemu
