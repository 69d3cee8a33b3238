/* The operations between linear layers, each in one pass; a row's bits do not depend on other rows. Activations are
   float32 or bfloat16 (`kind`) and contiguous. Intermediate results are rounded where the reference rounds them. */

#include <math.h>

#include "kernels.h"
#include "team.h"
#include "vectors.h"

/* The cost of a number in multiplications, for share(). */
#define PLAIN 2
#define WITH_EXPONENTIAL 8

/* Returns 1 / rms of `width` numbers. */
INLINE float inverse_rms(const void *x, long at, long width, float eps, int kind) {
  vf sum = {};
  for (long lane = 0; lane < width; lane += LANES) {
    vf one = numbers(x, at + lane, width - lane, kind);
    sum = one * one + sum;
  }
  return 1 / sqrtf(total(sum) / (float)width + eps);
}

typedef struct {
  void *y;
  const void *x, *residual;
  const float *weight;
  long width;
  float eps;
  int kind, to;
} Norm;

INLINE void normal(const Norm *norm, long begin, long stop, int kind, int to) {
  const long width = norm->width;
  for (long row = begin; row < stop; row++) {
    const long first = row * width;
    const float scale = inverse_rms(norm->x, first, width, norm->eps, kind);
    for (long lane = 0; lane < width; lane += LANES) {
      const long left = width - lane;
      vf one = numbers(norm->x, first + lane, left, kind) * scale;
      if (norm->weight) one *= numbers(norm->weight, lane, left, FLOAT32);
      if (norm->residual) one += numbers(norm->residual, first + lane, left, kind);
      put(norm->y, first + lane, left, one, to);
    }
  }
}

static void norm_rows(const void *task, long begin, long stop) {
  const Norm *norm = task;
  if (norm->kind == FLOAT32) normal(norm, begin, stop, FLOAT32, FLOAT32);
  else if (norm->to == FLOAT32) normal(norm, begin, stop, BFLOAT16, FLOAT32);
  else normal(norm, begin, stop, BFLOAT16, BFLOAT16);
}

/* y = x / rms(x) * weight, + residual unless that is NULL; weight float32 [width] or NULL, the others [rows, width].
   to: the kind of y. */
void norm(void *y, const void *x, const float *weight, const void *residual, long rows, long width, float eps, int kind,
          int to) {
  const Norm task = {y, x, residual, weight, width, eps, kind, to};
  share(norm_rows, &task, rows, PLAIN * (double)(rows * width));
}

/* gelu by its tanh approximation: x * (1 + tanh(u)) / 2 = x / (1 + e^-2u). It is zero as soon as 1 + tanh(u) rounds to
   zero: processors take a hundred times as long to multiply denormal numbers. */
INLINE vf gelu_of(vf x) {
  vf u = x * (0.7978845608f + 0.0356774081f * (x * x));
  return choose(u < -9.1f, every(0.0f), x / (1.0f + exponential(-2.0f * u)));
}

typedef struct {
  void *y;
  const void *gate, *up;
  long width, gate_step, up_step;
  int kind;
} Gates;

INLINE void gates(const Gates *of, long begin, long stop, int kind) {
  const long width = of->width;
  for (long row = begin; row < stop; row++)
    for (long lane = 0; lane < width; lane += LANES) {
      const long left = width - lane;
      vf bent = rounded(gelu_of(numbers(of->gate, row * of->gate_step + lane, left, kind)), kind);
      put(of->y, row * width + lane, left, bent * numbers(of->up, row * of->up_step + lane, left, kind), kind);
    }
}

static void gated_rows(const void *task, long begin, long stop) {
  const Gates *of = task;
  if (of->kind == FLOAT32) gates(of, begin, stop, FLOAT32);
  else gates(of, begin, stop, BFLOAT16);
}

/* y = gelu(gate) * up for rows that are `gate_step` and `up_step` apart. */
void gated(void *y, const void *gate, const void *up, long rows, long width, long gate_step, long up_step, int kind) {
  const Gates task = {y, gate, up, width, gate_step, up_step, kind};
  share(gated_rows, &task, rows, WITH_EXPONENTIAL * (double)(rows * width));
}

