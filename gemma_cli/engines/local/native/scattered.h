/* A bfloat16 weight [out, width] in several places: `count` parts, one below the other, each of `outs` rows. */

#ifndef GEMMA_SCATTERED_H
#define GEMMA_SCATTERED_H

#include <stdint.h>

typedef struct {
  const uint16_t *const *at;
  const long *outs;
  int count;
  long out; /* of all parts */
} Scattered;

static inline long blocks_of(long outs, long size) { return (outs + size - 1) / size; }

static inline long outputs_of(const long *outs, int parts) {
  long all = 0;
  for (int part = 0; part < parts; part++) all += outs[part];
  return all;
}

/* Returns the number of blocks of `size` outputs; no block belongs to two parts. */
static inline long all_blocks(const Scattered *weight, long size) {
  long all = 0;
  for (int part = 0; part < weight->count; part++) all += blocks_of(weight->outs[part], size);
  return all;
}

#endif
