/* Attention of rows over the keys and values of the cache, float32.

   Scores are summed over the head's width in order, weights and weighted values over the slots in order, LANES slots at
   a time. A masked slot has a weight of exactly zero, and adding zero changes nothing. So a row's bits depend on its
   own position and the slots that it attends to, not on other rows or on the content of masked slots. */

#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "kernels.h"
#include "team.h"
#include "vectors.h"

#define BLOCKS 4      /* of LANES keys each, turned to columns at a time */
#define TILE 4        /* queries scored at a time: BLOCKS * TILE sums stay in registers */
#define MIXED 8       /* queries whose weighted values are summed at a time, two vectors each */
#define VALUES 128    /* slots whose values are read while they lie in the cache */
#define SHARED 128    /* queries at most that share what is turned and read, */
#define SCORES 524288 /* as long as their scores fit the cache */

typedef struct {
  const float *query, *keys, *values; /* of a head of keys: its first query, its slots */
  float *out;
  long group, row_step, out_step; /* heads to each head of keys; from row to row of query and of out */
  long dim, wide;                 /* width of a head, and that up to whole vectors */
  long slots, position, window;   /* see attend() */
} Head;

/* Rows `far` apart exchange the upper row's low lanes and the lower row's high lanes. */
#define LOW(far, lane) ((lane) & (far) ? LANES + (lane) - (far) : (lane))
#define HIGH(far, lane) ((lane) & (far) ? LANES + (lane) : (lane) + (far))
#define FOUR(which, far, at) which(far, at), which(far, at + 1), which(far, at + 2), which(far, at + 3)
#if LANES == 16
#define PLACES(which, far) FOUR(which, far, 0), FOUR(which, far, 4), FOUR(which, far, 8), FOUR(which, far, 12)
#elif LANES == 8
#define PLACES(which, far) FOUR(which, far, 0), FOUR(which, far, 4)
#else
#define PLACES(which, far) FOUR(which, far, 0)
#endif
#define EXCHANGE(row, far)                                           \
  UNROLL(16)                                                         \
  for (int at = 0; at < LANES; at++)                                 \
    if (!(at & (far))) {                                             \
      vf a = row[at], b = row[at + (far)];                           \
      row[at] = SHUFFLE(vi, a, b, PLACES(LOW, far));                 \
      row[at + (far)] = SHUFFLE(vi, a, b, PLACES(HIGH, far));        \
    }

/* Transposes LANES rows of `from`, of which `valid` exist: to[lane * LANES + row]. */
INLINE void transposed(float *to, const float *from, long step, long valid, long left) {
  vf row[LANES];
  UNROLL(16)
  for (int at = 0; at < LANES; at++) row[at] = at < valid ? numbers(from, at * step, left, FLOAT32) : (vf){};
  EXCHANGE(row, 1)
  EXCHANGE(row, 2)
#if LANES > 4
  EXCHANGE(row, 4)
#endif
#if LANES > 8
  EXCHANGE(row, 8)
#endif
  UNROLL(16)
  for (int at = 0; at < LANES; at++) store(to + at * LANES, row[at]);
}

INLINE const float *query_of(const Head *head, long index) {
  return head->query + index / head->group * head->row_step + index % head->group * head->dim;
}

/* Returns which slots from `block` on the row at `position` attends to; slots hold positions modulo their number. */
INLINE vi seen(const Head *head, long position, long block) {
  vi slot = places() + (int32_t)block;
  vi back = (int32_t)(position % head->slots) - slot;
  back += (back < 0) & (int32_t)head->slots;
  return (back < (int32_t)head->window) & (back <= (int32_t)position) & (slot < (int32_t)head->slots);
}

