// SPDX-License-Identifier: MIT
// In what order streams work on a piece of memory. The streams are those of the library, which last as long as the
// process: none of a caller's is ever kept.
#pragma once
#include <vector>
#include "session.h"
namespace fastrnn {

class StreamOrder {
 public:
  // What is put on the session's stream from now on may read the memory: it comes after what was written
  void read(const DeviceSession& session);
  // or write it, too: it comes after all work so far. The first writer's stream is that of the allocation.
  void write(const DeviceSession& session);
  // What `stream` does from now on comes after what was written
  void publish(const DeviceSession& session, Stream stream) const;
  std::vector<Stream> streams() const;  // that have worked on it

  // The stream of the allocation, on which the memory is freed, waits for all others
  void settle(int device) noexcept;

 private:
  Stream home_ = nullptr, written_ = nullptr;
  std::vector<Stream> readers_;
};

}  // namespace fastrnn
