// SPDX-License-Identifier: MIT
#include "network_layout.h"
namespace fastrnn {

NetworkLayout::NetworkLayout(const CellFacts& cell, const NetworkShape& shape) : cell_(cell), shape_(shape) {
  const Index rows = cell.gates * shape.H;
  for (int layer = 0; layer < layers(); ++layer)
    for (int direction = 0, found = 0; direction < 2; ++direction) {
      if (!(shape.directions[size_t(layer)] >> direction & 1)) continue;
      const Index inputs = layer ? outputs(layer - 1) : shape.I;
      parts_.push_back({layer, direction == 1, inputs, found * shape.P, found == 0});
      ++found;
      const auto add = [&](const char* role, Index count, Index columns) {
        layout_.push_back({layer, direction, role, count, columns, parameter_count_});
        parameter_count_ += count * (columns < 0 ? 1 : columns);
      };
      add("weight_ih", rows, inputs);
      if (cell.recurrent) add("weight_hh", rows, shape.P);
      if (shape.biases > 0) add("bias_ih", rows, -1);
      if (shape.biases > 1) add("bias_hh", rows, -1);
      if (cell.unit_parameters) add("unit", cell.unit_parameters * shape.H, -1);
      if (shape.P != shape.H) add("weight_hr", shape.P, shape.H);
    }
  const char* const roles[kMaxState] = {"h0", "c0"};
  for (int q = 0; shape.learn_state && q < cell.states; ++q) {
    initial_at_[q] = parameter_count_;
    layout_.push_back({-1, 0, roles[q], Index(parts_.size()), width(q), parameter_count_});
    parameter_count_ += Index(parts_.size()) * width(q);
  }
}

Index NetworkLayout::widest_input() const {
  Index widest = 0;
  for (const Part& part : parts_) widest = std::max(widest, part.inputs);
  return widest;
}

Index NetworkLayout::widest_between() const {
  Index widest = 0;
  for (int layer = 0; layer < layers() - 1; ++layer) widest = std::max(widest, outputs(layer));
  return widest;
}

}  // namespace fastrnn
