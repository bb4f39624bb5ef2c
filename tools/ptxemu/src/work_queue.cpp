// SPDX-License-Identifier: MIT
// Streams, events, graphs, and the random legal order in which their work runs.

#include "work_queue.h"

#include <algorithm>
#include <cstdio>
#include <exception>

#include "options.h"

namespace ptxemu {
namespace {

void Merge(VectorClock* into, const VectorClock& from) {
  if (into->size() < from.size()) into->resize(from.size());
  for (size_t i = 0; i < from.size(); ++i) (*into)[i] = std::max((*into)[i], from[i]);
}

bool IsReady(const Operation& operation) {
  for (const OperationPointer& each : operation.dependencies) {
    if (!each->done) return false;
  }
  return true;
}

}  // namespace

WorkQueue& WorkQueue::Get() {
  static WorkQueue* queue = new WorkQueue;  // lives until the process ends
  return *queue;
}

WorkQueue::WorkQueue() : random_(Options::FromEnvironment().seed) {
  places_.push_back({0, 0});  // operation 0 is none
  default_stream_.is_default = true;
  default_stream_.lane = NewLane();
}

int WorkQueue::NewLane() {
  last_sequence_.push_back(0);
  return lane_count_++;
}

Stream* WorkQueue::CreateStream(bool blocking) {
  const Lock lock(mutex_);
  auto* stream = new Stream;
  stream->lane = NewLane();
  stream->blocking = blocking;
  streams_.push_back(stream);
  return stream;
}

void WorkQueue::DestroyStream(Stream* stream) {
  const Lock lock(mutex_);
  SynchronizeStream(stream);
  streams_.erase(std::remove(streams_.begin(), streams_.end(), stream), streams_.end());
  stream->last = nullptr;
  stream->destroyed = true;
}

// --- Submission -----------------------------------------------------------------------

// The default stream waits for all blocking streams, and they wait for it.
std::vector<OperationPointer> WorkQueue::DependenciesOf(const Stream& stream) const {
  std::vector<OperationPointer> result = {stream.last};
  if (stream.is_default) {
    for (const Stream* each : streams_) {
      if (each->blocking) result.push_back(each->last);
    }
  } else if (stream.blocking) {
    result.push_back(default_stream_.last);
  }
  return result;
}

OperationPointer WorkQueue::Add(int lane, Work work, const std::vector<OperationPointer>& dependencies) {
  auto operation = std::make_shared<Operation>();
  operation->id = static_cast<uint32_t>(places_.size());
  operation->lane = lane;
  operation->sequence = ++last_sequence_[lane];
  places_.push_back({lane, operation->sequence});
  operation->clock = host_clock_;
  for (const OperationPointer& each : dependencies) {
    if (each == nullptr) continue;
    Merge(&operation->clock, each->clock);
    if (!each->done) operation->dependencies.push_back(each);
  }
  operation->clock.resize(lane_count_);
  operation->clock[lane] = operation->sequence;
  operation->work = std::move(work);
  pending_.push_back(operation);
  return operation;
}

OperationPointer WorkQueue::Submit(Stream* stream, Work work) {
  const Lock lock(mutex_);
  if (stream->capture != nullptr) {
    std::vector<GraphNode>& nodes = stream->capture->graph.nodes;
    nodes.push_back({std::move(work), stream->capture_tail});
    stream->capture_tail = {static_cast<int>(nodes.size()) - 1};
    return nullptr;
  }
  OperationPointer operation = Add(stream->lane, std::move(work), DependenciesOf(*stream));
  stream->last = operation;
  MakeProgress(*operation);
  return operation;
}

void WorkQueue::MakeProgress(const Operation& submitted) {
  constexpr size_t kMostPending = 1000;
  if (!Options::FromEnvironment().asynchronous) {
    while (!submitted.done && RunOne()) continue;
    return;
  }
  while ((random_() % 2 == 0 || pending_.size() > kMostPending) && RunOne()) continue;
}

void WorkQueue::RecordEvent(Event* event, Stream* stream) {
  const Lock lock(mutex_);
  if (stream->capture != nullptr) {
    event->capture = stream->capture;
    event->capture_tail = stream->capture_tail;
    return;
  }
  event->capture = nullptr;
  event->operation = Submit(stream, nullptr);
}

void WorkQueue::WaitForEvent(Stream* stream, const Event& event) {
  const Lock lock(mutex_);
  if (event.capture != nullptr) {
    if (stream->capture == nullptr) {
      stream->capture = event.capture;
      event.capture->streams.push_back(stream);
    }
    auto& tail = stream->capture_tail;
    tail.insert(tail.end(), event.capture_tail.begin(), event.capture_tail.end());
    return;
  }
  if (event.operation == nullptr) return;
  std::vector<OperationPointer> dependencies = DependenciesOf(*stream);
  dependencies.push_back(event.operation);
  stream->last = Add(stream->lane, nullptr, dependencies);
}

// --- Graphs ---------------------------------------------------------------------------

void WorkQueue::BeginCapture(Stream* stream) {
  const Lock lock(mutex_);
  stream->capture = std::make_shared<Capture>();
  stream->capture->origin = stream;
  stream->capture->streams = {stream};
}

bool WorkQueue::EndCapture(Stream* stream, Graph* graph) {
  const Lock lock(mutex_);
  const std::shared_ptr<Capture> capture = stream->capture;
  if (capture == nullptr || capture->origin != stream) return false;
  *graph = std::move(capture->graph);
  for (Stream* each : capture->streams) {
    each->capture = nullptr;
    each->capture_tail.clear();
  }
  return true;
}

// A node goes on in the lane of its first dependency unless another node already does.
GraphExecutable* WorkQueue::Instantiate(const Graph& graph) {
  const Lock lock(mutex_);
  auto* executable = new GraphExecutable{graph, {}};
  std::vector<bool> continued(graph.nodes.size());
  for (const GraphNode& node : graph.nodes) {
    const int first = node.dependencies.empty() ? -1 : node.dependencies[0];
    if (first >= 0 && !continued[first]) {
      continued[first] = true;
      executable->lanes.push_back(executable->lanes[first]);
    } else {
      executable->lanes.push_back(NewLane());
    }
  }
  return executable;
}

void WorkQueue::LaunchGraph(const GraphExecutable& graph, Stream* stream) {
  const Lock lock(mutex_);
  const std::vector<OperationPointer> before = DependenciesOf(*stream);
  std::vector<OperationPointer> operations;
  for (size_t i = 0; i < graph.graph.nodes.size(); ++i) {
    const GraphNode& node = graph.graph.nodes[i];
    std::vector<OperationPointer> dependencies = before;
    for (int each : node.dependencies) dependencies.push_back(operations[each]);
    operations.push_back(Add(graph.lanes[i], node.work, dependencies));
  }
  operations.insert(operations.end(), before.begin(), before.end());
  stream->last = Add(stream->lane, nullptr, operations);
  MakeProgress(*stream->last);
}

// --- Execution ------------------------------------------------------------------------

bool WorkQueue::RunOne() {
  std::vector<size_t> ready;
  for (size_t i = 0; i < pending_.size(); ++i) {
    if (IsReady(*pending_[i])) ready.push_back(i);
  }
  if (ready.empty()) return false;
  const size_t chosen = ready[random_() % ready.size()];
  const OperationPointer operation = pending_[chosen];
  pending_.erase(pending_.begin() + chosen);
  Execute(operation.get());
  return true;
}

void WorkQueue::Execute(Operation* operation) {
  try {
    if (operation->work) operation->work(*operation);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "[ptxemu] %s\n", error.what());
    failed_ = true;
  }
  operation->work = nullptr;
  operation->dependencies.clear();
  operation->done = true;
}

