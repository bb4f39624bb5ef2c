// SPDX-License-Identifier: MIT
#include "model.h"
#include <cuda_runtime_api.h>
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include "status.h"
namespace fastrnn {
namespace {
// Microseconds, as measured on an H100 and published: a release and an acquire of a flag by L2, and the boundary between
// two kernels of a graph
constexpr double kFlagHop = 0.65, kLaunch = 1.3;
constexpr double kL2PortBytes = 64;  // a cycle and multiprocessor
constexpr double kL2Share = 41700;  // bytes a microsecond and multiprocessor, where all read: 5.5 TB/s of 132
constexpr double kFetchLatency = 0.12, kReduction = 0.06, kCellLatency = 0.10, kCellRound = 0.03;
constexpr double kSharedBytes = 128;  // a cycle, read by one multiprocessor
constexpr int kCells = 256;  // at a time of a block
constexpr int kTileRows = 8;

// Multiply-adds a cycle of a multiprocessor: those of mma.sync reach 0.62 of the peak of an H100, FFMA 0.9
double multiply_adds(Units units) {
  switch (units) {
    case Units::kFma64:
      return 64 * 0.9;
    case Units::kTensor16:
      return 2048 * 0.62;
    case Units::kTensorTf32:
      return 1024 * 0.62;
    default:
      return 128 * 0.9;
  }
}
double operand_bytes(Units units) { return units == Units::kTensor16 ? 2 : units == Units::kFma64 ? 8 : 4; }

StepCost cost(double fixed, const char* what, double in, const char* in_words, double compute, double cell) {
  const double overlapped = std::max(in, compute) + 0.25 * std::min(in, compute);
  const double total = fixed + overlapped + cell;
  const char* const limit = fixed >= overlapped ? what : in >= compute ? in_words : "multiply-adds";
  return {total, limit};
}
}  // namespace

Engine forced_engine() {
  static const Engine forced = [] {
    const char* const name = std::getenv("FASTRNN_CUDA_ENGINE");
    if (name && std::strcmp(name, "streaming") == 0) return Engine::kStreaming;
    if (name && std::strcmp(name, "persistent") == 0) return Engine::kPersistent;
    return Engine(0);
  }();
  return forced;
}

Status device_speed(DeviceSpeed* to) {
  int device, clock, memory_clock, bus, l2;
  FR_TRY(cudaGetDevice(&device));
  FR_TRY(cudaDeviceGetAttribute(&to->multiprocessors, cudaDevAttrMultiProcessorCount, device));
  FR_TRY(cudaDeviceGetAttribute(&clock, cudaDevAttrClockRate, device));
  FR_TRY(cudaDeviceGetAttribute(&memory_clock, cudaDevAttrMemoryClockRate, device));
  FR_TRY(cudaDeviceGetAttribute(&bus, cudaDevAttrGlobalMemoryBusWidth, device));
  FR_TRY(cudaDeviceGetAttribute(&l2, cudaDevAttrL2CacheSize, device));
  to->clock = clock / 1e3;
  to->memory = 2.0 * memory_clock * 1e3 * bus / 8 / 1e6;
  to->l2 = l2;
  return 0;
}

StepCost persistent_cost(const DeviceSpeed& device, Dims d, int gates, Units units, bool backward, int blocks,
                         int groups) {
  const double tiles = double((d.B + kTileRows - 1) / kTileRows), each = std::max(1.0, tiles / std::max(groups, 1));
  const double rows = each * kTileRows, H = double(d.H), width = backward ? gates * H : H;
  const double bytes = rows * width * operand_bytes(units);
  const double multiply = rows * gates * H * H / blocks / multiply_adds(units) / device.clock;
  const double read = 2 * bytes / kSharedBytes / device.clock;
  const double fetch =
      std::max(bytes / kL2PortBytes / device.clock, bytes * blocks * groups / (kL2Share * device.multiprocessors));
  const double cell = kCellLatency + kCellRound * double(Index(rows * H / blocks / kCells) + 1);
  return cost(kFlagHop, "synchronisation", fetch + kFetchLatency, "broadcast of the state",
              std::max(multiply, read) + kReduction, cell);
}

StepCost streaming_cost(const DeviceSpeed& device, Dims d, int gates, Units units) {
  const double H = double(d.H), B = double(d.B), weights = gates * H * H * operand_bytes(units);
  const double l2 = kL2Share * device.multiprocessors;
  const double read = weights / (weights < device.l2 ? l2 : device.memory);
  const double blocks = std::min(double(device.multiprocessors), gates * H / 64 + 1);
  const double state = B * H * operand_bytes(units) * blocks / l2;
  const double multiply = B * gates * H * H / multiply_adds(units) / device.clock / blocks;
  return cost(kLaunch, "launches", std::max(read, state), read >= state ? "reading weights" : "broadcast of the state",
              multiply, 2 * kCellLatency);
}
}  // namespace fastrnn
