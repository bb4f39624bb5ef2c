// SPDX-License-Identifier: MIT
// Memory that notices stray accesses. Fences stand around every array and between strided rows: NaN of a fixed
// pattern, so that one that is read spoils the result and one that is written is found; AddressSanitizer reports
// either at once. Outputs begin as NaN of another pattern: what a kernel forgets to write is wrong as well.
#pragma once
#include <cstring>
#include <vector>
#include "api.h"
#include "check.h"
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FR_TEST_ASAN
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define FR_TEST_ASAN
#endif
#if defined(FR_TEST_ASAN)
#include <sanitizer/asan_interface.h>
#endif

using fastrnn::Index;

template <class T> struct Pattern;
// Fences are signaling: arithmetic gives another pattern, so that even a computed fence is told from an untouched one.
template <> struct Pattern<float> {
  static constexpr uint32_t kFence = 0x7fa5a5a5u, kPoison = 0xffdeadffu;
};
template <> struct Pattern<double> {
  static constexpr uint64_t kFence = 0x7ff5a5a5a5a5a5a5u, kPoison = 0xfffdeaddeaddeaddu;
};

template <class T>
void put_fence(T* p, Index n) {
  for (Index k = 0; k < n; ++k) std::memcpy(p + k, &Pattern<T>::kFence, sizeof(T));
#if defined(FR_TEST_ASAN)
  __asan_poison_memory_region(p, static_cast<size_t>(n) * sizeof(T));
#endif
}

// How many elements of a fence are untouched before the first that is not
template <class T>
Index fence_holds(T* p, Index n) {
#if defined(FR_TEST_ASAN)
  __asan_unpoison_memory_region(p, static_cast<size_t>(n) * sizeof(T));
#endif
  Index k = 0;
  while (k < n && !std::memcmp(p + k, &Pattern<T>::kFence, sizeof(T))) ++k;
  if (k == n) put_fence(p, n);
  return k;
}

// n elements of T between two fences, `offset` elements after a boundary of 64 bytes
template <class T>
class Guarded {
 public:
  explicit Guarded(Index n = 0, Index offset = 0)
      : size_(n), bytes_(static_cast<size_t>(n + 2 * kFence + offset) * sizeof(T) + kLine) {
    const auto address = reinterpret_cast<uintptr_t>(bytes_.data()) + kFence * sizeof(T);
    data_ = reinterpret_cast<T*>((address + kLine - 1) / kLine * kLine) + offset;
    for (Index k = 0; k < n; ++k) std::memcpy(data_ + k, &Pattern<T>::kPoison, sizeof(T));
    put_fence(data_ - kFence, kFence);
    put_fence(data_ + n, kFence);
  }
  Guarded(Guarded&&) = default;
  Guarded& operator=(Guarded&&) = default;

  T* data() const { return data_; }
  Index size() const { return size_; }
  T& operator[](Index k) const { return data_[k]; }
  std::vector<T> copy() const { return std::vector<T>(data_, data_ + size_); }

  void check(const char* name) const {
    const Index before = fence_holds(data_ - kFence, kFence), after = fence_holds(data_ + size_, kFence);
    CHECK(before == kFence, "%s of %td elements was written at [%td]", name, size_, before - kFence);
    CHECK(after == kFence, "%s of %td elements was written at [%td]", name, size_, size_ + after);
  }

 private:
  static constexpr Index kFence = 32;
  static constexpr size_t kLine = 64;
  Index size_;
  std::vector<unsigned char> bytes_;
  T* data_;
};

// A matrix (T,B,n) of the user. Strided: nothing is aligned, the steps of a row lie together, a fence after each.
template <class T>
class Field {
 public:
  Field() = default;
  Field(Index steps, Index batch, Index n, bool strided)
      : steps_(steps), batch_(batch), n_(n), gap_(strided ? 3 : 0), step_(strided ? n + 3 : batch * n),
        row_(strided ? steps * (n + 3) : n), memory_(steps * batch * (n + gap_), strided) {
    for (Index row = 0; row < steps * batch; ++row) put_fence(end(row), gap_);
  }
  T* at(Index t, Index b) const { return memory_.data() + t * step_ + b * row_; }
  template <class U> fastrnn::Rows<U> rows() const { return {memory_.data(), step_, row_}; }

  std::vector<T> copy() const {  // without the fences
    std::vector<T> values;
    for (Index t = 0; t < steps_; ++t)
      for (Index b = 0; b < batch_; ++b) values.insert(values.end(), at(t, b), at(t, b) + n_);
    return values;
  }
  void check(const char* name) const {
    memory_.check(name);
    Index row = 0, held = gap_;
    while (row < steps_ * batch_ && held == gap_) held = fence_holds(end(row++), gap_);
    CHECK(held == gap_, "%s was written at [%td, %td, %td]", name, (row - 1) / batch_, (row - 1) % batch_, n_ + held);
  }

 private:
  T* end(Index row) const { return at(row / batch_, row % batch_) + n_; }
  Index steps_ = 0, batch_ = 0, n_ = 0, gap_ = 0, step_ = 0, row_ = 0;
  Guarded<T> memory_;
};

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && (a.empty() || !std::memcmp(a.data(), b.data(), a.size() * sizeof(T)));
}
