// SPDX-License-Identifier: MIT
// Persistent loops of every cell against naive loops in double: lengths, resets, reversed rows, segments, several
// tiles and several groups. One line a cell, direction and shape, with a hash of the bits of all results, which may
// not depend on the schedule of blocks. Fails on a wrong number, a failed launch, and a block that waits in vain.
//
//   test_persistent_f32 [seed] [part of a name] [H]
#include <cuda_runtime_api.h>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include "persistent/api.h"
#include "persistent_reference.h"
using namespace fastrnn;

#define FR_JOIN2(a, b) a##b
#define FR_JOIN(a, b) FR_JOIN2(a, b)

template <class T>
T scalar_of(PersistentKernels<T>);
using Scalar = decltype(scalar_of(FR_JOIN(persistent_kernels_, FR_ARITHMETIC)()));
constexpr bool kWide = sizeof(Scalar) == 4, kBrain = std::is_same_v<Scalar, __nv_bfloat16>;

static double widen(float x) { return x; }
static double widen(__nv_bfloat16 x) { return __bfloat162float(x); }
static double widen(__half x) { return __half2float(x); }
struct Round {
  double operator()(double x) const {
    return kWide ? x : kBrain ? widen(__float2bfloat16_rn(float(x))) : widen(__float2half_rn(float(x)));
  }
};
// An operand that float and double round to different neighbours is off by this much of itself
constexpr double kTolerance = kWide ? 2e-5 : kBrain ? 8e-3 : 1e-3;

// Device memory of one call, freed together
struct Device {
  std::vector<void*> all;
  void* bytes(Index n) {
    void* p = nullptr;
    if (cudaMalloc(&p, size_t(n + !n)) != cudaSuccess) exit(2);
    all.push_back(p);
    return p;
  }
  template <class T>
  T* many(Index n) {
    return static_cast<T*>(bytes(n * Index(sizeof(T))));
  }
  template <class T>
  T* copy(const std::vector<T>& a, Index room = 0) {
    T* const p = many<T>(std::max(room, Index(a.size())));
    if (cudaMemcpy(p, a.data(), a.size() * sizeof(T), cudaMemcpyHostToDevice) != cudaSuccess) exit(2);
    return p;
  }
  float* copy(const Doubles& a) { return copy(Floats(a.begin(), a.end())); }
  template <class T>
  T* copy_if(const std::vector<T>& a) {
    return a.empty() ? nullptr : copy(a);
  }
  ~Device() {
    for (void* p : all) cudaFree(p);
  }
};

// What came out: the largest error, of numbers above 1 relative to them, and a hash (FNV-1a) of all bits
struct Results {
  double error = 0;
  uint64_t bits = 0xcbf29ce484222325u;

  template <class T>
  std::vector<T> read(const T* device, size_t n) {
    std::vector<T> a(n);
    if (cudaMemcpy(a.data(), device, n * sizeof(T), cudaMemcpyDeviceToHost) != cudaSuccess) exit(2);
    for (size_t k = 0; k < n * sizeof(T); ++k)
      bits = (bits ^ reinterpret_cast<const unsigned char*>(a.data())[k]) * 0x100000001b3u;
    return a;
  }
  void compare(double want, double got) {
    const double off = std::abs(got - want) / std::max(1.0, std::abs(want));
    if (!(off <= error)) error = std::isnan(off) ? INFINITY : off;
  }
  template <class T>
  void compare(const Doubles& want, const T* device) {
    const std::vector<T> got = read(device, want.size());
    for (size_t k = 0; k < want.size(); ++k)
      compare(std::is_same_v<T, float> ? want[k] : Round()(want[k]), widen(got[k]));
  }
};

static bool finish(const char* what, Status status, const unsigned* deadlock) {
  if (!status) status = cudaDeviceSynchronize();
  unsigned word = 0;
  cudaMemcpy(&word, deadlock, sizeof word, cudaMemcpyDeviceToHost);
  if (status) printf("%s: %s\n", what, cudaGetErrorString(cudaError_t(status)));
  if (word) printf("%s: DEADLOCK\n", what);
  return !status && !word;
}

// What both directions are given
template <class Cell, class Loop>
struct Given {
  Device device;
  unsigned* deadlock;
  Loop loop = {};

  Given(const PersistentKernel<Scalar>& kernel, const Case& c) {
    loop.dims = c.d;
    loop.steps = loop.host = c.walk.s;
    loop.steps.first = device.copy_if(c.first), loop.steps.order = device.copy_if(c.order);
    loop.steps.lengths = device.copy_if(c.lengths), loop.steps.reset = device.copy_if(c.reset);
    void* const packed = device.bytes(kernel.packed_size(c.d));
    if (kernel.pack(c.d, device.copy(c.W_hh), packed, nullptr)) exit(2);
    loop.persistent = packed;
    loop.unit = device.copy_if(c.unit);
    loop.exchange = device.bytes(kernel.exchange_size(c.d));
    deadlock = device.copy(std::vector<unsigned>{0});
  }
};

