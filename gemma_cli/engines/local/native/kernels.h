/* The kernels that pass.c and check.c call; each is described where it is defined. */

#ifndef GEMMA_KERNELS_H
#define GEMMA_KERNELS_H

#include <stdint.h>

void linear(uint16_t *y, const uint16_t *x, const uint16_t *const *weights, const long *outs, int parts, long rows,
            long width);
int panel_width(void);
void float_linear(float *y, const float *x, const float *packed, long rows, long out, long width);
void pack(uint8_t *to, const uint8_t *numbers_of, const uint16_t *scales, long out, long width, int bits);
int rounded_linear(void *y, const void *x, const uint8_t *packed, const float *scales, long rows, long out, long width,
                   int bits, int kind);
void norm(void *y, const void *x, const float *weight, const void *residual, long rows, long width, float eps, int kind,
          int to);
void gated(void *y, const void *gate, const void *up, long rows, long width, long gate_step, long up_step, int kind);
void soft_cap(float *y, const void *x, long count, float cap, int kind);
void turn(float *y, const void *x, const float *scale, const float *cos, const float *sin, long rows, long heads,
          long turned, long copied, long dim, float eps, int kind);
int attend(float *out, const float *query, const float *new_keys, const float *new_values, float *keys, float *values,
           long rows, long row_step, long heads, long kv_heads, long dim, long slots, long position, long window);

#endif
