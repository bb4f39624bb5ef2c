// SPDX-License-Identifier: MIT
// A call that nothing waits for: where its work stands in the order of streams.
#pragma once
#include <optional>
#include "session.h"
namespace fastrnn {

// The stream of the caller in whose order this thread's calls stand from now on; none: the thread's own one. Returns
// the one before.
std::optional<Stream> choose_stream(std::optional<Stream> stream);

// Work in the order of a stream of the caller runs on a companion of it, which waits for what is on it at the
// beginning and which it waits for at the end. So memory is taken and freed on streams that outlast the caller's.
class DeviceCall {
 public:
  explicit DeviceCall(int device);
  ~DeviceCall();  // end(), whatever comes of it
  DeviceCall(const DeviceCall&) = delete;
  DeviceCall& operator=(const DeviceCall&) = delete;

  const DeviceSession& session() const { return session_; }
  Stream outer() const { return chosen_ ? *chosen_ : session_.stream(); }  // the one whose order callers see
  void end();  // later work on the caller's stream waits for that of the call

 private:
  const std::optional<Stream> chosen_;
  const DeviceSession session_;
  bool ended_ = false;
};

}  // namespace fastrnn
