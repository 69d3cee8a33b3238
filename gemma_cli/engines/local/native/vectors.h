/* Vectors of floats in the notation that GCC and clang share, so that one source serves every processor.

   LANES is the number of floats in the widest registers of the target (-march=native). Every a * b + c becomes a fused
   multiply-add (-ffp-contract=fast), for any number of rows: see linear.c. */

#ifndef GEMMA_VECTORS_H
#define GEMMA_VECTORS_H

#include <stdint.h>
#include <stdlib.h>
#ifdef __AVX2__
#include <immintrin.h>
#endif
#ifdef __ARM_NEON
#include <arm_neon.h>
#endif

#if defined(__AVX512F__) && defined(__AVX512BW__)
#define LANES 16
#elif defined(__AVX2__)
#define LANES 8
#else
#define LANES 4
#endif

#define INLINE static inline __attribute__((always_inline))

/* Unrolls the next loop that many times: with constant bounds, completely. */
#define PRAGMA(words) _Pragma(#words)
#ifdef __clang__
#define UNROLL(times) PRAGMA(clang loop unroll(full))
#else
#define UNROLL(times) PRAGMA(GCC unroll times)
#endif

/* Selects numbers of two vectors by constant indices; those of the second vector follow those of the first. */
#ifdef __clang__
#define SHUFFLE(kind, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(kind, a, b, ...) __builtin_shuffle(a, b, (kind){__VA_ARGS__})
#endif

typedef float vf __attribute__((vector_size(4 * LANES)));
typedef int32_t vi __attribute__((vector_size(4 * LANES)));
typedef uint32_t vu __attribute__((vector_size(4 * LANES)));
typedef int16_t vs __attribute__((vector_size(4 * LANES)));
typedef vf vf_at __attribute__((aligned(4), may_alias));
typedef vu vu_at __attribute__((aligned(2), may_alias));

enum { FLOAT32 = 0, BFLOAT16 = 1 }; /* of activations and weights; ops.py passes them */

INLINE long up_to(long count, long unit) { return (count + unit - 1) / unit; }

INLINE vf load(const float *from) { return *(const vf_at *)from; }
INLINE void store(float *to, vf x) { *(vf_at *)to = x; }
INLINE vf every(float x) { return x - (vf){}; }
INLINE vf choose(vi condition, vf yes, vf no) { return (vf)((condition & (vi)yes) | (~condition & (vi)no)); }
INLINE vf larger(vf a, vf b) { return choose(a > b, a, b); }

INLINE vi places(void) { /* 0, 1, 2 ... */
  vi at;
  for (int lane = 0; lane < LANES; lane++) at[lane] = lane;
  return at;
}

typedef float v4 __attribute__((vector_size(16)));
typedef int32_t i4 __attribute__((vector_size(16)));

/* Returns the sums over all lanes of four vectors, always in the same order: half is added to half. */
INLINE v4 totals(vf a, vf b, vf c, vf d) {
  vf from[4] = {a, b, c, d};
  v4 at[4];
  UNROLL(4)
  for (int i = 0; i < 4; i++) {
    union { vf whole; v4 part[LANES / 4]; } as = {from[i]};
#if LANES == 16
    at[i] = (as.part[0] + as.part[2]) + (as.part[1] + as.part[3]);
#elif LANES == 8
    at[i] = as.part[0] + as.part[1];
#else
    at[i] = as.part[0];
#endif
  }
  v4 ab = SHUFFLE(i4, at[0], at[1], 0, 4, 1, 5) + SHUFFLE(i4, at[0], at[1], 2, 6, 3, 7); /* a02 b02 a13 b13 */
  v4 cd = SHUFFLE(i4, at[2], at[3], 0, 4, 1, 5) + SHUFFLE(i4, at[2], at[3], 2, 6, 3, 7);
  return SHUFFLE(i4, ab, cd, 0, 1, 4, 5) + SHUFFLE(i4, ab, cd, 2, 3, 6, 7);
}
INLINE float total(vf x) { return totals(x, x, x, x)[0]; }

