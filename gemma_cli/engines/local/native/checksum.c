/* Checksums that find damage at the speed of reading memory. They do not detect forgery.

   A block is a grid with rows of SUMS numbers. Each column has a sum: sum * FACTOR + number for each row, modulo 2^32.
   The factor is odd, so a change of one number always changes its sum. */

#include <string.h>

#include "team.h"
#include "vectors.h"

#define SUMS 64
#define ROW (SUMS * (long)sizeof(uint32_t))
#define BLOCK (1L << 20)
#define FACTOR 0x9e3779b1u

typedef struct {
  uint32_t *sums;
  const uint8_t *data;
  long bytes;
} Task;

INLINE void add_row(vu *sums, const uint8_t *row) {
  for (int part = 0; part < SUMS / LANES; part++)
    sums[part] = sums[part] * FACTOR + *(const vu_at *)(row + part * (long)sizeof(vu));
}

static void blocks(const void *task, long begin, long stop) {
  const Task *of = task;
  for (long block = begin; block < stop; block++) {
    const uint8_t *data = of->data + block * BLOCK;
    const long left = of->bytes - block * BLOCK, size = left < BLOCK ? left : BLOCK, whole = size / ROW * ROW;
    vu sums[SUMS / LANES] = {};
    for (long at = 0; at < whole; at += ROW) add_row(sums, data + at);
    if (size > whole) {
      uint8_t rest[ROW] = {0};
      memcpy(rest, data + whole, (size_t)(size - whole));
      add_row(sums, rest);
    }
    memcpy(of->sums + block * SUMS, sums, sizeof sums);
  }
}

/* Returns the number of sums that checksum() writes for so many bytes. */
long checksum_size(long bytes) { return (bytes + BLOCK - 1) / BLOCK * SUMS; }

/* Writes SUMS sums for each block of 1 MiB; they are the same on every little-endian processor. */
void checksum(uint32_t *sums, const uint8_t *data, long bytes) {
  const Task task = {sums, data, bytes};
  share(blocks, &task, (bytes + BLOCK - 1) / BLOCK, (double)bytes);
}
