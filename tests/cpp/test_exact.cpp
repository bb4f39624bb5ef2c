// SPDX-License-Identifier: MIT
// rnn_relu on small whole numbers that are never negative: relu is the identity, every sum is exact, and a kernel has
// to agree with integers to the last bit. A tile, tail, stride or slot out of place cannot hide in a tolerance.
#include <algorithm>
#include "dispatch.h"
#include "kernel_case.h"

namespace {
using fastrnn::find_target;
using fastrnn::Kernel;
using fastrnn::kernels_of;
using Integers = std::vector<int64_t>;

constexpr int64_t kExact = int64_t(1) << 24;  // whole numbers up to here are exact in float

template <class T>
const Kernel<T>& relu_kernel(const std::string& isa) {
  const fastrnn::Kernels<T>& kernels = kernels_of<T>(find_target(isa));
  int cell = 0;
  while (std::string(kernels.cells[cell].cell) != "rnn_relu") ++cell;
  return kernels.cells[cell];
}

// Sums stay exact because x and the states are 0 ... 3, and because W_hh only permutes the units where there are
// several steps. A bias of at least 1 keeps relu away from 0.
template <class T>
void fill_integers(KernelCase<T>& c) {
  const Options& o = c.o;
  const auto below = [&c](long n) { return [&c, n] { return double(c.random.below(n)); }; };
  c.fill(c.x, o.I, false, below(4));
  c.fill(c.dy, o.H, false, below(3));
  c.fill(c.dx_before, o.I, true, below(4));
  for (int q = 0; q < kMaxState; ++q) c.fill(c.s0[q], below(4)), c.fill(c.dsT[q], below(3));
  for (const Guarded<T>& gradients : c.gradients_before) c.fill(gradients, below(100));
  const bool sparse = o.T > 1;
  c.fill(c.weights[0], [&] { return sparse ? c.random.chance(3.0 / double(o.I)) : double(c.random.below(3)); });
  c.fill(c.weights[1], [&] { return sparse ? 0 : double(c.random.below(3)); });
  std::vector<Index> unit;
  for (Index j = 0; j < o.H; ++j) unit.insert(unit.begin() + c.random.below(j + 1), j);
  for (Index j = 0; sparse && j < o.H; ++j) c.weights[1][j * o.H + unit[size_t(j)]] = 1;
  for (int k : {2, 3}) c.fill(c.weights[k], [&] { return 1 + double(c.random.below(3)); });
}

// The same in int64_t, row by row in the order of time
template <class T>
struct Expected {
  const KernelCase<T>& c;
  const Index rows_T = c.o.T, B = c.o.B, I = c.o.I, H = c.o.H;
  Integers y = Integers(size_t(rows_T * B * H)), sT = Integers(size_t(B * H)), dx = Integers(size_t(rows_T * B * I));
  Integers ds0 = sT, dW_ih = Integers(size_t(H * I)), dW_hh = Integers(size_t(H * H)), db = Integers(size_t(H));

  explicit Expected(const KernelCase<T>& c_) : c(c_) {
    for (Index b = 0; b < B; ++b) {
      std::vector<Integers> h = forward_row(b);
      std::copy(h.back().begin(), h.back().end(), sT.begin() + b * H);
      backward_row(b, h);
    }
  }
  static int64_t whole(T value) { return static_cast<int64_t>(value); }
  Index time(Index b, Index s) const { return c.o.reversed ? c.length(b) - 1 - s : s; }
  // A mark at t parts t-1 and t: of two steps, the later time has it. The state at the start lies before t = 0.
  bool cut(Index b, Index s) const {
    if (!c.o.reset || (s == 0 && c.o.reversed)) return false;
    const Index mark = s == 0 ? 0 : std::max(time(b, s), time(b, s - 1));
    return c.resets[size_t(mark * B + b)] != 0;
  }

  std::vector<Integers> forward_row(Index b) {  // the states before each step, and the last one
    std::vector<Integers> h(1);
    for (Index j = 0; j < H; ++j) h[0].push_back(c.o.states ? whole(c.s0[0][b * H + j]) : 0);
    for (Index s = 0; s < c.length(b); ++s) {
      const Index t = time(b, s);
      if (cut(b, s)) std::fill(h.back().begin(), h.back().end(), 0);
      Integers next;
      for (Index j = 0; j < H; ++j) {
        int64_t sum = whole(c.weights[2][j]) + whole(c.weights[3][j]);
        for (Index k = 0; k < I; ++k) sum += whole(c.weights[0][j * I + k]) * whole(c.x.at(t, b)[k]);
        for (Index k = 0; k < H; ++k) sum += whole(c.weights[1][j * H + k]) * h.back()[size_t(k)];
        next.push_back(sum);
      }
      std::copy(next.begin(), next.end(), y.begin() + (t * B + b) * H);
      h.push_back(next);
    }
    return h;
  }

