/* Attention of rows over the keys and values of the cache, float32: see attention_tile.h for its order.

   Many queries are divided among the threads. Few queries, as in decoding, would keep one thread busy for each head of
   keys: then the threads compute together. They divide the slots to compute scores, the queries to compute weights, and
   the head's width to sum values. The order of every sum stays as it is, so the choice does not change a bit. */

#include <stdatomic.h>
#include <string.h>

#include "attention_tile.h"
#include "kernels.h"
#include "team.h"

#define SHARED 128             /* queries of a part at most, which share what is read, */
#define SCORES 524288          /* as long as their scores fit the cache */
#define LEAST 8                /* queries of a part at least */
#define TOGETHER (4.0 * GRAIN) /* multiplications that are worth three tasks instead of one */
#define MOST_SCORES 8388608    /* of the queries that threads compute together */
#define EXPONENTIAL 16         /* multiplications take as long as one */

static void stored(float *to, const float *rows, long count, long step, long position, long slots, long dim) {
  for (long row = 0; row < count; row++)
    memcpy(to + (position + row) % slots * dim, rows + row * step, (size_t)dim * sizeof(float));
}

INLINE long padded(long dim) { return up_to(dim, LANES) * LANES + 16; } /* or the queries' sums share lines of the cache */

/* The queries first .. first + count - 1 of each head of keys. parts, each: how they are divided among threads that
   compute alone. strips, strip: how the head's width is, among threads that compute together, with `scratch`. */
typedef struct {
  Head head; /* the first one */
  long first, count, parts, each, units, strips, strip;
  char *scratch;
  atomic_int *failed;
} Attention;

/* Describes the tile of queries first .. first + count - 1 of head `kv`, without memory. */
static Tile tile_of(const Attention *of, long kv, long first, long count) {
  Head head = of->head;
  head.query += kv * head.group * head.dim, head.out += kv * head.group * head.dim;
  head.keys += kv * head.slots * head.dim, head.values += kv * head.slots * head.dim;
  const long earliest = head.position + first / head.group, last = head.position + (first + count - 1) / head.group;
  const int straight = last < head.slots;
  const long from = straight && earliest >= head.window ? (earliest - head.window + 1) / UNIT * UNIT : 0;
  const long stop = up_to(straight ? last + 1 : head.slots, UNIT) * UNIT;
  return (Tile){.head = head, .first = first, .count = count, .from = from, .stop = stop, .step = stop - from,
                .wide = padded(head.dim)};
}

static size_t bytes_of(const Tile *tile) {
  return (size_t)tile->count * (sizeof(float *) + (size_t)(tile->step + 2 + tile->wide) * sizeof(float));
}

static void give(Tile *tile, void *scratch) {
  tile->query = scratch, tile->scores = (float *)(tile->query + tile->count);
  tile->sums = tile->scores + tile->count * tile->step, tile->mixed = tile->sums + 2 * tile->count;
}

static void attend_alone(const void *task, long begin, long stop) { /* parts of all heads */
  const Attention *of = task;
  for (long part = begin; part < stop; part++) {
    const long at = part % of->parts * of->each, rest = of->count - at;
    Tile tile = tile_of(of, part / of->parts, of->first + at, rest < of->each ? rest : of->each);
    void *scratch = room(bytes_of(&tile));
    if (!scratch) {
      atomic_store(of->failed, 1);
      continue;
    }
    give(&tile, scratch);
    find_queries(&tile);
    score_slots(&tile, tile.from, tile.stop);
    weigh_queries(&tile, 0, tile.count);
    mix_lanes(&tile, 0, tile.head.dim);
  }
}

static Tile shared_tile(const Attention *of, long kv) {
  Tile tile = tile_of(of, kv, of->first, of->count);
  give(&tile, of->scratch + (size_t)kv * bytes_of(&tile));
  return tile;
}

