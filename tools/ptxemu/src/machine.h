// SPDX-License-Identifier: MIT
// The simulated machine during one kernel launch: threads, warps, blocks, clusters and the
// scheduler.
//
// As many blocks as the device holds are resident together. Every thread has its own program
// counter; the scheduler picks blocks, warps and lanes in random order (by seed), runs each for a
// random number of instructions, and now and then freezes a block for a while.

#ifndef PTXEMU_MACHINE_H_
#define PTXEMU_MACHINE_H_

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include "checks.h"
#include "instruction.h"
#include "memory.h"
#include "options.h"
#include "types.h"

namespace ptxemu {

enum class ThreadState : uint8_t { kRunning, kAtBarrier, kAtWarpOp, kAtClusterBarrier, kExited };

// A cp.async that was issued but not waited for: the data moves at the wait.
struct AsyncCopy {
  uint64_t destination = 0, source = 0;
  int size = 0, source_size = 0;
};
using AsyncCopyGroup = std::vector<AsyncCopy>;

struct Thread {
  uint64_t* registers = nullptr;
  uint8_t* local = nullptr;
  int pc = 0;  // index of the next instruction
  ThreadState state = ThreadState::kRunning;
  bool cluster_arrived = false;  // arrived at the cluster barrier, not waited yet
  uint64_t cluster_phase = 0;    // phase of the cluster barrier it arrived in
  int index = 0;                 // in the block
  int lane = 0, warp = 0;
  Dim3 position;
  uint64_t last_mbarrier_wait = 0;  // time of the last successful one
  AsyncCopyGroup open_copies;
  std::vector<AsyncCopyGroup> committed_copies;
  AsyncCopyGroup open_bulk_copies;  // cp.async.bulk from shared to global memory
  std::vector<AsyncCopyGroup> committed_bulk_copies;
};

// Lanes that wait for each other at a warp-wide instruction.
struct WarpMeeting {
  int key = 0;  // the instruction, or kAnyWarpBarrier
  uint32_t mask = 0, arrived = 0;
  const Instruction* instruction = nullptr;
};
constexpr int kAnyWarpBarrier = -1;  // bar.warp.sync meets across different program counters

struct Warp {
  uint32_t epoch = 1;    // bar.warp.sync passed
  uint32_t present = 0;  // lanes that exist and have not exited
  std::vector<WarpMeeting> meetings;
};

struct BlockBarrier {
  int arrived = 0;
  int expected = 0;  // 0: all live threads
  int true_count = 0;
  bool all = true, any = false;
  int last_pc = -1;
  std::vector<int> waiting;
};

struct Block;

struct Cluster {
  std::vector<Block*> blocks;  // by rank; nullptr once the block has exited
  int arrived = 0;
  uint64_t phase = 0;
};

struct Block {
  uint32_t id = 0;
  Dim3 position;
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  std::vector<uint64_t> registers;
  std::vector<uint8_t> local;
  std::vector<uint8_t> shared;
  std::unique_ptr<ShadowMemory> shared_shadow;
  std::array<BlockBarrier, kBarrierCount> barriers;
  int live_threads = 0;
  int copies_in_flight = 0;         // bulk copies from or to this block
  uint32_t epoch = 1;               // barriers passed
  uint64_t last_acquire = 0;        // time of the last fence
  uint64_t last_mbarrier_wait = 0;  // that all threads know of through a barrier
  WriteBackCache cache;
  uint64_t frozen_until = 0;  // scheduler pass
  std::shared_ptr<Cluster> cluster;
  int cluster_rank = 0;
  Dim3 cluster_position;
};

class Launch;

// What a handler works on: one thread of one block.
struct Context {
  Context(Launch& l, Block& b, Thread& t);

  uint64_t Read(const Operand& operand) const { return banks[operand.bank][operand.index]; }
  uint64_t Address(const Operand& operand) const { return Read(operand) + operand.offset; }
  void Write(const Operand& operand, uint64_t value) { registers[operand.index] = value; }
  void WriteSecond(const Operand& operand, uint64_t value) {
    if (operand.second >= 0) registers[operand.second] = value;
  }
  // Lets other threads run soon: used behind synchronisation, where interleaving matters most.
  void ShortenTurn(int most) {
    if (turn_left > most) turn_left = most;
  }

  Launch& launch;
  Block& block;
  Thread& thread;
  uint64_t* registers;
  const uint64_t* banks[2];
  int turn_left = 0;  // instructions
};

// Address of a shared or distributed shared location: the block that owns it and the offset there.
struct SharedLocation {
  Block* block = nullptr;
  uint64_t offset = 0;
};

// A cp.async.bulk or st.async on its way to shared memory.
struct BulkCopy {
  BulkCopy(Context& context, const Instruction& i);

  Block* issuer;
  Thread* thread;
  const Instruction* instruction;
  SharedLocation target, barrier;
  const uint8_t* source = nullptr;  // null: the bytes are in `data`
  std::vector<uint8_t> data;        // its size is that of the copy
};

struct LaunchRequest {
  std::shared_ptr<const Kernel> kernel;
  Dim3 grid, block, cluster;
  uint32_t dynamic_shared = 0;
  std::vector<uint8_t> parameters;
  bool cooperative = false;
};

class Launch {
 public:
  Launch(const LaunchRequest& request, const Options& options, uint32_t operation, const OrderQuery& ordered);
  ~Launch();
  Launch(const Launch&) = delete;
  Launch& operator=(const Launch&) = delete;

