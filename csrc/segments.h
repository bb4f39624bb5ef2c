// SPDX-License-Identifier: MIT
// How a tape is divided where all of it would need more memory than a call may take, whatever device it is on.
#pragma once
#include <optional>
#include <vector>
#include "network_layout.h"
namespace fastrnn {

struct Segments {
  std::vector<Index> bounds;  // 0 = first step of the first segment, ..., T
  std::vector<Index> rows;  // of the recurrence before each bound
  Dims most;  // dimensions of the longest segment, with the widest x of the network
};

// Of a kernel, what the memory of a tape depends on
struct TapeFacts {
  Index (*size)(Dims);  // elements
  Index element;  // bytes
  int row_multiple;
};

// Segments that keep a tape within `budget` bytes, with what backward adds to them; none where the whole tape is.
// Throws std::invalid_argument that names the least that works.
std::optional<Segments> plan_segments(const NetworkLayout& net, const TapeFacts& tape, const Batch& batch,
                                      double budget);

}  // namespace fastrnn
