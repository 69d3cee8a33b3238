/* What stands between products, each in one pass over rows whose bits do not depend on the rows beside them. Activations
   are float32 or bfloat16 (`kind`), without gaps; what is rounded on the way is rounded where the reference rounds. */

#include <math.h>

#include "vectors.h"

#define MANY 65536 /* numbers from which threads are worth waking */

/* 1 / rms of `width` numbers. */
INLINE float inverse_rms(const void *x, long at, long width, float eps, int kind) {
  vf sum = {};
  for (long lane = 0; lane < width; lane += LANES) {
    vf one = numbers(x, at + lane, width - lane, kind);
    sum = one * one + sum;
  }
  return 1 / sqrtf(total(sum) / (float)width + eps);
}

INLINE void normal(void *y, const void *x, const float *weight, const void *residual, long rows, long width, float eps,
                   int kind, int to) {
#pragma omp parallel for schedule(static) if (rows * width > MANY)
  for (long row = 0; row < rows; row++) {
    const long first = row * width;
    const float scale = inverse_rms(x, first, width, eps, kind);
    for (long lane = 0; lane < width; lane += LANES) {
      const long left = width - lane;
      vf one = numbers(x, first + lane, left, kind) * scale;
      if (weight) one *= numbers(weight, lane, left, FLOAT32);
      if (residual) one += numbers(residual, first + lane, left, kind);
      put(y, first + lane, left, one, to);
    }
  }
}

/* y = x / rms(x) * weight, + residual where that is not NULL; weight float32 [width] or NULL, the others [rows, width].
   to: the kind of y. */
void norm(void *y, const void *x, const float *weight, const void *residual, long rows, long width, float eps, int kind,
          int to) {
  if (kind == FLOAT32) normal(y, x, weight, residual, rows, width, eps, FLOAT32, FLOAT32);
  else if (to == FLOAT32) normal(y, x, weight, residual, rows, width, eps, BFLOAT16, FLOAT32);
  else normal(y, x, weight, residual, rows, width, eps, BFLOAT16, BFLOAT16);
}

/* gelu by its tanh approximation: x * (1 + tanh(u)) / 2 = x / (1 + e^-2u). From where 1 + tanh(u) rounds to nought it is
   nought: numbers too small for their format take processors a hundred times as long to multiply. */
INLINE vf gelu_of(vf x) {
  vf u = x * (0.7978845608f + 0.0356774081f * (x * x));
  return choose(u < -9.1f, every(0.0f), x / (1.0f + exponential(-2.0f * u)));
}

INLINE void gates(void *y, const void *gate, const void *up, long rows, long width, long gate_step, long up_step,
                  int kind) {
#pragma omp parallel for schedule(static) if (rows * width > MANY)
  for (long row = 0; row < rows; row++)
    for (long lane = 0; lane < width; lane += LANES) {
      const long left = width - lane;
      vf bent = rounded(gelu_of(numbers(gate, row * gate_step + lane, left, kind)), kind);
      put(y, row * width + lane, left, bent * numbers(up, row * up_step + lane, left, kind), kind);
    }
}

/* y = gelu(gate) * up for rows that lie `gate_step` and `up_step` apart. */
void gated(void *y, const void *gate, const void *up, long rows, long width, long gate_step, long up_step, int kind) {
  if (kind == FLOAT32) gates(y, gate, up, rows, width, gate_step, up_step, FLOAT32);
  else gates(y, gate, up, rows, width, gate_step, up_step, BFLOAT16);
}

INLINE void caps(float *y, const void *x, long count, float cap, int kind) {
  const float scale = -2 / cap;
#pragma omp parallel for schedule(static) if (count > MANY)
  for (long at = 0; at < count; at += LANES) /* tanh(u) = 2 / (1 + e^-2u) - 1 */
    put(y, at, count - at, 2.0f * cap / (1.0f + exponential(numbers(x, at, count - at, kind) * scale)) - cap, FLOAT32);
}

/* y float32 = cap * tanh(x / cap). */
void soft_cap(float *y, const void *x, long count, float cap, int kind) {
  if (kind == FLOAT32) caps(y, x, count, cap, FLOAT32);
  else caps(y, x, count, cap, BFLOAT16);
}

INLINE void turns(float *y, const void *x, const float *scale, const float *cos, const float *sin, long rows, long heads,
                  long turned, long copied, long dim, float eps, int kind) {
  const long half = dim / 2, out = turned + copied;
#pragma omp parallel for schedule(static) if (rows * heads * dim > MANY)
  for (long row = 0; row < rows; row++)
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

/* Queries, keys and values from their product x [rows, heads, dim]: each head normalised, the first `turned` scaled
   (float32 [turned, dim]) and rotated, the last `copied` normalised alone, which where heads < turned + copied are the
   keys themselves. y float32 [rows, turned + copied, dim]; cos, sin float32 [rows, dim] as rope.py has them. */
void turn(float *y, const void *x, const float *scale, const float *cos, const float *sin, long rows, long heads,
          long turned, long copied, long dim, float eps, int kind) {
  if (kind == FLOAT32) turns(y, x, scale, cos, sin, rows, heads, turned, copied, dim, eps, FLOAT32);
  else turns(y, x, scale, cos, sin, rows, heads, turned, copied, dim, eps, BFLOAT16);
}