  // Runs the grid to its end; throws EmulationError when the launch fails.
  void Run();

  // --- For the instruction handlers ---------------------------------------------------

  enum class Strength : uint8_t { kPlain, kAtomic };  // kAtomic: no race, not through the cache

  // Memory of one thread. All bounds, alignment and race checks happen here.
  void Load(Context& context, const Instruction& instruction, Space space, uint64_t address, int size, void* out,
            Strength strength = Strength::kPlain);
  void Store(Context& context, const Instruction& instruction, Space space, uint64_t address, int size, const void* in,
             Strength strength = Strength::kPlain);
  // Only the checks of an access, without the access.
  void CheckAccess(Context& context, const Instruction& instruction, Space space, uint64_t address, int size,
                   bool is_write);

  void Acquire(Block& block);
  void Release(Block& block);

  // A thread waits at, or passes, the things that threads wait for.
  void CompleteBarrierIfFull(Block& block, int id);
  void ArriveAtWarpOp(Context& context, const Instruction& instruction, uint32_t mask);
  void ArriveAtClusterBarrier(Context& context, bool release);
  void WaitAtClusterBarrier(Context& context, const Instruction& instruction, bool acquire);
  void ExitThread(Context& context, const Instruction& instruction);

  // "kernel block(0,0,0) thread(3,0,0) ptx line 17 src line 5 `ld.shared...`"
  std::string Where(const Block& block, const Thread& thread, const Instruction& instruction) const;
  void Report(Finding finding, const Block& block, const Thread& thread, const Instruction& instruction,
              const std::string& detail = "");
  [[noreturn]] void Fail(const std::string& what, const Context& context, const Instruction& instruction) const;

  uint64_t Random() { return random_(); }
  const LaunchRequest& request() const { return request_; }
  const Kernel& kernel() const { return *request_.kernel; }
  const Options& options() const { return options_; }
  const std::vector<uint64_t>& constants() const { return constants_; }
  const std::vector<uint8_t>& parameters() const { return parameters_; }
  RaceDetector& races() { return races_; }
  uint64_t time() const { return time_; }
  uint32_t operation() const { return operation_; }
  int threads_per_block() const { return threads_per_block_; }
  int warps_per_block() const { return (threads_per_block_ + kWarpSize - 1) / kWarpSize; }
  uint64_t grid_workspace_address() const { return reinterpret_cast<uint64_t>(grid_workspace_.data()); }
  Block& BlockOfCluster(Context& context, const Instruction& instruction, int rank) const;

  SharedLocation ResolveShared(Context& context, const Instruction& instruction, uint64_t address, uint64_t size) const;
  // Checks and records a whole range of global memory; returns its place.
  uint8_t* CheckRange(Context& context, const Instruction& instruction, uint64_t address, uint64_t size, bool is_write);
  void StartBulkCopy(BulkCopy copy);
  // A thread has seen the end of a phase of an mbarrier.
  void OnMbarrierWait(Context& context);
  // All threads of the block meet at a barrier: what one of them waited for is there for all.
  void ShareMbarrierWaits(Block& block);

  // --- Results ------------------------------------------------------------------------

  const Reporter& reporter() const { return reporter_; }
  uint64_t steps() const { return steps_; }
  // Times each instruction ran, by index; empty unless statistics are on.
  const std::vector<uint64_t>& execution_counts() const { return execution_counts_; }

 private:
  struct Target {
    uint8_t* memory;
    Space space;
    Allocation* allocation;
  };

  void CheckLimits() const;
  void StartClusters();
  void StartCluster();
  std::unique_ptr<Block> MakeBlock(Dim3 position);
  void RetireFinishedBlocks();
  bool RunPass();
  bool RunWarp(Block& block, int warp);
  void RunThread(Block& block, Thread& thread, int turn);
  [[noreturn]] void FailWithDeadlock() const;
  void CheckStepLimit() const;
  std::string DescribeThreads(bool waiting, int most) const;

  void FinishMeetings(Block& block, int warp);
  void ReleaseClusterWaiters(Cluster& cluster);
  bool DeliverBulkCopies(bool all);
  void Deliver(const BulkCopy& copy);

  Target Resolve(Context& context, const Instruction& instruction, Space space, uint64_t address, int size,
                 bool is_write, Strength strength);
  Target ResolveGlobal(Context& context, const Instruction& instruction, uint64_t address, int size, bool is_write);

  const LaunchRequest request_;
  const Options options_;
  const uint32_t operation_;
  std::vector<uint8_t> parameters_;
  std::vector<uint64_t> constants_;
  uint32_t dynamic_shared_start_ = 0;
  int threads_per_block_ = 0;
  uint32_t blocks_in_grid_ = 0;
  std::mt19937_64 random_;
  uint64_t time_ = 0;
  uint64_t steps_ = 0;
  uint64_t pass_ = 0;
  uint32_t next_cluster_ = 0, cluster_count_ = 0;
  std::vector<std::unique_ptr<Block>> resident_;
  std::vector<BulkCopy> bulk_copies_;
  // Where cooperative_groups keeps the state of grid.sync(): size, then the barrier.
  std::array<uint32_t, 4> grid_workspace_ = {16, 0, 0, 0};
  std::vector<Allocation*> allocation_hints_;  // by instruction
  std::vector<uint64_t> execution_counts_;
  Reporter reporter_;
  RaceDetector races_;
};

}  // namespace ptxemu

#endif  // PTXEMU_MACHINE_H_
