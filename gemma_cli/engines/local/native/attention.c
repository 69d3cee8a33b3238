/* Attention of rows over keys and values as the cache keeps them, float32.

   A row's scores are summed over the head's width in order; its weights and values over the slots in order, LANES slots
   at a time. What a row does not see has a weight of exactly zero, and adding zeros changes nothing. So its bits depend
   on its own position and on what it sees, not on the rows beside it nor on what else the slots hold. */

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "vectors.h"

#define TILE 8    /* queries whose sums stay in registers */
#define SHARED 32 /* queries that share a block of keys, turned to columns */

typedef struct {
  const float *query, *keys, *values; /* of a head of keys: its first query, its slots */
  float *out;
  long group, row_step, out_step, dim;       /* heads to each head of keys; from row to row of query and of out */
  long slots, position, window, ring;        /* see attend() */
} Head;

/* LANES rows of `from`, of which `valid` are there, as columns: to[lane * LANES + row]. */
INLINE void transposed(float *to, const float *from, long step, long valid, long left) {
  vf row[LANES];
#pragma GCC unroll 16
  for (int at = 0; at < LANES; at++) row[at] = at < valid ? numbers(from, at * step, left, FLOAT32) : (vf){};
#pragma GCC unroll 4
  for (int far = 1; far < LANES; far *= 2) {
    vi low, high;
    for (int lane = 0; lane < LANES; lane++) {
      low[lane] = lane & far ? LANES + lane - far : lane;
      high[lane] = lane & far ? LANES + lane : lane + far;
    }
#pragma GCC unroll 16
    for (int at = 0; at < LANES; at++)
      if (!(at & far)) {
        vf a = row[at], b = row[at + far];
        row[at] = __builtin_shuffle(a, b, low);
        row[at + far] = __builtin_shuffle(a, b, high);
      }
  }
#pragma GCC unroll 16
  for (int at = 0; at < LANES; at++) store(to + at * LANES, row[at]);
}

INLINE const float *query_of(const Head *head, long index) {
  return head->query + index / head->group * head->row_step + index % head->group * head->dim;
}

/* Which of the slots `block` on the row at `position` sees: they hold the positions up to it, in turn. */
INLINE vi seen(const Head *head, long position, long block) {
  vi slot = places() + (int32_t)block;
  vi back = (int32_t)(position % head->ring) - slot;
  back += (back < 0) & (int32_t)head->ring;
  return (back < (int32_t)head->window) & (back <= (int32_t)position) & (slot < (int32_t)head->slots);
}

/* Scores of up to TILE queries with LANES slots whose keys are `columns`; -inf where a row does not see them. */
INLINE void score(const Head *head, float *scores, long step, const float *columns, long block, long index, int count) {
  vf sum[TILE] = {};
  const float *query[TILE];
  for (int one = 0; one < count; one++) query[one] = query_of(head, index + one);
  for (long lane = 0; lane < head->dim; lane++) {
    vf column = load(columns + lane * LANES);
#pragma GCC unroll 8
    for (int one = 0; one < count; one++) sum[one] = column * query[one][lane] + sum[one];
  }
#pragma GCC unroll 8
  for (int one = 0; one < count; one++) {
    vi visible = seen(head, head->position + (index + one) / head->group, block);
    store(scores + one * step, choose(visible, sum[one], every(-INFINITY)));
  }
}

/* Scores -> weights that are yet to be divided by what is returned. */
INLINE float weigh(float *scores, long count) {
  vf best = every(-INFINITY), sum = {};
  for (long at = 0; at < count; at += LANES) best = larger(load(scores + at), best);
  const float most = greatest(best);
  for (long at = 0; at < count; at += LANES) {
    vf weight = exponential(load(scores + at) - most);
    store(scores + at, weight);
    sum += weight;
  }
  return total(sum);
}

/* Weighted values of `count` queries for `wide` vectors of the head's width. */
INLINE void mix(const Head *head, const float *weights, const float *sums, long from, long stop, long index, int count,
                long lane, int wide) {
  vf sum[TILE][2] = {};
  const long last = stop < head->slots ? stop : head->slots, left = head->dim - lane;
  for (long slot = from; slot < last; slot++) {
    const float *value = head->values + slot * head->dim + lane;
    vf a = numbers(value, 0, left, FLOAT32), b = wide > 1 ? load(value + LANES) : (vf){};
#pragma GCC unroll 8
    for (int one = 0; one < count; one++) {
      const float weight = weights[one * (stop - from) + slot - from];
      sum[one][0] = a * weight + sum[one][0];
      if (wide > 1) sum[one][1] = b * weight + sum[one][1];
    }
  }
  for (int one = 0; one < count; one++) {
    float *to = head->out + (index + one) / head->group * head->out_step + (index + one) % head->group * head->dim;
    put(to, lane, left, sum[one][0] / sums[one], FLOAT32);
    if (wide > 1) store(to + lane + LANES, sum[one][1] / sums[one]);
  }
}

