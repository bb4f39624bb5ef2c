// SPDX-License-Identifier: MIT
#include "stream_order.h"
#include <algorithm>
#include <mutex>
namespace fastrnn {
namespace {
std::mutex mutex;  // of all: what is done under it is short
using Lock = std::lock_guard<std::mutex>;
}  // namespace

void StreamOrder::read(const DeviceSession& session) {
  const Lock lock(mutex);
  if (written_) session.follow(session.stream(), written_);
  if (std::find(readers_.begin(), readers_.end(), session.stream()) == readers_.end())
    readers_.push_back(session.stream());
}

void StreamOrder::write(const DeviceSession& session) {
  const Lock lock(mutex);
  if (written_) session.follow(session.stream(), written_);
  for (Stream reader : readers_) session.follow(session.stream(), reader);
  readers_.clear();
  written_ = session.stream();
  if (!home_) home_ = written_;
}

void StreamOrder::publish(const DeviceSession& session, Stream stream) const {
  const Lock lock(mutex);
  if (written_) session.follow(stream, written_);
}

std::vector<Stream> StreamOrder::streams() const {
  const Lock lock(mutex);
  std::vector<Stream> all = readers_;
  if (written_ && std::find(all.begin(), all.end(), written_) == all.end()) all.push_back(written_);
  return all;
}

void StreamOrder::settle(int device) noexcept {
  try {
    std::vector<Stream> others = streams();
    others.erase(std::remove(others.begin(), others.end(), home_), others.end());
    if (others.empty()) return;
    const DeviceSession session(device);
    for (Stream other : others) session.follow(home_, other);
  } catch (const std::exception&) {  // of a device that has failed, as the next call says
  }
}
}  // namespace fastrnn
