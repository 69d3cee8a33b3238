/* y = x @ weight.T for weights of four or eight bits.

   A group of 32 inputs is multiplied in whole numbers: activations are written as 16-bit integers, 256 * high + low, with
   a step of their own in each group. 32639 steps are its largest magnitude, so what is lost is less than bfloat16 loses
   of all but the smallest hundredth. Both halves are bytes, which processors multiply four at a time in each 32 bits.
   A sum of integers has no order, and groups are added up in theirs, so a row's bits depend on the row alone.

   Weights lie as they are read: LANES outputs side by side, of each 32 bits with four or eight inputs. They are numbers
   from 0 on, of which 8 or 128 stands for nought. */

#include <math.h>
#include <string.h>

#include "team.h"
#include "vectors.h"

#define GROUP 32
#define QUADS (GROUP / 4)
#define ROWS 6
#define STEPS 32639      /* 127 * 256 + 127 */
#define AHEAD 4096       /* bytes that memory is asked for before they are needed */
#define PACKING 16       /* what it costs to pack a number, in multiplications */

/* Bytes of LANES outputs of one group: numbers, and for four bits their scales in bfloat16. */
INLINE long group_bytes(int bits) { return bits * (long)sizeof(vu) + (bits == 4 ? 2 * LANES : 0); }
INLINE long up_to(long count, long unit) { return (count + unit - 1) / unit; }

/* Outputs that lie side by side: on it alone depends how a weight is packed. */
int lanes(void) { return LANES; }

long packed_bytes(long out, long width, int bits) {
  return up_to(out, LANES) * up_to(width, GROUP) * group_bytes(bits);
}

typedef struct {
  uint8_t *to;
  const uint8_t *numbers_of;
  const uint16_t *scales;
  long out, width;
  int bits;
} Packing;

static void packed_blocks(const void *task, long begin, long stop) { /* of LANES rows each */
  const Packing *of = task;
  uint8_t *const to = of->to;
  const uint8_t *const numbers_of = of->numbers_of;
  const uint16_t *const scales = of->scales;
  const int bits = of->bits;
  const long width = of->width, groups = up_to(width, GROUP), size = group_bytes(bits);
  memset(to + begin * groups * size, 0, (size_t)((stop - begin) * groups * size));
  for (long row = begin * LANES; row < stop * LANES && row < of->out; row++)
    for (long group = 0; group < groups; group++) {
      uint8_t *at = to + (row / LANES * groups + group) * size;
      const long lane = row % LANES, first = group * GROUP;
      for (long in = 0; in < GROUP && first + in < width; in++) {
        const uint8_t number = numbers_of[row * width + first + in];
        if (bits == 4) at[(in / 8 * LANES + lane) * 4 + in % 4] |= (uint8_t)(number << in / 4 % 2 * 4);
        else at[(in / 4 * LANES + lane) * 4 + in % 4] = number ^ 128;
      }
      if (bits == 4) memcpy(at + 4 * sizeof(vu) + 2 * lane, scales + row * groups + group, 2);
    }
}

/* numbers [out, width]: 0 .. 15 with scales bfloat16 [out, groups of 32] for four bits; int8, without, for eight. */
void pack(uint8_t *to, const uint8_t *numbers_of, const uint16_t *scales, long out, long width, int bits) {
  const Packing task = {to, numbers_of, scales, out, width, bits};
  share(packed_blocks, &task, up_to(out, LANES), PACKING * (double)out * (double)width);
}

typedef struct {
  uint8_t *to;
  float *scales;
  const void *weight;
  long out, width;
  int bits, kind;
} Rounding;

/* The bfloat16 that is nearest to x, and where two are, the even one. */
INLINE uint16_t nearest(float x) {
  union { float number; uint32_t bits; } as = {x};
  return (uint16_t)((as.bits + 0x7fff + (as.bits >> 16 & 1)) >> 16);
}

/* One group of a row, the `lane`-th of LANES, to whole numbers: number times scale. first: where it begins; width: what
   is left of the row; by: the row's scale, of eight bits. rounding.py does the same. */
