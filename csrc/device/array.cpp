// SPDX-License-Identifier: MIT
#include "array.h"
#include <algorithm>
#include <list>
#include <mutex>
namespace fastrnn {
namespace {
// An owner, and events behind the work that needs its memory
struct Kept {
  std::shared_ptr<void> owner;
  std::vector<Event> events;
};

struct AllKept {
  std::mutex mutex;
  std::list<Kept> list;
};

AllKept& all_kept() {
  static AllKept* const all = new AllKept;  // owners are of Python, which may end before this process does
  return *all;
}

void keep(const DeviceSession& session, std::shared_ptr<void> owner, const std::vector<Stream>& streams) {
  Kept kept{std::move(owner), {}};
  for (Stream stream : streams) {
    Event event;
    if (session.library().record(&event, stream) == 0) kept.events.push_back(event);
  }
  AllKept& all = all_kept();
  const std::lock_guard<std::mutex> lock(all.mutex);
  all.list.push_back(std::move(kept));
}

// Work that has failed needs nothing any more; what failed is said where somebody waits for it.
bool has_passed(Kept& kept) {
  const DeviceLibrary& library = device_library();
  while (!kept.events.empty()) {
    bool passed = true;
    library.passed(kept.events.back(), &passed);
    if (!passed) return false;
    library.release_event(kept.events.back());
    kept.events.pop_back();
  }
  return true;
}
}  // namespace

void release_owners() {
  std::list<Kept> done;  // let go of without the lock: owners may call anything
  AllKept& all = all_kept();
  const std::lock_guard<std::mutex> lock(all.mutex);
  for (auto kept = all.list.begin(); kept != all.list.end();) {
    const auto next = std::next(kept);
    if (has_passed(*kept)) done.splice(done.end(), all.list, kept);
    kept = next;
  }
}

DeviceMemory::DeviceMemory(const DeviceSession& session, size_t bytes)
    : device_(session.device()), buffer_(session, bytes) {
  order_.write(session);
}

DeviceMemory::DeviceMemory(const DeviceSession& session, std::shared_ptr<void> owner, std::optional<Stream> producer)
    : device_(session.device()), owner_(std::move(owner)), producer_(producer) {
  order_.write(session);
}

DeviceMemory::~DeviceMemory() {
  if (!owner_) {
    order_.settle(device_);
    return;
  }
  try {
    keep(DeviceSession(device_), std::move(owner_), order_.streams());
  } catch (const std::exception&) {  // of a device that has failed: no work needs the owner
  }
}

// A producer's stream that is gone has nothing more to wait for.
void DeviceMemory::end_of_call(const DeviceSession& session) {
  if (producer_ && *producer_ != session.stream()) session.library().follow(*producer_, session.stream());
}

void DeviceMemory::returned_by(Stream consumer) noexcept {
  try {
    const DeviceSession own(device_);
    Stream companion = nullptr;
    own.check(own.library().companion(consumer, &companion), "the stream of a consumer");
    if (own.library().follow(companion, consumer)) {  // it is gone, and its last work may still run
      own.library().synchronize_device();
      return;
    }
    order_.read(DeviceSession(device_, companion));
  } catch (const std::exception&) {  // of a device that has failed, as the next call says
  }
}

Index DeviceArray::size() const {
  Index n = 1;
  for (Index extent : shape) n *= extent;
  return n;
}

bool DeviceArray::dense() const {
  if (size() == 0) return true;
  const std::vector<Index> wanted = dense_strides(shape, dtype.size);
  for (size_t axis = 0; axis < shape.size(); ++axis)
    if (shape[axis] > 1 && strides[axis] != wanted[axis]) return false;
  return true;
}

std::vector<Index> dense_strides(const std::vector<Index>& shape, int item) {
  std::vector<Index> strides(shape.size());
  Index stride = item;
  for (size_t axis = shape.size(); axis-- > 0; stride *= std::max<Index>(shape[axis], 1)) strides[axis] = stride;
  return strides;
}

DeviceArray new_array(const DeviceSession& session, Dtype dtype, const std::vector<Index>& shape) {
  DeviceArray array{nullptr, nullptr, dtype, shape, dense_strides(shape, dtype.size)};
  const Index n = array.size();
  if (n < 0 || size_t(n) > (size_t(-1) >> 1) / size_t(dtype.size)) throw std::bad_alloc();
  array.memory = std::make_shared<DeviceMemory>(session, size_t(n) * size_t(dtype.size));
  array.data = array.memory->data();
  return array;
}
}  // namespace fastrnn
