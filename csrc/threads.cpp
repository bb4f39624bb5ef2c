// SPDX-License-Identifier: MIT
#include "threads.h"
#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>
#include "cpu.h"
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif
namespace fastrnn {
namespace {
using Clock = std::chrono::steady_clock;
using std::chrono::nanoseconds;
constexpr int kSpins = 2000;  // 20 to 50 us
constexpr nanoseconds kPatience{100000};
constexpr int kMostLate = 2;  // barriers of a run, with no more than kForgive in time between them
constexpr int kForgive = 256;
constexpr nanoseconds kLeastPause{20000000}, kMostPause{1000000000};  // without barriers of steps

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

// A counter that only grows, and threads that wait for it to reach a value
struct Counter {
  std::atomic<std::uint64_t> value{0};
  char apart[64 - sizeof(std::atomic<std::uint64_t>)];  // what spins on the value shares its line with nothing
  std::atomic<int> sleepers{0};
  std::mutex mutex;
  std::condition_variable changed;

  void add() {
    value.fetch_add(1);  // sequentially consistent, as sleepers: one of the two sides sees the other
    if (sleepers.load() == 0) return;
    { std::lock_guard<std::mutex> lock(mutex); }
    changed.notify_all();
  }
  // Whether it took longer than `patience`. The time is read after the spins only, which count as none.
  bool wait(std::uint64_t target, nanoseconds patience) {
    for (int i = 0; i < kSpins; ++i) {
      if (value.load(std::memory_order_acquire) >= target) return patience.count() == 0;
      pause();
    }
    for (const Clock::time_point end = Clock::now() + patience; Clock::now() < end;) {
      if (value.load(std::memory_order_acquire) >= target) return false;
      std::this_thread::yield();
    }
    sleepers.fetch_add(1);
    {
      std::unique_lock<std::mutex> lock(mutex);
      changed.wait(lock, [&] { return value.load() >= target; });
    }
    sleepers.fetch_sub(1);
    return true;
  }
};

// size - 1 threads that wait for work. Every one of them takes part in the end of a run, also those beyond the team,
// so that none can meet the work of the next run late.
class Pool {
 public:
  explicit Pool(int size) : size_(size) {
    threads_.reserve(size_t(size) - 1);
    try {
      for (int rank = 1; rank < size; ++rank) threads_.emplace_back([this, rank] { loop(rank); });
    } catch (...) {  // no more threads to be had
      end_threads();
      throw;
    }
  }
  ~Pool() { end_threads(); }
  int size() const { return size_; }

  void run(const Team& team, nanoseconds patience, void (*work)(const void*, const Team&), const void* f) {
    team_ = team;
    team_.barrier = [](void* pool) { static_cast<Pool*>(pool)->meet(kPatience); };
    team_.context = this;
    work_ = work;
    f_ = f;
    patience_ = patience;
    late_ = 0;
    steps_ = in_time_ = 0;
    alone_from_.store(kNever, std::memory_order_relaxed);
    met_.value.store(0, std::memory_order_relaxed);  // nobody waits on it between runs
    started_.add();
    work_as(0);
    ended_.wait(++runs_ * static_cast<std::uint64_t>(size_ - 1), kPatience);
    if (steps_) judge();
  }

  bool barriers_pay() const { return pause_ == nanoseconds(0) || Clock::now() >= pause_end_; }

 private:
  void end_threads() {
    stop_ = true;
    started_.add();
    for (std::thread& thread : threads_) thread.join();
  }
  void work_as(int rank) {
    Team team = team_;
    team.rank = rank;
    team.step_barrier = rank ? follow : lead;
    const FlushDenormals flush;
    work_(f_, team);
  }
  void loop(int rank) {
    for (std::uint64_t run = 1;; ++run) {
      started_.wait(run, kPatience);
      if (stop_) return;
      if (rank < team_.size) work_as(rank);
      ended_.add();
    }
  }
  std::uint64_t meetings() const {
    return met_.value.load(std::memory_order_relaxed) / static_cast<std::uint64_t>(team_.size);
  }
  // The n-th meeting is over when n * size arrivals have been counted.
  bool meet(nanoseconds patience) {
    const std::uint64_t target = (meetings() + 1) * static_cast<std::uint64_t>(team_.size);
    met_.add();
    return met_.wait(target, patience);
  }
  // The end of a step: rank 0 decides, before it arrives, from which meeting on it is alone. A rank may read that late,
  // when rank 0 is already at the next meeting, hence the number.
  static bool lead(void* context) {
    Pool& pool = *static_cast<Pool*>(context);
    const bool alone = pool.late_ >= kMostLate;
    ++pool.steps_;
    if (alone) pool.alone_from_.store(pool.meetings(), std::memory_order_relaxed);
    if (pool.meet(pool.patience_)) ++pool.late_, pool.in_time_ = 0;
    else if (++pool.in_time_ == kForgive) pool.late_ = pool.in_time_ = 0;
    return alone;
  }
  static bool follow(void* context) {
    Pool& pool = *static_cast<Pool*>(context);
    const std::uint64_t meeting = pool.meetings();
    pool.meet(pool.patience_);
    return meeting >= pool.alone_from_.load(std::memory_order_relaxed);
  }
  // After a run with barriers of steps: how long the next ones shall do without
  void judge() {
    const bool late = alone_from_.load(std::memory_order_relaxed) != kNever || late_ == steps_;
    if (!late && steps_ <= kMostLate) return;  // too few to tell
    pause_ = late ? std::clamp(2 * pause_, kLeastPause, kMostPause) : nanoseconds(0);
    pause_end_ = Clock::now() + pause_;
  }

