"""Attention of a few rows over cached keys and values, in parts that begin at absolute slots.

`attend_part` computes one part of the slots for one key head and M (row, query head) pairs; `attend_sum` adds a row's
parts in their order. Parts begin at slots 0, 256, 512 .. 8192, 9216, 10240 .. whatever the capacity, and a full layer's
row takes the parts up to its own position. So a row's bits depend on its position and the keys it sees, not on the
capacity of the cache or on other rows, and one recorded graph serves every length. `start`, the position of the first
row, is in memory of the device.

A row sees slot s of a full layer (WINDOW 0) where s <= position, and slot s of a ring where its distance
(position - s) % slots is less than the window and not more than the position.
"""

import triton
import triton.language as tl

SHORT: tl.constexpr = tl.constexpr(256)
"""Slots of each of the first MANY parts; growing parts keep the float32 sums of a long context small."""
LONG: tl.constexpr = tl.constexpr(1024)
MANY: tl.constexpr = tl.constexpr(32)


@triton.jit(do_not_specialize=["rows"], do_not_specialize_on_alignment=["start"])
def attend_part(
    query, keys, values, start, most, weight, mixed, rows, heads, slots,
    GROUP: tl.constexpr, D: tl.constexpr, M: tl.constexpr, BN: tl.constexpr, WINDOW: tl.constexpr,
):  # fmt: skip
    """query: bfloat16 [rows, heads, D]; keys, values: bfloat16 [heads / GROUP, slots, D].

    Stores of every part the greatest score and the sum of the weights, float32 [parts, rows, heads], and the weighted
    sum of the values, float32 [parts, rows, heads, D]. Grid: (parts, key heads, ceil(rows * GROUP / M)).
    """
    part = tl.program_id(0)
    key_head = tl.program_id(1)
    pair = tl.program_id(2) * M + tl.arange(0, M)
    row = pair // GROUP
    head = key_head * GROUP + pair % GROUP
    first = tl.load(start)
    position = first + row
    real = row < rows
    if part < MANY:
        begin = part * SHORT
        length = SHORT
    else:
        begin = MANY * SHORT + (part - MANY) * LONG
        length = LONG
    if WINDOW == 0:  # noqa: SIM102 - known when compiled
        if begin > first + rows - 1:
            return
    d = tl.arange(0, D)
    q = tl.load(query + (row[:, None] * heads + head[:, None]) * D + d[None, :], mask=real[:, None], other=0.0)
    best = tl.full((M,), float("-inf"), tl.float32)
    total = tl.zeros((M,), tl.float32)
    sums = tl.zeros((M, D), tl.float32)
    base = key_head.to(tl.int64) * slots * D
    for j in range(0, length, BN):
        slot = begin + j + tl.arange(0, BN)
        there = slot < slots
        at = base + slot.to(tl.int64) * D
        k = tl.load(keys + at[None, :] + d[:, None], mask=there[None, :], other=0.0)
        score = tl.dot(q, k)
        if WINDOW == 0:
            seen = slot[None, :] <= position[:, None]
        else:
            distance = (position[:, None] - slot[None, :] + slots) % slots  # slots first: % has the sign of C's
            seen = (distance < WINDOW) & (distance <= position[:, None])
        score = tl.where(seen & there[None, :], score, float("-inf"))
        higher = tl.maximum(best, tl.max(score, 1))
        finite = tl.where(higher == float("-inf"), 0.0, higher)
        p = tl.exp(score - finite[:, None])
        fade = tl.exp(best - finite)
        total = total * fade + tl.sum(p, 1)
        v = tl.load(values + at[:, None] + d[None, :], mask=there[:, None], other=0.0)
        sums = tl.dot(p.to(tl.bfloat16), v, sums * fade[:, None])
        best = higher
    at = (part * rows + row) * heads + head
    tl.store(most + at, best, mask=real)
    tl.store(weight + at, total, mask=real)
    tl.store(mixed + at[:, None] * D + d[None, :], sums, mask=real[:, None])


@triton.jit(do_not_specialize=["rows", "parts"], do_not_specialize_on_alignment=["start"])
def attend_sum(
    most, weight, mixed, start, result, rows, heads, parts, D: tl.constexpr, WINDOW: tl.constexpr
):  # fmt: skip
    """Add the parts of a row and head to result, bfloat16 [rows, heads, D]. Grid: (heads, rows)."""
    head = tl.program_id(0)
    row = tl.program_id(1)
    d = tl.arange(0, D)
    count = parts
    if WINDOW == 0:
        position = (tl.load(start) + row).to(tl.int32)
        count = position // SHORT + 1
        if position >= MANY * SHORT:
            count = MANY + (position - MANY * SHORT) // LONG + 1
    best = float("-inf")
    for part in range(0, count):
        best = tl.maximum(best, tl.load(most + (part * rows + row) * heads + head))
    total = 0.0
    sums = tl.zeros((D,), tl.float32)
    for part in range(0, count):
        at = (part * rows + row) * heads + head
        share = tl.exp(tl.load(most + at) - best)
        total += share * tl.load(weight + at)
        sums += share * tl.load(mixed + at * D + d)
    tl.store(result + (row * heads + head) * D + d, (sums / total).to(tl.bfloat16))