/* Computes scores of `count` queries and BLOCKS * LANES slots with keys `columns`; -inf for masked slots. */
INLINE void score(const Head *head, float *scores, long step, const float *columns, long block, long index, int count,
                  int all) {
  vf sum[TILE][BLOCKS] = {};
  const float *query[TILE];
  UNROLL(4)
  for (int one = 0; one < count; one++) query[one] = query_of(head, index + one);
  for (long lane = 0; lane < head->dim; lane++) {
    vf column[BLOCKS];
    UNROLL(4)
    for (int part = 0; part < BLOCKS; part++) column[part] = load(columns + (part * head->wide + lane) * LANES);
    UNROLL(4)
    for (int one = 0; one < count; one++) {
      const float number = query[one][lane];
      UNROLL(4)
      for (int part = 0; part < BLOCKS; part++) sum[one][part] = column[part] * number + sum[one][part];
    }
  }
  UNROLL(4)
  for (int one = 0; one < count; one++)
    UNROLL(4)
    for (int part = 0; part < BLOCKS; part++) {
      float *to = scores + one * step + part * LANES;
      if (all) {
        store(to, sum[one][part]);
      } else {
        vi visible = seen(head, head->position + (index + one) / head->group, block + part * LANES);
        store(to, choose(visible, sum[one][part], every(-INFINITY)));
      }
    }
}

/* Replaces scores by unnormalised weights; returns their sum, the divisor. */
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

INLINE float *out_of(const Head *head, long index) {
  return head->out + index / head->group * head->out_step + index % head->group * head->dim;
}

/* Adds the weighted values of slots from .. stop - 1 to the sums of `count` queries, for `wide` vectors of a head. */
INLINE void mix(const Head *head, const float *weights, long step, long from, long stop, long index, int count,
                long lane, int wide) {
  const long left = head->dim - lane;
  vf sum[MIXED][2] = {};
  for (int one = 0; from && one < count; one++) {
    sum[one][0] = numbers(out_of(head, index + one), lane, left, FLOAT32);
    if (wide > 1) sum[one][1] = load(out_of(head, index + one) + lane + LANES);
  }
  for (long slot = from; slot < stop; slot++) {
    const float *value = head->values + slot * head->dim + lane;
    vf a = numbers(value, 0, left, FLOAT32), b = wide > 1 ? load(value + LANES) : (vf){};
    UNROLL(8)
    for (int one = 0; one < count; one++) {
      const float weight = weights[one * step + slot];
      sum[one][0] = a * weight + sum[one][0];
      if (wide > 1) sum[one][1] = b * weight + sum[one][1];
    }
  }
  for (int one = 0; one < count; one++) {
    put(out_of(head, index + one), lane, left, sum[one][0], FLOAT32);
    if (wide > 1) store(out_of(head, index + one) + lane + LANES, sum[one][1]);
  }
}

INLINE void mixed(const Head *head, const float *weights, long step, long from, long stop, long index, int count) {
  long lane = 0;
  for (; lane + 2 * LANES <= head->dim; lane += 2 * LANES)
    mix(head, weights, step, from, stop, index, count, lane, 2);
  for (; lane < head->dim; lane += LANES) mix(head, weights, step, from, stop, index, count, lane, 1);
}

/* Computes the sums of values with weights [count, step]. */
static void mix_all(const Head *head, const float *weights, long step, long stop, long index, int count) {
  for (long from = 0; from < stop; from += VALUES) {
    const long end = from + VALUES < stop ? from + VALUES : stop;
    int one = 0;
    for (; one + MIXED <= count; one += MIXED)
      mixed(head, weights + one * step, step, from, end, index + one, MIXED);
    for (; one + TILE <= count; one += TILE) mixed(head, weights + one * step, step, from, end, index + one, TILE);
    for (; one < count; one++) mixed(head, weights + one * step, step, from, end, index + one, 1);
  }
}

INLINE void scored(const Head *head, float *scores, long step, const float *columns, long block, long index, int count,
                   int all) {
  int one = 0;
  for (; one + TILE <= count; one += TILE)
    score(head, scores + one * step, step, columns, block, index + one, TILE, all);
  for (; one < count; one++) score(head, scores + one * step, step, columns, block, index + one, 1, all);
}

