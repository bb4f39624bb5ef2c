// SPDX-License-Identifier: MIT
// Launch life cycle, scheduler, and the places where threads wait for each other.

#include "machine.h"

#include <algorithm>
#include <cstdio>

namespace ptxemu {

Context::Context(Launch& l, Block& b, Thread& t)
    : launch(l), block(b), thread(t), registers(t.registers), banks{t.registers, l.constants().data()} {}

// --- Set-up ---------------------------------------------------------------------------

Launch::Launch(const LaunchRequest& request, const Options& options, uint32_t operation, const OrderQuery& ordered)
    : request_(request), options_(options), operation_(operation), parameters_(request.parameters),
      constants_(request.kernel->constants), threads_per_block_(static_cast<int>(request.block.Count())),
      blocks_in_grid_(static_cast<uint32_t>(request.grid.Count())), random_(options.seed * 1000003 + operation),
      allocation_hints_(request.kernel->code.size()), races_(this, operation, blocks_in_grid_, ordered) {
  const uint32_t alignment = kernel().dynamic_shared_alignment;
  const uint32_t static_bytes = (kernel().shared_bytes + alignment - 1) / alignment * alignment;
  dynamic_shared_start_ = kSharedStart + static_bytes;
  for (int index : kernel().dynamic_shared_constants) constants_[index] += dynamic_shared_start_;
  // Reads of the last parameter may be wider than the parameter.
  constexpr int kSlack = 16;
  parameters_.resize(kernel().parameter_bytes + kSlack);
  cluster_count_ = static_cast<uint32_t>(blocks_in_grid_ / request.cluster.Count());
  if (options.statistics != nullptr) execution_counts_.resize(kernel().code.size());
  AllocationTable::Get().Add(grid_workspace_.data(), sizeof(grid_workspace_), "grid workspace");
}

Launch::~Launch() { AllocationTable::Get().Remove(grid_workspace_.data()); }

void Launch::CheckLimits() const {
  const uint64_t shared = uint64_t{kernel().shared_bytes} + request_.dynamic_shared;
  if (shared > kMaxSharedBytes) { throw EmulationError("shared memory over 227 KB: " + std::to_string(shared)); }
  if (threads_per_block_ == 0 || threads_per_block_ > kernel().max_threads) {
    throw EmulationError("bad block size " + std::to_string(threads_per_block_));
  }
  if (request_.cooperative && blocks_in_grid_ > static_cast<uint32_t>(options_.resident_blocks)) {
    throw EmulationError("cooperative launch too large");
  }
}

void Launch::StartClusters() {
  const size_t cluster_size = request_.cluster.Count();
  const auto limit = std::max<size_t>(options_.resident_blocks, cluster_size);
  while (next_cluster_ < cluster_count_ && resident_.size() + cluster_size <= limit) StartCluster();
}

void Launch::StartCluster() {
  const Dim3& shape = request_.cluster;
  const uint32_t columns = request_.grid.x / shape.x, rows = request_.grid.y / shape.y;
  const uint32_t n = next_cluster_++;
  const Dim3 cluster_position = {n % columns, n / columns % rows, n / columns / rows};
  auto cluster = std::make_shared<Cluster>();
  for (uint32_t rank = 0; rank < shape.Count(); ++rank) {
    const Dim3 in_cluster = {rank % shape.x, rank / shape.x % shape.y, rank / shape.x / shape.y};
    auto block = MakeBlock({cluster_position.x * shape.x + in_cluster.x, cluster_position.y * shape.y + in_cluster.y,
                            cluster_position.z * shape.z + in_cluster.z});
    block->cluster = cluster;
    block->cluster_rank = static_cast<int>(rank);
    block->cluster_position = in_cluster;
    cluster->blocks.push_back(block.get());
    resident_.push_back(std::move(block));
  }
}

std::unique_ptr<Block> Launch::MakeBlock(Dim3 position) {
  // Patterns that make use of uninitialised data visible: NaN as floats, a marker in registers.
  constexpr uint8_t kFreshMemory = 0xff;
  constexpr uint64_t kFreshRegister = 0xdeadbeefdeadbeefull;
  constexpr uint32_t kLocalSlack = 16;
  auto block = std::make_unique<Block>();
  const Dim3& grid = request_.grid;
  block->id = (position.z * grid.y + position.y) * grid.x + position.x;
  block->position = position;
  block->shared.assign(dynamic_shared_start_ + request_.dynamic_shared, kFreshMemory);
  block->shared_shadow = std::make_unique<ShadowMemory>(block->shared.size());
  block->live_threads = threads_per_block_;
  block->last_acquire = ++time_;
  block->warps.resize(warps_per_block());
  block->threads.resize(threads_per_block_);
  const size_t register_count = kernel().register_count;
  const size_t local_bytes = kernel().local_bytes + kLocalSlack;
  block->registers.assign(register_count * threads_per_block_, kFreshRegister);
  block->local.assign(local_bytes * threads_per_block_, kFreshMemory);
  const Dim3& size = request_.block;
  for (int i = 0; i < threads_per_block_; ++i) {
    Thread& thread = block->threads[i];
    const uint32_t u = i;
    thread.registers = &block->registers[register_count * i];
    thread.local = &block->local[local_bytes * i];
    thread.index = i;
    thread.lane = i % kWarpSize;
    thread.warp = i / kWarpSize;
    thread.position = {u % size.x, u / size.x % size.y, u / size.x / size.y};
    block->warps[thread.warp].present |= 1u << thread.lane;
  }
  return block;
}

// --- Scheduler ------------------------------------------------------------------------

void Launch::Run() {
  CheckLimits();
  StartClusters();
  while (!resident_.empty()) {
    bool progress = RunPass();
    if (!bulk_copies_.empty()) progress |= DeliverBulkCopies(/*all=*/!progress);
    const size_t before = resident_.size();
    RetireFinishedBlocks();
    if (!progress && resident_.size() == before) {
      for (auto& block : resident_) block->frozen_until = 0;
      if (DescribeThreads(/*waiting=*/false, 1).empty()) FailWithDeadlock();
    }
    CheckStepLimit();
  }
  if (options_.verbose > 0) {
    std::fprintf(stderr, "[ptxemu] %s<<<%u,%d,%u>>> %llu steps, %llu races, %llu other reports\n",
                 kernel().name.c_str(), blocks_in_grid_, threads_per_block_, request_.dynamic_shared,
                 static_cast<unsigned long long>(steps_), static_cast<unsigned long long>(reporter_.races()),
                 static_cast<unsigned long long>(reporter_.others()));
  }
}

// Gives every block that is not frozen a turn; false if no thread could run.
bool Launch::RunPass() {
  constexpr uint64_t kFreezeOneIn = 64, kLongestFreeze = 300;
  ++pass_;
  std::shuffle(resident_.begin(), resident_.end(), random_);
  bool progress = false;
  for (auto& block : resident_) {
    if (resident_.size() > 1) {
      if (block->frozen_until > pass_) continue;
      if (random_() % kFreezeOneIn == 0) {
        block->frozen_until = pass_ + random_() % kLongestFreeze;
        continue;
      }
    }
    const int warps = warps_per_block();
    const int first = static_cast<int>(random_() % warps);
    for (int i = 0; i < warps; ++i) progress |= RunWarp(*block, (first + i) % warps);
  }
  return progress;
}

bool Launch::RunWarp(Block& block, int warp) {
  static constexpr int kTurns[] = {1, 3, 40, 400, 2000};
  const int first_lane = static_cast<int>(random_() % kWarpSize);
  const int turn = kTurns[random_() % 5];
  const int first_thread = warp * kWarpSize;
  bool progress = false;
  for (int i = 0; i < kWarpSize; ++i) {
    const int index = first_thread + (first_lane + i) % kWarpSize;
    if (index >= threads_per_block_) continue;
    Thread& thread = block.threads[index];
    if (thread.state != ThreadState::kRunning) continue;
    progress = true;
    RunThread(block, thread, turn);
  }
  return progress;
}

void Launch::RunThread(Block& block, Thread& thread, int turn) {
  Context context(*this, block, thread);
  context.turn_left = turn;
  const Instruction* code = kernel().code.data();
  uint64_t* counts = execution_counts_.empty() ? nullptr : execution_counts_.data();
  while (context.turn_left-- > 0 && thread.state == ThreadState::kRunning) {
    const int pc = thread.pc++;
    const Instruction& instruction = code[pc];
    ++time_;
    ++steps_;
    if (instruction.predicate >= 0) {
      const bool value = (context.registers[instruction.predicate] & 1) != 0;
      if (value == instruction.predicate_negated) continue;
    }
    if (counts != nullptr) ++counts[pc];
    instruction.handler(context, instruction);
  }
}

void Launch::RetireFinishedBlocks() {
  const auto is_finished = [this](std::unique_ptr<Block>& block) {
    if (block->live_threads > 0 || block->copies_in_flight > 0) return false;
    if (options_.weak_memory) block->cache.Flush();
    block->cluster->blocks[block->cluster_rank] = nullptr;
    return true;
  };
  resident_.erase(std::remove_if(resident_.begin(), resident_.end(), is_finished), resident_.end());
  StartClusters();
}

void Launch::CheckStepLimit() const {
  if (steps_ <= options_.max_steps) return;
  throw EmulationError("STEP LIMIT (livelock? grid " + std::to_string(blocks_in_grid_) + " blocks, " +
                       std::to_string(resident_.size()) + " resident):" + DescribeThreads(/*waiting=*/false, 4));
}

void Launch::FailWithDeadlock() const { throw EmulationError("DEADLOCK:" + DescribeThreads(/*waiting=*/true, 6)); }

std::string Launch::DescribeThreads(bool waiting, int most) const {
  std::string text;
  for (const auto& block : resident_) {
    for (const Thread& thread : block->threads) {
      if (thread.state == ThreadState::kExited) continue;
      if ((thread.state == ThreadState::kRunning) == waiting) continue;
      if (most-- <= 0) return text;
      const char* state = "running";
      if (thread.state == ThreadState::kAtBarrier) state = "waits at barrier";
      if (thread.state == ThreadState::kAtWarpOp) state = "waits at warp operation";
      if (thread.state == ThreadState::kAtClusterBarrier) state = "waits at cluster barrier";
      const int pc = waiting ? thread.pc - 1 : thread.pc;
      text += "\n   " + std::string(state) + " " + Where(*block, thread, kernel().code[pc]);
    }
  }
  return text;
}

// --- Barriers -------------------------------------------------------------------------

void Launch::CompleteBarrierIfFull(Block& block, int id) {
  BlockBarrier& barrier = block.barriers[id];
  if (barrier.arrived == 0) return;
  const int expected = barrier.expected > 0 ? barrier.expected : block.live_threads;
  if (barrier.arrived < expected) return;
  ++block.epoch;
  ShareMbarrierWaits(block);
  for (int index : barrier.waiting) {
    Thread& thread = block.threads[index];
    thread.state = ThreadState::kRunning;
    const Instruction& instruction = kernel().code[thread.pc - 1];
    const int destination = instruction.operands[0].index;
    switch (static_cast<BarrierMode>(instruction.mode)) {
      case BarrierMode::kReducePopc:
        thread.registers[destination] = barrier.true_count;
        break;
      case BarrierMode::kReduceAnd:
        thread.registers[destination] = barrier.all;
        break;
      case BarrierMode::kReduceOr:
        thread.registers[destination] = barrier.any;
        break;
      default:
        break;
    }
  }
  barrier = BlockBarrier();
}

void Launch::ArriveAtWarpOp(Context& context, const Instruction& instruction, uint32_t mask) {
  Thread& thread = context.thread;
  const uint32_t lane_bit = 1u << thread.lane;
  if ((mask & lane_bit) == 0) Fail("lane not in membermask", context, instruction);
  thread.state = ThreadState::kAtWarpOp;
  const int key = instruction.name == "bar" || instruction.name == "barrier" ? kAnyWarpBarrier : thread.pc - 1;
  Warp& warp = context.block.warps[thread.warp];
  WarpMeeting* meeting = nullptr;
  for (WarpMeeting& each : warp.meetings) {
    if (each.key == key && each.mask == mask) meeting = &each;
  }
  if (meeting == nullptr) {
    warp.meetings.push_back({key, mask, 0, &instruction});
    meeting = &warp.meetings.back();
  }
  meeting->arrived |= lane_bit;
  if ((mask & warp.present & ~meeting->arrived) == 0) FinishMeetings(context.block, thread.warp);
}

// Executes the warp-wide instructions that all their lanes, other than exited ones, have reached.
void Launch::FinishMeetings(Block& block, int warp_index) {
  Warp& warp = block.warps[warp_index];
  for (size_t i = 0; i < warp.meetings.size();) {
    const WarpMeeting meeting = warp.meetings[i];
    if ((meeting.mask & warp.present & ~meeting.arrived) != 0) {
      ++i;
      continue;
    }
    warp.meetings.erase(warp.meetings.begin() + i);
    const uint32_t active = meeting.arrived & warp.present;
    for (int lane = 0; lane < kWarpSize; ++lane) {
      if (active >> lane & 1) { block.threads[warp_index * kWarpSize + lane].state = ThreadState::kRunning; }
    }
    meeting.instruction->warp_handler(*this, block, warp_index, active, *meeting.instruction);
  }
}

void Launch::ArriveAtClusterBarrier(Context& context, bool release) {
  Cluster& cluster = *context.block.cluster;
  if (release) Release(context.block);
  context.thread.cluster_arrived = true;
  context.thread.cluster_phase = cluster.phase;
  ++cluster.arrived;
  ReleaseClusterWaiters(cluster);
}

void Launch::WaitAtClusterBarrier(Context& context, const Instruction& instruction, bool acquire) {
  Thread& thread = context.thread;
  if (!thread.cluster_arrived) Fail("cluster wait without arrive", context, instruction);
  thread.cluster_arrived = false;
  if (context.block.cluster->phase == thread.cluster_phase) {
    thread.state = ThreadState::kAtClusterBarrier;
  } else if (acquire) {
    Acquire(context.block);
  }
}

// Completes the phase of the cluster barrier if all live threads have arrived.
void Launch::ReleaseClusterWaiters(Cluster& cluster) {
  int live = 0;
  for (const Block* block : cluster.blocks) live += block != nullptr ? block->live_threads : 0;
  if (cluster.arrived < live || cluster.arrived == 0) return;
  cluster.arrived = 0;
  ++cluster.phase;
  for (Block* block : cluster.blocks) {
    if (block == nullptr) continue;
    Acquire(*block);
    ++block->epoch;
    ShareMbarrierWaits(*block);
    for (Thread& thread : block->threads) {
      if (thread.state == ThreadState::kAtClusterBarrier) thread.state = ThreadState::kRunning;
    }
  }
}

void Launch::ExitThread(Context& context, const Instruction& instruction) {
  Block& block = context.block;
  Thread& thread = context.thread;
  thread.state = ThreadState::kExited;
  block.warps[thread.warp].present &= ~(1u << thread.lane);
  --block.live_threads;
  if (!thread.open_copies.empty() || !thread.committed_copies.empty()) {
    Report(Finding::kAsyncCopyNotWaited, block, thread, instruction);
  }
  for (int id = 0; id < kBarrierCount; ++id) CompleteBarrierIfFull(block, id);
  FinishMeetings(block, thread.warp);
  if (block.cluster->blocks.size() > 1) ReleaseClusterWaiters(*block.cluster);
}

// --- Fences and messages --------------------------------------------------------------

void Launch::Acquire(Block& block) {
  block.last_acquire = ++time_;
  if (options_.weak_memory) block.cache.Flush();
}

void Launch::Release(Block& block) {
  if (options_.weak_memory) block.cache.Flush();
  races_.OnRelease(block.id, ++time_);
}

std::string Launch::Where(const Block& block, const Thread& thread, const Instruction& instruction) const {
  const auto triple = [](const Dim3& d) {
    return "(" + std::to_string(d.x) + "," + std::to_string(d.y) + "," + std::to_string(d.z) + ")";
  };
  std::string text = kernel().name + " block" + triple(block.position) + " thread" + triple(thread.position) +
                     " ptx line " + std::to_string(instruction.ptx_line);
  if (instruction.source_line != 0) text += " src line " + std::to_string(instruction.source_line);
  return text + " `" + instruction.text + "`";
}

void Launch::Report(Finding finding, const Block& block, const Thread& thread, const Instruction& instruction,
                    const std::string& detail) {
  reporter_.Report(finding, instruction.text, Where(block, thread, instruction) + " " + detail);
}

void Launch::Fail(const std::string& what, const Context& context, const Instruction& instruction) const {
  throw EmulationError(what + " at " + Where(context.block, context.thread, instruction));
}

}  // namespace ptxemu
