// SPDX-License-Identifier: MIT
#include "memory.h"
#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <new>
#include <vector>
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#include <unistd.h>
#endif
#if defined(__linux__)
#include <sys/mman.h>
#endif
#if defined(_WIN32)
#include <malloc.h>
#endif
namespace fastrnn {
namespace {
constexpr size_t kPage = size_t(2) << 20, kLine = 64;

size_t alignment(size_t bytes) { return bytes >= kPage / 2 ? kPage : kLine; }
size_t rounded(size_t bytes) {
  const size_t align = alignment(bytes);
  return (bytes + align - 1) / align * align;
}

void* system_allocate(size_t bytes) {
#if defined(_WIN32)
  void* p = _aligned_malloc(bytes, alignment(bytes));
#else
  void* p = nullptr;
  if (posix_memalign(&p, alignment(bytes), bytes)) p = nullptr;
#endif
  if (!p) throw std::bad_alloc();
#if defined(__linux__)
  // The products stride over more 4 KB pages than the TLB holds. A hint: failure costs speed only.
  if (alignment(bytes) == kPage) madvise(p, bytes, MADV_HUGEPAGE);
#endif
  return p;
}

void system_free(void* p) {
#if defined(_WIN32)
  _aligned_free(p);
#else
  std::free(p);
#endif
}

size_t physical_memory() {
#if defined(_SC_PHYS_PAGES)
  const long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
  if (pages > 0 && size > 0) return size_t(pages) * size_t(size);
#endif
  return 0;
}

struct Cache {
  struct Item {
    void* data;
    size_t size;
  };
  std::mutex mutex;
  std::vector<Item> items;  // oldest first
  size_t bytes = 0;

  Cache() {
    items.reserve(64);
#if defined(__unix__) || defined(__APPLE__)
    // A child of fork must not inherit the mutex locked by a thread that it does not have.
    pthread_atfork([] { cache().mutex.lock(); }, [] { cache().mutex.unlock(); }, [] { cache().mutex.unlock(); });
#endif
  }
  static Cache& cache() {
    static Cache* const cache = new Cache;  // never destroyed: buffers may outlive static objects
    return *cache;
  }

  // The smallest that fits and is not more than twice too large
  void* take(size_t& size) {
    std::lock_guard<std::mutex> lock(mutex);
    size_t best = items.size();
    for (size_t i = 0; i < items.size(); ++i)
      if (items[i].size >= size && items[i].size <= 2 * size &&
          (best == items.size() || items[i].size < items[best].size))
        best = i;
    if (best == items.size()) return nullptr;
    void* const data = items[best].data;
    size = items[best].size;
    bytes -= size;
    items.erase(items.begin() + static_cast<ptrdiff_t>(best));
    return data;
  }

  void give(void* data, size_t size) {
    std::lock_guard<std::mutex> lock(mutex);
    const size_t limit = Buffer::cached_limit();
    if (size > limit) return system_free(data);
    items.push_back({data, size});  // never throws: what would not fit has been freed
    bytes += size;
    while (bytes > limit || items.size() >= 64) {
      system_free(items.front().data);
      bytes -= items.front().size;
      items.erase(items.begin());
    }
  }

  void clear() {
    std::lock_guard<std::mutex> lock(mutex);
    for (const Item& item : items) system_free(item.data);
    items.clear();
    bytes = 0;
  }
};
}  // namespace

size_t Buffer::cached_limit() {
  static const size_t limit = std::clamp(physical_memory() / 16, size_t(256) << 20, size_t(1) << 30);
  return limit;
}

Buffer::Buffer(size_t bytes) : size_(rounded(bytes ? bytes : 1)) {
  if (size_ < bytes) throw std::bad_alloc();
  data_ = Cache::cache().take(size_);
  if (data_) return;
  try {
    data_ = system_allocate(size_);
  } catch (const std::bad_alloc&) {  // what waits in the cache may be what is missing
    Cache::cache().clear();
    data_ = system_allocate(size_);
  }
}
Buffer::~Buffer() {
  if (data_) Cache::cache().give(data_, size_);
}
void release_cached_memory() { Cache::cache().clear(); }
}  // namespace fastrnn
