/* y = x @ weight.T in float32, for any number of rows of x.

   The weight is packed in panels of WIDE adjacent outputs: [panels, width, WIDE]. Each output is a lane of its own and
   adds up the row from left to right, so a row's bits depend on the row alone. No sum over lanes is left at the end,
   which matters for the short rows of small models, and a panel stays in the cache while many rows use it. */

#include "kernels.h"
#include "team.h"
#include "vectors.h"

#define VECTORS 2 /* to a panel */
#define WIDE (VECTORS * LANES)
#define ROWS 6    /* rows of x at most: ROWS * VECTORS sums stay in registers */
#define PANELS 4  /* at most, for few rows, whose sums alone would wait for their own results */
#define AHEAD 4096 /* bytes */

typedef struct {
  float *y;
  const float *x, *packed;
  long rows, out, width;
} Product;

INLINE void tile(const Product *of, long row, int rows, long panel, int panels) {
  const long width = of->width;
  const float *x = of->x + row * width, *from = of->packed + panel * width * WIDE;
  vf sum[PANELS][ROWS][VECTORS] = {};
  for (long in = 0; in < width; in++) {
    vf w[PANELS][VECTORS];
    UNROLL(4)
    for (int one = 0; one < panels; one++)
      UNROLL(2)
      for (int part = 0; part < VECTORS; part++) {
        const float *here = from + (one * width + in) * WIDE + part * LANES;
        w[one][part] = load(here);
        if (part == 0) __builtin_prefetch((const char *)here + AHEAD);
      }
    UNROLL(6)
    for (int r = 0; r < rows; r++) {
      const float number = x[r * width + in];
      UNROLL(4)
      for (int one = 0; one < panels; one++)
        UNROLL(2)
        for (int part = 0; part < VECTORS; part++) sum[one][r][part] = w[one][part] * number + sum[one][r][part];
    }
  }
  UNROLL(6)
  for (int r = 0; r < rows; r++)
    UNROLL(4)
    for (int one = 0; one < panels; one++)
      UNROLL(2)
      for (int part = 0; part < VECTORS; part++) {
        const long at = (panel + one) * WIDE + part * LANES;
        if (at < of->out) put(of->y, (row + r) * of->out + at, of->out - at, sum[one][r][part], FLOAT32);
      }
}

/* Computes as many panels as possible at once, up to `most`; returns their number. */
INLINE int some_panels(const Product *of, long row, int rows, long panel, long stop, int most) {
  if (panel + most > stop) {
    tile(of, row, rows, panel, 1);
    return 1;
  }
  tile(of, row, rows, panel, most);
  return most;
}

static void product_panels(const void *task, long begin, long stop) {
  const Product *of = task;
  switch (of->rows) { /* one loop for each number of rows, so that sums stay in registers */
    case 1: for (long at = begin; at < stop;) at += some_panels(of, 0, 1, at, stop, 4); return;
    case 2: for (long at = begin; at < stop;) at += some_panels(of, 0, 2, at, stop, 3); return;
    case 3: for (long at = begin; at < stop;) at += some_panels(of, 0, 3, at, stop, 2); return;
    default: break;
  }
  for (long at = begin; at < stop; at++) {
    long row = 0;
    for (; row + ROWS <= of->rows; row += ROWS) tile(of, row, ROWS, at, 1);
    switch (of->rows - row) {
      case 5: tile(of, row, 5, at, 1); break;
      case 4: tile(of, row, 4, at, 1); break;
      case 3: tile(of, row, 3, at, 1); break;
      case 2: tile(of, row, 2, at, 1); break;
      case 1: tile(of, row, 1, at, 1); break;
      default: break;
    }
  }
}

/* Returns the number of outputs in a panel. */
int panel_width(void) { return WIDE; }

/* y [rows, out] and x [rows, width], contiguous; packed [panels, width, panel_width()], zeros for missing outputs. */
void float_linear(float *y, const float *x, const float *packed, long rows, long out, long width) {
  const Product task = {y, x, packed, rows, out, width};
  share(product_panels, &task, (out + WIDE - 1) / WIDE, (double)(rows * out) * (double)width);
}
