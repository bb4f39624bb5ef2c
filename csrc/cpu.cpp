// SPDX-License-Identifier: MIT
#include "cpu.h"
#include <thread>
#if defined(__x86_64__) || defined(_M_X64)
#include <cpuid.h>
#include <immintrin.h>
#endif
#if defined(__linux__)
#include <sched.h>
#endif
namespace fastrnn {
#if defined(__x86_64__) || defined(_M_X64)
namespace {
struct Registers {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers cpuid(unsigned leaf, unsigned part = 0) {
  Registers r;
  if (!__get_cpuid_count(leaf, part, &r.eax, &r.ebx, &r.ecx, &r.edx)) return Registers();
  return r;
}

// XCR0: which registers the system saves when it switches threads; 0 where it does not say
unsigned saved_registers() {
  if (!(cpuid(1).ecx & 1u << 27)) return 0;  // OSXSAVE
  unsigned low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

constexpr unsigned kYmm = 0x06;  // SSE and AVX state
constexpr unsigned kZmm = 0xe6;  // and opmask, upper halves, registers 16 to 31
constexpr unsigned kFlush = 0x8040;  // MXCSR: flush to zero, denormals are zero
}  // namespace

bool cpu_has_avx512() { return (saved_registers() & kZmm) == kZmm && cpuid(7).ebx & 1u << 16; }
bool cpu_has_avx512_bf16() { return cpu_has_avx512() && cpuid(7).ebx & 1u << 30 && cpuid(7, 1).eax & 1u << 5; }
bool cpu_has_avx2() { return (saved_registers() & kYmm) == kYmm && cpuid(7).ebx & 1u << 5 && cpuid(1).ecx & 1u << 12; }

FlushDenormals::FlushDenormals() : before_(_mm_getcsr()) { _mm_setcsr(static_cast<unsigned>(before_) | kFlush); }
FlushDenormals::~FlushDenormals() { _mm_setcsr(static_cast<unsigned>(before_)); }
#else
bool cpu_has_avx512() { return false; }
bool cpu_has_avx512_bf16() { return false; }
bool cpu_has_avx2() { return false; }
#if defined(__aarch64__)
FlushDenormals::FlushDenormals() {
  constexpr unsigned long long kFlush = 1ull << 24;  // FPCR.FZ
  __asm__ volatile("mrs %0, fpcr" : "=r"(before_));
  __asm__ volatile("msr fpcr, %0" : : "r"(before_ | kFlush));
}
FlushDenormals::~FlushDenormals() { __asm__ volatile("msr fpcr, %0" : : "r"(before_)); }
#else
FlushDenormals::FlushDenormals() : before_(0) {}
FlushDenormals::~FlushDenormals() {}
#endif
#endif

int cpu_count() {
#if defined(__linux__)
  cpu_set_t set;
  if (!sched_getaffinity(0, sizeof set, &set) && CPU_COUNT(&set) > 0) return CPU_COUNT(&set);
#endif
  const unsigned n = std::thread::hardware_concurrency();
  return n ? static_cast<int>(n) : 1;
}
}  // namespace fastrnn
