// SPDX-License-Identifier: MIT
// One call on one device: where its work is put, and the memory that it takes.
#pragma once
#include <new>
#include <string>
#include <utility>
#include "library.h"
namespace fastrnn {

class DeviceBuffer;

// The calling thread uses the device from then on
class DeviceSession {
 public:
  using Buffer = DeviceBuffer;
  explicit DeviceSession(int device);  // on the thread's own stream
  DeviceSession(int device, Stream stream) : DeviceSession(device) { stream_ = stream; }

  const DeviceLibrary& library() const { return library_; }
  int device() const { return device_; }
  Stream stream() const { return stream_; }

  // Throws the DeviceError of a status: "what: reason (device 0)". std::bad_alloc comes of DeviceBuffer alone, whose
  // failure has changed nothing.
  void check(Status status, const char* what) const;

  template <class T> DeviceBuffer allocate(Index n) const;
  template <class T>
  void copy(const T* from, Index n, T* to) const {  // between host and device, or on either
    check(library_.copy(to, from, size_t(n) * sizeof(T), stream_), "copying");
  }
  template <class T>
  void zero(T* to, Index n) const {
    check(library_.zero(to, size_t(n) * sizeof(T), stream_), "clearing memory");
  }
  void follow(Stream stream, Stream earlier) const {  // what `stream` does from now on comes after the other's work
    if (stream != earlier) check(library_.follow(stream, earlier), "ordering streams");
  }
  void synchronize(const char* what) const { check(library_.synchronize(stream_), what); }

 private:
  const DeviceLibrary& library_;
  int device_;
  Stream stream_ = nullptr;
};

// Memory of a device, freed in the order of the stream it was made on. Aligned to 256 bytes.
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  DeviceBuffer(const DeviceSession& session, size_t bytes);
  ~DeviceBuffer();
  DeviceBuffer(DeviceBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), device_(other.device_), stream_(other.stream_) {}
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(device_, other.device_);
    std::swap(stream_, other.stream_);
    return *this;
  }
  template <class T> T* as() const { return static_cast<T*>(data_); }

 private:
  void* data_ = nullptr;
  int device_ = 0;
  Stream stream_ = nullptr;
};

template <class T>
DeviceBuffer DeviceSession::allocate(Index n) const {
  if (n < 0 || size_t(n) > (size_t(-1) >> 1) / sizeof(T)) throw std::bad_alloc();
  return DeviceBuffer(*this, size_t(n) * sizeof(T));
}

}  // namespace fastrnn
