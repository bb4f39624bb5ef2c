// SPDX-License-Identifier: MIT
// The pool of threads (threads.h), the rounding mode it sets (cpu.h), and the buffers of memory.h. To be run under
// ThreadSanitizer too: what the ranks share here is plain memory, ordered by nothing but the pool.
#include <algorithm>
#include <cfloat>
#include <chrono>
#include <new>
#include <stdexcept>
#include <thread>
#include <vector>
#include "check.h"
#include "cpu.h"
#include "memory.h"
#include "threads.h"
#if defined(__unix__) || defined(__APPLE__)
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#define FR_TEST_POSIX
#endif
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define FR_TEST_TSAN
#elif __has_feature(address_sanitizer)
#define FR_TEST_ASAN
#endif
#elif defined(__SANITIZE_THREAD__)
#define FR_TEST_TSAN
#elif defined(__SANITIZE_ADDRESS__)
#define FR_TEST_ASAN
#endif

// With a sanitizer a request that cannot be met would end the test: let it be a null pointer, as it is without.
#define FR_TEST_EXPORT extern "C" __attribute__((visibility("default")))
FR_TEST_EXPORT const char* __asan_default_options() { return "allocator_may_return_null=1"; }
FR_TEST_EXPORT const char* __tsan_default_options() { return "allocator_may_return_null=1"; }

