// SPDX-License-Identifier: MIT
// Runtime API, part 4: streams, events, graphs and synchronisation.

#include "runtime.h"

namespace ptxemu {
namespace {

Event* ToEvent(cudaEvent_t event) { return reinterpret_cast<Event*>(event); }
Graph* ToGraph(cudaGraph_t graph) { return reinterpret_cast<Graph*>(graph); }
GraphExecutable* ToExecutable(cudaGraphExec_t graph) { return reinterpret_cast<GraphExecutable*>(graph); }

cudaError_t NewStream(cudaStream_t* stream, bool blocking) {
  if (!HasDevice()) return SetError(cudaErrorNoDevice);
  *stream = reinterpret_cast<cudaStream_t>(WorkQueue::Get().CreateStream(blocking));
  return cudaSuccess;
}

cudaError_t NewEvent(cudaEvent_t* event) {
  if (!HasDevice()) return SetError(cudaErrorNoDevice);
  *event = reinterpret_cast<cudaEvent_t>(new Event);
  return cudaSuccess;
}

}  // namespace

Stream* ToStream(cudaStream_t stream) {
  if (stream == nullptr || stream == cudaStreamLegacy || stream == cudaStreamPerThread) {
    return WorkQueue::Get().default_stream();
  }
  return reinterpret_cast<Stream*>(stream);
}

cudaError_t CheckStream(cudaStream_t stream) {
  return SetError(ToStream(stream)->destroyed ? cudaErrorInvalidResourceHandle : cudaSuccess);
}

}  // namespace ptxemu

using ptxemu::AsynchronousError;
using ptxemu::CheckStream;
using ptxemu::HasDevice;
using ptxemu::SetError;
using ptxemu::ToEvent;
using ptxemu::ToExecutable;
using ptxemu::ToGraph;
using ptxemu::ToStream;
using ptxemu::WorkQueue;

extern "C" {

// --- Streams --------------------------------------------------------------------------

cudaError_t cudaStreamCreate(cudaStream_t* stream) { return ptxemu::NewStream(stream, true); }

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  return ptxemu::NewStream(stream, (flags & cudaStreamNonBlocking) == 0);
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int) {
  return cudaStreamCreateWithFlags(stream, flags);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  if (const cudaError_t error = CheckStream(stream)) return error;
  WorkQueue::Get().DestroyStream(ToStream(stream));
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (!HasDevice()) return SetError(cudaErrorNoDevice);
  if (const cudaError_t error = CheckStream(stream)) return error;
  WorkQueue::Get().SynchronizeStream(ToStream(stream));
  return AsynchronousError();
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
  if (!HasDevice()) return SetError(cudaErrorNoDevice);
  if (const cudaError_t error = CheckStream(stream)) return error;
  return WorkQueue::Get().Query(ToStream(stream)->last) ? AsynchronousError() : cudaErrorNotReady;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  if (const cudaError_t error = CheckStream(stream)) return error;
  WorkQueue::Get().WaitForEvent(ToStream(stream), *ToEvent(event));
  return cudaSuccess;
}

cudaError_t cudaStreamGetFlags(cudaStream_t stream, unsigned* flags) {
  *flags = ToStream(stream)->blocking ? cudaStreamDefault : cudaStreamNonBlocking;
  return cudaSuccess;
}

cudaError_t cudaStreamGetPriority(cudaStream_t, int* priority) {
  *priority = 0;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  *least = *greatest = 0;
  return cudaSuccess;
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* data) {
  if (const cudaError_t error = CheckStream(stream)) return error;
  WorkQueue::Get().Submit(ToStream(stream), [=](const ptxemu::Operation&) { function(data); });
  return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize() {
  if (!HasDevice()) return SetError(cudaErrorNoDevice);
  WorkQueue::Get().SynchronizeAll();
  return AsynchronousError();
}

// --- Events ---------------------------------------------------------------------------

cudaError_t cudaEventCreate(cudaEvent_t* event) { return ptxemu::NewEvent(event); }
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) { return ptxemu::NewEvent(event); }

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete ToEvent(event);
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  if (const cudaError_t error = CheckStream(stream)) return error;
  WorkQueue::Get().RecordEvent(ToEvent(event), ToStream(stream));
  return cudaSuccess;
}

cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned) {
  return cudaEventRecord(event, stream);
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  WorkQueue::Get().Synchronize(ToEvent(event)->operation);
  return AsynchronousError();
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  return WorkQueue::Get().Query(ToEvent(event)->operation) ? AsynchronousError() : cudaErrorNotReady;
}

// There is no time here: every pair of events is one millisecond apart.
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t, cudaEvent_t) {
  *milliseconds = 1.0f;
  return cudaSuccess;
}

// --- Graphs ---------------------------------------------------------------------------

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  if (ToStream(stream)->is_default) return SetError(cudaErrorStreamCaptureUnsupported);
  WorkQueue::Get().BeginCapture(ToStream(stream));
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  auto* captured = new ptxemu::Graph;
  if (!WorkQueue::Get().EndCapture(ToStream(stream), captured)) {
    delete captured;
    return SetError(cudaErrorIllegalState);
  }
  *graph = reinterpret_cast<cudaGraph_t>(captured);
  return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  const bool capturing = ToStream(stream)->capture != nullptr;
  *status = capturing ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return cudaSuccess;
}

cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode*) { return cudaSuccess; }

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  *executable = reinterpret_cast<cudaGraphExec_t>(WorkQueue::Get().Instantiate(*ToGraph(graph)));
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long flags) {
  return cudaGraphInstantiate(executable, graph, flags);
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  WorkQueue::Get().LaunchGraph(*ToExecutable(executable), ToStream(stream));
  return cudaSuccess;
}

cudaError_t cudaGraphUpload(cudaGraphExec_t, cudaStream_t) { return cudaSuccess; }

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t* nodes, size_t* count) {
  if (nodes != nullptr) return SetError(cudaErrorNotSupported);
  *count = ToGraph(graph)->nodes.size();
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete ToGraph(graph);
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete ToExecutable(executable);
  return cudaSuccess;
}

}  // extern "C"
