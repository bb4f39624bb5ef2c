// SPDX-License-Identifier: MIT
// What every test here is made of: CHECK counts what holds, prints what does not with the case it belongs to, and
// a main() ends with `return report();`, the exit status.
//
//   check::Case scope("lstm float B=%d", B);           names the case while it lives; cases nest
//   CHECK(a == b, "row %d: %g and %g", row, a, b);     the message is made only where the condition is false
#pragma once
#include <atomic>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#define CHECK(condition, ...) \
  ((condition) ? check::pass() : check::fail(__FILE__, __LINE__, #condition, check::text(__VA_ARGS__)))

namespace check {
constexpr long kMostFailures = 20;  // then the test ends: a wrong kernel would fill the screen

inline std::atomic<long> passed{0}, failed{0};
inline thread_local std::string current;

__attribute__((format(printf, 1, 2))) inline std::string text(const char* format, ...) {
  char line[1000];
  va_list values;
  va_start(values, format);
  std::vsnprintf(line, sizeof line, format, values);
  va_end(values);
  return line;
}

struct Case {
  template <class... Values>
  explicit Case(Values... values) : before(current) {
    current += " [" + text(values...) + "]";
  }
  ~Case() { current = before; }
  Case(const Case&) = delete;
  const std::string before;
};

inline void pass() { passed.fetch_add(1, std::memory_order_relaxed); }

inline void fail(const char* file, int line, const char* condition, const std::string& message) {
  std::printf("FAILED %s:%d:%s %s: %s\n", file, line, current.c_str(), condition, message.c_str());
  std::fflush(stdout);
  if (failed.fetch_add(1) + 1 >= kMostFailures) std::_Exit(1);
}

inline int report() {
  if (failed) std::printf("%ld checks FAILED, %ld passed\n", failed.load(), passed.load());
  else std::printf("%ld checks passed\n", passed.load());
  return failed ? 1 : 0;
}

// splitmix64: the same numbers with every compiler and library
struct Random {
  uint64_t state;
  uint64_t next() {
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
  }
  long below(long n) { return static_cast<long>(next() % static_cast<uint64_t>(n)); }  // 0 ... n-1
  bool chance(double p) { return uniform(0, 1) < p; }
  double uniform(double low, double high) { return low + (high - low) * 0x1p-53 * double(next() >> 11); }
};
}  // namespace check
