/* Random inputs through every kernel, compared with plain loops in double precision; and each row alone with the same row
   among others, bit for bit. For processors that the tests run under an emulator: comparisons COUNT */

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int self_check(void);
void linear(uint16_t *, const uint16_t *, const uint16_t *const *, const long *, int, long, long);
int panel_width(void);
void float_linear(float *, const float *, const float *, long, long, long);
long packed_bytes(long, long, int);
void pack(uint8_t *, const uint8_t *, const uint16_t *, long, long, int);
int rounded_linear(void *, const void *, const uint8_t *, const float *, long, long, long, int, int);
void norm(void *, const void *, const float *, const void *, long, long, float, int, int);
int attend(float *, const float *, const float *, const float *, float *, float *, long, long, long, long, long, long,
           long, long);
void checksum(uint32_t *, const uint8_t *, long);
void team_settings(int, long long);

enum { MOST_ROWS = 7, MOST_OUT = 70, MOST_WIDTH = 200, SLOTS = 90 };

static uint64_t state = 1;
static uint32_t draw(void) {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(state >> 33);
}
static long below(long stop) { return (long)(draw() % (uint32_t)stop); }
static double normal(void) { return (double)(draw() % 20001) / 10000.0 - 1.0; }
static uint16_t bfloat16(double x) {
  union { float number; uint32_t bits; } as = {(float)x};
  return (uint16_t)(as.bits >> 16);
}
static double wide(uint16_t x) {
  union { uint32_t bits; float number; } as = {(uint32_t)x << 16};
  return as.number;
}

static long compared;
static void near(const char *what, double found, double expected, double allowed) {
  compared++;
  if (fabs(found - expected) <= allowed * (1 + fabs(expected))) return;
  printf("%s: %.9g, not %.9g\n", what, found, expected);
  exit(1);
}
static void same(const char *what, const void *found, const void *expected, size_t bytes) {
  compared++;
  if (!memcmp(found, expected, bytes)) return;
  printf("%s: a row has other bits alone\n", what);
  exit(1);
}

static void bfloat16_products(long rows, long out, long width) {
  static uint16_t x[MOST_ROWS * MOST_WIDTH], w[MOST_OUT * MOST_WIDTH], y[MOST_ROWS * MOST_OUT], one[MOST_OUT];
  for (long at = 0; at < rows * width; at++) x[at] = bfloat16(normal());
  for (long at = 0; at < out * width; at++) w[at] = bfloat16(normal());
  const long first = below(out + 1);
  const uint16_t *parts[] = {w, w + first * width};
  const long outs[] = {first, out - first};
  linear(y, x, parts, outs, 2, rows, width);
  for (long row = 0; row < rows; row++) {
    linear(one, x + row * width, parts, outs, 2, 1, width);
    same("bfloat16", one, y + row * out, (size_t)out * 2);
    const long at = below(out);
    double sum = 0;
    for (long in = 0; in < width; in++) sum += wide(x[row * width + in]) * wide(w[at * width + in]);
    near("bfloat16", wide(y[row * out + at]), sum, 0.01);
  }
}

static void float_products(long rows, long out, long width) {
  static float x[MOST_ROWS * MOST_WIDTH], w[MOST_OUT * MOST_WIDTH], panels[(MOST_OUT + 64) * MOST_WIDTH];
  static float y[MOST_ROWS * MOST_OUT], one[MOST_OUT];
  const long lanes = panel_width();
  memset(panels, 0, sizeof panels);
  for (long at = 0; at < rows * width; at++) x[at] = (float)normal();
  for (long at = 0; at < out * width; at++) {
    w[at] = (float)normal();
    panels[(at / width / lanes * width + at % width) * lanes + at / width % lanes] = w[at];
  }
  float_linear(y, x, panels, rows, out, width);
  for (long row = 0; row < rows; row++) {
    float_linear(one, x + row * width, panels, 1, out, width);
    same("float32", one, y + row * out, (size_t)out * 4);
    const long at = below(out);
    double sum = 0;
    for (long in = 0; in < width; in++) sum += (double)x[row * width + in] * w[at * width + in];
    near("float32", y[row * out + at], sum, 1e-5);
  }
}

