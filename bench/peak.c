/* SPDX-License-Identifier: MIT
 * Chains of fused multiply-adds in registers: as many as hide the latency of two units, vectors as wide as there are.
 */
#if defined(__AVX512F__)
#define BYTES 64
#elif defined(__AVX__)
#define BYTES 32
#else
#define BYTES 16
#endif

#if defined(__x86_64__)
#define KEEP "+x" /* the class of vector registers */
#elif defined(__aarch64__)
#define KEEP "+w"
#endif

typedef float vec __attribute__((vector_size(BYTES)));

#define CHAINS 12
#define EACH(f) f(a) f(b) f(c) f(d) f(e) f(g) f(h) f(i) f(j) f(k) f(l) f(m)

/* Goes that many times over all chains and returns how many operations it made; *sink keeps the sums from being left out. */
double fma_chains(long times, float* sink) {
  vec x = {0}, y = {0};
  x += 0.999f;
  y += 1e-3f;
#define START(v) vec v = y;
  EACH(START)
  for (long n = 0; n < times; ++n) {
    /* Opaque to the compiler, which would otherwise fold steps into one another. */
#define STEP(v) v = v * x + y; __asm__ volatile("" : KEEP(v));
    EACH(STEP)
  }
#define ADD(v) *sink += v[0];
  EACH(ADD)
  return 2.0 * (double)times * CHAINS * (BYTES / sizeof(float));
}