INLINE void round_group(uint8_t *at, const Rounding *of, long first, long width, long lane, float by) {
  const vf shifter = every(12582912.0f); /* adding it rounds, as in exponential() */
  const int bits = of->bits, kind = of->kind;
  int32_t whole[GROUP];
  vf some[GROUP / LANES], low = {}, high = {};
  for (int part = 0; part < GROUP / LANES; part++) {
    const long left = width - part * LANES;
    some[part] = left > 0 ? numbers(of->weight, first + part * LANES, left, kind) : (vf){};
    low = part ? choose(some[part] < low, some[part], low) : some[part];
    high = part ? larger(some[part], high) : some[part];
  }
  if (bits == 4) {
    const float least = -greatest(-low), most = greatest(high);
    const uint16_t scale = nearest((-least >= most ? least : most) / -8.0f);
    memcpy(at + 4 * sizeof(vu) + 2 * lane, &scale, 2);
    by = wide(scale) == 0.0f ? 1.0f : wide(scale);
  }
  for (int part = 0; part < GROUP / LANES; part++) {
    vf scaled = some[part] / by;
    if (bits == 4) scaled = larger(choose(scaled + 8.0f < 15.0f, scaled + 8.0f, every(15.0f)), every(0.0f));
    vi rounded = (vi)(scaled + shifter) - (vi)shifter;
    memcpy(whole + part * LANES, &rounded, sizeof rounded);
  }
  for (int quad = 0; quad < QUADS; quad++) {
    const int32_t *four = whole + 4 * quad;
    if (bits == 8) {
      uint8_t bytes[4];
      for (int one = 0; one < 4; one++) bytes[one] = 4 * quad + one < width ? (uint8_t)(four[one] ^ 128) : 0;
      memcpy(at + (quad * LANES + lane) * 4, bytes, 4);
    } else if (quad % 2 == 0) {
      uint8_t bytes[4];
      for (int one = 0; one < 4; one++) bytes[one] = (uint8_t)(four[one] | four[one + 4] << 4);
      memcpy(at + (quad / 2 * LANES + lane) * 4, bytes, 4);
    }
  }
}

INLINE void round_rows(const Rounding *of, long block) {
  const long width = of->width, groups = up_to(width, GROUP), size = group_bytes(of->bits);
  uint8_t *to = of->to + block * groups * size;
  memset(to, 0, (size_t)(groups * size));
  for (long lane = 0; lane < LANES && block * LANES + lane < of->out; lane++) {
    const long row = block * LANES + lane;
    float by = 1;
    if (of->bits == 8) {
      vf most = {};
      for (long in = 0; in < width; in += LANES) {
        vf some = numbers(of->weight, row * width + in, width - in, of->kind);
        most = larger(larger(some, -some), most);
      }
      by = greatest(most) / 127.0f;
      of->scales[row] = by = by == 0.0f ? 1.0f : by;
    }
    for (long group = 0; group < groups; group++)
      round_group(to + group * size, of, row * width + group * GROUP, width - group * GROUP, lane, by);
  }
}

static void rounded_blocks(const void *task, long begin, long stop) { /* of LANES rows each */
  const Rounding *of = task;
  for (long block = begin; block < stop; block++) round_rows(of, block);
}

/* weight [out, width] of some kind -> packed, and for eight bits scales float32 [out]. */
void round_and_pack(uint8_t *to, float *scales, const void *weight, long out, long width, int bits, int kind) {
  const Rounding task = {to, scales, weight, out, width, bits, kind};
  share(rounded_blocks, &task, up_to(out, LANES), PACKING * (double)out * (double)width);
}

#if defined(__ARM_FEATURE_DOTPROD) && !defined(__ARM_FEATURE_MATMUL_INT8)
#define SIGNED 1 /* the processor multiplies only signed bytes, so those of eight bits are made signed again */
#else
#define SIGNED 0
#endif

/* What stands for nought. */
INLINE int nought(int bits) { return bits == 4 ? 8 : SIGNED ? 0 : 128; }

/* sum + the products of the four bytes in each lane of w, from 0 to 255, less 128 if they are SIGNED, with those of x,
   from -128 to 127. */
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
#if LANES == 16
  return sum + (vi)_mm512_madd_epi16((__m512i)first, (__m512i)with) +
         (vi)_mm512_madd_epi16((__m512i)second, (__m512i)and);
#elif LANES == 8
  return sum + (vi)_mm256_madd_epi16((__m256i)first, (__m256i)with) +
         (vi)_mm256_madd_epi16((__m256i)second, (__m256i)and);
#else
  return sum + (first & 0xffff) * (with << 16 >> 16) + (first >> 16) * (with >> 16) +
         (second & 0xffff) * (and << 16 >> 16) + (second >> 16) * (and >> 16);
#endif
#endif
}

/* Rows of x as integers: both halves [rows, groups, QUADS], their steps and, because weights are numbers from 0 on, as
   many times their sums as stand for nought, both [rows, groups]. */