template <class Cell>
bool run_forward(const PersistentKernel<Scalar>& kernel, const Case& c, Reference<Cell, Round>& want,
                 Results& results) {
  const Index H = c.d.H, rows = c.d.B + c.d.R;
  Given<Cell, LoopForward<float, Scalar>> given(kernel, c);
  auto& loop = given.loop;
  loop.bias_h = want.biased ? given.device.copy(c.bias_h) : nullptr;
  loop.slots = given.device.copy(c.slots);
  for (int q = 0; q < Cell::kState; ++q) loop.states[q] = given.device.copy(c.states[q], rows * H);
  std::vector<Scalar> h;
  for (float number : c.states[0]) h.push_back(Scalar(number));
  if (!kWide) loop.h = given.device.copy(h, rows * H);
  const Floats untouched(c.dy.size(), 77.f);
  loop.y = {given.device.copy(untouched), c.step, c.row};
  if (!finish(kernel.cell, kernel.forward(loop, given.deadlock, nullptr), given.deadlock)) return false;
  results.compare(want.slots, loop.slots);
  for (int q = 0; q < Cell::kState; ++q) results.compare(want.states[q], loop.states[q]);
  if (!kWide) results.compare(want.states[0], loop.h);
  Doubles y(untouched.begin(), untouched.end());
  for (Index s = 0; s < c.d.T; ++s)
    for (Index b = 0; b < c.walk.active(s); ++b)
      for (Index j = 0; j < H; ++j)
        y[size_t(c.walk.time(s, b) * c.step + c.walk.user_row(b) * c.row + j)] =
            want.at(want.states[0], c.d.B + c.walk.first(s) + b, H, j);
  results.compare(y, loop.y.p);
  return true;
}

template <class Cell>
bool run_backward(const PersistentKernel<Scalar>& kernel, const Case& c, Reference<Cell, Round>& want,
                  Results& results) {
  constexpr int P = Cell::kPre, S = Cell::kSaved;
  const Index H = c.d.H;
  Given<Cell, LoopBackward<float, Scalar>> given(kernel, c);
  auto& loop = given.loop;
  loop.slots = given.device.copy(want.slots);
  for (int q = 0; q < Cell::kState; ++q) {
    loop.states[q] = given.device.copy(want.states[q]);
    loop.dstates[q] = given.device.copy(c.dstates[q]);
  }
  if (!kWide) loop.dG = given.device.template many<Scalar>(c.d.R * P * H);
  loop.dy = {given.device.copy(c.dy), c.step, c.row};
  if (!finish(kernel.cell, kernel.backward(loop, given.deadlock, nullptr), given.deadlock)) return false;
  const Floats slots = results.read(loop.slots, want.slots.size());
  for (Index r = 0; r < c.d.R; ++r)
    for (Index k = 0; k < P * H; ++k) results.compare(want.dpre[size_t(r * P * H + k)], slots[size_t(r * S * H + k)]);
  if (!kWide) results.compare(want.dpre, loop.dG);
  for (int q = 0; q < Cell::kState; ++q) results.compare(want.dstates[q], loop.dstates[q]);
  return true;
}

template <class Cell>
bool run(const PersistentKernel<Scalar>& kernel, const Shape& shape, uint64_t seed, bool biased) {
  if constexpr (!Cell::kRecurrent) {
    return kernel.why_not({}, true, nullptr, nullptr) && !kernel.packed_size({});
  } else {
    Random random{seed};
    Case c;
    draw<Cell>(c, shape, random);
    if (const char* const words = kernel.why_not(c.d, true, nullptr, nullptr)) {
      printf("%s H %td: %s\n", kernel.cell, shape.H, words);
      return false;
    }
    Reference<Cell, Round> want{c, biased, Round()};
    want.forward();
    want.backward();
    bool good = true;
    for (bool backward : {false, true}) {
      Results results;
      const bool ran = backward ? run_backward(kernel, c, want, results) : run_forward(kernel, c, want, results);
      const bool right = ran && results.error < kTolerance;
      printf("%s %s T %td of %td B %td H %td%s%s%s: %.1e bits %016" PRIx64 " %s\n", kernel.cell,
             backward ? "backward" : "forward", shape.T, c.walk.s.total, shape.B, shape.H,
             shape.lengths ? " lengths" : "", shape.reset ? " reset" : "", shape.reversed ? " reversed" : "",
             results.error, results.bits, right ? "ok" : "WRONG");
      fflush(stdout);
      good = good && right;
    }
    return good;
  }
}

template <class Cell>
bool run_shapes(const std::vector<Shape>& shapes, uint64_t seed) {
  const auto& kernel = FR_JOIN(persistent_kernels_, FR_ARITHMETIC)().cells[persistent_index<Cell>()];
  bool good = true;
  for (size_t i = 0; i < shapes.size(); ++i) good = run<Cell>(kernel, shapes[i], seed, i % 2 == 0) && good;
  return good;
}

int main(int argc, char** argv) {
  const uint64_t seed = argc > 1 ? strtoull(argv[1], nullptr, 10) : 1;
  std::vector<Shape> shapes = {{1, 1, 1, false, false, false, 0, 0},  {2, 3, 17, false, false, true, 0, 0},
                               {6, 8, 64, false, false, false, 0, 0}, {5, 20, 33, true, true, true, 0, 0},
                               {3, 41, 24, true, true, false, 2, 1},  {3, 20, 48, false, true, false, 0, 1},
                               {2, 12, 72, true, false, false, 0, 0}, {0, 5, 8, false, false, false, 1, 0},
                               {3, 0, 8, false, false, false, 0, 0}};
  if (argc > 3) shapes = {{3, 11, strtoll(argv[3], nullptr, 10), true, true, false, 0, 0}};
  bool good = true;
#define FR_CELL(name, type) \
  if (argc <= 2 || strstr(#name, argv[2])) good = run_shapes<type>(shapes, seed) && good;
#define FR_STAGED_CELL(name, type)
#include "cells/cells.def"
#undef FR_CELL
#undef FR_STAGED_CELL
  return good ? 0 : 1;
}
