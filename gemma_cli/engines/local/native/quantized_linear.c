/* y = x @ weight.T for weights of four or eight bits.

   A group of 32 inputs is multiplied in integers. Activations become 16-bit integers, 256 * high + low, with a scale
   for each group. The largest magnitude is 32639 steps, so only numbers below a hundredth of it lose more than in
   bfloat16. Both halves are bytes; processors multiply four of them at a time in each 32 bits. Integer sums do not
   depend on their order, and groups are added in order, so a row's bits depend on the row alone.

   packed.h describes how weights are stored. */

#include <math.h>

#include "kernels.h"
#include "packed.h"
#include "team.h"

#define ROWS 6
#define STEPS 32639      /* 127 * 256 + 127 */
#define AHEAD 4096       /* bytes to prefetch */

#if defined(__ARM_FEATURE_DOTPROD) && !defined(__ARM_FEATURE_MATMUL_INT8)
#define SIGNED 1 /* the processor multiplies only signed bytes, so 8-bit weights become signed again */
#else
#define SIGNED 0
#endif

/* Returns the number that stands for zero. */
INLINE int zero_of(int bits) { return bits == 4 ? 8 : SIGNED ? 0 : 128; }

#if LANES == 16 && !defined(__AVX512VNNI__)
#define PAIRS 1 /* the processor has no sums of four products of bytes, but sums of two */
INLINE vi plus_pairs(vi sum, vu w, vu x) { return sum + (vi)_mm512_madd_epi16((__m512i)w, (__m512i)x); }
INLINE vs byte_pairs(vu w, vu x) { return (vs)_mm512_maddubs_epi16((__m512i)w, (__m512i)x); }
#elif LANES == 8
#define PAIRS 1
INLINE vi plus_pairs(vi sum, vu w, vu x) { return sum + (vi)_mm256_madd_epi16((__m256i)w, (__m256i)x); }
INLINE vs byte_pairs(vu w, vu x) { return (vs)_mm256_maddubs_epi16((__m256i)w, (__m256i)x); }
#else
#define PAIRS 0
#endif

/* Returns sum + the products of the four bytes in each lane of w (0 .. 255, less 128 if SIGNED) and x (-128 .. 127). */
INLINE vi plus_quads(vi sum, vu w, int32_t x) {
  vi quad = (vi){} + x;
#if LANES == 16 && defined(__AVX512VNNI__)
  return (vi)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)w, (__m512i)quad);
#elif defined(__ARM_FEATURE_MATMUL_INT8)
  return (vi)vusdotq_s32((int32x4_t)sum, (uint8x16_t)w, (int8x16_t)quad);
#elif defined(__ARM_FEATURE_DOTPROD)
  return (vi)vdotq_s32((int32x4_t)sum, (int8x16_t)w, (int8x16_t)quad);
#else
  vi first = (vi)(w & 0x00ff00ffu), second = (vi)(w >> 8 & 0x00ff00ffu); /* as pairs of 16 bits */
  vi with = (vi)((vs)quad << 8 >> 8), and = (vi)((vs)quad >> 8);
  return sum + (first & 0xffff) * (with << 16 >> 16) + (first >> 16) * (with >> 16) +
         (second & 0xffff) * (and << 16 >> 16) + (second >> 16) * (and >> 16);
#endif
}

/* Rows of x as integers: both halves [rows, groups, QUADS]; their scales, and their sums times the zero point of the
   weights, both [rows, groups]. If PAIRS, for eight bits: complete integers, the first and third of each four in `high`,
   the others in `low`. */
typedef struct {
  int32_t *high, *low, *zeros;
  float *steps;
} Integers;

/* Returns four numbers of a group for each lane, as bytes. */
INLINE vu four_of(const uint8_t *weight, int quad, int bits) {
  const uint8_t *from = weight + (bits == 4 ? quad / 2 : quad) * sizeof(vu);
  if (bits == 8 || quad % 2 == 0) __builtin_prefetch(from + AHEAD);
  const vu w = *(const vu_at *)from;
  if (bits == 4) return (quad % 2 ? w >> 4 : w) & 0x0f0f0f0fu;
  return SIGNED ? w ^ 0x80808080u : w;
}

