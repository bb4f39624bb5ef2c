// SPDX-License-Identifier: MIT
// Streams, events, graphs, asynchronous memory. Without an argument everything is ordered as it
// must be; "missing_wait", "missing_graph_edge" and "host_reads_early" leave out one ordering each.

#include <cstring>

#include "test_support.h"

constexpr int kSize = 1000;

__global__ void Fill(int* values, int value) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < kSize) values[i] = value + i;
}

__global__ void AddInto(int* sums, const int* values) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < kSize) sums[i] += values[i];
}

constexpr int kThreads = 128, kBlocks = (kSize + kThreads - 1) / kThreads;

struct Streams {
  Streams() {
    CUDA_CHECK(cudaStreamCreateWithFlags(&first, cudaStreamNonBlocking));
    CUDA_CHECK(cudaStreamCreateWithFlags(&second, cudaStreamNonBlocking));
    CUDA_CHECK(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
    CUDA_CHECK(cudaEventCreateWithFlags(&joined, cudaEventDisableTiming));
  }
  ~Streams() {
    cudaStreamDestroy(first);
    cudaStreamDestroy(second);
    cudaEventDestroy(event);
    cudaEventDestroy(joined);
  }
  cudaStream_t first, second;
  cudaEvent_t event, joined;
};

bool IsSum(const std::vector<int>& sums, int times, int base) {
  for (int i = 0; i < kSize; ++i) {
    if (sums[i] != times * (base + i)) return false;
  }
  return true;
}

// The first stream fills, the second adds what it finds.
void TestEvents(bool with_wait) {
  Streams streams;
  test::DeviceArray<int> values(kSize), sums(kSize);
  for (int round = 0; round < 3; ++round) {
    Fill<<<kBlocks, kThreads, 0, streams.first>>>(values.get(), 5);
    CUDA_CHECK(cudaEventRecord(streams.event, streams.first));
    if (with_wait) CUDA_CHECK(cudaStreamWaitEvent(streams.second, streams.event, 0));
    AddInto<<<kBlocks, kThreads, 0, streams.second>>>(sums.get(), values.get());
    CUDA_CHECK(cudaEventRecord(streams.joined, streams.second));
    if (with_wait) CUDA_CHECK(cudaStreamWaitEvent(streams.first, streams.joined, 0));
  }
  CUDA_CHECK(cudaDeviceSynchronize());
  test::Expect("events", IsSum(sums.ToHost(), 3, 5));
}

// A captured graph forks to the second stream and joins.
void TestGraph(bool with_fork) {
  Streams streams;
  test::DeviceArray<int> values(kSize), sums(kSize);
  cudaGraph_t graph;
  cudaGraphExec_t executable;
  CUDA_CHECK(cudaStreamBeginCapture(streams.first, cudaStreamCaptureModeGlobal));
  CUDA_CHECK(cudaEventRecord(streams.event, streams.first));
  if (!with_fork) CUDA_CHECK(cudaStreamWaitEvent(streams.second, streams.event, 0));
  CUDA_CHECK(cudaMemsetAsync(values.get(), 0, kSize * sizeof(int), streams.first));
  Fill<<<kBlocks, kThreads, 0, streams.first>>>(values.get(), 7);
  CUDA_CHECK(cudaEventRecord(streams.event, streams.first));
  if (with_fork) CUDA_CHECK(cudaStreamWaitEvent(streams.second, streams.event, 0));
  AddInto<<<kBlocks, kThreads, 0, streams.second>>>(sums.get(), values.get());
  CUDA_CHECK(cudaEventRecord(streams.joined, streams.second));
  CUDA_CHECK(cudaStreamWaitEvent(streams.first, streams.joined, 0));
  CUDA_CHECK(cudaStreamEndCapture(streams.first, &graph));
  CUDA_CHECK(cudaGraphInstantiate(&executable, graph, 0));
  for (int i = 0; i < 4; ++i) CUDA_CHECK(cudaGraphLaunch(executable, streams.first));
  CUDA_CHECK(cudaStreamSynchronize(streams.first));
  test::Expect("graph", IsSum(sums.ToHost(), 4, 7));
  CUDA_CHECK(cudaGraphExecDestroy(executable));
  CUDA_CHECK(cudaGraphDestroy(graph));
}

void TestAsynchronousMemory() {
  Streams streams;
  int* values = nullptr;
  CUDA_CHECK(cudaMallocAsync(&values, kSize * sizeof(int), streams.first));
  Fill<<<kBlocks, kThreads, 0, streams.first>>>(values, 2);
  std::vector<int> rows(8 * 3, -1);  // 8 rows of 3 from rows of 100
  CUDA_CHECK(cudaMemcpy2DAsync(rows.data(), 3 * sizeof(int), values, 100 * sizeof(int), 3 * sizeof(int), 8,
                               cudaMemcpyDeviceToHost, streams.first));
  CUDA_CHECK(cudaFreeAsync(values, streams.first));
  CUDA_CHECK(cudaStreamSynchronize(streams.first));
  bool ok = true;
  for (int i = 0; i < 24; ++i) ok &= rows[i] == 2 + i / 3 * 100 + i % 3;
  test::Expect("asynchronous memory", ok);
}

// Which way a copy goes is known from the moment that its memory was asked for, be it there already or not.
void TestDirectionOfCopies() {
  Streams streams;
  bool ok = true;
  for (int round = 0; round < 50; ++round) {
    int *values = nullptr, result = -1;
    CUDA_CHECK(cudaMallocAsync(&values, kSize * sizeof(int), streams.first));
    Fill<<<kBlocks, kThreads, 0, streams.first>>>(values, round);
    CUDA_CHECK(cudaMemcpyAsync(&result, values, sizeof(int), cudaMemcpyDefault, streams.first));
    CUDA_CHECK(cudaFreeAsync(values, streams.first));
    CUDA_CHECK(cudaStreamSynchronize(streams.first));
    ok &= result == round;
  }
  test::Expect("direction of copies", ok);
}

// Page-locked memory holds the result only after the host has waited.
void TestPinned(bool with_wait) {
  Streams streams;
  test::DeviceArray<int> values(kSize);
  int* host = nullptr;
  CUDA_CHECK(cudaMallocHost(&host, kSize * sizeof(int)));
  bool ok = true;
  for (int round = 0; round < 8; ++round) {
    for (int i = 0; i < kSize; ++i) host[i] = -1;
    Fill<<<kBlocks, kThreads, 0, streams.first>>>(values.get(), round);
    CUDA_CHECK(cudaMemcpyAsync(host, values.get(), kSize * sizeof(int), cudaMemcpyDeviceToHost, streams.first));
    if (with_wait) CUDA_CHECK(cudaStreamSynchronize(streams.first));
    ok &= host[kSize - 1] == round + kSize - 1;
  }
  CUDA_CHECK(cudaStreamSynchronize(streams.first));
  test::Expect("page-locked memory", ok);
  CUDA_CHECK(cudaFreeHost(host));
}

int main(int argc, char** argv) {
  const char* bug = argc > 1 ? argv[1] : "";
  TestEvents(std::strcmp(bug, "missing_wait") != 0);
  TestGraph(std::strcmp(bug, "missing_graph_edge") != 0);
  TestAsynchronousMemory();
  TestDirectionOfCopies();
  TestPinned(std::strcmp(bug, "host_reads_early") != 0);
  return test::Finish();
}
