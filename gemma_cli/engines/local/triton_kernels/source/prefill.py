"""Attention of a chunk of a prompt, in blocks of keys: no score is ever stored, so its memory does not grow with the
context.

A row sees keys up to its own position, of a ring only the last WINDOW of them; and with BOTH_WAYS rows that belong to
the same image of the chunk see each other, within the window ("sliding") or beyond it ("everywhere").
"""

import triton
import triton.language as tl

CAUSAL: tl.constexpr = tl.constexpr(0)
SLIDING: tl.constexpr = tl.constexpr(1)
EVERYWHERE: tl.constexpr = tl.constexpr(2)


@triton.jit(do_not_specialize=["rows", "first", "oldest"])
def attend_chunk(
    query, keys, values, images, result, rows, heads, first, oldest, slots,
    GROUP: tl.constexpr, D: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
    WINDOW: tl.constexpr, BOTH_WAYS: tl.constexpr,
):  # fmt: skip
    """query, result: bfloat16 [rows, heads, D], rows at positions from `first` on; keys, values: bfloat16 [heads /
    GROUP, slots, D], of positions from `oldest` to the last row's; images: int32 [rows], -1 or the image a row belongs
    to, read where BOTH_WAYS is not CAUSAL. WINDOW: 0 for none. Grid: (ceil(rows / BM), heads)."""
    block = tl.program_id(0)
    head = tl.program_id(1)
    r = block * BM + tl.arange(0, BM)
    real = r < rows
    position = first + r
    d = tl.arange(0, D)
    q = tl.load(query + (r[:, None] * heads + head) * D + d[None, :], mask=real[:, None], other=0.0)
    last = first + rows - oldest  # keys in all
    low = 0
    if WINDOW > 0:
        low = tl.maximum(first + block * BM - WINDOW + 1 - oldest, 0)
        if BOTH_WAYS == EVERYWHERE:
            low = tl.minimum(low, first - oldest)
        low = low // BN * BN
    high = last
    if BOTH_WAYS == CAUSAL:
        high = tl.minimum(last, first + (block + 1) * BM - oldest)
    else:
        own = tl.load(images + r, mask=real, other=-1)
    best = tl.full((BM,), float("-inf"), tl.float32)
    total = tl.zeros((BM,), tl.float32)
    sums = tl.zeros((BM, D), tl.float32)
    base = (head // GROUP).to(tl.int64) * slots * D
    for j in range(low, high, BN):
        n = j + tl.arange(0, BN)
        there = n < last
        at = base + n.to(tl.int64) * D
        k = tl.load(keys + at[None, :] + d[:, None], mask=there[None, :], other=0.0)
        score = tl.dot(q, k)
        key_position = (oldest + n)[None, :]
        seen = key_position <= position[:, None]
        if BOTH_WAYS != CAUSAL:
            mate = tl.load(images + oldest + n - first, mask=there & (oldest + n >= first), other=-1)
            together = (own[:, None] == mate[None, :]) & (own >= 0)[:, None]
        if BOTH_WAYS == SLIDING:
            seen = seen | together
        if WINDOW > 0:
            seen = seen & (key_position > position[:, None] - WINDOW)
        if BOTH_WAYS == EVERYWHERE:
            seen = seen | together
        score = tl.where(seen & there[None, :], score, float("-inf"))
        higher = tl.maximum(best, tl.max(score, 1))
        finite = tl.where(higher == float("-inf"), 0.0, higher)
        p = tl.exp(score - finite[:, None])
        fade = tl.exp(best - finite)
        total = total * fade + tl.sum(p, 1)
        v = tl.load(values + at[:, None] + d[None, :], mask=there[:, None], other=0.0)
        sums = tl.dot(p.to(tl.bfloat16), v, sums * fade[:, None])
        best = higher
    at = (r[:, None] * heads + head) * D + d[None, :]
    tl.store(result + at, (sums / total[:, None]).to(tl.bfloat16), mask=real[:, None])
