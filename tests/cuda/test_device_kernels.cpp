// SPDX-License-Identifier: MIT
// Every cell in one arithmetic, -DFR_ARITHMETIC=f32, tf32, bf16, f16 or f64, against the reference of csrc/ over all
// options of a call; the same bits without a tape, in a second run, in segments, and of a row alone. Prints a hash of
// all bits, which may not depend on the schedule of threads. Arguments: names of the cells to test; none: all. With
// -DFR_STAGED, the cells of several phases a step, and all cells with noise in the recurrence, which have objects of
// their own.
#include "../../cuda/target.h"
#include "device_kernel.h"
#include "kernel_checks.h"
#include "reference_backward.h"
#define FR_JOIN2(a, b) a##b
#define FR_JOIN(a, b) FR_JOIN2(a, b)

namespace {
using namespace fastrnn;  // cells.def names cells alone

// epsilon: as in tests/cpp/test_kernels.cpp. What products multiply is rounded by the reference to as many bits.
template <class T_, int kBits_>
struct Arithmetic {
  using T = T_;
  static constexpr int kBits = kBits_;
  static constexpr double epsilon = kBits ? 1 / double(2 << kBits) : sizeof(T) == 4 ? 0x1p-21 : 0x1p-50;
};
using f32 = Arithmetic<float, 0>;
using f64 = Arithmetic<double, 0>;
using bf16 = Arithmetic<float, 8>;
using tf32 = Arithmetic<float, 11>;
using f16 = Arithmetic<float, 11>;

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

#define FR_CELL(name, type) Reference<type, T, Precision::kBits>::kernel("reference", #name),
#ifdef FR_STAGED
#define FR_STAGED_CELL FR_CELL
#else
#define FR_STAGED_CELL(name, type)
#endif
constexpr Kernel<T> kReference[] = {
#include "cells/cells.def"
};
#undef FR_CELL
#undef FR_STAGED_CELL

// What is tested
std::vector<DeviceKernel<T>> kernels() {
#ifdef FR_STAGED
  const auto staged = FR_JOIN(staged_kernels_, FR_ARITHMETIC)();
  std::vector<DeviceKernel<T>> all(staged.cells, staged.cells + staged.count);
  all.insert(all.end(), staged.masked, staged.masked + sizeof kReference / sizeof *kReference);
  return all;
#else
  const auto found = FR_JOIN(device_kernels_, FR_ARITHMETIC)();
  return {found.cells, found.cells + found.count};
#endif
}

const Kernel<T>& reference_of(const char* cell) {
  for (const Kernel<T>& kernel : kReference)
    if (!std::strcmp(kernel.cell, cell)) return kernel;
  CHECK(false, "the reference has no cell %s", cell);
  std::exit(check::report());
}

std::vector<Result<T>> all_of(const Kernel<T>& kernel, const KernelCase<T>& c) {
  KernelRun<T> run(kernel, c);
  std::vector<Result<T>> all = run.forward(true);
  all = join(all, run.read_tape());
  return join(all, run.backward());
}

void check_against_reference(const Kernel<T>& kernel, const Options& options) {
  const check::Case scope("%s %s", kernel.id, options.text().c_str());
  KernelCase<T> c(kernel, options);
  c.fill_random();
  const std::vector<Result<T>> want = all_of(reference_of(kernel.cell), c), got = all_of(kernel, c);
  CHECK(got.size() == want.size(), "%zu and %zu results", got.size(), want.size());
  for (size_t k = 0; k < want.size(); ++k) check_close<Precision>(kernel.cell, options, got[k], want[k]);
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
  KernelRun<T> whole(kernel, c);
  const std::vector<Result<T>> outputs = whole.forward(true);
  check_segments_of(kernel, c, {1, false}, join(outputs, whole.backward()));
}

// Empty ones, single numbers, tails of tiles in every dimension, more rows than a tile of the step has
constexpr Index kShapes[][4] = {{0, 3, 5, 4}, {4, 0, 5, 4},   {1, 1, 1, 1},   {3, 5, 7, 33},
                                {6, 4, 0, 9}, {2, 34, 8, 20}, {4, 7, 16, 16}, {12, 3, 5, 6}};
// Their rows end at multiples of what a kernel sums at a time, 1 to 16
constexpr Index kSegmented[][4] = {{9, 8, 5, 11}, {40, 4, 3, 5}};

// More rows than inference takes at a time, 4096
void check_chunks(const Kernel<T>& kernel, uint64_t seed) {
  Options options = random_options(9, 520, 1, 2, seed);
  options.lengths = true;
  const check::Case scope("%s %s", kernel.id, options.text().c_str());
  KernelCase<T> c(kernel, options);
  c.fill_random();
  KernelRun<T> run(kernel, c);
  check_same(run.forward(false), run.forward(true), "in chunks");
}

// A row of a batch has the bits that it has alone.
void check_row_alone(const Kernel<T>& kernel, uint64_t seed) {
  Options options{3, 35, 7, 9, false, false, false, true, true, false, true, false, seed};
  KernelCase<T> c(kernel, options);
  c.fill_random();
  const std::vector<T> all = KernelRun<T>(kernel, c).forward(false)[0].values;
  options.B = 1;
  const check::Case scope("%s %s", kernel.id, options.text().c_str());
  KernelCase<T> alone(kernel, options);
  const auto copy = [](const Guarded<T>& to, const T* from) { std::copy_n(from, to.size(), to.data()); };
  for (int k = 0; k < 6; ++k) copy(alone.weights[k], c.weights[k].data());
  for (const Index b : {Index(1), Index(33)}) {
    for (int q = 0; q < kernel.states; ++q) copy(alone.s0[q], c.s0[q].data() + b * c.width(q));
    for (Index t = 0; t < options.T; ++t) std::copy_n(c.x.at(t, b), options.I, alone.x.at(t, 0));
    const std::vector<T> row = KernelRun<T>(kernel, alone).forward(false)[0].values;
    for (Index t = 0; t < options.T; ++t)
      CHECK(!std::memcmp(&row[size_t(t * c.P)], &all[size_t((t * 35 + b) * c.P)], size_t(c.P) * sizeof(T)),
            "row %td of the batch has other bits alone at step %td", b, t);
  }
}

void check_cell(const DeviceKernel<T>& of, uint64_t seed) {
  const Kernel<T> kernel = device::Adapter<T>::adapt(of);
  for (int twice = 0; twice < 2; ++twice)
    for (const auto& d : kShapes) check_against_reference(kernel, random_options(d[0], d[1], d[2], d[3], seed++));
  for (const auto& d : kSegmented) check_segments(kernel, random_options(d[0], d[1], d[2], d[3], seed++));
  if (!std::strstr(of.id, "_masked_")) check_row_alone(kernel, seed++);  // alone, it has the masks of another row
  if (!std::strcmp(of.cell, "lstm")) check_chunks(kernel, seed++);  // it has two states
}
}  // namespace

int main(int argc, char** argv) {
  int devices = 0;
  const cudaError_t found = cudaGetDeviceCount(&devices);
  if (found != cudaSuccess || devices == 0) {
    std::printf("SKIPPED: no device, %s\n", cudaGetErrorString(found));
    return 0;
  }
  uint64_t seed = 0;
  for (const fastrnn::DeviceKernel<T>& kernel : kernels()) {
    bool wanted = argc == 1;
    for (int k = 1; k < argc; ++k) wanted |= !std::strcmp(argv[k], kernel.cell);
    if (wanted) check_cell(kernel, seed);
    seed += 1000;
  }
  std::printf("bits %016llx\n", static_cast<unsigned long long>(bits_of_all));
  return check::report();
}
