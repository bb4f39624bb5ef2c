// SPDX-License-Identifier: MIT
// Aligned buffers that come back: filling a fresh buffer of 52 MB takes longer than a whole pass over it.
#pragma once
#include <cstddef>
#include <new>
#include <utility>
namespace fastrnn {

// Uninitialised memory, aligned to 64 bytes, on 2 MB pages where it is large. A freed buffer waits for the next
// request that it fits, up to cached_limit() bytes in all. Throws std::bad_alloc.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(size_t bytes);
  ~Buffer();
  Buffer(Buffer&& other) noexcept : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  template <class T> T* as() const { return static_cast<T*>(data_); }

  // A sixteenth of the memory of the machine, from 256 MB to 1 GB: what a training step of a large batch takes
  static size_t cached_limit();

 private:
  void* data_ = nullptr;
  size_t size_ = 0;
};

void release_cached_memory();  // gives what waits back to the system

// n elements; std::bad_alloc as well where the product overflows
template <class T>
Buffer buffer_of(ptrdiff_t n) {
  if (n < 0 || size_t(n) > (size_t(-1) >> 1) / sizeof(T)) throw std::bad_alloc();
  return Buffer(size_t(n) * sizeof(T));
}

}  // namespace fastrnn