INLINE float greatest(vf x) {
  float best = x[0];
  for (int lane = 1; lane < LANES; lane++) best = x[lane] > best ? x[lane] : best;
  return best;
}

/* Returns memory of the calling thread, valid until its next call; NULL if out of memory. */
static inline void *room(size_t bytes) {
  static _Thread_local void *kept;
  static _Thread_local size_t held;
  if (bytes > held) {
    free(kept);
    held = (kept = malloc(bytes)) ? bytes : 0;
  }
  return kept;
}

/* Each 32 bits hold two bfloat16, the even one in the lower half; shifted to the upper half, each is a float. */
INLINE vf even(vu pairs) { return (vf)(pairs << 16); }
INLINE vf odd(vu pairs) { return (vf)(pairs & 0xffff0000u); }
INLINE float wide(uint16_t x) {
  union { uint32_t bits; float number; } as = {(uint32_t)x << 16};
  return as.number;
}

typedef uint16_t vh __attribute__((vector_size(2 * LANES)));
typedef vh vh_at __attribute__((aligned(2), may_alias));

/* Loads LANES numbers of an activation of either kind from number `at`; if fewer are left, zeros follow. */
INLINE vf numbers(const void *x, long at, long left, int kind) {
  if (left < LANES) {
    vf some = {};
    for (int lane = 0; lane < left; lane++)
      some[lane] = kind == BFLOAT16 ? wide(((const uint16_t *)x)[at + lane]) : ((const float *)x)[at + lane];
    return some;
  }
  if (kind == FLOAT32) return load((const float *)x + at);
  return (vf)(__builtin_convertvector(*(const vh_at *)((const uint16_t *)x + at), vu) << 16);
}

/* Rounds to the nearest bfloat16, ties to even; NaN stays NaN. */
INLINE vf rounded(vf x, int kind) {
  if (kind == FLOAT32) return x;
  vu bits = (vu)x;
  vu up = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u;
  return choose(x == x, (vf)up, (vf)((bits | 0x400000) & 0xffff0000u));
}

/* Stores as many numbers as are left, rounded. */
INLINE void put(void *to, long at, long left, vf x, int kind) {
  if (left < LANES) {
    vu bits = (vu)rounded(x, kind);
    for (int lane = 0; lane < left; lane++) {
      if (kind == BFLOAT16) ((uint16_t *)to)[at + lane] = (uint16_t)(bits[lane] >> 16);
      else ((float *)to)[at + lane] = x[lane];
    }
  } else if (kind == FLOAT32) {
    store((float *)to + at, x);
  } else {
    *(vh_at *)((uint16_t *)to + at) = __builtin_convertvector((vu)rounded(x, kind) >> 16, vh);
  }
}

/* Returns e^x to 2 units in the last place, 0 below -87; Cephes' polynomial. */
INLINE vf exponential(vf x) {
  const vf shifter = every(12582912.0f); /* 1.5 * 2^23: adding it leaves a whole number in the low bits */
  vf held = larger(choose(x < 88.0f, x, every(88.0f)), every(-87.0f));
  vf shifted = held * 1.44269504f + shifter;
  vf whole = shifted - shifter;
  vf rest = held - whole * 0.693359375f + whole * 2.12194440e-4f;
  vf y = every(1.9875691500e-4f);
  y = y * rest + 1.3981999507e-3f;
  y = y * rest + 8.3334519073e-3f;
  y = y * rest + 4.1665795894e-2f;
  y = y * rest + 1.6666665459e-1f;
  y = y * rest + 5.0000001201e-1f;
  y = y * (rest * rest) + rest + 1.0f;
  y = (vf)((vi)y + ((vi)shifted << 23));
  return choose(x < -87.0f, every(0.0f), choose(x == x, y, x));
}

#endif
