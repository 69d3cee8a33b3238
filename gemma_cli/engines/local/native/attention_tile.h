/* Attention of some queries over the slots of a head of keys and values, in three steps: scores, weights, sums of values.

   A score is summed in LANES partial sums over the head's width, weights and weighted values over the slots in order. A
   masked slot has a weight of exactly zero, and adding zero changes nothing. So a query's bits depend on its own position
   and the slots that it attends to, not on other queries, nor on how slots, queries and width are divided. */

#ifndef GEMMA_ATTENTION_TILE_H
#define GEMMA_ATTENTION_TILE_H

#include <math.h>

#include "vectors.h"

#if LANES == 16 || defined(__aarch64__)
#define TILE 4          /* queries computed at a time, each with QUAD vectors: TILE * QUAD sums fit the registers */
#else
#define TILE 3
#endif
#define QUAD 4          /* keys scored at a time, and vectors of values that are summed at a time */
#define UNIT (4 * LANES) /* slots scored by one thread at least */
#define VALUES 4096     /* floats of values that are summed at a time, while they lie in the cache */
#define AHEAD 16        /* slots whose values are prefetched before they are needed */

typedef struct {
  const float *query, *keys, *values; /* of a head of keys: its first query, its slots */
  float *out;
  long group, row_step, out_step; /* heads to each head of keys; from row to row of query and of out */
  long dim, slots, position, window; /* see attend() */
} Head;

/* Queries first .. first + count - 1 of a head, and slots from .. stop - 1 that some of them attend to. */
typedef struct {
  Head head;
  long first, count, from, stop;
  long step, wide;              /* from query to query of scores and of mixed */
  const float **query;          /* [count] */
  float *scores, *sums, *mixed; /* [count, step], then weights; [count]; [count, wide] */
} Tile;

/* Finds each query once: the divisions take as long as some of the products. */
static void find_queries(const Tile *of) {
  for (long one = 0; one < of->count; one++) {
    const long row = (of->first + one) / of->head.group, index = (of->first + one) % of->head.group;
    of->query[one] = of->head.query + row * of->head.row_step + index * of->head.dim;
  }
}

INLINE float *out_of(const Tile *of, long one) {
  const long index = of->first + one;
  return of->head.out + index / of->head.group * of->head.out_step + index % of->head.group * of->head.dim;
}

INLINE long position_of(const Tile *of, long one) { return of->head.position + (of->first + one) / of->head.group; }

#define FOUR(at, a, b, c, d) (at) + (a), (at) + (b), (at) + (c), (at) + (d)
#if LANES == 16
#define EACH(a, b, c, d) FOUR(0, a, b, c, d), FOUR(4, a, b, c, d), FOUR(8, a, b, c, d), FOUR(12, a, b, c, d)
#elif LANES == 8
#define EACH(a, b, c, d) FOUR(0, a, b, c, d), FOUR(4, a, b, c, d)
#else
#define EACH(a, b, c, d) FOUR(0, a, b, c, d)
#endif

/* Returns the sums over all lanes of four vectors: first of each four lanes, with half as many steps as totals(). */
INLINE v4 quad_totals(vf a, vf b, vf c, vf d) {
  vf ab = SHUFFLE(vi, a, b, EACH(0, 1, LANES, LANES + 1)) + SHUFFLE(vi, a, b, EACH(2, 3, LANES + 2, LANES + 3));
  vf cd = SHUFFLE(vi, c, d, EACH(0, 1, LANES, LANES + 1)) + SHUFFLE(vi, c, d, EACH(2, 3, LANES + 2, LANES + 3));
  union { vf whole; v4 part[LANES / 4]; } as = {SHUFFLE(vi, ab, cd, EACH(0, 2, LANES, LANES + 2)) +
                                                SHUFFLE(vi, ab, cd, EACH(1, 3, LANES + 1, LANES + 3))};
#if LANES == 16
  return (as.part[0] + as.part[2]) + (as.part[1] + as.part[3]);
#elif LANES == 8
  return as.part[0] + as.part[1];
#else
  return as.part[0];
#endif
}

