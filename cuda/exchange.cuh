// SPDX-License-Identifier: MIT
// The whole protocol between the blocks of a group. A group runs recurrences: each block owns some units, computes
// their values of a step, and needs those of all units before its next step. Everything below is per tile of 8 batch
// rows: tiles are independent recurrences that only share the blocks, so that one computes while the values of
// another travel.
//
//   version v     forward: h after v steps (0: the initial h).  backward: dG of the step v before the tile's last.
//   publish(v)    all threads put their values into `slice` (shared memory), block barrier; warp 0 stores the slice
//                 with 16-byte stores, warp barrier; lane 0 adds 1 to the flag of the tile with RELEASE.
//   fetch(v)      thread 0 reads the flag with ACQUIRE until it is at least (v + 1) * blocks, block barrier; then all
//                 threads copy the rows to shared memory. One poller a block: 256 would queue at the L2 slice of the
//                 flag. cp.async.cg reads through L2: L1 is not coherent, so no ld.ca, ld.nc or __ldg of these data.
//
// The flag only grows and a block adds to it once per version, in order, so (v + 1) * blocks means that every block
// has published version v. Flags are zero before the launch. All blocks are resident: the launch is cooperative.
//
// Why the data of version v are complete:  stores of warp 0 -> __syncwarp -> release of lane 0 -> (reads-from, through
// the adds of the other blocks, which continue the release sequence) -> acquire of thread 0 -> block barrier -> copy.
//
// Why TWO buffers, v & 1, are enough. Block p overwrites version v-2 when it publishes v. Before that p has fetched
// v-1, hence every peer had published v-1. A peer publishes v-1 after its block barrier, which follows the barrier
// that ends its copy of v-2. So all reads of v-2 happen before the release of v-1, which happens before p's acquire
// of v-1, which happens before p's stores. One buffer would need a second flag and a second round trip.
//
// Why tiles may end. Rows are sorted by falling length, so whether a tile takes part in a step follows from the
// number of rows that do: it is the same in all blocks, and none publishes or waits for what another skips.
//
// Deadlock: a block waits only for versions that its peers publish without waiting for it. Should one be missing all
// the same (a launch that is not cooperative, a fault in a peer), the waiting thread gives up after very many polls
// and says so in a word of device memory; the block returns, and so do its peers, which look at the word while they
// wait.
#pragma once
#include "fragments.cuh"
#ifndef FR_BUG  // a fault of the protocol, planted by tests that require that it is noticed
#define FR_BUG none
#endif
#ifndef FR_MAX_POLLS
#define FR_MAX_POLLS (1u << 24)  // a poll takes about 0.5 us on a device: many seconds
#endif
FR_NAMESPACE_BEGIN
namespace persistent {

enum class Bug {
  none,
  flag_first,
  one_buffer,
  no_acquire,
  no_release,
  no_wait,
  no_barrier,
  no_slice_barrier,
  lost_flag
};
constexpr Bug kBug = Bug::FR_BUG;

constexpr int kFlagStride = 32;  // words: each flag has a 128-byte line of its own

struct Exchange {
  unsigned* flags;  // that of a tile at tile * kFlagStride
  unsigned* deadlock;  // set where a block gave up; never cleared here
  unsigned blocks;  // of the group, this one included

  // For the whole block: true when every block has published `version` of `tile`, false where one never did
  FR_DEVICE bool wait(int tile, Index version) const {
    bool failed = false;
    if (threadIdx.x == 0) failed = !poll(flags + tile * kFlagStride, (unsigned(version) + 1) * blocks);
    return !__syncthreads_or(failed);
  }

  // By warp 0, after its stores
  FR_DEVICE void release(int tile) const {
    __syncwarp();
    if (kBug == Bug::lost_flag && blockIdx.x == 1) return;
    if (threadIdx.x == 0) add(flags + tile * kFlagStride);
  }

 private:
  FR_DEVICE bool poll(const unsigned* flag, unsigned target) const {
    for (unsigned polls = 1; int(load(flag) - target) < 0; ++polls) {
      if (polls % 256 == 0 && atomicAdd(deadlock, 0u)) return false;
      if (polls == FR_MAX_POLLS) {
        atomicExch(deadlock, 1u);
        return false;
      }
    }
    return true;
  }
  static FR_DEVICE unsigned load(const unsigned* p) {
    unsigned value;
    if constexpr (kBug == Bug::no_acquire)
      asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(p) : "memory");
    else asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(p) : "memory");
    return value;
  }
  static FR_DEVICE void add(unsigned* p) {
    if constexpr (kBug == Bug::no_release) asm volatile("red.relaxed.gpu.global.add.u32 [%0], 1;" ::"l"(p) : "memory");
    else asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(p) : "memory");
  }
};

// Rows of `version` of a tile: buffers are [version & 1][tile][8][row_size]
template <class T>
FR_DEVICE T* exchange_rows(T* buffers, Index version, int tile, int tiles, int row_size) {
  if (kBug == Bug::one_buffer) version = 0;
  return buffers + ((version & 1) * tiles + tile) * (Index(kTileRows) * row_size);
}

// slice [8][planes][units] in shared memory -> to[row * planes * columns + plane * columns + unit], then the flag; by
// the whole block. The slice may be written again after the next block barrier.
template <int kPlanes, int kUnits, class T>
FR_DEVICE void publish(const Exchange& exchange, int tile, const T* slice, T* to, int columns) {
  constexpr int kPiece = 16 / sizeof(T), kPieces = kUnits / kPiece;
  static_assert(kUnits % kPiece == 0, "slices are copied 16 bytes at a time");
  __syncthreads();
  if (threadIdx.x >= 32) return;
  if (kBug == Bug::flag_first) exchange.release(tile);
  FR_UNROLL for (int i = threadIdx.x; i < kTileRows * kPlanes * kPieces; i += 32) {
    const int line = i / kPieces, unit = i % kPieces * kPiece;  // line: row and plane
    *reinterpret_cast<uint4*>(to + Index(line) * columns + unit) =
        *reinterpret_cast<const uint4*>(slice + line * kUnits + unit);
  }
  if (kBug != Bug::flag_first) exchange.release(tile);
}

// from (8, row_size) -> shared (8, shared_ld) once `version` is complete: ONE group of cp.async, for the caller to wait
// for. False where a peer never published it.
template <class T>
FR_DEVICE bool fetch(const Exchange& exchange, int tile, Index version, const T* from, int row_size, T* shared,
                     int shared_ld) {
  if (kBug != Bug::no_wait && !exchange.wait(tile, version)) return false;
  static_assert(kWarps == kTileRows, "warp w copies row w");
  constexpr int kPiece = 16 / sizeof(T);
  const int row = threadIdx.x / 32;
  for (int k = threadIdx.x % 32 * kPiece; k < row_size; k += 32 * kPiece)
    copy_line_async(shared + row * shared_ld + k, from + Index(row) * row_size + k);
  commit_copies();
  return true;
}

}  // namespace persistent
FR_NAMESPACE_END
