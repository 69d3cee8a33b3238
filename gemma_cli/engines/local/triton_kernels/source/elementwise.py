"""What stands between linear layers: norms with their residuals, rotated heads stored where attention reads them, gated
activations. A program computes one row (or one head of a row) in float32, so a row's bits depend on that row alone.
"""

import triton
import triton.language as tl


@triton.jit
def _normal(x, width: tl.constexpr, eps):
    """x / rms(x); x: float32, 0 beyond `width`."""
    return x * (1.0 / tl.sqrt(tl.sum(x * x, 0) / width + eps))


@triton.jit
def gelu(x):
    """The tanh approximation of float32: 0.5 * (1 + tanh(z)) is 1 / (1 + exp(-2 * z))."""
    return x / (1.0 + tl.exp(-1.5957691216057308 * (x + 0.044715 * x * x * x)))


@triton.jit
def norm(x, weight, y, eps, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    """y = x / rms(x) * weight: x, y bfloat16 [rows, WIDTH], weight float32 [WIDTH]. Grid: (rows,)."""
    at = tl.program_id(0).to(tl.int64) * WIDTH
    i = tl.arange(0, BLOCK)
    inside = i < WIDTH
    row = tl.load(x + at + i, mask=inside, other=0.0).to(tl.float32)
    row = _normal(row, WIDTH, eps) * tl.load(weight + i, mask=inside, other=0.0)
    tl.store(y + at + i, row.to(tl.bfloat16), mask=inside)


@triton.jit
def add_norm(
    residual, x, weight, first, second, third, total, y, y2, y3, scalar, eps,
    WIDTH: tl.constexpr, BLOCK: tl.constexpr, NEXT: tl.constexpr,
):  # fmt: skip
    """total = bfloat16(residual + x / rms(x) * weight) * scalar, and y = total / rms(total) * first where NEXT is 1 or
    3; y2 and y3 by the other two weights where it is 3. All but the float32 weights are bfloat16 [rows, WIDTH]. Grid:
    (rows,)."""
    at = tl.program_id(0).to(tl.int64) * WIDTH
    i = tl.arange(0, BLOCK)
    inside = i < WIDTH
    row = tl.load(x + at + i, mask=inside, other=0.0).to(tl.float32)
    row = _normal(row, WIDTH, eps) * tl.load(weight + i, mask=inside, other=0.0)
    row += tl.load(residual + at + i, mask=inside, other=0.0).to(tl.float32)
    row = (row.to(tl.bfloat16).to(tl.float32) * scalar).to(tl.bfloat16)
    tl.store(total + at + i, row, mask=inside)
    if NEXT > 0:
        row = _normal(row.to(tl.float32), WIDTH, eps)
        tl.store(y + at + i, (row * tl.load(first + i, mask=inside, other=0.0)).to(tl.bfloat16), mask=inside)
    if NEXT == 3:
        tl.store(y2 + at + i, (row * tl.load(second + i, mask=inside, other=0.0)).to(tl.bfloat16), mask=inside)
        tl.store(y3 + at + i, (row * tl.load(third + i, mask=inside, other=0.0)).to(tl.bfloat16), mask=inside)


@triton.jit
def add_experts(
    parts, choice, dense, expert_weight, dense_weight, residual, weight, following, total, y, scalar, eps,
    WIDTH: tl.constexpr, BLOCK: tl.constexpr, TOP: tl.constexpr,
):  # fmt: skip
    """The end of a layer with experts, whose outputs are added to the dense network's and then to the residual:

    mixed = bfloat16(dense / rms * dense_weight) + sums / rms * expert_weight; total and y as add_norm has them of it.
    sums: of parts, float32 [rows * TOP, WIDTH], times choice, float32 [rows, TOP], in the order in which the router
    ranked them. Sums and mixed are rounded to bfloat16. Grid: (rows,).
    """
    row = tl.program_id(0)
    at = row.to(tl.int64) * WIDTH
    i = tl.arange(0, BLOCK)
    inside = i < WIDTH
    sums = tl.zeros((BLOCK,), tl.float32)
    for j in range(TOP):
        part = tl.load(parts + (row * TOP + j).to(tl.int64) * WIDTH + i, mask=inside, other=0.0)
        sums += tl.load(choice + row * TOP + j) * part
    sums = _normal(sums.to(tl.bfloat16).to(tl.float32), WIDTH, eps)
    sums *= tl.load(expert_weight + i, mask=inside, other=0.0)
    mixed = _normal(tl.load(dense + at + i, mask=inside, other=0.0).to(tl.float32), WIDTH, eps)
    mixed = (mixed * tl.load(dense_weight + i, mask=inside, other=0.0)).to(tl.bfloat16).to(tl.float32) + sums
    mixed = _normal(mixed.to(tl.bfloat16).to(tl.float32), WIDTH, eps) * tl.load(weight + i, mask=inside, other=0.0)
    mixed += tl.load(residual + at + i, mask=inside, other=0.0).to(tl.float32)
    added = (mixed.to(tl.bfloat16).to(tl.float32) * scalar).to(tl.bfloat16)
    tl.store(total + at + i, added, mask=inside)
    normal = _normal(added.to(tl.float32), WIDTH, eps) * tl.load(following + i, mask=inside, other=0.0)
    tl.store(y + at + i, normal.to(tl.bfloat16), mask=inside)


@triton.jit(do_not_specialize=["slots"], do_not_specialize_on_alignment=["start"])
def turn(
    product, scale, cos, sin, start, query, keys, values, eps, slots,
    HEADS: tl.constexpr, KEYS: tl.constexpr, APART: tl.constexpr, D: tl.constexpr,
):  # fmt: skip
    """Normalise, scale and rotate heads, and store keys and values at their slots.

    product: bfloat16 [rows, HEADS + KEYS (+ KEYS where APART), D]: queries, keys, and values where they are not the
    keys themselves. scale: float32 [HEADS + KEYS, D]; values have none. cos, sin: float32 [rows, D], the first half of
    sin negated. start: int64 [1], the position of the first row. query: bfloat16 [rows, HEADS, D]; keys, values:
    bfloat16 [KEYS, slots, D], position p at slot p % slots. Grid: (rows, heads of the product).
    """
    row = tl.program_id(0)
    head = tl.program_id(1)
    d = tl.arange(0, D)
    partner = (d + D // 2) % D
    at = product + (row.to(tl.int64) * tl.num_programs(1) + head) * D
    x = tl.load(at + d).to(tl.float32)
    factor = 1.0 / tl.sqrt(tl.sum(x * x, 0) / D + eps)
    slot = (tl.load(start) + row) % slots
    if head < HEADS + KEYS:
        own = x * factor * tl.load(scale + head * D + d)
        other = tl.load(at + partner).to(tl.float32) * factor * tl.load(scale + head * D + partner)
        turned = own * tl.load(cos + row * D + d) + other * tl.load(sin + row * D + d)
        if head < HEADS:
            tl.store(query + (row * HEADS + head) * D + d, turned.to(tl.bfloat16))
        else:
            stored = ((head - HEADS) * slots + slot) * D + d
            tl.store(keys + stored, turned.to(tl.bfloat16))
            if not APART:
                tl.store(values + stored, (x * factor).to(tl.bfloat16))
    else:
        stored = ((head - HEADS - KEYS) * slots + slot) * D + d
        tl.store(values + stored, (x * factor).to(tl.bfloat16))


@triton.jit(do_not_specialize_on_alignment=["start"])
def rotation(start, frequencies, cos, sin, factor, HALF: tl.constexpr, BLOCK: tl.constexpr):
    """cos, sin: float32 [rows, 2 * HALF], of positions from `start`, int64 [1], on, as model/layers/rope.py has them;
    frequencies: float32 [HALF]. Grid: (rows,)."""
    row = tl.program_id(0)
    i = tl.arange(0, BLOCK)
    inside = i < HALF
    # The angle is a float32 product, its sine and cosine are rounded from float64.
    angle = (tl.load(start) + row).to(tl.float32) * tl.load(frequencies + i, mask=inside, other=0.0)
    c = tl.cos(angle.to(tl.float64)).to(tl.float32) * factor
    s = tl.sin(angle.to(tl.float64)).to(tl.float32) * factor
    at = row * 2 * HALF + i
    tl.store(cos + at, c, mask=inside)
    tl.store(cos + at + HALF, c, mask=inside)
    tl.store(sin + at, -s, mask=inside)
    tl.store(sin + at + HALF, s, mask=inside)


@triton.jit
def soft_cap(x, y, cap, count, BLOCK: tl.constexpr):
    """y = cap * tanh(x / cap): x bfloat16, y float32, [count]. Grid: (ceil(count / BLOCK),)."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = i < count
    bent = tl.load(x + i, mask=inside, other=0.0).to(tl.float32) / cap
    square = bent * bent
    near = bent * (1.0 - square * (0.33333333333 - square * 0.13333333333))  # where the other loses digits
    tanh = tl.where(square < 0.0025, near, 1.0 - 2.0 / (1.0 + tl.exp(2.0 * bent)))
    tl.store(y + i, cap * tanh, mask=inside)
