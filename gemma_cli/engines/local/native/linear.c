/* y = x @ weight.T for a few rows of x and a weight [out, width] as checkpoints store it, in bfloat16. A weight may have
   several parts, one below the other, that checkpoints store as tensors of their own.

   A dot product is summed in LANES partial sums, in the order of the numbers; these are added at the end. The order
   does not depend on the other rows and outputs, so a row's bits depend on the row alone. Products are computed in
   float32, where they are exact: bfloat16 instructions do twice as much, but take up to four times as long.

   Decoding reads each weight once from memory, and little else takes time. The number of outstanding cache lines limits
   the bandwidth of a core: hence the prefetch of what each row reads next. */

#include <string.h>

#include "kernels.h"
#include "scattered.h"
#include "team.h"
#include "vectors.h"

#define OUTS 4          /* rows of the weight that are multiplied at once */
#if LANES == 16
#define ROWS 6          /* rows of x at most: ROWS * OUTS sums fit the registers */
#else
#define ROWS 3
#endif
#define AHEAD 2048      /* bytes */

/* Returns sum + w * x for a pair of numbers in each lane. */
INLINE vf plus_products(vf sum, vu w, vu x) { return odd(w) * odd(x) + (even(w) * even(x) + sum); }

/* Loads fewer than 64 bytes, followed by zeros. */
INLINE vu rest(const char *from, long bytes) {
  vu some = {};
  memcpy(&some, from, (size_t)bytes);
  return some;
}

/* Computes dot products of `rows` rows of x and `outs` rows of the weight, each of `bytes` bytes. */
INLINE void dots(float *y, const char *x, const char *weight, long bytes, int rows, int outs) {
  vf sum[ROWS][OUTS] = {};
  const long whole = bytes / (long)sizeof(vu) * (long)sizeof(vu);
  for (long at = 0; at < whole; at += sizeof(vu)) {
    const long ahead = at + AHEAD < bytes ? at + AHEAD : at + AHEAD + (OUTS - 1) * bytes; /* in the following rows */
    vu w[OUTS];
    UNROLL(4)
    for (int out = 0; out < outs; out++) {
      w[out] = *(const vu_at *)(weight + out * bytes + at);
      __builtin_prefetch(weight + out * bytes + ahead);
    }
    UNROLL(6)
    for (int row = 0; row < rows; row++) {
      vu some = *(const vu_at *)(x + row * bytes + at);
      UNROLL(4)
      for (int out = 0; out < outs; out++) sum[row][out] = plus_products(sum[row][out], w[out], some);
    }
  }
  for (int row = 0; bytes > whole && row < rows; row++) {
    vu some = rest(x + row * bytes + whole, bytes - whole);
    for (int out = 0; out < outs; out++)
      sum[row][out] = plus_products(sum[row][out], rest(weight + out * bytes + whole, bytes - whole), some);
  }
  UNROLL(6)
  for (int row = 0; row < rows; row++) {
    v4 all = totals(sum[row][0], sum[row][1], sum[row][2], sum[row][3]); /* of zeros if outs is 1 */
    for (int out = 0; out < outs; out++) y[row * OUTS + out] = all[out];
  }
}

INLINE void few(float *y, const char *x, const char *weight, long bytes, int rows, int outs) {
  switch (rows) { /* one loop for each number of rows, so that sums stay in registers */
    case 1: dots(y, x, weight, bytes, 1, outs); break;
    case 2: dots(y, x, weight, bytes, 2, outs); break;
#if ROWS > 3
    case 3: dots(y, x, weight, bytes, 3, outs); break;
    case 4: dots(y, x, weight, bytes, 4, outs); break;
    case 5: dots(y, x, weight, bytes, 5, outs); break;
#endif
    default: dots(y, x, weight, bytes, ROWS, outs);
  }
}

typedef struct {
  uint16_t *y;
  const char *x;
  const Scattered *weight;
  long rows, bytes;
} Product;

/* Computes up to OUTS outputs of `rows` rows, from row `row` and output `at` of a part whose first output is `first`. */
static void outputs(const Product *of, long row, int rows, int part, long first, long at) {
  const long left = of->weight->outs[part] - at, bytes = of->bytes;
  const int outs = left < OUTS ? (int)left : OUTS;
  const char *x = of->x + row * bytes, *from = (const char *)of->weight->at[part] + at * bytes;
  float sums[(ROWS + LANES) * OUTS]; /* read LANES at a time below */
  if (outs == OUTS) few(sums, x, from, bytes, rows, OUTS);
  else
    for (int one = 0; one < outs; one++) few(sums + one, x, from + one * bytes, bytes, rows, 1);
  for (int r = 0; r < rows; r++)
    put(of->y, (row + r) * of->weight->out + first + at, outs, load(sums + r * OUTS), BFLOAT16);
}

static void product_blocks(const void *task, long begin, long stop) { /* of OUTS outputs each */
  const Product *of = task;
  long first = 0, before = 0; /* outputs and blocks of the parts before this one */
  for (int part = 0; part < of->weight->count && before < stop; part++) {
    const long blocks = blocks_of(of->weight->outs[part], OUTS);
    for (long block = begin > before ? begin - before : 0; block < blocks && before + block < stop; block++)
      for (long row = 0; row < of->rows; row += ROWS)
        outputs(of, row, of->rows - row < ROWS ? (int)(of->rows - row) : ROWS, part, first, block * OUTS);
    before += blocks;
    first += of->weight->outs[part];
  }
}

int tiled_linear(uint16_t *, const uint16_t *, const Scattered *, long, long); /* amx_linear.c */

/* y [rows, out] and x [rows, width], contiguous; weights: each part [outs of it, width]; all bfloat16. The choice between
   AMX and vectors depends only on the processor and the weight. */
void linear(uint16_t *y, const uint16_t *x, const uint16_t *const *weights, const long *outs, int parts, long rows,
            long width) {
  const Scattered weight = {weights, outs, parts, outputs_of(outs, parts)};
  if (tiled_linear(y, x, &weight, rows, width)) return;
  const Product task = {y, (const char *)x, &weight, rows, 2 * width};
  share(product_blocks, &task, all_blocks(&weight, OUTS), (double)(rows * weight.out) * (double)width);
}
