/* Checks the kernels against plain loops. It runs in a separate process before they are used, because a processor may
   lack instructions that it announces. */

#include <math.h>
#include <stdint.h>

#include "kernels.h"

enum { ROWS = 7, OUT = 37, PART = 16, TILED = 32 /* outputs: a multiple that AMX takes */, WIDTH = 96 };

static int far(double a, double b) { return !(fabs(a - b) <= 0.02 * (1 + fabs(b))); }
static double some(long at) { return (double)(at * 7919 % 31 - 15) / 16; } /* exact in bfloat16 */
static uint16_t bits_of(double x) {
  union { float number; uint32_t bits; } as = {(float)x};
  return (uint16_t)(as.bits >> 16);
}
static double value_of(uint16_t x) {
  union { uint32_t bits; float number; } as = {(uint32_t)x << 16};
  return as.number;
}

static int products(void) {
  static uint16_t x[ROWS * WIDTH], weight[OUT * WIDTH], y[ROWS * OUT], tiled[ROWS * TILED], scales[OUT * WIDTH / 32];
  static uint8_t numbers[OUT * WIDTH], packed[1 << 14];
  static float wide[ROWS * WIDTH], rounded[ROWS * OUT], panels[(OUT + 64) * WIDTH], exact[ROWS * OUT];
  const long lanes = panel_width();
  for (long at = 0; at < ROWS * WIDTH; at++) x[at] = bits_of(some(at)), wide[at] = (float)some(at);
  for (long at = 0; at < OUT * WIDTH; at++) {
    numbers[at] = (uint8_t)(some(3 * at + 1) * 7 + 8);
    weight[at] = bits_of((numbers[at] - 8) * 0.25);
    panels[(at / WIDTH / lanes * WIDTH + at % WIDTH) * lanes + at / WIDTH % lanes] = (float)value_of(weight[at]);
    scales[at / 32] = bits_of(0.25);
  }
  const uint16_t *parts[] = {weight, weight + PART * WIDTH};
  const long outs[] = {PART, OUT - PART}, tiles[] = {PART, TILED - PART};
  linear(y, x, parts, outs, 2, ROWS, WIDTH);
  linear(tiled, x, parts, tiles, 2, ROWS, WIDTH);
  float_linear(exact, wide, panels, ROWS, OUT, WIDTH);
  pack(packed, numbers, scales, OUT, WIDTH, 4);
  if (rounded_linear(rounded, wide, packed, 0, ROWS, OUT, WIDTH, 4, 0)) return 1;
  for (long row = 0; row < ROWS; row++)
    for (long out = 0; out < OUT; out++) {
      double sum = 0;
      for (long in = 0; in < WIDTH; in++) sum += some(row * WIDTH + in) * value_of(weight[out * WIDTH + in]);
      if (out < TILED && far(value_of(tiled[row * TILED + out]), sum)) return 1;
      if (far(value_of(y[row * OUT + out]), sum) || far(rounded[row * OUT + out], sum)) return 1;
      if (far(exact[row * OUT + out], sum)) return 1;
    }
  return 0;
}

static int rows(void) {
  static float query[ROWS * WIDTH], keys[OUT * WIDTH], values[OUT * WIDTH], out[ROWS * WIDTH], normal[ROWS * WIDTH];
  for (long at = 0; at < OUT * WIDTH; at++) keys[at] = (float)some(at), values[at] = (float)some(5 * at);
  for (long at = 0; at < ROWS * WIDTH; at++) query[at] = (float)some(at + 3) / 8;
  norm(normal, query, 0, 0, ROWS, WIDTH, 1e-6f, 0, 0);
  if (attend(out, query, 0, 0, keys, values, ROWS, WIDTH, 1, 1, WIDTH, OUT, OUT - ROWS, OUT)) return 1;
  for (long row = 0; row < ROWS; row++) {
    double sum = 0, mixed = 0, squares = 0;
    for (long slot = 0; slot <= OUT - ROWS + row; slot++) {
      double score = 0;
      for (long in = 0; in < WIDTH; in++) score += query[row * WIDTH + in] * keys[slot * WIDTH + in];
      sum += exp(score), mixed += exp(score) * values[slot * WIDTH];
    }
    for (long in = 0; in < WIDTH; in++) squares += query[row * WIDTH + in] * query[row * WIDTH + in];
    if (far(out[row * WIDTH], mixed / sum)) return 1;
    if (far(normal[row * WIDTH], query[row * WIDTH] / sqrt(squares / WIDTH + 1e-6))) return 1;
  }
  return 0;
}

int self_check(void) { return products() || rows(); }