typedef struct {
  int32_t *high, *low, *zeros;
  float *steps;
} Integers;

/* LANES outputs of `rows` rows. */
INLINE void block(float *y, const Integers *x, const uint8_t *weight, vf scale, long groups, int rows, int chains,
                  int bits) {
  vf sum[ROWS] = {};
  for (long group = 0; group < groups; group++) {
    vi high[ROWS][2], low[ROWS][2]; /* with `chains` 2 every second product: one sum alone would wait for itself */
    UNROLL(6)
    for (int row = 0; row < rows; row++) {
      high[row][0] = high[row][1] = low[row][1] = (vi){};
      low[row][0] = (vi){} - x->zeros[row * groups + group];
    }
    UNROLL(8)
    for (int quad = 0; quad < QUADS; quad++) {
      const uint8_t *from = weight + (bits == 4 ? quad / 2 : quad) * sizeof(vu);
      if (bits == 8 || quad % 2 == 0) __builtin_prefetch(from + AHEAD);
      vu w = *(const vu_at *)from;
      if (bits == 4) w = (quad % 2 ? w >> 4 : w) & 0x0f0f0f0fu;
      else if (SIGNED) w ^= 0x80808080u;
      UNROLL(6)
      for (int row = 0; row < rows; row++) {
        const long at = (row * groups + group) * QUADS + quad, chain = quad % chains;
        high[row][chain] = plus_quads(high[row][chain], w, x->high[at]);
        low[row][chain] = plus_quads(low[row][chain], w, x->low[at]);
      }
    }
    vf by = bits == 4 ? numbers(weight, 2 * sizeof(vu), LANES, BFLOAT16) : (vf){};
    UNROLL(6)
    for (int row = 0; row < rows; row++) {
      vi whole = chains == 2 ? ((high[row][0] + high[row][1]) << 8) + (low[row][0] + low[row][1])
                             : (high[row][0] << 8) + low[row][0];
      const float step = x->steps[row * groups + group];
      vf made = __builtin_convertvector(whole, vf);
      sum[row] = bits == 4 ? made * (by * step) + sum[row] : made * step + sum[row];
    }
    weight += group_bytes(bits);
  }
  UNROLL(6)
  for (int row = 0; row < rows; row++) store(y + row * LANES, bits == 4 ? sum[row] : sum[row] * scale);
}

INLINE void few(float *y, const Integers *x, const uint8_t *weight, vf scale, long groups, int rows, int bits) {
  switch (rows) { /* each its own loop, whose sums stay in registers */
    case 1: block(y, x, weight, scale, groups, 1, 2, bits); break;
    case 2: block(y, x, weight, scale, groups, 2, 2, bits); break;
    case 3: block(y, x, weight, scale, groups, 3, 1, bits); break;
    case 4: block(y, x, weight, scale, groups, 4, 1, bits); break;
    case 5: block(y, x, weight, scale, groups, 5, 1, bits); break;
    default: block(y, x, weight, scale, groups, 6, 1, bits);
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
    vf most = {}, flaw = {}; /* nought, unless there is something that is not a finite number */
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
      vi high = (whole + 128) >> 8, low = whole - (high << 8);
      typedef int8_t bytes __attribute__((vector_size(LANES), aligned(1), may_alias));
      *(bytes *)((int8_t *)to->high + at * GROUP + in - first) = __builtin_convertvector(high, bytes);
      *(bytes *)((int8_t *)to->low + at * GROUP + in - first) = __builtin_convertvector(low, bytes);
      sum += whole;
    }
    int32_t all = 0;
    for (int lane = 0; lane < LANES; lane++) all += sum[lane];
    to->steps[at] = step;
    to->zeros[at] = nought(bits) * all;
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

/* One function for all formats: for each its own would take four times as long to compile. */
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

/* y [rows, out], x [rows, width] of one kind and without gaps; packed as pack() leaves it; scales float32 [out] for eight
   bits, NULL for four. Returns 1 where there is no memory. */
int rounded_linear(void *y, const void *x, const uint8_t *packed, const float *scales, long rows, long out, long width,
                   int bits, int kind) {
  if (bits == 4 && kind == BFLOAT16) return product(y, x, packed, scales, rows, out, width, 4, BFLOAT16);
  if (bits == 4) return product(y, x, packed, scales, rows, out, width, 4, FLOAT32);
  if (kind == BFLOAT16) return product(y, x, packed, scales, rows, out, width, 8, BFLOAT16);
  return product(y, x, packed, scales, rows, out, width, 8, FLOAT32);
}