static void rounded_products(long rows, long out, long width, int bits) {
  static float x[MOST_ROWS * MOST_WIDTH], y[MOST_ROWS * MOST_OUT], one[MOST_OUT], scales[MOST_OUT];
  static uint8_t numbers[MOST_OUT * MOST_WIDTH], packed[1 << 17];
  static uint16_t groups[MOST_OUT * MOST_WIDTH];
  const long count = (width + 31) / 32;
  for (long at = 0; at < rows * width; at++) x[at] = (float)(normal() * (at % 7 ? 1 : 30));
  for (long at = 0; at < out * width; at++) numbers[at] = (uint8_t)(bits == 4 ? below(16) : below(255) - 127);
  for (long at = 0; at < out * count; at++) groups[at] = bfloat16(0.1 + fabs(normal()));
  for (long at = 0; at < out; at++) scales[at] = (float)(0.01 + fabs(normal()));
  if (packed_bytes(out, width, bits) > (long)sizeof packed) exit(2);
  pack(packed, numbers, groups, out, width, bits);
  rounded_linear(y, x, packed, scales, rows, out, width, bits, 0);
  for (long row = 0; row < rows; row++) {
    rounded_linear(one, x + row * width, packed, scales, 1, out, width, bits, 0);
    same("rounded", one, y + row * out, (size_t)out * 4);
    const long at = below(out);
    double sum = 0, allowed = 0, step = 0;
    for (long in = 0; in < width; in++) {
      if (in % 32 == 0) {
        step = 0;
        for (long other = in; other < in + 32 && other < width; other++) step = fmax(step, fabs(x[row * width + other]));
        step /= 32639;
      }
      const uint8_t number = numbers[at * width + in];
      const double scale = bits == 4 ? wide(groups[at * count + in / 32]) : scales[at];
      const double weight = (bits == 4 ? number - 8 : (int8_t)number) * scale;
      sum += x[row * width + in] * weight;
      allowed += fabs(weight) * (0.51 * step + 1e-6 * fabs(x[row * width + in])); /* rounding, and the sum in float32 */
    }
    near(bits == 4 ? "int4" : "int8", y[row * out + at], sum, allowed / (1 + fabs(sum)));
  }
}

static void attention(long rows, long dim) {
  static float query[MOST_ROWS * MOST_WIDTH], keys[SLOTS * MOST_WIDTH], values[SLOTS * MOST_WIDTH];
  static float out[MOST_ROWS * MOST_WIDTH], one[MOST_WIDTH], normalised[MOST_ROWS * MOST_WIDTH];
  const long last = rows + below(SLOTS - rows);
  for (long at = 0; at < rows * dim; at++) query[at] = (float)normal();
  for (long at = 0; at < SLOTS * dim; at++) keys[at] = (float)normal(), values[at] = (float)normal();
  if (attend(out, query, 0, 0, keys, values, rows, dim, 1, 1, dim, SLOTS, last - rows, SLOTS)) exit(2);
  norm(normalised, query, 0, 0, rows, dim, 1e-6f, 0, 0);
  for (long row = 0; row < rows; row++) {
    const long position = last - rows + row, lane = below(dim);
    if (attend(one, query + row * dim, 0, 0, keys, values, 1, dim, 1, 1, dim, SLOTS, position, SLOTS)) exit(2);
    same("attention", one, out + row * dim, (size_t)dim * 4);
    double sum = 0, mixed = 0, squares = 0;
    for (long slot = 0; slot <= position; slot++) {
      double score = 0;
      for (long in = 0; in < dim; in++) score += (double)query[row * dim + in] * keys[slot * dim + in];
      sum += exp(score), mixed += exp(score) * values[slot * dim + lane];
    }
    for (long in = 0; in < dim; in++) squares += (double)query[row * dim + in] * query[row * dim + in];
    near("attention", out[row * dim + lane], mixed / sum, 1e-4);
    near("norm", normalised[row * dim + lane], query[row * dim + lane] / sqrt(squares / dim + 1e-6), 1e-5);
  }
}

static void checksums(void) {
  static uint8_t data[5000];
  uint32_t sums[64], expected[64] = {0};
  const long bytes = 1 + below(sizeof data);
  for (long at = 0; at < bytes; at++) data[at] = (uint8_t)draw();
  for (long at = 0; at < bytes; at += 256)
    for (long sum = 0; sum < 64; sum++) {
      uint32_t number = 0;
      for (long byte = 0; byte < 4; byte++)
        if (at + 4 * sum + byte < bytes) number |= (uint32_t)data[at + 4 * sum + byte] << 8 * byte;
      expected[sum] = expected[sum] * 0x9e3779b1u + number;
    }
  checksum(sums, data, bytes);
  same("checksum", sums, expected, sizeof sums);
}

int main(int count, char **arguments) {
  const long wanted = count > 1 ? atol(arguments[1]) : 1000;
  if (self_check()) {
    printf("the self-check fails\n");
    return 1;
  }
  team_settings(2, -1);
  while (compared < wanted) {
    const long rows = 1 + below(MOST_ROWS), out = 1 + below(MOST_OUT), width = 1 + below(MOST_WIDTH);
    bfloat16_products(rows, out, width);
    float_products(rows, out, width);
    rounded_products(rows, out, (width + 31) / 32 * 32 <= MOST_WIDTH ? (width + 31) / 32 * 32 : 192, 4);
    rounded_products(rows, out, width, 8);
    attention(rows, width);
    checksums();
  }
  printf("%ld comparisons\n", compared);
  return 0;
}
