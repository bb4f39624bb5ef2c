// SPDX-License-Identifier: MIT
// Arrays in the memory of a device.
#pragma once
#include <memory>
#include <optional>
#include <vector>
#include "stream_order.h"
namespace fastrnn {

// Memory that arrays lie in: its own, or of an owner that is kept alive until no work needs it any more.
class DeviceMemory {
 public:
  DeviceMemory(const DeviceSession& session, size_t bytes);
  // Ready for work on the session's stream. producer: a stream of the owner's that waits for all work on the memory
  DeviceMemory(const DeviceSession& session, std::shared_ptr<void> owner, std::optional<Stream> producer);
  ~DeviceMemory();

  int device() const { return device_; }
  char* data() const { return buffer_.as<char>(); }  // null where there is an owner
  StreamOrder& order() { return order_; }
  void end_of_call(const DeviceSession& session);  // that works on the memory: the producer waits for it
  void returned_by(Stream consumer) noexcept;  // a stream that was lent it: what it does with it is on it by now

 private:
  const int device_;
  StreamOrder order_;
  DeviceBuffer buffer_;
  std::shared_ptr<void> owner_;
  const std::optional<Stream> producer_;
};

// Lets go of owners whose memory no work needs any more
void release_owners();

struct Dtype {
  char kind;  // of NumPy: f i u b
  int size;  // bytes
  bool operator==(const Dtype& other) const { return kind == other.kind && size == other.size; }
};

struct DeviceArray {
  std::shared_ptr<DeviceMemory> memory;
  char* data;
  Dtype dtype;
  std::vector<Index> shape{}, strides{};  // in bytes
  bool readonly = false;

  Index size() const;
  bool dense() const;  // C-contiguous
};

std::vector<Index> dense_strides(const std::vector<Index>& shape, int item);
DeviceArray new_array(const DeviceSession& session, Dtype dtype, const std::vector<Index>& shape);

}  // namespace fastrnn
