// SPDX-License-Identifier: MIT
// W_hh (G*H,H) as persistent kernels want it, 0 beyond H; once per update of the weights.
//
//   forward    packed[unit * G + r][k]              = W_hh[gate of slot kH + r][unit][k]
//   backward   packed[unit][plane * columns + k]    = W_hh[gate of slot kH + plane][k][unit]
//
// A lane then loads 16 bytes a row and chunk, with no bound to check; converting from W_hh in the kernels themselves
// takes more registers than there are.
#pragma once
#include "cells/slots.h"
#include "tile.cuh"
FR_NAMESPACE_BEGIN
namespace persistent {

// One thread a number; grid (kK / 32, columns * G / 8), block (32, 8)
template <class Cell, class Tile>
__global__ void __launch_bounds__(kThreads) pack_forward(const float* W_hh, int H, typename Tile::Scalar* packed) {
  constexpr int G = Cell::kGates, kH = first_slot<Cell>(false);
  const int row = blockIdx.y * 8 + threadIdx.y, k = blockIdx.x * 32 + threadIdx.x, unit = row / G;
  const int gate = gate_of_slot<Cell>(false, kH + row % G);
  const float w = unit < H && k < H ? W_hh[(Index(gate) * H + unit) * H + k] : 0.f;
  packed[Index(row) * Tile::kK + k] = round_to<typename Tile::Scalar>(w);
}

// Through shared memory, since rows become columns; grid (kK / 32, columns / 32 rounded up), block (32, 8)
template <class Cell, class Tile>
__global__ void __launch_bounds__(kThreads)
    pack_backward(const float* W_hh, int H, int columns, typename Tile::Scalar* packed) {
  constexpr int kH = first_slot<Cell>(false);
  __shared__ float square[32][33];
  const int first_k = blockIdx.x * 32, first_unit = blockIdx.y * 32;
  for (int r = threadIdx.y; r < 32; r += 8) {
    const int plane = (first_k + r) / columns, k = (first_k + r) % columns, unit = first_unit + threadIdx.x;
    const bool inside = plane < Cell::kGates && k < H && unit < H;
    square[r][threadIdx.x] = inside ? W_hh[(Index(gate_of_slot<Cell>(false, kH + plane)) * H + k) * H + unit] : 0.f;
  }
  __syncthreads();
  for (int r = threadIdx.y; r < 32; r += 8)
    if (first_unit + r < columns)
      packed[Index(first_unit + r) * Tile::kK + first_k + threadIdx.x] =
          round_to<typename Tile::Scalar>(square[threadIdx.x][r]);
}

}  // namespace persistent
FR_NAMESPACE_END
