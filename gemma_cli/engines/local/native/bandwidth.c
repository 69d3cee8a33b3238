/* The speed of reading memory, with which decoding is compared. */

#include <stdatomic.h>

#include "team.h"
#include "vectors.h"

#define STREAMS 4 /* read in parallel, as linear.c reads rows of a weight */
#define PIECE 8192

typedef struct {
  const char *from;
  atomic_uint *sum;
} Reading;

static void read_blocks(const void *task, long begin, long stop) {
  const Reading *reading = task;
  uint32_t sum = 0;
  for (long block = begin; block < stop; block++) {
    const char *first = reading->from + block * STREAMS * PIECE;
    vu part[STREAMS] = {};
    for (long at = 0; at < PIECE; at += sizeof(vu))
      UNROLL(4)
      for (int stream = 0; stream < STREAMS; stream++) {
        const char *here = first + stream * PIECE + at;
        __builtin_prefetch(here + STREAMS * PIECE);
        part[stream] += *(const vu_at *)here;
      }
    for (int stream = 0; stream < STREAMS; stream++)
      for (int lane = 0; lane < LANES; lane++) sum += part[stream][lane];
  }
  atomic_fetch_add(reading->sum, sum);
}

/* Reads `bytes`, rounded down to a multiple of STREAMS * PIECE, at full speed. The result depends on everything read,
   so that no read is optimised away. */
uint32_t read_all(const char *from, long bytes) {
  atomic_uint sum = 0;
  const Reading task = {from, &sum};
  share(read_blocks, &task, bytes / (STREAMS * PIECE), (double)bytes);
  return sum;
}