static void score_units(const void *task, long begin, long stop) { /* of UNIT slots each, of all heads */
  for (long unit = begin; unit < stop; unit++) {
    const Attention *of = task;
    const Tile tile = shared_tile(of, unit / of->units);
    const long slot = tile.from + unit % of->units * UNIT;
    score_slots(&tile, slot, slot + UNIT);
  }
}

static void weigh_each(const void *task, long begin, long stop) { /* queries of all heads */
  const Attention *of = task;
  for (long query = begin; query < stop; query++) {
    const Tile tile = shared_tile(of, query / of->count);
    weigh_queries(&tile, query % of->count, query % of->count + 1);
  }
}

static void mix_strips(const void *task, long begin, long stop) { /* of all heads */
  const Attention *of = task;
  for (long strip = begin; strip < stop; strip++) {
    const Tile tile = shared_tile(of, strip / of->strips);
    const long lane = strip % of->strips * of->strip, end = lane + of->strip;
    mix_lanes(&tile, lane, end < tile.head.dim ? end : tile.head.dim);
  }
}

static void attend_together(Attention *of, long kv_heads, long step) {
  const long queries = of->count, dim = of->head.dim, fit = MOST_SCORES / (kv_heads * step);
  const long batch = fit < LEAST ? LEAST : fit;
  of->strip = up_to(up_to(dim, 2 * team_threads()), QUAD * LANES) * QUAD * LANES;
  of->strips = up_to(dim, of->strip);
  for (of->first = 0; of->first < queries; of->first += batch) {
    of->count = queries - of->first < batch ? queries - of->first : batch;
    const Tile tile = tile_of(of, 0, of->first, of->count);
    of->units = tile.step / UNIT;
    const double scores = (double)(kv_heads * of->count) * (double)tile.step;
    of->scratch = room((size_t)kv_heads * bytes_of(&tile));
    if (!of->scratch) {
      atomic_store(of->failed, 1);
      return;
    }
    for (long kv = 0; kv < kv_heads; kv++) {
      const Tile one = shared_tile(of, kv);
      find_queries(&one);
    }
    share(score_units, of, kv_heads * of->units, scores * (double)dim);
    share(weigh_each, of, kv_heads * of->count, scores * EXPONENTIAL);
    share(mix_strips, of, kv_heads * of->strips, scores * (double)dim);
  }
}

/* Computes rows position .. position + rows - 1. query [rows, heads, dim]; new_keys and new_values [rows, kv_heads,
   dim] are stored first, unless NULL; rows of all three are `row_step` apart. keys, values [kv_heads, slots, dim]: a
   position is in slot position % slots, and a row attends to the last `window` positions up to its own. out [rows,
   heads, dim], contiguous. Returns 1 if out of memory. */
int attend(float *out, const float *query, const float *new_keys, const float *new_values, float *keys, float *values,
           long rows, long row_step, long heads, long kv_heads, long dim, long slots, long position, long window) {
  const long group = heads / kv_heads, queries = rows * group, threads = team_threads();
  atomic_int failed = 0;
  for (long kv = 0; new_keys && kv < kv_heads; kv++) {
    stored(keys + kv * slots * dim, new_keys + kv * dim, rows, row_step, position, slots, dim);
    stored(values + kv * slots * dim, new_values + kv * dim, rows, row_step, position, slots, dim);
  }
  Attention task = {.head = {query, keys, values, out, group, row_step, heads * dim, dim, slots, position, window},
                    .count = queries, .failed = &failed};
  const Tile all = tile_of(&task, 0, 0, queries);
  const double cost = 2 * (double)(queries * kv_heads) * (double)(all.step * dim);
  if (threads > 1 && queries * kv_heads < threads * SHARED && cost > TOGETHER) {
    attend_together(&task, kv_heads, all.step);
    return failed;
  }
  const long fit = SCORES / all.step, fair = up_to(queries * kv_heads, threads);
  task.each = fair < fit ? fair : fit;
  task.each = task.each < LEAST ? LEAST : task.each < SHARED ? task.each : SHARED;
  task.parts = up_to(queries, task.each);
  share(attend_alone, &task, kv_heads * task.parts, cost);
  return failed;
}
