// SPDX-License-Identifier: MIT
// Asynchronous work of the simulated device: operations, streams, events and graphs.
//
// Work is not executed when the host submits it but later, in a random order (by seed) that the
// dependencies allow. A vector clock per operation says which operations are ordered before it; the
// race checks use it to report accesses that only happen to come in the right order.

#ifndef PTXEMU_WORK_QUEUE_H_
#define PTXEMU_WORK_QUEUE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <vector>

namespace ptxemu {

struct Operation;

// What an operation does; throws EmulationError if it fails.
using Work = std::function<void(const Operation&)>;

using OperationPointer = std::shared_ptr<Operation>;
using VectorClock = std::vector<uint32_t>;  // by lane: sequence number of the last operation before

struct Operation {
  uint32_t id = 0;
  int lane = 0;
  uint32_t sequence = 0;  // in the lane
  VectorClock clock;
  std::vector<OperationPointer> dependencies;  // not done at submission
  Work work;                                   // may be empty
  bool done = false;
};

struct GraphNode {
  Work work;
  std::vector<int> dependencies;  // earlier nodes
};

struct Graph {
  std::vector<GraphNode> nodes;
};

struct Stream;

// The streams that take part in a capture, from cudaStreamBeginCapture to EndCapture.
struct Capture {
  Graph graph;
  Stream* origin = nullptr;
  std::vector<Stream*> streams;
};

struct Stream {
  int lane = 0;
  bool is_default = false;
  bool blocking = true;  // ordered with the legacy default stream
  bool destroyed = false;
  OperationPointer last;
  std::shared_ptr<Capture> capture;
  std::vector<int> capture_tail;  // nodes that the next captured node depends on
};

struct Event {
  OperationPointer operation;        // of the last record; null before
  std::shared_ptr<Capture> capture;  // recorded in a capture
  std::vector<int> capture_tail;
};

struct GraphExecutable {
  Graph graph;
  std::vector<int> lanes;  // by node
};

// All public functions may be called by several host threads.
class WorkQueue {
 public:
  static WorkQueue& Get();

  Stream* default_stream() { return &default_stream_; }
  Stream* CreateStream(bool blocking);
  // The object stays, so that later uses of the handle are recognised.
  void DestroyStream(Stream* stream);

  // Appends work to the stream, or to the graph if the stream is being captured. Returns the
  // operation, or null in a capture.
  OperationPointer Submit(Stream* stream, Work work);

  void RecordEvent(Event* event, Stream* stream);
  void WaitForEvent(Stream* stream, const Event& event);

  void BeginCapture(Stream* stream);
  // False if the stream is not the origin of a capture.
  bool EndCapture(Stream* stream, Graph* graph);

  GraphExecutable* Instantiate(const Graph& graph);
  void LaunchGraph(const GraphExecutable& graph, Stream* stream);

  // The host waits. Work that throws leaves its message on stderr and makes TakeFailure() true.
  void Synchronize(const OperationPointer& operation);
  void SynchronizeStream(Stream* stream);
  void SynchronizeAll();
  // Whether the operation is done, after giving the device a chance to make progress.
  bool Query(const OperationPointer& operation);
  bool TakeFailure();

  // Whether the earlier operation is ordered before the later one.
  bool IsOrdered(uint32_t earlier, const Operation& later) const;
  // With one lane everything is ordered, and transfers need no check.
  bool HasSeveralLanes() const { return lane_count_ > 1; }

 private:
  struct Place {
    int lane;
    uint32_t sequence;
  };

  WorkQueue();
  int NewLane();
  OperationPointer Add(int lane, Work work, const std::vector<OperationPointer>& dependencies);
  // What the next operation of the stream comes after.
  std::vector<OperationPointer> DependenciesOf(const Stream& stream) const;
  bool RunOne();  // false if nothing is ready
  // After a submission the device may run some of the work before the host goes on.
  void MakeProgress(const Operation& submitted);
  void Execute(Operation* operation);
  void HostReaches(const Operation& operation);

  using Lock = std::lock_guard<std::recursive_mutex>;  // host functions may call back

  mutable std::recursive_mutex mutex_;
  Stream default_stream_;
  std::vector<Stream*> streams_;  // without the default stream and destroyed ones
  std::vector<OperationPointer> pending_;
  std::vector<Place> places_;            // by operation id
  std::vector<uint32_t> last_sequence_;  // by lane
  VectorClock host_clock_;
  int lane_count_ = 0;
  bool failed_ = false;
  std::mt19937_64 random_;
};

}  // namespace ptxemu

#endif  // PTXEMU_WORK_QUEUE_H_
