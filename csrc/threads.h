// SPDX-License-Identifier: MIT
// One pool of threads for the process. A call leases it, runs functions on it together with the caller's thread, and
// gives it back; while another call has it, a lease is the caller's thread alone.
//
// Waiting spins a bounded number of times, then yields, then sleeps. Where a competing process takes a processor away,
// a barrier every few microseconds would still cost its turn each time, 10 to 50 times the work itself. So barriers
// that are late are counted, after a few of them rank 0 goes on alone (step_barrier in api.h), and for a while calls
// do without such barriers. After fork the child starts with a new pool.
#pragma once
#include "api.h"
namespace fastrnn {

// Threads that a call may use: the environment variable FASTRNN_NUM_THREADS, else all processors of the process.
// std::invalid_argument where the variable, or n, is no positive number.
int thread_count();
void set_thread_count(int n);

Team alone();  // of one thread

class ThreadLease {
 public:
  explicit ThreadLease(int wanted);  // at most thread_count()
  ~ThreadLease();
  ThreadLease(const ThreadLease&) = delete;
  int size() const { return size_; }
  bool barriers_pay() const;  // false for a while after barriers of steps were late

  // Calls work(team) once for each rank of a team of `threads`, at most size(), rank 0 on the caller's thread;
  // returns when all have. Numbers below the normal range are 0 in the meantime (cpu.h). patience: nanoseconds after
  // which a barrier of a step is late.
  template <class F>
  void run(int threads, bool split_units, Index patience, const F& work) {
    run_erased(
        threads, split_units, patience, [](const void* f, const Team& team) { (*static_cast<const F*>(f))(team); },
        &work);
  }

 private:
  using Work = void (*)(const void* f, const Team& team);
  void run_erased(int threads, bool split_units, Index patience, Work work, const void* f);
  int size_;
};

}  // namespace fastrnn