/* Computes the scores of `count` queries from `one` on and QUAD slots, masked or not. */
INLINE void score(const Tile *of, long slot, long one, int count, int first) {
  const long dim = of->head.dim, whole = dim / LANES * LANES;
  const float *query[TILE], *key[QUAD];
  vf sum[TILE][QUAD] = {};
  UNROLL(4)
  for (int q = 0; q < count; q++) query[q] = of->query[one + q];
  UNROLL(4)
  for (int k = 0; k < QUAD; k++) {
    const long at = slot + k < of->head.slots ? slot + k : of->head.slots - 1; /* a score that is masked */
    key[k] = of->head.keys + at * dim;
  }
  for (long lane = 0; lane < whole; lane += LANES) {
    vf by[TILE];
    UNROLL(4)
    for (int q = 0; q < count; q++) by[q] = load(query[q] + lane);
    UNROLL(4)
    for (int k = 0; k < QUAD; k++) {
      const vf some = load(key[k] + lane);
      if (first) __builtin_prefetch(key[k] + lane + QUAD * dim);
      UNROLL(4)
      for (int q = 0; q < count; q++) sum[q][k] = some * by[q] + sum[q][k];
    }
  }
  if (whole < dim)
    for (int k = 0; k < QUAD; k++) {
      const vf some = numbers(key[k], whole, dim - whole, FLOAT32);
      for (int q = 0; q < count; q++) sum[q][k] = some * numbers(query[q], whole, dim - whole, FLOAT32) + sum[q][k];
    }
  UNROLL(4)
  for (int q = 0; q < count; q++) {
    typedef v4 v4_at __attribute__((aligned(4), may_alias));
    *(v4_at *)(of->scores + (one + q) * of->step + slot - of->from) =
        quad_totals(sum[q][0], sum[q][1], sum[q][2], sum[q][3]);
  }
}

/* Returns how many of `left` queries to compute together: never a single one after others, which would be slower. */
INLINE int together(long left) { return left == TILE + 1 ? 2 : left < TILE ? (int)left : TILE; }

/* Calls a function for all queries, with a constant number of them; the first ones prefetch what all read. */
#if TILE > 3
#define THREE(call) else if (now == 3) { call(3, 0); }
#else
#define THREE(call)
#endif
#define FOR_ALL(call)                                     \
  for (long one = 0, now; one < of->count; one += now) {  \
    now = together(of->count - one);                      \
    if (!one && now == TILE) { call(TILE, 1); }           \
    else if (!one && now == 2) { call(2, 1); }            \
    else if (now == TILE) { call(TILE, 0); }              \
    THREE(call)                                           \
    else if (now == 2) { call(2, 0); }                    \
    else { call(1, 0); }                                  \
  }

INLINE void score_all(const Tile *of, long slot) {
#define SCORE(count, first) score(of, slot, one, count, first)
  FOR_ALL(SCORE)
}

/* Returns which slots from `block` on the row at `position` attends to; slots hold positions modulo their number. */
INLINE vi seen(const Head *head, long position, long block) {
  vi slot = places() + (int32_t)block;
  vi back = (int32_t)(position % head->slots) - slot;
  back += (back < 0) & (int32_t)head->slots;
  return (back < (int32_t)head->window) & (back <= (int32_t)position) & (slot < (int32_t)head->slots);
}

/* Computes the scores of slots begin .. stop - 1, multiples of UNIT; -inf for masked slots. */
static void score_slots(const Tile *of, long begin, long stop) {
  const long earliest = position_of(of, 0), last = position_of(of, of->count - 1);
  for (long block = begin; block < stop; block += UNIT) {
    for (long slot = block; slot < block + UNIT; slot += QUAD) score_all(of, slot);
    if (last < of->head.slots && block + UNIT <= earliest + 1 && block > last - of->head.window) continue;
    for (long one = 0; one < of->count; one++)
      for (long slot = block; slot < block + UNIT; slot += LANES) {
        float *at = of->scores + one * of->step + slot - of->from;
        store(at, choose(seen(&of->head, position_of(of, one), slot), load(at), every(-INFINITY)));
      }
  }
}

