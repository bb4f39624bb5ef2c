// SPDX-License-Identifier: MIT
// Arrays of NumPy to and from a device. Everything is put on the stream of a session; finish() waits for it, and only
// then may an array be read or changed.
#pragma once
#include <algorithm>
#include <functional>
#include <memory>
#include <vector>
#include "device/session.h"
#include "register.h"
namespace fastrnn {

// T*B rows of n numbers as one piece of memory, where they are: in either order of steps and batch
template <class T>
bool in_one_piece(const Rows<T>& rows, Index steps, Index batch, Index n) {
  return (rows.row == n && rows.step == batch * n) || (rows.step == n && rows.row == steps * n);
}

class DeviceTransfer {
 public:
  explicit DeviceTransfer(const DeviceSession& session) : session_(session) {}

  // The rows of an array on the device, in `to`. With strides of their own they are gathered first.
  template <class T>
  Rows<const T> upload(Rows<const T> rows, Index steps, Index batch, Index n, DeviceBuffer& to) {
    const Index count = steps * batch * n;
    to = session_.allocate<T>(count);
    if (count == 0 || in_one_piece(rows, steps, batch, n)) {
      session_.copy(rows.p, count, to.as<T>());
      return {to.as<T>(), rows.step, rows.row};
    }
    T* const dense = stage<T>(count);
    for (Index t = 0; t < steps; ++t)
      for (Index b = 0; b < batch; ++b)
        std::copy_n(rows.p + t * rows.step + b * rows.row, n, dense + (t * batch + b) * n);
    session_.copy(dense, count, to.as<T>());
    return {to.as<T>(), batch * n, n};
  }

  template <class T>
  T* upload(const T* from, Index count, DeviceBuffer& to) {
    to = session_.allocate<T>(count);
    session_.copy(from, count, to.as<T>());
    return to.as<T>();
  }

  // Room for the rows of an array that finish() fills
  template <class T>
  Rows<T> result(Rows<T> rows, Index steps, Index batch, Index n) {
    const Index count = steps * batch * n;
    if (count == 0) return {nullptr, batch * n, n};
    buffers_.push_back(session_.allocate<T>(count));
    T* const from = buffers_.back().as<T>();
    if (in_one_piece(rows, steps, batch, n)) {
      downloads_.push_back({from, rows.p, size_t(count) * sizeof(T)});
      return {from, rows.step, rows.row};
    }
    T* const dense = stage<T>(count);
    downloads_.push_back({from, dense, size_t(count) * sizeof(T)});
    scatters_.push_back([=] {
      for (Index t = 0; t < steps; ++t)
        for (Index b = 0; b < batch; ++b)
          std::copy_n(dense + (t * batch + b) * n, n, rows.p + t * rows.step + b * rows.row);
    });
    return {from, batch * n, n};
  }

  template <class T>
  T* result(T* to, Index count) {
    if (count == 0) return nullptr;
    buffers_.push_back(session_.allocate<T>(count));
    downloads_.push_back({buffers_.back().as<T>(), to, size_t(count) * sizeof(T)});
    return buffers_.back().as<T>();
  }

  // Writes all results. what: of whom an error speaks
  void finish(const char* what) {
    for (const Download& d : downloads_)
      session_.copy(static_cast<const char*>(d.from), Index(d.bytes), static_cast<char*>(d.to));
    session_.synchronize(what);
    for (const auto& scatter : scatters_) scatter();
  }

 private:
  struct Download {
    const void* from;
    void* to;
    size_t bytes;
  };
  template <class T>
  T* stage(Index count) {
    staged_.push_back(buffer_of<T>(count));
    return staged_.back().as<T>();
  }

  const DeviceSession& session_;
  std::vector<DeviceBuffer> buffers_;
  std::vector<Buffer> staged_;
  std::vector<Download> downloads_;
  std::vector<std::function<void()>> scatters_;
};

}  // namespace fastrnn
