// SPDX-License-Identifier: MIT
// Every cell in a CUDA kernel, forward and backward, by the headers that the CPU uses: they must compile unchanged.
#include "cells/cells.h"

template <class Cell>
__global__ void unit_step(int n, const float* from_x, const float* from_h, const float* unit_parameters, float* states,
                          float* results) {
  const int j = blockIdx.x * blockDim.x + threadIdx.x;
  if (j >= n) return;
  float pre[Cell::kPre] = {}, prev[Cell::kState], state[Cell::kState], saved[Cell::kSaved];
  fastrnn::UnitParameters<float, Cell::kUnit> unit;
  if constexpr (Cell::kUnit > 0)
    for (int p = 0; p < Cell::kUnit; ++p) unit[p] = unit_parameters[p * n + j];
  for (int g = 0; g < Cell::kGates; ++g) {
    pre[Cell::x_slot(g)] += from_x[g * n + j];
    pre[Cell::h_slot(g)] += from_h[g * n + j];
  }
  for (int q = 0; q < Cell::kState; ++q) prev[q] = state[q] = states[q * n + j];
  Cell::update(pre, unit, state, saved);
  Cell::output(state[Cell::kMemory], state, saved);

  float dstate[Cell::kState] = {1}, dpre[Cell::kPre] = {}, dm = 0;
  Cell::output_backward(saved, unit, state[Cell::kMemory], dstate[0], dm, dpre);
  dstate[Cell::kMemory] = Cell::kMemory == 0 ? dm : dstate[Cell::kMemory] + dm;
  Cell::update_backward(saved, unit, prev, dstate, dpre);
  for (int q = 0; q < Cell::kState; ++q) states[q * n + j] = state[q], results[q * n + j] = dstate[q];
  for (int s = 0; s < Cell::kPre; ++s) results[(Cell::kState + s) * n + j] = dpre[s];
}

using namespace fastrnn;
#define FR_CELL(name, type) \
  template __global__ void unit_step<type>(int, const float*, const float*, const float*, float*, float*);
#define FR_STAGED_CELL FR_CELL
#include "cells/cells.def"
