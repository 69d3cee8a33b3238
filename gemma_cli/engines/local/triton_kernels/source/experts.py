"""A mixture of experts for a few rows, without a sort and without asking the host.

An expert appears at most once among the choices of a row, so the rows of a tile are the rows themselves and nothing is
gathered. The grid has a slot for every expert that the rows can choose at most; those beyond the chosen ones end after
one load, and the weights of experts that nobody chose are not read.

    route          the best TOP experts of every row, their weights, and the list of distinct experts
    expert_up      gelu(gate) * up of every (row, choice)
    expert_down    the second linear layer of every (row, choice), float32

elementwise.add_experts adds a row's choices.
"""

import triton
import triton.language as tl

from gemma_cli.engines.local.triton_kernels.source.elementwise import gelu


@triton.jit(do_not_specialize_on_alignment=["real"])
def route(
    logits, per_expert, real, index, weight, chosen, count, arrived,
    E: tl.constexpr, TOP: tl.constexpr, PAIRS: tl.constexpr,
):  # fmt: skip
    """logits: bfloat16 [rows, E]; per_expert: float32 [E]; real: int64 [1], rows from there on choose what the row
    before them does, for reading more experts is what would cost time.

    Stores index int32 [rows, TOP], of equals the lowest first, and weight float32 [rows, TOP]; and from the last
    program to arrive chosen int32 [slots], rising, and count int32 [1]. arrived: int32 [1], 0 before and after. PAIRS:
    a power of two, at least rows * TOP. Grid: (rows,).
    """
    row = tl.program_id(0)
    source = tl.minimum(row, tl.load(real) - 1).to(tl.int32)
    e = tl.arange(0, E)
    place = tl.arange(0, TOP)
    score = tl.load(logits + source * E + e).to(tl.float32)
    score = tl.exp(score - tl.max(score, 0))
    left = score / tl.sum(score, 0)
    ids = tl.zeros((TOP,), tl.int32)
    weights = tl.zeros((TOP,), tl.float32)
    for j in tl.static_range(TOP):
        best = tl.max(left, 0)
        first = tl.min(tl.where((left == best) & (left >= 0), e, E), 0)
        # Where scores are not numbers none equals the best. Any will do that is not among the row's choices yet, for
        # the weights are not numbers either.
        first = tl.where(first == E, E - 1 - j, first)
        ids = tl.where(place == j, first, ids)
        weights = tl.where(place == j, best, weights)
        left = tl.where(e == first, -1.0, left)
    weights = weights / tl.sum(weights, 0) * tl.load(per_expert + ids)
    tl.store(index + row * TOP + place, ids)
    tl.store(weight + row * TOP + place, weights)
    tl.debug_barrier()
    rows = tl.num_programs(0)
    if tl.atomic_add(arrived, 1, sem="acq_rel") == rows - 1:
        pair = tl.arange(0, PAIRS)
        asked = tl.load(index + pair, mask=pair < rows * TOP, other=-1, cache_modifier=".cg")
        used = tl.max((asked[:, None] == e[None, :]).to(tl.int32), 0)
        tl.store(chosen + tl.cumsum(used, 0) - 1, e, mask=used > 0)
        tl.store(count, tl.sum(used, 0))
        tl.store(arrived, 0)


@triton.jit
def _rows_of(index, expert, rows, TOP: tl.constexpr):
    """Which of the 16 rows of this block chose the expert, and the number of the (row, choice) pair."""
    r = tl.program_id(2) * 16 + tl.arange(0, 16)
    j = tl.arange(0, TOP)
    ids = tl.load(index + r[:, None] * TOP + j[None, :], mask=(r < rows)[:, None], other=-1)
    mine = (ids == expert).to(tl.int32)
    return tl.max(mine, 1) > 0, r * TOP + tl.sum(mine * j[None, :], 1), r


@triton.jit
def _product(x_row, there, weight, scale, n, known, out, K: tl.constexpr, BK: tl.constexpr, BITS: tl.constexpr):
    """Sums float32 [rows, len(n)] of x_row[r, k] * weight[n, k], as linear.py has them.

    x_row: pointers to rows of K, read where `there`; weight, scale: of one expert with `out` outputs; known: which of n
    are outputs.
    """
    sums = tl.zeros((x_row.shape[0], n.shape[0]), tl.float32)
    if BITS == 4:
        k = tl.arange(0, 32)
        blocks: tl.constexpr = (K + 127) // 128
        word_at = weight + n[None, :].to(tl.int64) * (blocks * 32) + k[:, None]
        for block in range(0, blocks):
            q = tl.load(word_at + block * 32, mask=known[None, :], other=0, eviction_policy="evict_first")
            for j in tl.static_range(4):
                i = block * 128 + 32 * j
                inside = k + i < K
                a = tl.load(x_row[:, None] + i + k[None, :], mask=there[:, None] & inside[None, :], other=0.0)
                group = tl.load(scale + (block * 4 + j) * out + n, mask=known, other=0.0).to(tl.float32)
                number = (((q >> (4 * j)) & 15) | 0x4300).to(tl.bfloat16, bitcast=True) - 136.0
                sums += tl.dot(a, number.to(tl.bfloat16)) * group[None, :]
    else:
        k = tl.arange(0, BK)
        weight_at = weight + n[None, :].to(tl.int64) * K + k[:, None]
        for i in range(0, K, BK):
            inside = k + i < K
            a = tl.load(x_row[:, None] + i + k[None, :], mask=there[:, None] & inside[None, :], other=0.0)
            b = tl.load(weight_at + i, mask=inside[:, None] & known[None, :], other=0, eviction_policy="evict_first")
            sums = tl.dot(a, b.to(tl.bfloat16), sums)
        if BITS == 8:
            sums *= tl.load(scale + n, mask=known, other=0.0)[None, :]
    return sums


