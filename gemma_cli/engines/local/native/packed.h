/* How weights of four or eight bits lie in memory: as quantized_linear.c reads them.

   LANES outputs lie side by side, of each 32 bits with four or eight inputs. They are numbers from 0 on, of which 8 or
   128 stands for nought, in groups of 32 inputs. */

#ifndef GEMMA_PACKED_H
#define GEMMA_PACKED_H

#include "vectors.h"

#define GROUP 32
#define QUADS (GROUP / 4)

/* Bytes of LANES outputs of one group: numbers, and for four bits their scales in bfloat16. */
INLINE long group_bytes(int bits) { return bits * (long)sizeof(vu) + (bits == 4 ? 2 * LANES : 0); }
INLINE long up_to(long count, long unit) { return (count + unit - 1) / unit; }

#endif
