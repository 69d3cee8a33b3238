/* The layout of weights of four or eight bits, in the order in which quantized_linear.c reads them: groups of 32 inputs,
   LANES adjacent outputs, 32 bits of each with four or eight inputs. Weights are unsigned; 8 or 128 stands for zero. */

#ifndef GEMMA_PACKED_H
#define GEMMA_PACKED_H

#include "vectors.h"

#define GROUP 32
#define QUADS (GROUP / 4)

/* Bytes of LANES outputs of one group: numbers, and for four bits their scales in bfloat16. */
INLINE long group_bytes(int bits) { return bits * (long)sizeof(vu) + (bits == 4 ? 2 * LANES : 0); }

#endif
