// SPDX-License-Identifier: MIT
// Device memory: the table of allocations, the shadow memory that the race detector keeps for each
// of them, and the per-block write-back cache of the weak-memory mode.

#ifndef PTXEMU_MEMORY_H_
#define PTXEMU_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

namespace ptxemu {

enum class AccessKind : uint8_t { kNone, kOneThread, kOneWarp, kSeveralWarps };

// Who touched a place: enough to decide whether a later access is ordered after it.
struct AccessRecord {
  uint32_t block = 0;
  uint32_t block_epoch = 0;    // barriers passed by the block
  uint32_t warp_epoch = 0;     // bar.warp.sync passed by the warp
  uint32_t release_index = 0;  // releases (fences) made by the block
  uint16_t thread = 0;
  AccessKind kind = AccessKind::kNone;
};

// History of two bytes. All zero means never touched.
struct ShadowCell {
  uint32_t operation = 0;  // the launch or copy that the records belong to
  AccessRecord write, read;
};

constexpr uint64_t kShadowGranule = 2;

// Zero-filled cells; pages that are never touched cost nothing.
class ShadowMemory {
 public:
  explicit ShadowMemory(uint64_t bytes)
      : cells_(static_cast<ShadowCell*>(std::calloc(bytes / kShadowGranule + 2, sizeof(ShadowCell))), &std::free) {}
  ShadowCell& At(uint64_t offset) { return cells_.get()[offset / kShadowGranule]; }

 private:
  std::unique_ptr<ShadowCell, void (*)(void*)> cells_;
};

struct Allocation {
  uint64_t base = 0, size = 0;
  std::string name;
  std::unique_ptr<ShadowMemory> shadow;

  bool Contains(uint64_t address, uint64_t bytes) const { return address >= base && address + bytes <= base + size; }
  ShadowMemory& Shadow() {
    if (shadow == nullptr) shadow = std::make_unique<ShadowMemory>(size);
    return *shadow;
  }
};

// All global memory that kernels may touch. Several host threads may use the table.
class AllocationTable {
 public:
  static AllocationTable& Get();

  void Add(const void* base, uint64_t size, const std::string& name);
  // What cudaMallocAsync has promised: the host knows the range, kernels do not before Add.
  void Promise(const void* base, uint64_t size);
  // False if no allocation starts at `base`.
  bool Remove(const void* base);
  // The allocation that holds the whole range, or nullptr.
  Allocation* Find(uint64_t address, uint64_t bytes);
  // Whether the host knows the address as one of the device.
  bool Knows(uint64_t address) const;
  // For messages: "cudaMalloc #3 + 64", or the nearest allocation below an address out of bounds.
  std::string Describe(uint64_t address) const;

 private:
  using Lock = std::lock_guard<std::mutex>;

  mutable std::mutex mutex_;
  std::map<uint64_t, Allocation> allocations_;
  std::map<uint64_t, uint64_t> promised_;  // base -> size
  int next_number_ = 1;
};

// Weak-memory mode: each block reads and writes global memory through such a cache. Lines reach
// memory when fences flush them or by chance, so a missing fence shows up as stale data.
class WriteBackCache {
 public:
  void Read(uint64_t address, int size, void* out);
  void Write(uint64_t address, int size, const void* in);
  // Writes back and forgets the lines that hold the range.
  void Evict(uint64_t address, int size);
  void Flush();

 private:
  static constexpr int kLineBytes = 8;
  struct Line {
    uint8_t data[kLineBytes];
    uint8_t valid = 0, dirty = 0;  // bit per byte
  };
  static void WriteBack(uint64_t line_number, const Line& line);

  std::unordered_map<uint64_t, Line> lines_;
};

}  // namespace ptxemu

#endif  // PTXEMU_MEMORY_H_
