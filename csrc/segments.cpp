// SPDX-License-Identifier: MIT
#include "segments.h"
#include <algorithm>
#include <stdexcept>
#include <string>
namespace fastrnn {
namespace {
// From the end, so that all segments but the first one are of that length, or a little longer where their rows must be
// a multiple
std::vector<Index> bounds_of(const Batch& batch, Index length, int row_multiple) {
  std::vector<Index> bounds{batch.T};
  while (bounds.back() > 0) {
    Index begin = std::max(bounds.back() - length, Index(0));
    while (begin > 0 && (batch.R - batch.rows_before(begin)) % row_multiple) --begin;
    bounds.push_back(begin);
  }
  std::reverse(bounds.begin(), bounds.end());
  return bounds;
}

Segments cut(const NetworkLayout& net, const Batch& batch, Index length, int row_multiple) {
  Segments found{bounds_of(batch, length, row_multiple), {}, net.dims(batch, net.widest_input())};
  for (Index bound : found.bounds) found.rows.push_back(batch.rows_before(bound));
  found.most.T = found.most.R = 0;
  for (size_t k = 0; k + 1 < found.bounds.size(); ++k) {
    found.most.T = std::max(found.most.T, found.bounds[k + 1] - found.bounds[k]);
    found.most.R = std::max(found.most.R, found.rows[k + 1] - found.rows[k]);
  }
  return found;
}

// Numbers of segments to try: some, up to one a step
Index next_count(Index count, Index most) {
  return count < most ? std::min(most, count + std::max(Index(1), count / 16)) : most + 1;
}
}  // namespace

std::optional<Segments> plan_segments(const NetworkLayout& net, const TapeFacts& tape, const Batch& batch,
                                      double budget) {
  const auto bytes = [&](Index n) { return double(n) * double(tape.element); };
  const Index steps_and_rows = batch.T * batch.B;
  double inputs = bytes(steps_and_rows * net.shape().I), whole = 0, state = 0;
  for (int layer = 0; layer + 1 < net.layers(); ++layer) inputs += bytes(steps_and_rows * net.outputs(layer));
  for (const Part& part : net.parts()) whole += bytes(tape.size(net.dims(batch, part.inputs)));
  for (int q = 0; q < net.cell().states; ++q) state += bytes(batch.B * net.width(q));
  // gradients of the outputs of two layers below the last
  inputs += bytes(std::min(2, net.layers() - 1) * steps_and_rows * net.widest_between());
  if (inputs + whole <= budget) return std::nullopt;

  double least = inputs + whole;
  for (Index count = 2; count <= batch.T; count = next_count(count, batch.T)) {
    Segments found = cut(net, batch, (batch.T + count - 1) / count, tape.row_multiple);
    const double kept = double(found.bounds.size() - 1) * double(net.parts().size());
    const double size = inputs + state * kept + bytes(tape.size(found.most)) + 2 * state;
    least = std::min(least, size);
    if (size <= budget) return found;
  }
  throw std::invalid_argument("max_workspace is " + std::to_string(Index(budget)) +
                              " bytes, but this call needs at least " + std::to_string(Index(least)));
}

}  // namespace fastrnn