/* Computes the products of a group for `rows` rows, less those of the zero point, as integers. */
#if PAIRS
INLINE void group_products(vi *made, const Integers *x, const uint8_t *weight, long groups, long group, int rows,
                           int bits) {
  vi wide[ROWS] = {};
  vs high[ROWS] = {}, low[ROWS] = {}; /* 16 bits have space for the products of 4 bits and 8, QUADS times two */
  UNROLL(8)
  for (int quad = 0; quad < QUADS; quad++) {
    typedef uint16_t halves __attribute__((vector_size(4 * LANES)));
    const vu w = four_of(weight, quad, bits), outer = w & 0x00ff00ffu, inner = (vu)((halves)w >> 8);
    UNROLL(6)
    for (int row = 0; row < rows; row++) {
      const long at = (row * groups + group) * QUADS + quad;
      const vu one = (vu){} + (uint32_t)x->high[at], other = (vu){} + (uint32_t)x->low[at];
      if (bits == 4) high[row] += byte_pairs(w, one), low[row] += byte_pairs(w, other);
      else wide[row] = plus_pairs(plus_pairs(wide[row], outer, one), inner, other);
    }
  }
  UNROLL(6)
  for (int row = 0; row < rows; row++) {
    const vu ones = (vu){} + 0x00010001u;
    if (bits == 4)
      wide[row] = plus_pairs(plus_pairs((vi){}, (vu)high[row], ones) << 8, (vu)low[row], ones);
    made[row] = wide[row] - x->zeros[row * groups + group];
  }
}
#else
INLINE void group_products(vi *made, const Integers *x, const uint8_t *weight, long groups, long group, int rows,
                           int bits) {
  vi high[ROWS][2] = {}, low[ROWS][2] = {};
  const int chains = rows > 2 ? 1 : 2; /* one sum alone would wait for its own result */
  UNROLL(8)
  for (int quad = 0; quad < QUADS; quad++) {
    const vu w = four_of(weight, quad, bits);
    UNROLL(6)
    for (int row = 0; row < rows; row++) {
      const long at = (row * groups + group) * QUADS + quad, chain = quad % chains;
      high[row][chain] = plus_quads(high[row][chain], w, x->high[at]);
      low[row][chain] = plus_quads(low[row][chain], w, x->low[at]);
    }
  }
  UNROLL(6)
  for (int row = 0; row < rows; row++) {
    made[row] = ((high[row][0] + high[row][1]) << 8) + (low[row][0] + low[row][1]);
    made[row] -= x->zeros[row * groups + group];
  }
}
#endif

/* Computes LANES outputs of `rows` rows. */
INLINE void block(float *y, const Integers *x, const uint8_t *weight, vf scale, long groups, int rows,
                  int bits) {
  vf sum[ROWS] = {};
  for (long group = 0; group < groups; group++) {
    vi whole[ROWS];
    group_products(whole, x, weight, groups, group, rows, bits);
    vf by = bits == 4 ? numbers(weight, 2 * sizeof(vu), LANES, BFLOAT16) : (vf){};
    UNROLL(6)
    for (int row = 0; row < rows; row++) {
      const float step = x->steps[row * groups + group];
      vf made = __builtin_convertvector(whole[row], vf);
      sum[row] = bits == 4 ? made * (by * step) + sum[row] : made * step + sum[row];
    }
    weight += group_bytes(bits);
  }
  UNROLL(6)
  for (int row = 0; row < rows; row++) store(y + row * LANES, bits == 4 ? sum[row] : sum[row] * scale);
}

INLINE void few(float *y, const Integers *x, const uint8_t *weight, vf scale, long groups, int rows, int bits) {
  switch (rows) { /* one loop for each number of rows, so that sums stay in registers */
    case 1: block(y, x, weight, scale, groups, 1, bits); break;
    case 2: block(y, x, weight, scale, groups, 2, bits); break;
    case 3: block(y, x, weight, scale, groups, 3, bits); break;
    case 4: block(y, x, weight, scale, groups, 4, bits); break;
    case 5: block(y, x, weight, scale, groups, 5, bits); break;
    default: block(y, x, weight, scale, groups, 6, bits);
  }
}

INLINE void outputs(void *y, const Integers *x, const uint8_t *packed, const float *scales, long rows, long out,
                    long groups, long at, int bits, int kind) {
  const long left = out - at;
  const uint8_t *weight = packed + at / LANES * groups * group_bytes(bits);
  const vf scale = bits == 8 ? numbers(scales, at, left, FLOAT32) : (vf){};
  float part[ROWS * LANES];
  for (long row = 0; row < rows; row += ROWS) {
    const int now = rows - row < ROWS ? (int)(rows - row) : ROWS;
    const long first = row * groups;
    const Integers from = {x->high + first * QUADS, x->low + first * QUADS, x->zeros + first, x->steps + first};
    few(part, &from, weight, scale, groups, now, bits);
    for (int r = 0; r < now; r++) put(y, (row + r) * out + at, left, load(part + r * LANES), kind);
  }
}

