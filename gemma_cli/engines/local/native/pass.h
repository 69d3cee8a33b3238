/* The tables that describe a decoder and the rows of a pass: tables.py fills them in, field by field. */

#ifndef GEMMA_PASS_H
#define GEMMA_PASS_H

#include <stdint.h>

/* A weight [out, width]. bits: of a number; 32: from pack_floats() at `packed`; 16: in `count` parts of `outs` rows each
   (scattered.h); 8 and 4: from pack() at `packed`, with `scales` for 8. */
typedef struct {
  const void *packed;
  const float *scales;
  const uint16_t *const *parts;
  const long *outs;
  long out, width;
  int count, bits;
} Matrix;

/* Embeddings [rows, width] of `kind`, rows `step` numbers apart; each is multiplied by `scale`. at: NULL if there are
   none. */
typedef struct {
  const void *at;
  long rows, width, step;
  float scale;
  int kind;
} Table;

/* A decoder layer. Norms are float32 [hidden]; qk_scale: float32 [turned heads, dim]. source: the layer whose keys and
   values it attends to; own: whether they are its own. gate and project: of its per-layer embedding; out 0: none. */
typedef struct {
  Matrix qkv, out, gate_up, down, gate, project;
  const float *qk_scale, *before_attention, *after_attention, *before_feed_forward, *after_feed_forward, *after_project;
  long heads, kv_heads, dim, source, window;
  float scalar;
  int own, full;
} Layer;

/* A decoder. kind: of activations. project: of embeddings to per-layer embeddings, normalised by project_norm and
   project_eps. cap: of logits; 0: none. widest: numbers of the widest intermediate result of a row. */
typedef struct {
  const Layer *layers;
  Table embedding, per_layer;
  Matrix project, head;
  const float *project_norm, *norm;
  long count, hidden, ple, widest;
  float eps, project_eps, cap;
  int kind;
} Decoder;

/* The cache of a layer: float32 [kv_heads, slots, dim]. */
typedef struct {
  float *keys, *values;
  long slots;
} Slots;

/* Rows of one sequence. slots: by layer; cos, sin: of its first row, for sliding and for full layers; queries: where
   those of layer `logged` are copied, or NULL. */
typedef struct {
  const Slots *slots;
  const float *cos[2], *sin[2];
  float *queries;
  long position, rows, logged;
} Part;

#endif
