// SPDX-License-Identifier: MIT
// Every cell in one arithmetic, -DFR_ARITHMETIC=f32, tf32, bf16, f16 or f64, against the target "reference" over all
// options of a call; the same bits without a tape, in a second run, and in segments. Prints a hash of all bits, which may
// not depend on the schedule of threads. Arguments: names of the cells to test; none: all.
#include "../../cuda/target.h"
#include "device_kernel.h"
#include "dispatch.h"
#include "kernel_checks.h"
#define FR_JOIN2(a, b) a##b
#define FR_JOIN(a, b) FR_JOIN2(a, b)

namespace {
using fastrnn::DeviceKernel;
using fastrnn::Kernel;
using fastrnn::Kernels;
using fastrnn::KernelTable;

// epsilon: as in tests/cpp/test_kernels.cpp. bf16 is held against a reference that rounds the same numbers, tf32 and f16
// against one that rounds none: both factors of a product have 11 bits, and are off by 2^-12.
struct f32 {
  using T = float;
  static constexpr double epsilon = 0x1p-21;
  static constexpr Kernels<float> KernelTable::* reference = &KernelTable::f32;
};
struct f64 {
  using T = double;
  static constexpr double epsilon = 0x1p-50;
  static constexpr Kernels<double> KernelTable::* reference = &KernelTable::f64;
};
struct bf16 {
  using T = float;
  static constexpr double epsilon = 0x1p-9;
  static constexpr Kernels<float> KernelTable::* reference = &KernelTable::bf16;
};
struct tf32 {
  using T = float;
  static constexpr double epsilon = 0x1p-11;
  static constexpr Kernels<float> KernelTable::* reference = &KernelTable::f32;
};
using f16 = tf32;

using Precision = FR_ARITHMETIC;
using T = Precision::T;

uint64_t bits_of_all = 0xcbf29ce484222325u;  // FNV-1a

void add_bits(const std::vector<Result<T>>& results) {
  for (const Result<T>& result : results) {
    const auto* const bytes = reinterpret_cast<const unsigned char*>(result.values.data());
    for (size_t k = 0; k < result.values.size() * sizeof(T); ++k)
      bits_of_all = (bits_of_all ^ bytes[k]) * 0x100000001b3u;
  }
}

const Kernel<T>& reference_of(const char* cell) {
  const Kernels<T>& all = fastrnn::find_target("reference").*Precision::reference;
  for (int k = 0; k < all.count; ++k)
    if (!std::strcmp(all.cells[k].cell, cell)) return all.cells[k];
  CHECK(false, "the reference has no cell %s", cell);
  std::exit(check::report());
}

// The derivative of relu jumps: where operands are rounded to other numbers than those of the reference, gradients of a
// few units have nothing to do with each other.
bool gradients_comparable(const char* cell) { return !std::is_same_v<Precision, tf32> || !std::strstr(cell, "relu"); }

std::vector<Result<T>> all_of(const Kernel<T>& kernel, const KernelCase<T>& c) {
  KernelRun<T> run(kernel, c);
  const std::vector<Result<T>> outputs = run.forward(true);
  return join(outputs, run.backward());
}

void check_against_reference(const Kernel<T>& kernel, const Options& options) {
  const check::Case scope("%s %s", kernel.id, options.text().c_str());
  KernelCase<T> c(kernel, options);
  c.fill_random();
  const std::vector<Result<T>> want = all_of(reference_of(kernel.cell), c), got = all_of(kernel, c);
  CHECK(got.size() == want.size(), "%zu and %zu results", got.size(), want.size());
  for (size_t k = 0; k < want.size(); ++k)
    if (!want[k].backward || gradients_comparable(kernel.cell))
      check_close<Precision>(kernel.cell, options, got[k], want[k]);
  KernelRun<T> again(kernel, c);
  check_same(again.forward(false), std::vector<Result<T>>(got.begin(), got.begin() + 1 + kernel.states),
             "without a tape");
  check_same(all_of(kernel, c), got, "in a second run");
  add_bits(got);
}

void check_segments(const Kernel<T>& kernel, const Options& options) {
  const check::Case scope("%s %s", kernel.id, options.text().c_str());
  KernelCase<T> c(kernel, options);
  c.fill_random();
  check_segments_of(kernel, c, {1, false}, all_of(kernel, c));
}

// Empty ones, single numbers, tails of tiles in every dimension, more rows than a tile of the step has
constexpr Index kShapes[][4] = {{0, 3, 5, 4}, {4, 0, 5, 4},   {1, 1, 1, 1},   {3, 5, 7, 33},
                                {6, 4, 0, 9}, {2, 34, 8, 20}, {4, 7, 16, 16}, {12, 3, 5, 6}};
// Their rows end at multiples of what a kernel sums at a time, 1 to 16
constexpr Index kSegmented[][4] = {{9, 8, 5, 11}, {40, 4, 3, 5}};

void check_cell(const DeviceKernel<T>& of, uint64_t seed) {
  const Kernel<T> kernel = device::Adapter<T>::adapt(of);
  for (int twice = 0; twice < 2; ++twice)
    for (const auto& d : kShapes) check_against_reference(kernel, random_options(d[0], d[1], d[2], d[3], seed++));
  for (const auto& d : kSegmented) check_segments(kernel, random_options(d[0], d[1], d[2], d[3], seed++));
}
}  // namespace

int main(int argc, char** argv) {
  const fastrnn::DeviceKernels<T> all = fastrnn::FR_JOIN(device_kernels_, FR_ARITHMETIC)();
  for (int cell = 0; cell < all.count; ++cell) {
    bool wanted = argc == 1;
    for (int k = 1; k < argc; ++k) wanted |= !std::strcmp(argv[k], all.cells[cell].cell);
    if (wanted) check_cell(all.cells[cell], static_cast<uint64_t>(cell) * 1000);
  }
  std::printf("bits %016llx\n", static_cast<unsigned long long>(bits_of_all));
  return check::report();
}
