// SPDX-License-Identifier: MIT
// Measures the constants of the cost model (cuda/model.cu) on the device at hand, and prints them as JSON:
//
//   grid_sync_us        a barrier of all blocks, one a multiprocessor, by cooperative groups
//   flag_hop_us         from a release in one block to its acquire in another one, by L2: kFlagHop
//   l2_broadcast_*      bytes a microsecond where every multiprocessor reads the same buffer by L2, all together and
//                       alone: kL2Share * multiprocessors, kL2PortBytes * clock
//   graph_launch_us     the boundary between two kernels of a graph: kLaunch
//   cycles_per_us       the clock that was kept, by clock64 beside events
//
// Times are the median of several runs between CUDA events. A run of few rounds is taken off one of many, so that what a
// launch costs drops out. With --quick few rounds, enough to see that it runs.
//
//   nvcc -O3 -std=c++17 -arch=native bench/cuda/microbench.cu -o microbench && ./microbench
#include <cooperative_groups.h>
#include <cuda_runtime.h>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

namespace {
constexpr int kThreads = 256, kFlagStride = 32;  // words: a line of 128 bytes for each flag
constexpr int kReaders = 512;  // threads, enough 16-byte loads under way to hide the latency of L2

void check(cudaError_t error, const char* what) {
  if (!error) return;
  std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}
#define CHECK(...) check(__VA_ARGS__, #__VA_ARGS__)

// ---- kernels ----

__global__ void __launch_bounds__(kThreads) barriers(int rounds, long long* cycles) {
  const auto grid = cooperative_groups::this_grid();
  const long long start = clock64();
  for (int i = 0; i < rounds; ++i) grid.sync();
  if (blockIdx.x == 0 && threadIdx.x == 0) *cycles = clock64() - start;
}

__device__ void release(unsigned* flag) {
  asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(flag) : "memory");
}
__device__ void acquire(const unsigned* flag, unsigned target) {
  unsigned seen;
  do asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(seen) : "l"(flag) : "memory");
  while (seen < target);
}

// Blocks 0 and gridDim.x - 1 answer each other, two hops a round; the blocks in between end at once
__global__ void hops(int rounds, unsigned* flags) {
  if (blockIdx.x == 0)
    for (int i = 1; i <= rounds; ++i) release(flags), acquire(flags + kFlagStride, i);
  else if (blockIdx.x == gridDim.x - 1)
    for (int i = 1; i <= rounds; ++i) acquire(flags, i), release(flags + kFlagStride);
}

// Every block reads the whole buffer each round, past L1. The sum keeps the loads alive.
__global__ void __launch_bounds__(kReaders) broadcast(int rounds, const uint4* buffer, int count, unsigned* sink) {
  unsigned sum = 0;
  for (int i = 0; i < rounds; ++i)
#pragma unroll 8
    for (int k = threadIdx.x; k < count; k += kReaders) {
      uint4 v;
      asm volatile("ld.global.cg.v4.u32 {%0,%1,%2,%3}, [%4];"
                   : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                   : "l"(buffer + k)
                   : "memory");
      sum += v.x ^ v.y ^ v.z ^ v.w;
    }
  if (sum == 0x9e3779b9u) *sink = sum;
}

__global__ void __launch_bounds__(kThreads) nothing() {}

// ---- measuring ----

// A number of JSON; null where the clock saw no time pass
std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.5g", value);
  return std::isfinite(value) && value > 0 ? text : "null";
}

struct Timer {
  cudaStream_t stream;
  cudaEvent_t start, stop;
  Timer() {
    CHECK(cudaStreamCreate(&stream));
    CHECK(cudaEventCreate(&start));
    CHECK(cudaEventCreate(&stop));
  }
  double once(const std::function<void()>& work) const {
    float milliseconds;
    CHECK(cudaEventRecord(start, stream));
    work();
    CHECK(cudaEventRecord(stop, stream));
    CHECK(cudaEventSynchronize(stop));
    CHECK(cudaEventElapsedTime(&milliseconds, start, stop));
    return milliseconds * 1e3;
  }
  // Microseconds, after a first run that warms up
  double median(int runs, const std::function<void()>& work) const {
    std::vector<double> times;
    once(work);
    for (int i = 0; i < runs; ++i) times.push_back(once(work));
    std::nth_element(times.begin(), times.begin() + runs / 2, times.end());
    return times[runs / 2];
  }
};

struct Bench {
  Timer timer;
  cudaDeviceProp device;
  int runs, rounds;
  unsigned* memory;  // flags, then a sink
  long long* cycles;

