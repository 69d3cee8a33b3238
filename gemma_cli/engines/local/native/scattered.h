/* A weight [out, width] in bfloat16 that lies in several places: `count` parts, of `outs` rows each, one below the other. */

#ifndef GEMMA_SCATTERED_H
#define GEMMA_SCATTERED_H

#include <stdint.h>

typedef struct {
  const uint16_t *const *at;
  const long *outs;
  int count;
  long out; /* of all parts together */
} Scattered;

static inline long blocks_of(long outs, long size) { return (outs + size - 1) / size; }

static inline long outputs_of(const long *outs, int parts) {
  long all = 0;
  for (int part = 0; part < parts; part++) all += outs[part];
  return all;
}

/* Blocks of `size` outputs, none of which reaches into another part. */
static inline long all_blocks(const Scattered *weight, long size) {
  long all = 0;
  for (int part = 0; part < weight->count; part++) all += blocks_of(weight->outs[part], size);
  return all;
}

#endif
