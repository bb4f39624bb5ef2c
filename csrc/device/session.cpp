// SPDX-License-Identifier: MIT
#include "session.h"
namespace fastrnn {
namespace {
constexpr Status kOutOfMemory = 2;  // cudaErrorMemoryAllocation
}

DeviceSession::DeviceSession(int device) : library_(device_library()), device_(device) {
  check(library_.last_error(), "an earlier call of this process");
  check(library_.use(device), "choosing the device");
  check(library_.stream(&stream_), "making a stream");
}

void DeviceSession::check(Status status, const char* what) const {
  if (status == 0) return;
  library_.last_error();  // what is reported here is not for the next call to report
  throw DeviceError(std::string("CUDA, ") + what + ": " + library_.describe(status) + " (device " +
                    std::to_string(device_) + ")");
}

DeviceBuffer::DeviceBuffer(const DeviceSession& session, size_t bytes)
    : device_(session.device()), stream_(session.stream()) {
  if (!bytes) return;
  const Status status = session.library().allocate(bytes, &data_, stream_);
  if (status == kOutOfMemory) {
    session.library().last_error();
    throw std::bad_alloc();
  }
  session.check(status, "taking memory");
}

// Nothing can be said of a failure here; the next session says it.
DeviceBuffer::~DeviceBuffer() {
  if (data_) device_library().release(data_, stream_);
}
}  // namespace fastrnn