  // Microseconds of a round: `work` does so many rounds
  double each(const std::function<void(int)>& work) const {
    const int few = std::max(1, rounds / 10);
    const double little = timer.median(runs, [&] { work(few); });
    return (timer.median(runs, [&] { work(rounds); }) - little) / (rounds - few);
  }
  void clear() const { CHECK(cudaMemsetAsync(memory, 0, 3 * kFlagStride * sizeof(unsigned), timer.stream)); }

  void cooperative(const void* kernel, int blocks, int threads, void** arguments) const {
    CHECK(cudaLaunchCooperativeKernel(kernel, dim3(blocks), dim3(threads), arguments, size_t(0), timer.stream));
  }
  void grid_sync() const {
    const auto work = [&](int count) {
      long long* to = cycles;
      void* arguments[] = {&count, &to};
      cooperative(reinterpret_cast<const void*>(barriers), device.multiProcessorCount, kThreads, arguments);
    };
    const double us = each(work);
    long long taken = 0;
    work(rounds);
    CHECK(cudaMemcpyAsync(&taken, cycles, sizeof taken, cudaMemcpyDeviceToHost, timer.stream));
    CHECK(cudaStreamSynchronize(timer.stream));
    std::printf(" \"grid_sync_us\": %s,\n \"cycles_per_us\": %s,\n", number(us).c_str(),
                number(double(taken) / rounds / us).c_str());
  }
  void flag_hop() const {
    const double us = each([&](int count) {
      unsigned* flags = memory;
      clear();
      void* arguments[] = {&count, &flags};
      cooperative(reinterpret_cast<const void*>(hops), device.multiProcessorCount, 32, arguments);
    });
    std::printf(" \"flag_hop_us\": %s,\n", number(us / 2).c_str());
  }
  // Bytes a microsecond of so many blocks together
  double l2(int blocks, int bytes) const {
    uint4* buffer;
    CHECK(cudaMalloc(&buffer, bytes));
    CHECK(cudaMemsetAsync(buffer, 0, bytes, timer.stream));
    const double us = each([&](int count) {
      broadcast<<<blocks, kReaders, 0, timer.stream>>>(count, buffer, bytes / int(sizeof(uint4)),
                                                       memory + 2 * kFlagStride);
      CHECK(cudaGetLastError());
    });
    CHECK(cudaFree(buffer));
    return double(bytes) * blocks / us;
  }
  void l2_broadcast(const std::vector<int>& sizes) const {
    for (const int bytes : sizes)
      std::printf(" \"l2_broadcast_%d_kib_bytes_per_us\": {\"all\": %s, \"one\": %s},\n", bytes / 1024,
                  number(l2(device.multiProcessorCount, bytes)).c_str(), number(l2(1, bytes)).c_str());
  }
  double graph(int kernels) const {
    cudaGraph_t graph;
    cudaGraphExec_t ready;
    CHECK(cudaStreamBeginCapture(timer.stream, cudaStreamCaptureModeThreadLocal));
    for (int i = 0; i < kernels; ++i) nothing<<<device.multiProcessorCount, kThreads, 0, timer.stream>>>();
    CHECK(cudaStreamEndCapture(timer.stream, &graph));
    CHECK(cudaGraphInstantiate(&ready, graph, 0));
    const double us = timer.median(runs, [&] { CHECK(cudaGraphLaunch(ready, timer.stream)); });
    CHECK(cudaGraphExecDestroy(ready));
    CHECK(cudaGraphDestroy(graph));
    return us;
  }
  void graph_launch() const {
    const int many = std::min(rounds, 1000), few = std::max(1, many / 10);
    std::printf(" \"graph_launch_us\": %s\n", number((graph(many) - graph(few)) / (many - few)).c_str());
  }
};
}  // namespace

int main(int argc, char** argv) {
  const bool quick = argc > 1 && std::strcmp(argv[1], "--quick") == 0;
  int count = 0;
  if (cudaGetDeviceCount(&count) || !count) {
    std::fprintf(stderr, "no device\n");
    return 1;
  }
  Bench bench{};
  bench.runs = quick ? 1 : 15;
  bench.rounds = quick ? 4 : 2000;
  CHECK(cudaGetDeviceProperties(&bench.device, 0));
  CHECK(cudaMalloc(&bench.memory, 3 * kFlagStride * sizeof(unsigned)));
  CHECK(cudaMalloc(&bench.cycles, sizeof(long long)));
  std::printf("{\n \"device\": \"%s\",\n \"multiprocessors\": %d,\n \"quick\": %s,\n", bench.device.name,
              bench.device.multiProcessorCount, quick ? "true" : "false");
  bench.grid_sync();
  bench.flag_hop();
  bench.l2_broadcast(quick ? std::vector<int>{4096} : std::vector<int>{16 << 10, 64 << 10, 256 << 10, 1 << 20});
  bench.graph_launch();
  std::printf("}\n");
  CHECK(cudaFree(bench.memory));
  CHECK(cudaFree(bench.cycles));
}
