"""Linear layers of a few rows, with weights in 16, 8 or 4 bits: y = x @ weight.T, x and y bfloat16, sums in float32.

A program computes BN outputs of 16 rows over one part of the inner dimension. The tile always has 16 rows, those beyond
`rows` masked, so the bits of a row depend neither on the number of rows nor on its place. Grid: (output tiles, SPLIT,
blocks of 16 rows). EVEN: tiles and parts divide the weight, so that nothing but rows is masked.
"""

import triton
import triton.language as tl

from gemma_cli.engines.local.triton_kernels.source.elementwise import gelu

PLAIN: tl.constexpr = tl.constexpr(0)
PAIRS: tl.constexpr = tl.constexpr(1)
TIMES: tl.constexpr = tl.constexpr(2)
"""What is done with the sums: nothing; gelu(gate) * up of the two halves of the weight's outputs; gelu times `up`."""


@triton.jit
def _four_bits(
    x, words, scales, r, n, real, known, out, width, part_width, BN: tl.constexpr, EVEN: tl.constexpr
):  # fmt: skip
    """Sums [16, BN] with words uint16 [out, blocks * 32] and scales bfloat16 [blocks * 4, out], as layout.pack has
    them: nibble j of word i of a block of 128 inputs is input 32 * j + i, so a plane of nibbles is one group.

    0x4300 | v is the bfloat16 128 + v, so a number is one operation and one subtraction away, exactly. A scale
    multiplies the sum of its group, in float32.
    """
    first = tl.program_id(1) * part_width
    k = first + tl.arange(0, 32)
    row_words = (width + 127) // 128 * 32
    x_at = x + r[:, None].to(tl.int64) * width + k[None, :]
    word = first // 4 + tl.arange(0, 32)
    word_at = words + n[None, :].to(tl.int64) * row_words + word[:, None]
    scale_at = scales + (first // 32).to(tl.int64) * out + n
    sums = tl.zeros((16, BN), tl.float32)
    for i in range(0, part_width, 128):
        if EVEN:
            q = tl.load(word_at + i // 4, eviction_policy="evict_first")
        else:
            there = (word + i // 4 < row_words)[:, None] & known[None, :]
            q = tl.load(word_at + i // 4, mask=there, other=0, eviction_policy="evict_first")
        for j in tl.static_range(4):
            if EVEN:
                a = tl.load(x_at + i + 32 * j, mask=real, other=0.0)
                scale = tl.load(scale_at + (i // 32 + j) * out)
            else:
                inside = k + i + 32 * j < width
                a = tl.load(x_at + i + 32 * j, mask=real & inside[None, :], other=0.0)
                there = known & (first + i + 32 * j < width)
                scale = tl.load(scale_at + (i // 32 + j) * out, mask=there, other=0.0)
            number = (((q >> (4 * j)) & 15) | 0x4300).to(tl.bfloat16, bitcast=True) - 136.0
            sums += tl.dot(a, number.to(tl.bfloat16)) * scale.to(tl.float32)[None, :]
    return sums


@triton.jit
def _sums(
    x, weight, scale, r, n, real, known, width, part_width,
    BITS: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, EVEN: tl.constexpr,
):  # fmt: skip
    """Sums [16, BN] with a weight of 16 or 8 bits. Whole numbers of 8 bits are exact in bfloat16."""
    k = tl.program_id(1) * part_width + tl.arange(0, BK)
    x_at = x + r[:, None].to(tl.int64) * width + k[None, :]
    weight_at = weight + n[None, :].to(tl.int64) * width + k[:, None]
    sums = tl.zeros((16, BN), tl.float32)
    for i in range(0, part_width, BK):
        if EVEN:
            a = tl.load(x_at + i, mask=real, other=0.0)
            b = tl.load(weight_at + i, eviction_policy="evict_first")
        else:
            inside = k + i < width
            a = tl.load(x_at + i, mask=real & inside[None, :], other=0.0)
            b = tl.load(weight_at + i, mask=inside[:, None] & known[None, :], other=0, eviction_policy="evict_first")
        sums = tl.dot(a, b.to(tl.bfloat16), sums)
    if BITS == 8:
        if EVEN:
            sums *= tl.load(scale + n)[None, :]
        else:
            sums *= tl.load(scale + n, mask=known, other=0.0)[None, :]
    return sums


@triton.jit
def _store(sums, up, y, r, real, out, up_stride, BN: tl.constexpr, EVEN: tl.constexpr, END: tl.constexpr):
    """Store the results of sums [16, BN] to y, bfloat16 [rows, out]; see PLAIN. up: bfloat16, rows up_stride apart."""
    if END == PAIRS:
        gate, other = tl.split(tl.reshape(sums, (16, BN // 2, 2)))
        n = tl.program_id(0) * (BN // 2) + tl.arange(0, BN // 2)
        result = gelu(gate) * other
    else:
        n = tl.program_id(0) * BN + tl.arange(0, BN)
        result = sums
    there = real
    if not EVEN:
        there = real & (n < out)[None, :]
    if END == TIMES:
        factor = tl.load(up + r[:, None].to(tl.int64) * up_stride + n[None, :], mask=there, other=0.0)
        result = gelu(sums) * factor.to(tl.float32)
    tl.store(y + r[:, None].to(tl.int64) * out + n[None, :], result.to(tl.bfloat16), mask=there)


@triton.jit(do_not_specialize=["rows", "up_stride"], do_not_specialize_on_alignment=["up"])
def linear(
    x, weight, scale, up, y, parts, arrived, rows, out, width, part_width, up_stride,
    BITS: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, SPLIT: tl.constexpr, EVEN: tl.constexpr, END: tl.constexpr,
):  # fmt: skip
    """weight and scale: by BITS, 16: bfloat16 [outputs, width], unused; 8: int8 [outputs, width], float32 [outputs]; 4:
    as layout.pack has them. outputs: `out`, of which y has as many, or for PAIRS twice as many, the gates first.
    part_width: inputs of a part, a multiple of BK.

    Of SPLIT parts, float32 [SPLIT, rows, outputs], the last program to arrive adds all, always in the same order.
    arrived: int32 [row blocks, output tiles], all 0 before and after.
    """
    column = tl.arange(0, BN)
    r = tl.program_id(2) * 16 + tl.arange(0, 16)
    real = (r < rows)[:, None]
    outputs = out
    if END == PAIRS:
        # A gate and its up are neighbouring columns, so that splitting them moves nothing between threads.
        unit = tl.program_id(0) * (BN // 2) + column // 2
        n = unit + column % 2 * out
        outputs = 2 * out
    else:
        unit = tl.program_id(0) * BN + column
        n = unit
    known = unit < out
    if BITS == 4:
        sums = _four_bits(x, weight, scale, r, n, real, known, outputs, width, part_width, BN, EVEN)
    else:
        sums = _sums(x, weight, scale, r, n, real, known, width, part_width, BITS, BN, BK, EVEN)
    if SPLIT == 1:
        _store(sums, up, y, r, real, out, up_stride, BN, EVEN, END)
    else:
        at = r[:, None].to(tl.int64) * outputs + n[None, :]
        there = real
        if not EVEN:
            there = real & known[None, :]
        size = rows.to(tl.int64) * outputs
        tl.store(parts + tl.program_id(1) * size + at, sums, mask=there)
        tl.debug_barrier()  # every thread's part is written before one thread of the program counts it
        counter = arrived + tl.program_id(2) * tl.num_programs(0) + tl.program_id(0)
        before = tl.atomic_add(counter, 1, sem="acq_rel")
        if before == SPLIT - 1:
            total = tl.zeros((16, BN), tl.float32)
            for part in range(SPLIT):  # .cg: from L2, where the other programs' parts are
                total += tl.load(parts + part * size + at, mask=there, other=0.0, cache_modifier=".cg")
            _store(total, up, y, r, real, out, up_stride, BN, EVEN, END)
            tl.store(counter, 0)
