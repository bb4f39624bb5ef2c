// SPDX-License-Identifier: MIT
// What a step of the loop costs by a model of floors: synchronisation, plus the slower of bringing h (backward: dG) to the
// multiprocessors and of multiplying it, plus a quarter of the faster one, which overlap leaves, plus the cell.
// docs/cuda.md derives it; bench/cuda/ measures its constants on a device.
//
//   persistent   a hop by a flag; weights in registers; each block reads the rows of its group from L2
//   streaming    a launch; weights from L2 or memory; h from L2
#pragma once
#include "device/api.h"
namespace fastrnn {

// Of the device of the calling thread
struct DeviceSpeed {
  int multiprocessors;
  double clock;  // cycles a microsecond
  double memory;  // bytes a microsecond
  double l2;  // bytes: what fits is read at kL2Bytes
};
Status device_speed(DeviceSpeed* to);

enum class Engine { kStreaming = 1, kPersistent };

// That of the environment variable FASTRNN_CUDA_ENGINE, "streaming" or "persistent" (where it can run); zero: none
Engine forced_engine();

// How products multiply, as far as speed goes
enum class Units { kFma32, kFma64, kTensor16, kTensorTf32 };

struct StepCost {
  double microseconds;
  const char* limit;  // what most of it is
};

// blocks: of a group; groups: that run at a time, rows of the batch divided among them
StepCost persistent_cost(const DeviceSpeed& device, Dims d, int gates, Units units, bool backward, int blocks,
                         int groups);
StepCost streaming_cost(const DeviceSpeed& device, Dims d, int gates, Units units);

}  // namespace fastrnn