INLINE void mixed(const Head *head, const float *weights, const float *sums, long from, long stop, long index,
                  int count) {
  long lane = 0;
  for (; lane + 2 * LANES <= head->dim; lane += 2 * LANES)
    mix(head, weights, sums, from, stop, index, count, lane, 2);
  for (; lane < head->dim; lane += LANES) mix(head, weights, sums, from, stop, index, count, lane, 1);
}

/* `count` queries from the `index`-th on, in parts for which sums have registers; scratch: see attend(). */
static void tile(const Head *head, float *scratch, long index, int count) {
  const long last = head->position + (index + count - 1) / head->group;
  long from = 0, stop = head->ring;
  if (last < head->ring) {
    from = head->position + index / head->group - head->window + 1;
    from = from < 0 ? 0 : from / LANES * LANES;
    stop = last + 1;
  }
  stop = (stop + LANES - 1) / LANES * LANES;
  const long step = stop - from;
  float sums[SHARED], *columns = scratch + SHARED * step;
  for (long block = from; block < stop; block += LANES) {
    const float *keys = head->keys + block * head->dim;
    for (long lane = 0; lane < head->dim; lane += LANES)
      transposed(columns + lane * LANES, keys + lane, head->dim, head->slots - block, head->dim - lane);
    for (int one = 0; one < count;) {
      float *scores = scratch + one * step + block - from;
      if (count - one >= TILE) score(head, scores, step, columns, block, index + one, TILE), one += TILE;
      else if (count - one >= 4) score(head, scores, step, columns, block, index + one, 4), one += 4;
      else score(head, scores, step, columns, block, index + one, 1), one += 1;
    }
  }
  for (int one = 0; one < count; one++) sums[one] = weigh(scratch + one * step, step);
  for (int one = 0; one < count;) {
    const float *weights = scratch + one * step;
    if (count - one >= TILE) mixed(head, weights, sums + one, from, stop, index + one, TILE), one += TILE;
    else if (count - one >= 4) mixed(head, weights, sums + one, from, stop, index + one, 4), one += 4;
    else mixed(head, weights, sums + one, from, stop, index + one, 1), one += 1;
  }
}

static float *room(long floats) {
  static _Thread_local float *kept;
  static _Thread_local long held;
  if (floats > held) {
    free(kept);
    kept = aligned_alloc(64, (size_t)(floats * 4 + 63) / 64 * 64);
    held = kept ? floats : 0;
  }
  return kept;
}

static void stored(float *to, const float *rows, long count, long step, long position, long ring, long dim) {
  for (long row = 0; row < count; row++)
    memcpy(to + (position + row) % ring * dim, rows + row * step, (size_t)dim * sizeof(float));
}

/* Rows position .. position + rows - 1. query [rows, heads, dim], new_keys and new_values [rows, kv_heads, dim], rows of
   each `row_step` apart: stored first, unless NULL. keys, values [kv_heads, slots, dim]; a position lies in slot
   position % ring, and a row sees the `window` last ones up to its own. out [rows, heads, dim] without gaps.
   Returns 1 where there is no memory. */
int attend(float *out, const float *query, const float *new_keys, const float *new_values, float *keys, float *values,
           long rows, long row_step, long heads, long kv_heads, long dim, long slots, long position, long window,
           long ring) {
  const long group = heads / kv_heads, queries = rows * group, each = kv_heads * queries / omp_get_max_threads();
  const long share = each < SHARED - TILE ? (each / TILE + 1) * TILE : SHARED, parts = (queries + share - 1) / share;
  const long most = (position + rows < ring ? position + rows : ring) + LANES;
  int failed = 0;
  for (long kv = 0; new_keys && kv < kv_heads; kv++) {
    stored(keys + kv * slots * dim, new_keys + kv * dim, rows, row_step, position, ring, dim);
    stored(values + kv * slots * dim, new_values + kv * dim, rows, row_step, position, ring, dim);
  }
#pragma omp parallel for schedule(dynamic) if (queries * most * dim * kv_heads > 200000)
  for (long part = 0; part < kv_heads * parts; part++) {
    const long kv = part / parts, index = part % parts * share;
    const Head head = {.query = query + kv * group * dim, .keys = keys + kv * slots * dim,
                       .values = values + kv * slots * dim, .out = out + kv * group * dim, .group = group,
                       .row_step = row_step, .out_step = heads * dim, .dim = dim, .slots = slots, .position = position,
                       .window = window, .ring = ring};
    float *scratch = room(SHARED * most + (dim + LANES) * LANES);
    if (scratch) tile(&head, scratch, index, (int)(queries - index < share ? queries - index : share));
    else failed = 1;
  }
  return failed;
}
