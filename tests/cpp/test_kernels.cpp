// SPDX-License-Identifier: MIT
// Every target, cell and precision against the target "reference", over shapes around the ends of vectors, tiles and
// chunks and over all options of a call; then the same bits from any team.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include "dispatch.h"
#include "kernel_checks.h"

namespace {
using fastrnn::find_target;
using fastrnn::Kernel;
using fastrnn::Kernels;
using fastrnn::KernelTable;

// bfloat16: products of rounded numbers, rounded alike by the reference; where the last bits of a float decide which
// way, two targets differ by a unit of bfloat16 in one of the products.
struct F32 {
  using T = float;
  static constexpr const char* name = "f32";
  static constexpr double epsilon = 0x1p-21;
  static constexpr Kernels<float> KernelTable::* kernels = &KernelTable::f32;
};
struct F64 {
  using T = double;
  static constexpr const char* name = "f64";
  static constexpr double epsilon = 0x1p-50;
  static constexpr Kernels<double> KernelTable::* kernels = &KernelTable::f64;
};
struct BF16 {
  using T = float;
  static constexpr const char* name = "bf16";
  static constexpr double epsilon = 0x1p-9;
  static constexpr Kernels<float> KernelTable::* kernels = &KernelTable::bf16;
};

template <class Precision>
const Kernels<typename Precision::T>& kernels_of(const std::string& isa) {
  return find_target(isa).*Precision::kernels;
}

// Kernel number n of a table: each cell, then each for noise in the recurrence
template <class Precision>
const Kernel<typename Precision::T>& kernel_of(const std::string& isa, int n) {
  const Kernels<typename Precision::T>& all = kernels_of<Precision>(isa);
  return n < all.count ? all.cells[n] : all.masked[n - all.count];
}

// All targets of this processor, what they are held against first
std::vector<std::string> targets() {
  std::vector<std::string> names = fastrnn::available_targets();
  std::rotate(names.begin(), names.end() - 1, names.end());
  CHECK(names.front() == "reference", "the last target is %s", names.front().c_str());
  return names;
}

template <class Precision>
void check_against_reference(int cell, const Options& options) {
  using T = typename Precision::T;
  KernelCase<T> c(kernel_of<Precision>("reference", cell), options);
  c.fill_random();
  std::vector<Result<T>> want;
  for (const std::string& isa : targets()) {
    const Kernel<T>& kernel = kernel_of<Precision>(isa, cell);
    const check::Case scope("%s %s", kernel.id, options.text().c_str());
    KernelRun<T> run(kernel, c);
    const std::vector<Result<T>> outputs = run.forward(true);
    check_same(run.forward(false), outputs, "without a tape");
    const std::vector<Result<T>> got = join(outputs, run.backward());
    if (want.empty()) want = got;
    for (size_t k = 0; k < want.size(); ++k) check_close<Precision>(kernel.cell, options, got[k], want[k]);
  }
}

template <class Precision>
void check_teams(int cell, const Options& options) {
  using T = typename Precision::T;
  constexpr Sharing teams[] = {{2, false}, {2, true}, {3, false}, {3, true}, {7, false}, {7, true}};
  for (const std::string& isa : targets()) {
    const Kernel<T>& kernel = kernel_of<Precision>(isa, cell);
    const check::Case scope("%s %s", kernel.id, options.text().c_str());
    KernelCase<T> c(kernel, options);
    c.fill_random();
    const auto all_of = [&](Sharing sharing) {
      KernelRun<T> run(kernel, c, sharing);
      const std::vector<Result<T>> inference = run.forward(false), outputs = run.forward(true);
      check_same(inference, outputs, "without a tape");
      return join(outputs, run.backward());
    };
    const std::vector<Result<T>> alone = all_of({1, false});
    for (const Sharing& team : teams) {
      const check::Case threads("%d threads, split by %s", team.threads, team.split_units ? "units" : "rows");
      check_same(all_of(team), alone, "than one thread");
    }
  }
}

// Gates that begin with products made before have the bits of those that begin with the bias; a constant input is then
// added later.
template <class Precision>
void check_begun(int cell, const Options& options) {
  using T = typename Precision::T;
  for (const std::string& isa : targets()) {
    const Kernel<T>& kernel = kernel_of<Precision>(isa, cell);
    if (!kernel.begin_rows) continue;
    const check::Case scope("%s %s", kernel.id, options.text().c_str());
    KernelCase<T> c(kernel, options);
    c.fill_random();
    const std::vector<Result<T>> want = KernelRun<T>(kernel, c).forward(false);
    for (const Index columns : {Index(0), options.I / 2, options.I})
      for (const Sharing& sharing : {Sharing{1, false}, Sharing{3, false}, Sharing{3, true}}) {
        const check::Case how("%td columns begun, %d threads", columns, sharing.threads);
        KernelRun<T> run(kernel, c, sharing);
        run.begin(columns);
        const std::vector<Result<T>> got = run.forward(false);
        if (!options.constant_steps) check_same(got, want, "than from the bias");
        for (size_t k = 0; k < want.size(); ++k) check_close<Precision>(kernel.cell, options, got[k], want[k]);
      }
  }
}

// Segments of random lengths, in one thread and in teams, have the bits of a whole tape.
template <class Precision>
void check_segments(int cell, const Options& options) {
  using T = typename Precision::T;
  for (const std::string& isa : targets()) {
    const Kernel<T>& kernel = kernel_of<Precision>(isa, cell);
    const check::Case scope("%s %s", kernel.id, options.text().c_str());
    KernelCase<T> c(kernel, options);
    c.fill_random();
    KernelRun<T> whole(kernel, c);
    const std::vector<Result<T>> outputs = whole.forward(true), want = join(outputs, whole.backward());
    for (const Sharing& sharing : {Sharing{1, false}, Sharing{2, false}, Sharing{3, true}})
      check_segments_of(kernel, c, sharing, want);
  }
}

template <class Precision>
int all_kernels() {
  const Kernels<typename Precision::T>& reference = kernels_of<Precision>("reference");
  return reference.masked ? 2 * reference.count : reference.count;
}

template <class Precision>
void check_names() {
  using T = typename Precision::T;
  const int count = kernels_of<Precision>("reference").count, all = all_kernels<Precision>();
  for (const std::string& isa : targets()) {
    CHECK(kernels_of<Precision>(isa).count == count, "%s has other cells than the reference", isa.c_str());
    for (int cell = 0; cell < all; ++cell) {
      const Kernel<T>& kernel = kernel_of<Precision>(isa, cell);
      const std::string kind = cell < count ? "_" : "_masked_";
      const std::string id = kernel.cell + kind + Precision::name + "__", found = kernel.id;
      // An avx512 without instructions for bfloat16 leaves it to avx2, one with them has kernels of its own.
      const bool other = isa == "avx512" && id.find("bf16") != std::string::npos;
      CHECK(found == id + isa || (other && (found == id + "avx512bf16" || found == id + "avx2")), "%s is no %s%s",
            kernel.id, id.c_str(), isa.c_str());
    }
  }
}

// Around every number of lanes and every height of a tile
Options small_shape(uint64_t seed) {
  constexpr Index sizes[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33, 53}, few[] = {1, 2, 3, 7, 8, 9};
  constexpr uint64_t count = sizeof sizes / sizeof *sizes;
  check::Random random{seed + 1000};
  return random_options(few[random.below(4)], few[random.below(6)], sizes[random.below(count)], sizes[seed % count],
                        seed);
}

constexpr Index kEmpty[][4] = {{0, 3, 5, 4}, {4, 0, 5, 4}, {0, 0, 5, 4}, {0, 1, 1, 1}, {1, 0, 1, 1}};
// Rows beyond one chunk of the input product (192) and of the gradients of the weights (512), exactly one, and a batch
// wider than either; reductions beyond one block (512); no inputs
constexpr Index kLarge[][4] = {{30, 17, 5, 9},  {300, 1, 2, 17}, {2, 128, 3, 5}, {512, 1, 3, 5},
                               {4, 48, 3, 6},   {2, 260, 3, 5},  {3, 2, 513, 7}, {2, 5, 1030, 3},
                               {5, 4, 64, 128}, {30, 17, 0, 9},  {1, 1, 0, 17}};
constexpr Index kShared[][4] = {{5, 7, 9, 67}, {3, 1, 4, 130}, {9, 40, 3, 17}, {2, 3, 600, 20},
                                {4, 2, 1, 1},  {0, 2, 3, 4},   {3, 4, 0, 9}};
constexpr Index kSegmented[][4] = {{9, 7, 9, 35}, {40, 1, 20, 17}, {30, 20, 2, 9}, {200, 6, 3, 5}, {5, 3, 33, 4}};
// A quarter of the shapes, where an emulator runs them
bool few() { return std::getenv("FASTRNN_TEST_FEW") != nullptr; }

constexpr uint64_t kSmallShapes = 52;

template <class Precision>
void check_all() {
  check_names<Precision>();
  for (int cell = 0; cell < all_kernels<Precision>(); ++cell) {
    uint64_t seed = static_cast<uint64_t>(cell) * 1000;
    for (uint64_t n = 0; n < kSmallShapes; n += few() ? 4 : 1)
      check_against_reference<Precision>(cell, small_shape(seed++));
    for (int twice = 0; twice < (few() ? 1 : 2); ++twice) {
      for (const auto& d : kEmpty)
        check_against_reference<Precision>(cell, random_options(d[0], d[1], d[2], d[3], seed++));
      for (const auto& d : kLarge)
        check_against_reference<Precision>(cell, random_options(d[0], d[1], d[2], d[3], seed++));
    }
    const Index all = few() ? 2 : 7;
    for (const auto& d : kShared)
      if (&d - kShared < all) check_teams<Precision>(cell, random_options(d[0], d[1], d[2], d[3], seed++));
    for (const auto& d : kShared)
      if (&d - kShared < all) check_begun<Precision>(cell, random_options(d[0], d[1], d[2], d[3], seed++));
    for (const auto& d : kSegmented)
      if (&d - kSegmented < all) check_segments<Precision>(cell, random_options(d[0], d[1], d[2], d[3], seed++));
  }
}
}  // namespace

int main() {
  fastrnn::set_thread_count(7);
  check_all<F32>();
  check_all<F64>();
  check_all<BF16>();
  return check::report();
}