void WorkQueue::HostReaches(const Operation& operation) { Merge(&host_clock_, operation.clock); }

void WorkQueue::Synchronize(const OperationPointer& operation) {
  const Lock lock(mutex_);
  if (operation == nullptr) return;
  while (!operation->done && RunOne()) continue;
  HostReaches(*operation);
}

void WorkQueue::SynchronizeStream(Stream* stream) {
  const Lock lock(mutex_);
  for (const OperationPointer& each : DependenciesOf(*stream)) {
    const bool own = each == stream->last;
    if (own || stream->is_default) Synchronize(each);
  }
}

void WorkQueue::SynchronizeAll() {
  const Lock lock(mutex_);
  while (RunOne()) continue;
  Merge(&host_clock_, last_sequence_);
}

bool WorkQueue::Query(const OperationPointer& operation) {
  const Lock lock(mutex_);
  if (operation == nullptr) return true;
  if (!operation->done) RunOne();
  if (operation->done) HostReaches(*operation);
  return operation->done;
}

bool WorkQueue::TakeFailure() {
  const Lock lock(mutex_);
  const bool failed = failed_;
  failed_ = false;
  return failed;
}

bool WorkQueue::IsOrdered(uint32_t earlier, const Operation& later) const {
  const Lock lock(mutex_);
  const Place& place = places_[earlier];
  const auto lane = static_cast<size_t>(place.lane);
  return lane < later.clock.size() && later.clock[lane] >= place.sequence;
}

}  // namespace ptxemu
