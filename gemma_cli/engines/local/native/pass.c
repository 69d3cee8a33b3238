/* A pass through a decoder in one call: the operations of model/target.py and model/layer.py, which are the reference,
   with the same kernels and operands. So its bits are theirs.

   A small model computes a layer in some microseconds; Python and torch take longer than that to call its kernels. The
   threads of the team find the next operation while they still spin (team.c), so one wake serves the whole pass. */

#include <string.h>

#include "kernels.h"
#include "pass.h"
#include "vectors.h"

enum { DONE = 0, NO_MEMORY = 1, NO_ID = 2 };

enum { BUFFERS = 3, ANGLES = 4 };

/* x: the rows; embedded: per-layer embeddings [rows, layers, ple]; these and each buffer have space for `widest` floats
   of a row. outputs: [rows, head.out], in bfloat16 only. cos, sin: for sliding and for full layers. */
typedef struct {
  const Decoder *of;
  const Part *parts;
  long count, rows;
  void *x, *embedded, *buffer[BUFFERS], *outputs;
  const float *cos[2], *sin[2];
} Pass;

INLINE void *from(const void *x, long at, int kind) { return (char *)x + at * (kind == BFLOAT16 ? 2 : 4); }

static int times(void *y, const void *x, const Matrix *by, long rows, int kind) {
  switch (by->bits) {
    case 32: float_linear(y, x, by->packed, rows, by->out, by->width); return DONE;
    case 16: linear(y, x, by->parts, by->outs, by->count, rows, by->width); return DONE;
    default: return rounded_linear(y, x, by->packed, by->scales, rows, by->out, by->width, by->bits, kind);
  }
}

/* x [rows, width] = embeddings of these ids, which are in the table. */
static void look_up(void *x, const Table *of, const int64_t *ids, long rows, int kind) {
  for (long row = 0; row < rows; row++)
    for (long lane = 0; lane < of->width; lane += LANES) {
      const long left = of->width - lane;
      put(x, row * of->width + lane, left,
          rounded(numbers(of->at, ids[row] * of->step + lane, left, of->kind), kind) * of->scale, kind);
    }
}

/* y = embeddings of these ids + x, float32 [rows, width]. */
static void add_looked_up(void *y, const float *x, const Table *of, const int64_t *ids, long rows, int kind) {
  for (long row = 0; row < rows; row++)
    for (long lane = 0; lane < of->width; lane += LANES) {
      const long left = of->width - lane, at = row * of->width + lane;
      const vf looked = rounded(numbers(of->at, ids[row] * of->step + lane, left, of->kind), kind);
      put(y, at, left, looked * of->scale + numbers(x, at, left, FLOAT32), kind);
    }
}

/* y = x * by, from numbers of one kind to another. */
static void scaled(void *y, const void *x, long count, float by, int kind, int to) {
  for (long at = 0; at < count; at += LANES) put(y, at, count - at, numbers(x, at, count - at, kind) * by, to);
}

static int attention(const Pass *pass, const Layer *layer, long index) {
  const Decoder *of = pass->of;
  const long rows = pass->rows, dim = layer->dim, width = layer->heads * dim, copied = layer->own ? layer->kv_heads : 0;
  void *const *buffer = pass->buffer;
  float *turned = buffer[2], *mixed = buffer[0];
  const long step = width + 2 * copied * dim;
  norm(buffer[0], pass->x, layer->before_attention, NULL, rows, of->hidden, of->eps, of->kind, of->kind);
  if (times(buffer[1], buffer[0], &layer->qkv, rows, of->kind)) return NO_MEMORY;
  turn(turned, buffer[1], layer->qk_scale, pass->cos[layer->full], pass->sin[layer->full], rows, layer->qkv.out / dim,
       layer->heads + copied, copied, dim, of->eps, of->kind);
  for (long one = 0, row = 0; one < pass->count; row += pass->parts[one++].rows) {
    const Part *part = pass->parts + one;
    const Slots *slots = part->slots + layer->source;
    const float *query = turned + row * step, *keys = copied ? query + width : NULL;
    for (long at = 0; part->queries && part->logged == index && at < part->rows; at++)
      memcpy(part->queries + at * width, query + at * step, (size_t)width * sizeof(float));
    if (attend(mixed + row * width, query, keys, copied ? keys + copied * dim : NULL, slots->keys, slots->values,
               part->rows, step, layer->heads, layer->kv_heads, dim, slots->slots, part->position, layer->window))
      return NO_MEMORY;
  }
  const void *x = mixed;
  if (of->kind == BFLOAT16) scaled(buffer[1], mixed, rows * width, 1, FLOAT32, BFLOAT16), x = buffer[1];
  if (times(buffer[2], x, &layer->out, rows, of->kind)) return NO_MEMORY;
  norm(pass->x, buffer[2], layer->after_attention, pass->x, rows, of->hidden, of->eps, of->kind, of->kind);
  return DONE;
}