  static constexpr std::uint64_t kNever = ~std::uint64_t(0);
  const int size_;
  Counter started_, met_, ended_;
  std::uint64_t runs_ = 0;
  Team team_{};
  void (*work_)(const void*, const Team&) = nullptr;
  const void* f_ = nullptr;
  nanoseconds patience_{0}, pause_{0};
  Clock::time_point pause_end_;
  // Barriers of steps of this run, as rank 0 saw them: all, late, and in time since the last late one
  std::int64_t steps_ = 0;
  int late_ = 0, in_time_ = 0;
  std::atomic<std::uint64_t> alone_from_{kNever};
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

// Who has set `leased` owns `pool`.
std::atomic<bool> leased{false};
Pool* pool = nullptr;

bool try_lease() {
  static const bool at_fork = [] {
#if defined(__unix__) || defined(__APPLE__)
    // The threads of the pool stay behind in the parent; what the pool owns is left to leak in the child.
    pthread_atfork(nullptr, nullptr, [] {
      pool = nullptr;
      leased.store(false);
    });
#endif
    return true;
  }();
  bool expected = false;
  return at_fork && leased.compare_exchange_strong(expected, true, std::memory_order_acquire);
}

int positive(const std::string& text) {
  char* end = nullptr;
  const long n = std::strtol(text.c_str(), &end, 10);
  if (text.empty() || *end || n < 1 || n > 4096)
    throw std::invalid_argument("FASTRNN_NUM_THREADS=" + text + " is not a number from 1 to 4096");
  return static_cast<int>(n);
}

std::atomic<int> requested_count{0};  // 0: not decided yet
}  // namespace

int thread_count() {
  int n = requested_count.load();
  if (n) return n;
  const char* forced = std::getenv("FASTRNN_NUM_THREADS");
  n = forced && *forced ? positive(forced) : cpu_count();
  requested_count.store(n);
  return n;
}

void set_thread_count(int n) {
  if (n < 1 || n > 4096)
    throw std::invalid_argument("number of threads is " + std::to_string(n) + ", not from 1 to 4096");
  requested_count.store(n);
}

Team alone() {
  return {0, 1, false, [](void*) {}, [](void*) { return false; }, nullptr};
}

ThreadLease::ThreadLease(int wanted) : size_(1) {
  const int count = thread_count();
  if (wanted < 2 || count < 2 || !try_lease()) return;
  try {
    if (pool && pool->size() != count) {
      delete pool;
      pool = nullptr;
    }
    if (!pool) pool = new Pool(count);
    size_ = wanted < count ? wanted : count;
  } catch (...) {  // no more threads to be had: the caller's will do, for this call and those to come
    requested_count.store(1);
    leased.store(false, std::memory_order_release);
  }
}

ThreadLease::~ThreadLease() {
  if (size_ > 1) leased.store(false, std::memory_order_release);
}

bool ThreadLease::barriers_pay() const { return size_ == 1 || pool->barriers_pay(); }

void ThreadLease::run_erased(int threads, bool split_units, Index patience, Work work, const void* f) {
  if (threads > 1 && size_ > 1) {
    const Team team{0, threads < size_ ? threads : size_, split_units, nullptr, nullptr, nullptr};
    return pool->run(team, nanoseconds(patience), work, f);
  }
  const FlushDenormals flush;
  work(f, alone());
}
}  // namespace fastrnn