typedef struct {
  float *y;
  const void *x;
  long count;
  float cap;
  int kind;
} Caps;

INLINE void caps(const Caps *of, long begin, long stop, int kind) {
  const float cap = of->cap, scale = -2 / cap;
  for (long at = begin * LANES; at < stop * LANES; at += LANES) { /* tanh(u) = 2 / (1 + e^-2u) - 1 */
    const vf some = exponential(numbers(of->x, at, of->count - at, kind) * scale);
    put(of->y, at, of->count - at, 2.0f * cap / (1.0f + some) - cap, FLOAT32);
  }
}

static void capped_vectors(const void *task, long begin, long stop) {
  const Caps *of = task;
  if (of->kind == FLOAT32) caps(of, begin, stop, FLOAT32);
  else caps(of, begin, stop, BFLOAT16);
}

/* y float32 = cap * tanh(x / cap). */
void soft_cap(float *y, const void *x, long count, float cap, int kind) {
  const Caps task = {y, x, count, cap, kind};
  share(capped_vectors, &task, (count + LANES - 1) / LANES, WITH_EXPONENTIAL * (double)count);
}

typedef struct {
  float *y;
  const void *x;
  const float *scale, *cos, *sin;
  long heads, turned, copied, dim;
  float eps;
  int kind;
} Turns;

INLINE void turns(const Turns *of, long begin, long stop, int kind) {
  float *const y = of->y;
  const void *const x = of->x;
  const float *const scale = of->scale, *const cos = of->cos, *const sin = of->sin, eps = of->eps;
  const long heads = of->heads, turned = of->turned, copied = of->copied, dim = of->dim;
  const long half = dim / 2, out = turned + copied;
  for (long row = begin; row < stop; row++)
    for (long head = 0; head < heads; head++) {
      const long from = (row * heads + head) * dim;
      const float rms = inverse_rms(x, from, dim, eps, kind);
      if (head >= heads - copied)
        for (long lane = 0; lane < dim; lane += LANES)
          put(y, (row * out + head + out - heads) * dim + lane, dim - lane,
              numbers(x, from + lane, dim - lane, kind) * rms, FLOAT32);
      for (long lane = 0; head < turned && lane < half; lane += LANES) {
        const long left = half - lane, at = row * dim + lane, by = head * dim + lane, to = (row * out + head) * dim + lane;
        vf low = numbers(x, from + lane, left, kind) * rms * numbers(scale, by, left, FLOAT32);
        vf high = numbers(x, from + half + lane, left, kind) * rms * numbers(scale, by + half, left, FLOAT32);
        vf lower = high * numbers(sin, at, left, FLOAT32) + low * numbers(cos, at, left, FLOAT32);
        vf higher = low * numbers(sin, at + half, left, FLOAT32) + high * numbers(cos, at + half, left, FLOAT32);
        put(y, to, left, lower, FLOAT32);
        put(y, to + half, left, higher, FLOAT32);
      }
    }
}

static void turned_rows(const void *task, long begin, long stop) {
  const Turns *of = task;
  if (of->kind == FLOAT32) turns(of, begin, stop, FLOAT32);
  else turns(of, begin, stop, BFLOAT16);
}

/* Computes queries, keys and values from a linear layer's output x [rows, heads, dim]. Each head is normalised; the
   first `turned` heads are then scaled (float32 [turned, dim]) and rotated, the last `copied` heads are not. If heads <
   turned + copied, the values are made from the heads of the keys. y float32 [rows, turned + copied, dim]; cos, sin
   float32 [rows, dim] as in rope.py. */
void turn(float *y, const void *x, const float *scale, const float *cos, const float *sin, long rows, long heads,
          long turned, long copied, long dim, float eps, int kind) {
  const Turns task = {y, x, scale, cos, sin, heads, turned, copied, dim, eps, kind};
  share(turned_rows, &task, rows, PLAIN * (double)(rows * heads * dim));
}