/* Computes `count` queries from query `index`; scratch: see attend(). */
static void tile(const Head *head, float *scratch, long index, int count) {
  const long earliest = head->position + index / head->group, last = head->position + (index + count - 1) / head->group;
  const long unit = BLOCKS * LANES, straight = last < head->slots;
  long from = straight ? earliest - head->window + 1 : 0, stop = straight ? last + 1 : head->slots;
  from = from < 0 ? 0 : from / unit * unit;
  stop = (stop + unit - 1) / unit * unit;
  const long step = stop - from;
  float sums[SHARED], *columns = scratch + count * step;
  for (long block = from; block < stop; block += unit) {
    for (int part = 0; part < BLOCKS; part++) {
      const long first = block + part * LANES;
      for (long lane = 0; lane < head->dim; lane += LANES)
        transposed(columns + (part * head->wide + lane) * LANES, head->keys + first * head->dim + lane, head->dim,
                   head->slots - first, head->dim - lane);
    }
    const int all = straight && block + unit <= earliest + 1 && block > last - head->window;
    if (all) scored(head, scratch + block - from, step, columns, block, index, count, 1);
    else scored(head, scratch + block - from, step, columns, block, index, count, 0);
  }
  for (int one = 0; one < count; one++) sums[one] = weigh(scratch + one * step, step);
  const Head mixing = {.out = head->out, .values = head->values + from * head->dim, .group = head->group,
                       .out_step = head->out_step, .dim = head->dim};
  mix_all(&mixing, scratch, step, (stop < head->slots ? stop : head->slots) - from, index, count);
  for (int one = 0; one < count; one++)
    for (long lane = 0; lane < head->dim; lane++) out_of(head, index + one)[lane] /= sums[one];
}

static void stored(float *to, const float *rows, long count, long step, long position, long slots, long dim) {
  for (long row = 0; row < count; row++)
    memcpy(to + (position + row) % slots * dim, rows + row * step, (size_t)dim * sizeof(float));
}

typedef struct {
  Head head; /* the first one */
  long parts, share, queries, most, slot_numbers;
  atomic_int *failed;
} Attention;

static void attended_parts(const void *task, long begin, long stop) {
  const Attention *of = task;
  for (long part = begin; part < stop; part++) {
    const long kv = part / of->parts, index = part % of->parts * of->share, rest = of->queries - index;
    Head head = of->head;
    head.query += kv * head.group * head.dim, head.out += kv * head.group * head.dim;
    head.keys += kv * of->slot_numbers, head.values += kv * of->slot_numbers;
    float *scratch = room((size_t)(of->share * of->most + BLOCKS * head.wide * LANES) * sizeof(float));
    if (scratch) tile(&head, scratch, index, (int)(rest < of->share ? rest : of->share));
    else atomic_store(of->failed, 1);
  }
}

/* Computes rows position .. position + rows - 1. query [rows, heads, dim]; new_keys and new_values [rows, kv_heads,
   dim] are stored first, unless NULL; rows of all three are `row_step` apart. keys, values [kv_heads, slots, dim]: a
   position is in slot position % slots, and a row attends to the last `window` positions up to its own. out [rows,
   heads, dim], contiguous. Returns 1 if out of memory. */
int attend(float *out, const float *query, const float *new_keys, const float *new_values, float *keys, float *values,
           long rows, long row_step, long heads, long kv_heads, long dim, long slots, long position, long window) {
  const long group = heads / kv_heads, queries = rows * group, wide = (dim + LANES - 1) / LANES * LANES;
  const long most = (position + rows < slots ? position + rows : slots) + 2 * BLOCKS * LANES;
  const long fair = (kv_heads * queries / team_threads() / MIXED + 1) * MIXED;
  long each = fair < SCORES / most ? fair : SCORES / most / MIXED * MIXED;
  each = each < MIXED ? MIXED : each < SHARED ? each : SHARED;
  const long parts = (queries + each - 1) / each;
  atomic_int failed = 0;
  for (long kv = 0; new_keys && kv < kv_heads; kv++) {
    stored(keys + kv * slots * dim, new_keys + kv * dim, rows, row_step, position, slots, dim);
    stored(values + kv * slots * dim, new_values + kv * dim, rows, row_step, position, slots, dim);
  }
  const Attention task = {{.query = query, .keys = keys, .values = values, .out = out, .group = group,
                           .row_step = row_step, .out_step = heads * dim, .dim = dim, .slots = slots,
                           .position = position, .window = window, .wide = wide},
                          parts, each, queries, most, slots * dim, &failed};
  share(attended_parts, &task, kv_heads * parts, (double)(queries * kv_heads) * (double)(most * dim));
  return failed;
}