static int feed_forward(const Pass *pass, const Layer *layer) {
  const Decoder *of = pass->of;
  const long rows = pass->rows, width = layer->down.width;
  void *const *buffer = pass->buffer;
  norm(buffer[0], pass->x, layer->before_feed_forward, NULL, rows, of->hidden, of->eps, of->kind, of->kind);
  if (times(buffer[1], buffer[0], &layer->gate_up, rows, of->kind)) return NO_MEMORY;
  gated(buffer[0], buffer[1], from(buffer[1], width, of->kind), rows, width, 2 * width, 2 * width, of->kind);
  if (times(buffer[2], buffer[0], &layer->down, rows, of->kind)) return NO_MEMORY;
  norm(pass->x, buffer[2], layer->after_feed_forward, pass->x, rows, of->hidden, of->eps, of->kind, of->kind);
  return DONE;
}

static int per_layer_input(const Pass *pass, const Layer *layer, long index) {
  const Decoder *of = pass->of;
  const long rows = pass->rows;
  void *const *buffer = pass->buffer;
  if (times(buffer[1], pass->x, &layer->gate, rows, of->kind)) return NO_MEMORY;
  gated(buffer[0], buffer[1], from(pass->embedded, index * of->ple, of->kind), rows, of->ple, of->ple,
        of->count * of->ple, of->kind);
  if (times(buffer[2], buffer[0], &layer->project, rows, of->kind)) return NO_MEMORY;
  norm(pass->x, buffer[2], layer->after_project, pass->x, rows, of->hidden, of->eps, of->kind, of->kind);
  return DONE;
}

static int through_layers(const Pass *pass) {
  for (long index = 0; index < pass->of->count; index++) {
    const Layer *layer = pass->of->layers + index;
    if (attention(pass, layer, index) || feed_forward(pass, layer)) return NO_MEMORY;
    if (layer->gate.out && per_layer_input(pass, layer, index)) return NO_MEMORY;
    if (layer->scalar != 1)
      scaled(pass->x, pass->x, pass->rows * pass->of->hidden, layer->scalar, pass->of->kind, pass->of->kind);
  }
  return DONE;
}

/* Lays out the buffers and the rotation of each row; returns NO_MEMORY or DONE. */
static int prepare(Pass *pass, const long dims[2]) {
  const long size = pass->rows * pass->of->widest, angles = pass->count > 1 ? size : 0;
  const long outputs = pass->of->kind == BFLOAT16 ? pass->rows * pass->of->head.out : 0;
  float *at = room((size_t)((BUFFERS + 2) * size + ANGLES * angles) * sizeof(float) + (size_t)outputs * 2);
  if (!at) return NO_MEMORY;
  pass->x = at;
  pass->embedded = at + size;
  for (int one = 0; one < BUFFERS; one++) pass->buffer[one] = at + (2 + one) * size;
  at += (BUFFERS + 2) * size;
  for (int full = 0; full < 2; full++) {
    pass->cos[full] = pass->parts->cos[full], pass->sin[full] = pass->parts->sin[full];
    if (!angles) continue;
    float *cos = at, *sin = at + size;
    pass->cos[full] = cos, pass->sin[full] = sin;
    at += 2 * size;
    for (long one = 0; one < pass->count; one++) {
      const size_t bytes = (size_t)(pass->parts[one].rows * dims[full]) * sizeof(float);
      memcpy(cos, pass->parts[one].cos[full], bytes);
      memcpy(sin, pass->parts[one].sin[full], bytes);
      cos += pass->parts[one].rows * dims[full], sin += pass->parts[one].rows * dims[full];
    }
  }
  pass->outputs = at;
  return DONE;
}

static int in_table(const Table *of, const int64_t *ids, long rows) {
  for (long row = 0; of->at && row < rows; row++)
    if (ids[row] < 0 || ids[row] >= of->rows) return 0;
  return 1;
}

/* Computes logits float32 [rows, head.out] and hidden states [rows, hidden] of ids [rows], the rows of all parts in
   order; stores their keys and values. */
int decoder_pass(const Decoder *of, const Part *parts, long count, const int64_t *ids, float *logits, void *hidden) {
  Pass pass = {.of = of, .parts = parts, .count = count};
  long dims[2] = {0, 0};
  for (long one = 0; one < count; one++) pass.rows += parts[one].rows;
  for (long index = 0; index < of->count; index++) dims[of->layers[index].full] = of->layers[index].dim;
  const long rows = pass.rows;
  if (!in_table(&of->embedding, ids, rows) || !in_table(&of->per_layer, ids, rows)) return NO_ID;
  if (prepare(&pass, dims)) return NO_MEMORY;
  look_up(pass.x, &of->embedding, ids, rows, of->kind);
  if (of->per_layer.at) {
    if (times(pass.buffer[0], pass.x, &of->project, rows, of->kind)) return NO_MEMORY;
    norm(pass.buffer[1], pass.buffer[0], of->project_norm, NULL, rows * of->count, of->ple, of->project_eps, of->kind,
         FLOAT32);
    add_looked_up(pass.embedded, pass.buffer[1], &of->per_layer, ids, rows, of->kind);
  }
  if (through_layers(&pass)) return NO_MEMORY;
  norm(hidden, pass.x, of->norm, NULL, rows, of->hidden, of->eps, of->kind, of->kind);
  void *to = of->kind == BFLOAT16 ? pass.outputs : logits;
  if (times(to, hidden, &of->head, rows, of->kind)) return NO_MEMORY;
  if (of->cap > 0) soft_cap(logits, to, rows * of->head.out, of->cap, of->kind);
  else if (to != logits) scaled(logits, to, rows * of->head.out, 1, of->kind, FLOAT32);
  return DONE;
}
