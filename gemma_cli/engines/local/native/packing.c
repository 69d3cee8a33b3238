/* Packs weights of four or eight bits to the layout of packed.h: integers, or floats that it rounds. */

#include <string.h>

#include "kernels.h"
#include "packed.h"
#include "team.h"

#define PACKING 16 /* the cost of packing a number, in multiplications */

/* Returns the number of adjacent outputs, on which alone the layout depends. */
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

/* numbers [out, width]: 0 .. 15 with scales bfloat16 [out, groups of 32] for four bits; int8 without scales for eight. */
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

/* Returns the nearest bfloat16, to even for a tie. */
INLINE uint16_t nearest(float x) {
  union { float number; uint32_t bits; } as = {x};
  return (uint16_t)((as.bits + 0x7fff + (as.bits >> 16 & 1)) >> 16);
}

/* Rounds and packs one group of row `lane` of LANES, which begins at `first`, as rounding.py does. width: inputs left in
   the row; by: the row's scale, for eight bits. */
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

/* Rounds and packs a weight [out, width] of `kind`; scales float32 [out], for eight bits only. */
void round_and_pack(uint8_t *to, float *scales, const void *weight, long out, long width, int bits, int kind) {
  const Rounding task = {to, scales, weight, out, width, bits, kind};
  share(rounded_blocks, &task, up_to(out, LANES), PACKING * (double)out * (double)width);
}