/* Replaces the scores of queries begin .. stop - 1 by unnormalised weights, and computes their sums, the divisors. */
static void weigh_queries(const Tile *of, long begin, long stop) {
  for (long one = begin; one < stop; one++) {
    float *scores = of->scores + one * of->step;
    vf best = every(-INFINITY), sum = {};
    for (long at = 0; at < of->stop - of->from; at += LANES) best = larger(load(scores + at), best);
    const float most = greatest(best);
    for (long at = 0; at < of->stop - of->from; at += LANES) {
      vf weight = exponential(load(scores + at) - most);
      store(scores + at, weight);
      sum += weight;
    }
    of->sums[one] = total(sum);
  }
}

/* Adds the weighted values of slots begin .. stop - 1 to the sums of `count` queries, for `vectors` of the width. */
INLINE void mix(const Tile *of, long begin, long stop, long lane, int vectors, long one, int count, int first) {
  const long dim = of->head.dim, left = dim - lane;
  float *at[TILE];
  const float *weights[TILE];
  vf sum[TILE][QUAD] = {};
  UNROLL(4)
  for (int q = 0; q < count; q++) {
    at[q] = of->mixed + (one + q) * of->wide + lane, weights[q] = of->scores + (one + q) * of->step - of->from;
    if (begin > of->from)
      UNROLL(4)
      for (int v = 0; v < vectors; v++) sum[q][v] = load(at[q] + v * LANES);
  }
  for (long slot = begin; slot < stop; slot++) {
    const float *value = of->head.values + slot * dim + lane;
    vf by[TILE];
    UNROLL(4)
    for (int q = 0; q < count; q++) by[q] = every(weights[q][slot]);
    UNROLL(4)
    for (int v = 0; v < vectors; v++) {
      const vf some = vectors > 1 ? load(value + v * LANES) : numbers(value, 0, left, FLOAT32);
      if (first) __builtin_prefetch(value + AHEAD * dim + v * LANES);
      UNROLL(4)
      for (int q = 0; q < count; q++) sum[q][v] = some * by[q] + sum[q][v];
    }
  }
  UNROLL(4)
  for (int q = 0; q < count; q++)
    UNROLL(4)
    for (int v = 0; v < vectors; v++) store(at[q] + v * LANES, sum[q][v]);
}

INLINE void mix_all(const Tile *of, long begin, long stop, long lane, int vectors) {
#define MIX(count, first) mix(of, begin, stop, lane, vectors, one, count, first)
  FOR_ALL(MIX)
}

/* Computes numbers begin .. end - 1 of the head's width in the results of all queries; begin: a multiple of LANES. */
static void mix_lanes(const Tile *of, long begin, long end) {
  const long last = of->stop < of->head.slots ? of->stop : of->head.slots;
  const long slots = up_to(VALUES, of->head.dim);
  for (long slot = of->from; slot < last; slot += slots) {
    const long stop = slot + slots < last ? slot + slots : last;
    long lane = begin;
    for (; lane + 4 * LANES <= end; lane += 4 * LANES) mix_all(of, slot, stop, lane, 4);
    for (; lane + 2 * LANES <= end; lane += 2 * LANES) mix_all(of, slot, stop, lane, 2);
    for (; lane < end; lane += LANES) mix_all(of, slot, stop, lane, 1);
  }
  for (long one = 0; one < of->count; one++)
    for (long lane = begin; lane < end; lane += LANES)
      put(out_of(of, one), lane, end - lane, load(of->mixed + one * of->wide + lane) / of->sums[one], FLOAT32);
}

#endif
