// SPDX-License-Identifier: MIT
#include "call.h"
#include <sstream>
namespace fastrnn {
namespace {
thread_local std::optional<Stream> chosen;

std::string name_of(Stream stream) {
  std::ostringstream text;
  text << "the stream " << (stream ? stream : static_cast<void*>(nullptr)) << " of fastrnn.cuda.stream";
  return text.str();
}

DeviceSession begin(int device) {
  const DeviceSession own(device);
  if (!chosen) return own;
  const std::string name = name_of(*chosen);
  Stream companion = nullptr;
  own.check(own.library().companion(*chosen, &companion), name.c_str());
  own.check(own.library().follow(companion, *chosen), name.c_str());
  return DeviceSession(device, companion);
}
}  // namespace

std::optional<Stream> choose_stream(std::optional<Stream> stream) { return std::exchange(chosen, stream); }

DeviceCall::DeviceCall(int device) : chosen_(chosen), session_(begin(device)) {}

DeviceCall::~DeviceCall() {
  try {
    end();
  } catch (const std::exception&) {  // something else is under way
  }
}

void DeviceCall::end() {
  if (std::exchange(ended_, true) || !chosen_) return;
  session_.check(session_.library().follow(*chosen_, session_.stream()), name_of(*chosen_).c_str());
}
}  // namespace fastrnn