INLINE void whole_numbers(const Integers *to, const void *x, long rows, long width, int bits, int kind) {
  const long groups = up_to(width, GROUP);
  const vf shifter = every(12582912.0f); /* adding it rounds, as in exponential() */
  for (long at = 0; at < rows * groups; at++) {
    const long from = at / groups * width, first = at % groups * GROUP, stop = first + GROUP;
    vf most = {}, flaw = {}; /* zero, unless a number is not finite */
    for (long in = first; in < stop && in < width; in += LANES) {
      vf some = numbers(x, from + in, width - in, kind);
      most = larger(larger(some, -some), most);
      flaw += some * 0.0f;
    }
    const float step = (greatest(most) + total(flaw)) / STEPS;
    vi sum = {};
    for (long in = first; in < stop; in += LANES) {
      vf some = in < width ? numbers(x, from + in, width - in, kind) : (vf){};
      vi whole = step > 0 ? (vi)(some / step + shifter) - (vi)shifter : (vi){};
      sum += whole;
      if (PAIRS && bits == 8) {
        for (int lane = 0; lane < LANES; lane += 4) {
          const long quad = at * QUADS + (in - first + lane) / 4;
          to->high[quad] = (int32_t)((uint32_t)whole[lane + 2] << 16) | (whole[lane] & 0xffff);
          to->low[quad] = (int32_t)((uint32_t)whole[lane + 3] << 16) | (whole[lane + 1] & 0xffff);
        }
        continue;
      }
      vi high = (whole + 128) >> 8, low = whole - (high << 8);
      typedef int8_t bytes __attribute__((vector_size(LANES), aligned(1), may_alias));
      *(bytes *)((int8_t *)to->high + at * GROUP + in - first) = __builtin_convertvector(high, bytes);
      *(bytes *)((int8_t *)to->low + at * GROUP + in - first) = __builtin_convertvector(low, bytes);
    }
    int32_t all = 0;
    for (int lane = 0; lane < LANES; lane++) all += sum[lane];
    to->steps[at] = step;
    to->zeros[at] = zero_of(bits) * all;
  }
}

typedef struct {
  void *y;
  const Integers *x;
  const uint8_t *packed;
  const float *scales;
  long rows, out, groups;
  int bits, kind;
} Product;

/* One function for all formats: separate ones would take four times as long to compile. */
static void product_blocks(const void *task, long begin, long stop) { /* of LANES outputs each */
  const Product *of = task;
  for (long at = begin * LANES; at < stop * LANES; at += LANES)
    outputs(of->y, of->x, of->packed, of->scales, of->rows, of->out, of->groups, at, of->bits, of->kind);
}

INLINE int product(void *y, const void *x, const uint8_t *packed, const float *scales, long rows, long out, long width,
                   int bits, int kind) {
  const long groups = up_to(width, GROUP), count = rows * groups;
  int32_t *at = room((size_t)count * (2 * QUADS + 2) * 4);
  if (!at) return 1;
  const Integers from = {at, at + count * QUADS, at + 2 * count * QUADS, (float *)(at + count * (2 * QUADS + 1))};
  whole_numbers(&from, x, rows, width, bits, kind);
  const Product task = {y, &from, packed, scales, rows, out, groups, bits, kind};
  share(product_blocks, &task, up_to(out, LANES), (double)(rows * out) * (double)width);
  return 0;
}

/* y [rows, out], x [rows, width], contiguous and of one kind; packed: from pack(); scales float32 [out] for eight bits,
   NULL for four. Returns 1 if out of memory. */
int rounded_linear(void *y, const void *x, const uint8_t *packed, const float *scales, long rows, long out, long width,
                   int bits, int kind) {
  if (bits == 4 && kind == BFLOAT16) return product(y, x, packed, scales, rows, out, width, 4, BFLOAT16);
  if (bits == 4) return product(y, x, packed, scales, rows, out, width, 4, FLOAT32);
  if (kind == BFLOAT16) return product(y, x, packed, scales, rows, out, width, 8, BFLOAT16);
  return product(y, x, packed, scales, rows, out, width, 8, FLOAT32);
}
