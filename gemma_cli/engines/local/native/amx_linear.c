/* The linear layer of linear.c with AMX, which is so fast that up to 16 rows of x wait only for memory. 16 rows of the
   weight are loaded as they are stored; x is arranged in pairs, as the instruction requires. Each sum is a lane of its
   own and adds up the row from left to right, independent of the other lanes.

   The tile configuration belongs to the thread, and oneDNN expects its own to be there: it is restored afterwards. */

#include "scattered.h"
#include "team.h"
#include "vectors.h"

#if defined(__AMX_BF16__) && defined(__linux__) && !defined(NO_TILES)
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#define OUTS 16         /* rows of the weight that are multiplied at once */
#define ROWS 16         /* rows of x at most */
#define STEP 64         /* bytes of a row in a tile: 16 pairs of numbers */
#define AHEAD 1024      /* bytes */

#define SUMS 0          /* tile numbers must be literals; two tiles of sums, so that neither waits for its own result */
#define MORE_SUMS 1
#define WEIGHT 2
#define X 3

typedef struct {
  uint8_t palette, start, none[14];
  uint16_t bytes[16];
  uint8_t rows[16];
} Config;

static Config config_of(int rows) {
  Config config = {.palette = 1};
  for (int tile = 0; tile < 4; tile++) {
    config.rows[tile] = 16;
    config.bytes[tile] = (uint16_t)(tile == WEIGHT ? STEP : 4 * rows);
  }
  return config;
}

/* Computes OUTS outputs of `rows` rows with the weights at `from`: y [rows, out]; x [bytes / 4, rows] in pairs. */
static void outputs(uint16_t *y, const uint32_t *x, const char *from, int rows, long out, long bytes) {
  float sums[2][OUTS * ROWS];
  _tile_zero(SUMS);
  _tile_zero(MORE_SUMS);
  for (long in = 0; in < bytes; in += STEP) {
    const long ahead = in + AHEAD < bytes ? in + AHEAD : in + AHEAD + (OUTS - 1) * bytes; /* in the following rows */
    for (int row = 0; row < OUTS; row++) __builtin_prefetch(from + row * bytes + ahead);
    _tile_loadd(WEIGHT, from + in, bytes);
    _tile_loadd(X, x + in / 4 * rows, 4 * rows);
    if (in / STEP % 2) _tile_dpbf16ps(MORE_SUMS, WEIGHT, X);
    else _tile_dpbf16ps(SUMS, WEIGHT, X);
  }
  _tile_stored(SUMS, sums[0], 4 * rows);
  _tile_stored(MORE_SUMS, sums[1], 4 * rows);
  for (int row = 0; row < rows; row++)
    for (int one = 0; one < OUTS; one++)
      put(y, row * out + one, 1, every(sums[0][one * rows + row] + sums[1][one * rows + row]), BFLOAT16);
}

static int allowed(void) { /* Linux gives tiles to processes that ask */
  static int known, granted;
  if (!known) {
    granted = syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* XFEATURE_XTILEDATA */) == 0;
    known = 1;
  }
  return granted;
}

typedef struct {
  uint16_t *y;
  const uint32_t *pairs;
  const Scattered *weight;
  int rows;
  long bytes;
} Tiled;

static void tiled_blocks(const void *task, long begin, long stop) {
  const Tiled *of = task;
  Config before, config = config_of(of->rows);
  _tile_storeconfig(&before);
  _tile_loadconfig(&config);
  long before = 0; /* blocks of the parts before this one */
  for (int part = 0; part < of->weight->count && before < stop; part++) {
    const long blocks = of->weight->outs[part] / OUTS;
    const char *weight = (const char *)of->weight->at[part];
    for (long block = begin > before ? begin - before : 0; block < blocks && before + block < stop; block++)
      outputs(of->y + (before + block) * OUTS, of->pairs, weight + block * OUTS * of->bytes, of->rows, of->weight->out,
              of->bytes);
    before += blocks;
  }
  if (before.palette) _tile_loadconfig(&before);
  else _tile_release();
}

static int linear_of(uint16_t *y, const uint32_t *x, const Scattered *weight, int rows, long width) {
  uint32_t *pairs = room((size_t)(rows * width) * sizeof(uint16_t));
  if (!pairs) return 0;
  for (long row = 0; row < rows; row++)
    for (long pair = 0; pair < width / 2; pair++) pairs[pair * rows + row] = x[row * width / 2 + pair];
  const Tiled task = {y, pairs, weight, rows, 2 * width};
  share(tiled_blocks, &task, weight->out / OUTS, (double)(rows * weight->out) * (double)width);
  return 1;
}

/* Computes linear() if the weight's shape fits and there are tiles; returns 0 if not. */
int tiled_linear(uint16_t *y, const uint16_t *x, const Scattered *weight, long rows, long width) {
  for (int part = 0; part < weight->count; part++)
    if (weight->outs[part] % OUTS) return 0;
  if (width % (STEP / 2) || !allowed()) return 0;
  for (long row = 0; row < rows; row += ROWS) {
    const int now = rows - row < ROWS ? (int)(rows - row) : ROWS;
    if (!linear_of(y + row * weight->out, (const uint32_t *)(x + row * width), weight, now, width)) return 0;
  }
  return 1;
}

#else

int tiled_linear(uint16_t *y, const uint16_t *x, const Scattered *weight, long rows, long width) {
  (void)y, (void)x, (void)weight, (void)rows, (void)width;
  return 0;
}

#endif
