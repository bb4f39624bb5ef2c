// SPDX-License-Identifier: MIT
// Allocation table and write-back cache.

#include "memory.h"

#include <cstring>

namespace ptxemu {

AllocationTable& AllocationTable::Get() {
  static AllocationTable* table = new AllocationTable;  // lives until the process ends
  return *table;
}

void AllocationTable::Add(const void* base, uint64_t size, const std::string& name) {
  const Lock lock(mutex_);
  Allocation allocation;
  allocation.base = reinterpret_cast<uint64_t>(base);
  allocation.size = size;
  allocation.name = name + " #" + std::to_string(next_number_++);
  promised_.erase(allocation.base);
  allocations_[allocation.base] = std::move(allocation);
}

void AllocationTable::Promise(const void* base, uint64_t size) {
  const Lock lock(mutex_);
  promised_[reinterpret_cast<uint64_t>(base)] = size;
}

bool AllocationTable::Knows(uint64_t address) const {
  const Lock lock(mutex_);
  const auto promise = promised_.upper_bound(address);
  if (promise != promised_.begin() && address - std::prev(promise)->first < std::prev(promise)->second) return true;
  const auto next = allocations_.upper_bound(address);
  return next != allocations_.begin() && std::prev(next)->second.Contains(address, 1);
}

bool AllocationTable::Remove(const void* base) {
  const Lock lock(mutex_);
  return allocations_.erase(reinterpret_cast<uint64_t>(base)) != 0;
}

Allocation* AllocationTable::Find(uint64_t address, uint64_t bytes) {
  const Lock lock(mutex_);
  auto next = allocations_.upper_bound(address);
  if (next == allocations_.begin()) return nullptr;
  Allocation& allocation = std::prev(next)->second;
  return allocation.Contains(address, bytes) ? &allocation : nullptr;
}

std::string AllocationTable::Describe(uint64_t address) const {
  const Lock lock(mutex_);
  auto next = allocations_.upper_bound(address);
  if (next == allocations_.begin()) return "address " + std::to_string(address);
  const Allocation& allocation = std::prev(next)->second;
  const uint64_t offset = address - allocation.base;
  constexpr uint64_t kFar = uint64_t{1} << 32;
  if (offset > kFar) return "address " + std::to_string(address);
  return allocation.name + " + " + std::to_string(offset) + " (size " + std::to_string(allocation.size) + ")";
}

void WriteBackCache::Read(uint64_t address, int size, void* out) {
  for (int i = 0; i < size; ++i) {
    const uint64_t byte = address + i;
    Line& line = lines_[byte / kLineBytes];
    const int j = byte % kLineBytes;
    if (!(line.valid >> j & 1)) {
      line.data[j] = *reinterpret_cast<const uint8_t*>(byte);
      line.valid |= 1 << j;
    }
    static_cast<uint8_t*>(out)[i] = line.data[j];
  }
}

void WriteBackCache::Write(uint64_t address, int size, const void* in) {
  for (int i = 0; i < size; ++i) {
    const uint64_t byte = address + i;
    Line& line = lines_[byte / kLineBytes];
    const int j = byte % kLineBytes;
    line.data[j] = static_cast<const uint8_t*>(in)[i];
    line.valid |= 1 << j;
    line.dirty |= 1 << j;
  }
}

void WriteBackCache::WriteBack(uint64_t line_number, const Line& line) {
  auto* memory = reinterpret_cast<uint8_t*>(line_number * kLineBytes);
  for (int j = 0; j < kLineBytes; ++j) {
    if (line.dirty >> j & 1) memory[j] = line.data[j];
  }
}

void WriteBackCache::Evict(uint64_t address, int size) {
  for (uint64_t n = address / kLineBytes; n <= (address + size - 1) / kLineBytes; ++n) {
    const auto line = lines_.find(n);
    if (line == lines_.end()) continue;
    WriteBack(n, line->second);
    lines_.erase(line);
  }
}

void WriteBackCache::Flush() {
  for (const auto& [number, line] : lines_) WriteBack(number, line);
  lines_.clear();
}

}  // namespace ptxemu