namespace {
using fastrnn::Buffer;
using fastrnn::set_thread_count;
using fastrnn::Team;
using fastrnn::thread_count;
using fastrnn::ThreadLease;

template <class Error, class F>
bool throws(const F& f) {
  try {
    f();
  } catch (const Error&) { return true; }
  return false;
}

// First of all: the count is decided once.
void check_count() {
#if defined(FR_TEST_POSIX)
  for (const char* wrong : {"0", "-1", "two", "2x", "5000", "99999999999999999999"}) {
    setenv("FASTRNN_NUM_THREADS", wrong, 1);
    CHECK(throws<std::invalid_argument>([] { thread_count(); }), "FASTRNN_NUM_THREADS=%s is taken", wrong);
  }
  setenv("FASTRNN_NUM_THREADS", "3", 1);
  CHECK(thread_count() == 3, "%d threads, the environment says 3", thread_count());
  unsetenv("FASTRNN_NUM_THREADS");
#endif
  CHECK(fastrnn::cpu_count() >= 1, "%d processors", fastrnn::cpu_count());
  for (int wrong : {0, -1, 4097}) {
    CHECK(throws<std::invalid_argument>([wrong] { set_thread_count(wrong); }), "%d threads are taken", wrong);
  }
  set_thread_count(5);
  CHECK(thread_count() == 5, "%d threads, 5 were set", thread_count());
}

// Every rank of the team once, rank 0 on this thread
void check_ranks(ThreadLease& lease, int threads, bool split_units) {
  const int size = std::min(threads, lease.size());
  std::vector<int> runs(size_t(size), 0);
  std::atomic<int> wrong{0};
  const std::thread::id here = std::this_thread::get_id();
  lease.run(threads, split_units, 0, [&](const Team& team) {
    if (team.size != size || team.rank < 0 || team.rank >= size) return void(++wrong);
    if ((team.rank == 0) != (std::this_thread::get_id() == here)) ++wrong;
    if (size > 1 && team.split_units != split_units) ++wrong;
    ++runs[size_t(team.rank)];
  });
  CHECK(wrong == 0, "a team of %d: %d ranks saw another one", size, wrong.load());
  CHECK(std::all_of(runs.begin(), runs.end(), [](int n) { return n == 1; }), "a rank of %d did not run once", size);
}

void check_leases() {
  for (int count : {7, 2, 4, 1, 3}) {  // the count changes while nobody has the pool
    set_thread_count(count);
    for (int wanted = 1; wanted <= 8; ++wanted) {
      ThreadLease lease(wanted);
      CHECK(lease.size() == std::min(wanted, count), "%d of %d wanted, got %d", wanted, count, lease.size());
      for (int threads = 0; threads <= lease.size() + 1; ++threads)
        check_ranks(lease, threads ? threads : 1, threads % 2 == 0);
    }
  }
}

void check_nested() {
  set_thread_count(3);
  ThreadLease outer(3);
  ThreadLease second(3);
  CHECK(second.size() == 1, "the pool is leased, a second lease has %d threads", second.size());
  if (second.size() > 1) return;  // two teams in one pool would wait for ever
  check_ranks(second, 3, true);
  std::vector<int> sizes(3, 0);
  outer.run(3, false, 0, [&](const Team& team) {
    ThreadLease inner(3);
    inner.run(3, true, 0, [&](const Team& alone) {
      sizes[size_t(team.rank)] = alone.size;
      alone.barrier(alone.context);
    });
  });
  CHECK(sizes == std::vector<int>(3, 1), "a lease within a run has a team of %d, %d, %d", sizes[0], sizes[1], sizes[2]);
  check_ranks(outer, 3, true);
}

// Each rank writes its number of the round, meets the others, and reads theirs
void check_barrier(int size, int rounds, int sleep_every) {
  set_thread_count(size);
  ThreadLease lease(size);
  std::vector<long> round_of(size_t(size) * 16, -1);
  std::atomic<long> wrong{0};
  lease.run(size, true, 0, [&](const Team& team) {
    for (long round = 0; round < rounds; ++round) {
      // The others wait so long that they sleep.
      if (sleep_every && round % sleep_every == team.rank) std::this_thread::sleep_for(std::chrono::milliseconds(3));
      round_of[size_t(team.rank) * 16] = round;
      team.barrier(team.context);
      for (int rank = 0; rank < size; ++rank) wrong += round_of[size_t(rank) * 16] != round;
      team.barrier(team.context);
    }
  });
  CHECK(wrong == 0, "%d threads, %d rounds: %ld times a rank was elsewhere", size, rounds, wrong.load());
}

// A loop of steps: with no patience every barrier is late and rank 0 is soon alone, each step is done once by all or
// by rank 0, and all ranks agree on the last common one. With patience nobody leaves.
void check_alone(int size, int steps, fastrnn::Index patience) {
  set_thread_count(size);
  ThreadLease lease(size);
  std::vector<int> done(size_t(size), 0), left(size_t(size), 0);
  int wrong = 0;
  lease.run(size, true, patience, [&](const Team& team) {
    bool alone = false;
    for (int step = 0; step < steps; ++step) {
      ++done[size_t(team.rank)];
      if (alone) continue;
      alone = team.step_barrier(team.context);
      if (alone) left[size_t(team.rank)] = step + 1;
      if (alone && team.rank) break;
    }
    team.barrier(team.context);
    if (team.rank) return;
    for (int rank = 1; rank < size; ++rank)
      wrong += left[size_t(rank)] != left[0] || done[size_t(rank)] != (left[0] ? left[0] : steps);
  });
  CHECK(wrong == 0, "%d threads: %d left the loop elsewhere than rank 0", size, wrong);
  CHECK(done[0] == steps, "rank 0 did %d of %d steps", done[0], steps);
  CHECK((left[0] > 0) == (patience == 0 && steps > 2), "patience %ld: rank 0 alone after step %d", long(patience),
        left[0]);
  if (steps == 0) return;
  lease.run(size, true, 0, [](const Team&) {});  // says nothing of barriers
  CHECK(lease.barriers_pay() == (patience > 0) || steps <= 2, "alone after step %d, and barriers pay: %d", left[0],
        lease.barriers_pay());
  CHECK(!lease.barriers_pay() || patience > 0, "all of %d barriers were late, and barriers pay", steps);
}

// Runs follow each other, sometimes so late that the threads of the pool sleep
void check_runs() {
  set_thread_count(4);
  ThreadLease lease(4);
  long total = 0;
  for (int run = 0; run < 300; ++run) {
    if (run % 50 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    long of_rank[4] = {};
    lease.run(1 + run % 4, false, 0, [&](const Team& team) { of_rank[team.rank] = run; });
    for (long value : of_rank) total += value;
  }
  long want = 0;
  for (int run = 0; run < 300; ++run) want += run * (1 + run % 4);
  CHECK(total == want, "ranks added up to %ld, want %ld", total, want);
}

void check_concurrent() {
  set_thread_count(3);
  std::atomic<int> holders{0}, wrong{0}, shared{0};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller)
    callers.emplace_back([&] {
      for (int n = 0; n < 200; ++n) {
        ThreadLease lease(3);
        if (lease.size() > 1 && ++shared && ++holders > 1) ++wrong;
        long ranks[3] = {};
        lease.run(lease.size(), n % 2 == 0, 0, [&](const Team& team) {
          team.barrier(team.context);
          ranks[team.rank] = team.rank + 1;
        });
        if (ranks[0] + ranks[1] + ranks[2] != (lease.size() == 3 ? 6 : 1)) ++wrong;
        if (lease.size() > 1) --holders;
      }
    });
  for (std::thread& caller : callers) caller.join();
  CHECK(wrong == 0, "%d of 800 leases went wrong", wrong.load());
  CHECK(shared > 0, "no caller ever got the pool");
}

#if defined(__x86_64__) || defined(__aarch64__)
bool flushes() {
  volatile float small = FLT_MIN;
  volatile double little = DBL_MIN;
  return small * 0.5f == 0 && little * 0.5 == 0;
}

void check_denormals() {
  set_thread_count(3);
  CHECK(!flushes(), "numbers below the normal range are 0 before any run");
  ThreadLease lease(3);
  for (int threads : {1, 3}) {
    std::vector<int> inside(size_t(threads), 0);
    lease.run(threads, false, 0, [&](const Team& team) { inside[size_t(team.rank)] = flushes(); });
    CHECK(std::all_of(inside.begin(), inside.end(), [](int on) { return on; }), "a rank of %d keeps denormals",
          threads);
    CHECK(!flushes(), "a run of %d threads has left the mode of the caller changed", threads);
  }
  {
    const fastrnn::FlushDenormals flush;
    CHECK(flushes(), "FlushDenormals does nothing");
  }
  CHECK(!flushes(), "FlushDenormals does not restore");
}
#else
void check_denormals() {}
#endif

void check_buffers() {
  fastrnn::release_cached_memory();
  for (size_t bytes : {size_t(0), size_t(1), size_t(64), size_t(1000), size_t(1) << 20, (size_t(5) << 20) + 1}) {
    Buffer buffer(bytes);
    CHECK(buffer.as<char>() && reinterpret_cast<uintptr_t>(buffer.as<char>()) % 64 == 0, "%zu bytes at %p", bytes,
          static_cast<void*>(buffer.as<char>()));
    for (size_t k = 0; k < bytes; k += 500) buffer.as<char>()[k] = 1;
    if (bytes) buffer.as<char>()[bytes - 1] = 1;
  }
  void* first = nullptr;
  {
    Buffer a(3000);
    first = a.as<char>();
    Buffer b(std::move(a));
    CHECK(b.as<char>() == first && !a.as<char>(), "moved from %p to %p", first, static_cast<void*>(b.as<char>()));
    a = std::move(b);
    CHECK(a.as<char>() == first, "moved back to %p", static_cast<void*>(a.as<char>()));
  }
  const Buffer again(2900);
  CHECK(again.as<char>() == first, "a freed buffer is not used again");
  const Buffer other(2900);
  CHECK(other.as<char>() != first, "a buffer is used twice");
  const Buffer small(100);  // 3000 bytes would be too many for it
  fastrnn::release_cached_memory();
}

// More memory than there is, and sizes that overflow when multiplied or rounded up
void check_overflow() {
  for (ptrdiff_t n : {ptrdiff_t(-1), PTRDIFF_MAX, PTRDIFF_MAX / 8, PTRDIFF_MAX / 4 + 2}) {
    CHECK(throws<std::bad_alloc>([n] { fastrnn::buffer_of<double>(n); }), "%td numbers are allocated", n);
  }
  for (size_t bytes : {SIZE_MAX, SIZE_MAX - 63, SIZE_MAX - (size_t(1) << 21)}) {
    CHECK(throws<std::bad_alloc>([bytes] { Buffer buffer(bytes); }), "%zu bytes are allocated", bytes);
  }
}

// Many threads take and give buffers: nobody has one that somebody else has
void check_concurrent_buffers() {
  std::atomic<long> wrong{0};
  std::vector<std::thread> threads;
  for (int thread = 1; thread <= 4; ++thread)
    threads.emplace_back([&wrong, thread] {
      check::Random random{uint64_t(thread)};
      for (int n = 0; n < 500; ++n) {
        const long count = 100 + random.below(2000);
        Buffer a = fastrnn::buffer_of<int>(count);
        std::fill_n(a.as<int>(), count, thread);
        Buffer b = fastrnn::buffer_of<int>(count);
        std::fill_n(b.as<int>(), count, -thread);
        wrong += count - std::count(a.as<int>(), a.as<int>() + count, thread);
      }
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0, "%ld numbers of a buffer were written by others", wrong.load());
}

// ThreadSanitizer allows a child of several threads none of its own; an emulator may not survive the fork.
#if defined(FR_TEST_POSIX) && !defined(FR_TEST_TSAN) && !defined(FR_TEST_EMULATED)
// What f returns in a child of fork, as its exit status; -1 where it did not exit by itself
template <class F>
int in_child(const F& f) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);  // a thread that waits for one the child does not have would wait for ever
    _exit(f());
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int sum_of_ranks(int threads) {
  std::atomic<int> sum{0};
  ThreadLease lease(threads);
  lease.run(threads, true, 0, [&](const Team& team) {
    team.barrier(team.context);
    sum += team.rank + 1;
  });
  return sum;
}

void check_fork() {
  set_thread_count(4);
  CHECK(sum_of_ranks(4) == 10, "four ranks before fork");
  CHECK(in_child([] { return sum_of_ranks(4); }) == 10, "a child of fork cannot run");
  {
    ThreadLease lease(4);  // at work when another thread forks
    CHECK(in_child([] { return sum_of_ranks(4); }) == 10, "a child of fork cannot run while the parent does");
  }
  CHECK(in_child([] { return Buffer(1000).as<char>() ? 7 : 0; }) == 7, "a child of fork cannot allocate");
  CHECK(sum_of_ranks(4) == 10, "four ranks after fork");
}

// Where the system gives no more threads, the caller's has to do.
void check_few_threads() {
#if !defined(FR_TEST_ASAN)  // which takes more addresses than are left here
  const int status = in_child([] {
    rlimit limit;
    getrlimit(RLIMIT_AS, &limit);
    limit.rlim_cur = rlim_t(1) << 30;  // a thread takes some megabytes of addresses
    if (setrlimit(RLIMIT_AS, &limit)) return 1;
    set_thread_count(300);
    ThreadLease lease(300);
    int ran = 0;
    lease.run(1, false, 0, [&](const Team&) { ++ran; });
    return ran;
  });
  CHECK(status == 1, "no threads to be had: exit status %d", status);
#endif
}
#else
void check_fork() { std::printf("fork is not tested here\n"); }
void check_few_threads() {}
#endif
}  // namespace

int main() {
  check_count();
  check_leases();
  check_nested();
  for (int size : {2, 3, 7}) check_barrier(size, 2000, 0);
  check_barrier(3, 60, 10);
  for (int size : {2, 3, 7})
    for (int steps : {0, 2, 3, 50})
      for (int run = 0; run < 100; ++run) {
        check_alone(size, steps, 1000000000);
        check_alone(size, steps, 0);
      }
  check_runs();
  check_concurrent();
  check_denormals();
  check_buffers();
  check_overflow();
  check_concurrent_buffers();
  check_fork();
  check_few_threads();
  return check::report();
}