  void backward_row(Index b, const std::vector<Integers>& h) {
    Integers dh;
    for (Index j = 0; j < H; ++j) dh.push_back(c.o.states ? whole(c.dsT[0][b * H + j]) : 0);
    for (Index s = c.length(b) - 1; s >= 0; --s) {
      const Index t = time(b, s);
      Integers before(size_t(H), 0);
      for (Index j = 0; j < H; ++j) {
        const int64_t d = dh[size_t(j)] + whole(c.dy.at(t, b)[j]);
        db[size_t(j)] += d;
        for (Index k = 0; k < I; ++k) {
          dW_ih[size_t(j * I + k)] += d * whole(c.x.at(t, b)[k]);
          dx[size_t((t * B + b) * I + k)] += d * whole(c.weights[0][j * I + k]);
        }
        for (Index k = 0; k < H; ++k) {
          dW_hh[size_t(j * H + k)] += d * h[size_t(s)][size_t(k)];
          before[size_t(k)] += d * whole(c.weights[1][j * H + k]);
        }
      }
      dh = cut(b, s) ? Integers(size_t(H), 0) : before;
    }
    std::copy(dh.begin(), dh.end(), ds0.begin() + b * H);
  }
};

template <class T>
void check_equal(const Result<T>& got, const Integers& want, const std::vector<T>& added_to = {}) {
  CHECK(got.values.size() == want.size(), "%s has %zu elements, want %zu", got.name.c_str(), got.values.size(),
        want.size());
  for (size_t k = 0; k < want.size(); ++k) {
    const int64_t value = want[k] + (added_to.empty() ? 0 : Expected<T>::whole(added_to[k]));
    if (got.values[k] == T(value) && value < kExact) continue;
    CHECK(false, "%s[%zu] of %zu is %.9g, want %lld, to be less than %lld", got.name.c_str(), k, want.size(),
          double(got.values[k]), static_cast<long long>(value), static_cast<long long>(kExact));
    return;
  }
}

template <class T>
void check_exact(const Options& options) {
  KernelCase<T> c(relu_kernel<T>("reference"), options);
  fill_integers(c);
  const Expected<T> want(c);
  for (const std::string& isa : fastrnn::available_targets()) {
    const Kernel<T>& kernel = relu_kernel<T>(isa);
    const check::Case scope("%s %s", kernel.id, options.text().c_str());
    KernelRun<T> run(kernel, c);
    const std::vector<Result<T>> outputs = run.forward(true), gradients = run.backward();
    check_equal(outputs[0], want.y);
    check_equal(outputs[1], want.sT);
    check_equal(gradients[0], want.dx, options.add_dx ? c.dx_before.copy() : std::vector<T>());
    check_equal(gradients[1], want.ds0);
    const Integers* const parameters[] = {&want.dW_ih, &want.dW_hh, &want.db, &want.db};
    for (size_t k = 0; k < 4; ++k)
      check_equal(gradients[2 + k], *parameters[k], c.fresh() ? std::vector<T>() : c.gradients_before[k].copy());
  }
}

// Steps, resets and the rest by turns
Options options_of(Index T, Index B, Index I, Index H, uint64_t seed) {
  const auto bit = [seed](int n) { return (seed >> n & 1) != 0; };
  return {T, B, I, H, T > 1 && bit(1), T > 1 && bit(2), bit(3), true, bit(0), bit(4), true, bit(5), seed};
}

template <class T>
void check_all() {
  // Around every number of lanes, 2 to 16, and blocks of them up to several panels
  constexpr Index sizes[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 49, 63, 64, 65, 70, 128};
  constexpr size_t count = sizeof sizes / sizeof *sizes;
  uint64_t seed = 0;
  for (Index B = 1; B <= 17; ++B)
    for (size_t n = 0; n < count; ++n, ++seed) {
      const Index H = sizes[n], I = sizes[(n * 8 + size_t(B) * 5) % count];
      check_exact<T>(options_of(1, B, I, H, seed));
      if (n % 3 == size_t(B) % 3) check_exact<T>(options_of(3, B, I, H, seed));
    }
  // Blocks of 512 of the reduction over inputs, then chunks of 192 and 256 rows
  for (Index I : {511, 512, 513, 600, 1025})
    for (Index B : {1, 2, 9})
      for (Index H : {1, 17, 40}) {
        check_exact<T>(options_of(1, B, I, H, ++seed));
        check_exact<T>(options_of(2, B, I, H, seed));
      }
  constexpr Index long_or_wide[][2] = {{40, 7}, {2, 200}, {64, 4}, {86, 3}, {12, 24}, {13, 32}};
  for (const auto& d : long_or_wide)
    for (uint64_t variant = 0; variant < 4; ++variant) check_exact<T>(options_of(d[0], d[1], 5, 19, ++seed));
}
}  // namespace

int main() {
  check_all<float>();
  check_all<double>();
  return check::report();
}