@triton.jit
def _up(
    x_row, there, pair, expert, tile, weight, scale, hidden,
    N: tl.constexpr, K: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, BITS: tl.constexpr,
):  # fmt: skip
    """Store gelu(gate) * up of some rows of one expert: BN units of pairs to hidden, bfloat16 [pairs, N]."""
    # A gate and its up are neighbouring columns, so that splitting them moves nothing between threads.
    column = tl.arange(0, 2 * BN)
    unit = tile * BN + column // 2
    stored: tl.constexpr = (K + 127) // 128 * 32 if BITS == 4 else K
    scales: tl.constexpr = (K + 127) // 128 * 4 if BITS == 4 else 1
    sums = _product(
        x_row, there, weight + expert.to(tl.int64) * (2 * N * stored), scale + expert.to(tl.int64) * (2 * N * scales),
        unit + column % 2 * N, unit < N, 2 * N, K, BK, BITS,
    )  # fmt: skip
    gate, up = tl.split(tl.reshape(sums, (x_row.shape[0], BN, 2)))
    n = tile * BN + tl.arange(0, BN)
    known = there[:, None] & (n < N)[None, :]
    tl.store(hidden + pair[:, None].to(tl.int64) * N + n[None, :], (gelu(gate) * up).to(tl.bfloat16), mask=known)


@triton.jit
def _down(
    x_row, there, pair, expert, tile, weight, scale, result,
    N: tl.constexpr, K: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, BITS: tl.constexpr,
):  # fmt: skip
    """Store BN outputs of some rows of one expert to result, float32 [pairs, N]."""
    n = tile * BN + tl.arange(0, BN)
    stored: tl.constexpr = (K + 127) // 128 * 32 if BITS == 4 else K
    scales: tl.constexpr = (K + 127) // 128 * 4 if BITS == 4 else 1
    sums = _product(
        x_row, there, weight + expert.to(tl.int64) * (N * stored), scale + expert.to(tl.int64) * (N * scales),
        n, n < N, N, K, BK, BITS,
    )  # fmt: skip
    tl.store(result + pair[:, None].to(tl.int64) * N + n[None, :], sums, mask=there[:, None] & (n < N)[None, :])


@triton.jit(do_not_specialize=["rows"])
def expert_up(
    x, weight, scale, index, chosen, count, hidden, rows,
    N: tl.constexpr, K: tl.constexpr, TOP: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, BITS: tl.constexpr,
):  # fmt: skip
    """x: bfloat16 [rows, K]; weight: [E, 2 * N, K], the N gates first; scale as in linear.py, [E, ..]; hidden:
    bfloat16 [rows * TOP, N]. Grid: (slots, ceil(N / BN), blocks of 16 rows)."""
    slot = tl.program_id(0)
    if slot >= tl.load(count):
        return
    expert = tl.load(chosen + slot)
    asked, pair, row = _rows_of(index, expert, rows, TOP)
    x_row = x + row.to(tl.int64) * K
    _up(x_row, asked, pair, expert, tl.program_id(1), weight, scale, hidden, N, K, BN, BK, BITS)


@triton.jit(do_not_specialize=["rows"])
def expert_down(
    hidden, weight, scale, index, chosen, count, result, rows,
    N: tl.constexpr, K: tl.constexpr, TOP: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, BITS: tl.constexpr,
):  # fmt: skip
    """hidden: bfloat16 [rows * TOP, K]; weight: [E, N, K]; result: float32 [rows * TOP, N]. Grid: (slots, ceil(N / BN),
    blocks of 16 rows)."""
    slot = tl.program_id(0)
    if slot >= tl.load(count):
        return
    expert = tl.load(chosen + slot)
    asked, pair, _ = _rows_of(index, expert, rows, TOP)
    x_row = hidden + pair.to(tl.int64) * K
    _down(x_row, asked, pair, expert, tl.program_id(1), weight, scale, result, N, K, BN, BK, BITS)
