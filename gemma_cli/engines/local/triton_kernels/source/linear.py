"""Linear layers of a few rows: y = x @ weight.T, x and y bfloat16, sums in float32.

A program computes BN outputs of 16 rows over one part of the inner dimension. The tile always has 16 rows, those beyond
`rows` masked, so the bits of a row depend neither on the number of rows nor on its place. Grid: (output tiles, SPLIT,
blocks of 16 rows). EVEN: tiles and parts divide the weight, so that nothing but rows is masked.
"""

import triton
import triton.language as tl


@triton.jit
def _finish(sums, y, parts, arrived, rows, out, BN: tl.constexpr, SPLIT: tl.constexpr, EVEN: tl.constexpr):
    """Store sums [16, BN] to y; of SPLIT parts, the last one to arrive adds all of them, always in the same order.

    parts: float32 [SPLIT, rows, out]. arrived: int32 [row blocks, output tiles], all 0 before and after.
    """
    n = tl.program_id(0) * BN + tl.arange(0, BN)
    r = tl.program_id(2) * 16 + tl.arange(0, 16)
    at = r[:, None].to(tl.int64) * out + n[None, :]
    there = (r < rows)[:, None]
    if not EVEN:
        there = there & (n < out)[None, :]
    if SPLIT == 1:
        tl.store(y + at, sums.to(tl.bfloat16), mask=there)
    else:
        size = rows.to(tl.int64) * out
        tl.store(parts + tl.program_id(1) * size + at, sums, mask=there)
        tl.debug_barrier()  # every thread's part is written before one thread of the program counts it
        counter = arrived + tl.program_id(2) * tl.num_programs(0) + tl.program_id(0)
        before = tl.atomic_add(counter, 1, sem="acq_rel")
        if before == SPLIT - 1:
            total = tl.zeros((16, BN), tl.float32)
            for part in range(SPLIT):  # .cg: from L2, where the other programs' parts are
                total += tl.load(parts + part * size + at, mask=there, other=0.0, cache_modifier=".cg")
            tl.store(y + at, total.to(tl.bfloat16), mask=there)
            tl.store(counter, 0)


@triton.jit(do_not_specialize=["rows"])
def linear_bfloat16(
    x, weight, y, parts, arrived, rows, out, width, part_width,
    BN: tl.constexpr, BK: tl.constexpr, SPLIT: tl.constexpr, EVEN: tl.constexpr,
):  # fmt: skip
    """weight: bfloat16 [out, width]. part_width: inputs of a part, a multiple of BK."""
    n = tl.program_id(0) * BN + tl.arange(0, BN)
    r = tl.program_id(2) * 16 + tl.arange(0, 16)
    k = tl.program_id(1) * part_width + tl.arange(0, BK)
    real = (r < rows)[:, None]
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
            known = inside[:, None] & (n < out)[None, :]
            b = tl.load(weight_at + i, mask=known, other=0.0, eviction_policy="evict_first")
        sums = tl.dot(a, b, sums)
    _finish(sums, y, parts, arrived, rows, out, BN, SPLIT, EVEN)


@triton.jit(do_not_specialize=["rows"])
def linear_int8(
    x, weight, scale, y, parts, arrived, rows, out, width, part_width,
    BN: tl.constexpr, BK: tl.constexpr, SPLIT: tl.constexpr, EVEN: tl.constexpr,
):  # fmt: skip
    """weight: int8 [out, width], times scale, float32 [out]. Whole numbers of 8 bits are exact in bfloat16."""
    n = tl.program_id(0) * BN + tl.arange(0, BN)
    r = tl.program_id(2) * 16 + tl.arange(0, 16)
    k = tl.program_id(1) * part_width + tl.arange(0, BK)
    real = (r < rows)[:, None]
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
            known = inside[:, None] & (n < out)[None, :]
            b = tl.load(weight_at + i, mask=known, other=0, eviction_policy="evict_first")
        sums = tl.dot(a, b.to(tl.bfloat16), sums)
    if EVEN:
        sums *= tl.load(scale + n)[None, :]
    else:
        sums *= tl.load(scale + n, mask=n < out, other=0.0)[None, :]
    _finish(sums, y, parts, arrived, rows, out, BN, SPLIT, EVEN)


@triton.jit(do_not_specialize=["rows"])
def linear_int4(
    x, words, scales, y, parts, arrived, rows, out, width, part_width,
    BN: tl.constexpr, SPLIT: tl.constexpr, EVEN: tl.constexpr,
):  # fmt: skip
    """words: uint16 [out, blocks * 32], as layout.pack packs them: nibble j of word i of a block of 128 inputs
    is input 32 * j + i, so a plane of nibbles is one group. scales: bfloat16 [blocks * 4, out].

    0x4300 | v is the bfloat16 128 + v, so a number is one operation and one subtraction away, exactly. A scale
    multiplies the sum of its group, in float32.
    """
    n = tl.program_id(0) * BN + tl.arange(0, BN)
    r = tl.program_id(2) * 16 + tl.arange(0, 16)
    k = tl.program_id(1) * part_width + tl.arange(0, 32)
    real = (r < rows)[:, None]
    row_words = (width + 127) // 128 * 32
    x_at = x + r[:, None].to(tl.int64) * width + k[None, :]
    word = tl.program_id(1) * (part_width // 4) + tl.arange(0, 32)
    word_at = words + n[None, :].to(tl.int64) * row_words + word[:, None]
    scale_at = scales + (tl.program_id(1) * (part_width // 32)).to(tl.int64) * out + n
    sums = tl.zeros((16, BN), tl.float32)
    for i in range(0, part_width, 128):
        if EVEN:
            q = tl.load(word_at + i // 4, eviction_policy="evict_first")
        else:
            known = (word + i // 4 < row_words)[:, None] & (n < out)[None, :]
            q = tl.load(word_at + i // 4, mask=known, other=0, eviction_policy="evict_first")
        for j in tl.static_range(4):
            if EVEN:
                a = tl.load(x_at + i + 32 * j, mask=real, other=0.0)
                scale = tl.load(scale_at + (i // 32 + j) * out)
            else:
                inside = k + i + 32 * j < width
                a = tl.load(x_at + i + 32 * j, mask=real & inside[None, :], other=0.0)
                known = (n < out) & (tl.program_id(1) * part_width + i + 32 * j < width)
                scale = tl.load(scale_at + (i // 32 + j) * out, mask=known, other=0.0)
            number = (((q >> (4 * j)) & 15) | 0x4300).to(tl.bfloat16, bitcast=True) - 136.0
            sums += tl.dot(a, number.to(tl.bfloat16)) * scale.to(tl.float32)[None, :]
    _finish(sums, y, parts, arrived, rows, out, BN, SPLIT, EVEN)
