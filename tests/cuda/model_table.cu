// SPDX-License-Identifier: MIT
// Prints what the library has of the cost model, for tests/test_bench_cuda.py, which holds bench/cuda/model.py against
// it: for LSTM and GRU in bfloat16 and float32, lines of
//
//   cell arithmetic B H  units-of-a-block  fixed and kept bytes of shared memory  streaming us  persistent us of
//   ceil(H / units) blocks in 1, 2 and 3 groups
//
// Needs no device: sizes are constants, and the device is that of the command line (multiprocessors, clock, memory, L2).
#include <cstdio>
#include <cstdlib>
#define FR_ISA model_table
#include "cells/cells.h"
#include "model.h"
#include "persistent/launch.cuh"

FR_NAMESPACE_BEGIN
namespace {

template <class Cell, class Scalar>
struct Row {
  template <int kMaxH, int kMostUnits>
  static bool print(const char* name, const DeviceSpeed& device, Dims d) {
    using Choice = persistent::Instance<Cell, Scalar, kMaxH, kMostUnits>;
    if constexpr (Choice::kExists) {
      using Kernels = persistent::Kernels<Cell, Scalar, Choice>;
      using Kernel = typename Kernels::ForwardKernel;
      const int units = Kernels::ForwardTile::kBlockUnits, blocks = int((d.H + units - 1) / units);
      std::printf("%s %td %td %d %zu %zu", name, d.B, d.H, units, sizeof(typename Kernel::Shared),
                  sizeof(typename Kernel::Kept));
      costs(device, d, blocks);
      return true;
    }
    return false;
  }
  static void costs(const DeviceSpeed& device, Dims d, int blocks) {
    constexpr Units kUnits = sizeof(Scalar) == 2 ? Units::kTensor16 : Units::kFma32;
    std::printf(" %.17g", streaming_cost(device, d, Cell::kGates, kUnits).microseconds);
    for (int groups = 1; blocks && groups <= 3; ++groups)
      std::printf(" %.17g", persistent_cost(device, d, Cell::kGates, kUnits, false, blocks, groups).microseconds);
    std::printf("\n");
  }
  static void of(const char* name, const DeviceSpeed& device, Dims d) {
#define FR_CLASS(max_H, units) \
  if (d.H <= max_H && print<max_H, units>(name, device, d)) return;
#include "persistent/classes.def"
#undef FR_CLASS
    std::printf("%s %td %td 0 0 0", name, d.B, d.H);
    costs(device, d, 0);
  }
};
}  // namespace

void print_all(const DeviceSpeed& device) {
  for (const Index B : {1, 16, 64, 100, 1000})
    for (const Index H : {1, 64, 128, 250, 256, 512, 768, 1024, 1536, 2048}) {
      Dims d{};
      d.B = B, d.H = d.P = H;
      Row<Lstm, __nv_bfloat16>::of("LSTM bfloat16", device, d);
      Row<Lstm, float>::of("LSTM float32", device, d);
      Row<Gru, __nv_bfloat16>::of("GRU bfloat16", device, d);
      Row<Gru, float>::of("GRU float32", device, d);
    }
}
FR_NAMESPACE_END

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  fastrnn::print_all({std::atoi(argv[1]), std::atof(argv[2]), std::atof(argv[3]), std::atof(argv[4])});
}
