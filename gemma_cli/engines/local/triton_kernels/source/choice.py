"""The choice of a token on the device: the same as decoding/sampling.py's, where a limited number of the best logits
take part.

`best_of_blocks` finds the best of every block of columns, `best_of_keys` the best of those, as often as there are too
many for one block, and `choose` the best of all, their scores, the noise that belongs to (seed, position, id), and the
token. They compare integers: in the upper half a logit, as an integer that rises as logits do, in the lower half the
id, inverted, so that of equal logits the lowest id comes first.
"""

import triton
import triton.language as tl

NOT_A_NUMBER: tl.constexpr = tl.constexpr(0x7FFFFFFF)
"""In place of a logit that is none; beyond infinity."""
ID_MASK: tl.constexpr = tl.constexpr(0xFFFFFFFF)
LOWEST: tl.constexpr = tl.constexpr(-9223372036854775808)
ONES: tl.constexpr = tl.constexpr(0x7FFFFFFF)
GOLDEN: tl.constexpr = tl.constexpr(-7046029254386353131)
FIRST: tl.constexpr = tl.constexpr(-4658895280553007687)
SECOND: tl.constexpr = tl.constexpr(-7723592293110705685)


@triton.jit
def _key(logit, ids):
    """A pair as int64."""
    bits = (logit + 0.0).to(tl.int32, bitcast=True)  # -0 becomes 0
    rising = tl.where(logit != logit, NOT_A_NUMBER, bits ^ (bits >> 31 & ONES))
    return (rising.to(tl.int64) << 32) | (ID_MASK - ids.to(tl.int64))


@triton.jit
def best_of_blocks(logits, ids, keys, width, BLOCK: tl.constexpr, K: tl.constexpr, NAMED: tl.constexpr):
    """logits: float32 [rows, width]; ids: int64 [rows, width] where NAMED, else a column is its id. Stores keys: int64
    [rows, blocks, K], falling. K: a power of two. Grid: (blocks, rows)."""
    block = tl.program_id(0)
    row = tl.program_id(1).to(tl.int64)
    column = block * BLOCK + tl.arange(0, BLOCK)
    inside = column < width
    logit = tl.load(logits + row * width + column, mask=inside, other=0.0)
    if NAMED:
        column = tl.load(ids + row * width + column, mask=inside, other=0)
    key = tl.where(inside, _key(logit, column), LOWEST)
    at = keys + (row * tl.num_programs(0) + block) * K
    if K == 1:
        tl.store(at, tl.max(key, 0))
    else:
        tl.store(at + tl.arange(0, K), tl.topk(key, K))


@triton.jit
def best_of_keys(keys, fewer, count, BLOCK: tl.constexpr, K: tl.constexpr):
    """keys: int64 [rows, count]; stores fewer: int64 [rows, blocks, K], falling. Grid: (blocks, rows)."""
    block = tl.program_id(0)
    row = tl.program_id(1).to(tl.int64)
    i = block * BLOCK + tl.arange(0, BLOCK)
    key = tl.load(keys + row * count + i, mask=i < count, other=LOWEST)
    at = fewer + (row * tl.num_programs(0) + block) * K
    if K == 1:
        tl.store(at, tl.max(key, 0))
    else:
        tl.store(at + tl.arange(0, K), tl.topk(key, K))


@triton.jit
def _folded(x, shift: tl.constexpr):
    """x ^ x >> shift, which fills up with zeros."""
    return ((x >> shift) & ((1 << (64 - shift)) - 1)) ^ x


@triton.jit
def _mix(x):
    """The finalizer of splitmix64."""
    return _folded(_folded(_folded(x, 30) * FIRST, 27) * SECOND, 31)


@triton.jit
def _gumbel(seed, position, ids):
    """Noise, float64, as sampling.gumbel."""
    bits = _mix(_mix(position * GOLDEN + seed) + ids * GOLDEN)
    uniform = (((bits >> 12) & 0xFFFFFFFFFFFFF).to(tl.float64) + 0.5) * 2.220446049250313e-16
    return (-tl.log(-tl.log(uniform))).to(tl.float32).to(tl.float64)


@triton.jit(do_not_specialize_on_alignment=["start"])
def choose(
    keys, start, seed, temperature, top_p, least, token, count,
    BLOCK: tl.constexpr, K: tl.constexpr, TOP: tl.constexpr, NUCLEUS: tl.constexpr, FLOOR: tl.constexpr,
):  # fmt: skip
    """keys: int64 [rows, count]; start: int64 [1], the position of the first row's token; token: int64 [rows], -1 where
    a score is not a number. TOP <= K of the best take part; 0: the best one is the choice. NUCLEUS: whether top-p is
    used; FLOOR: min-p. seed int64 [], temperature, top_p, least (the logarithm of min-p) float64 []. Grid: (rows,)."""
    row = tl.program_id(0)
    i = tl.arange(0, BLOCK)
    key = tl.load(keys + row.to(tl.int64) * count + i, mask=i < count, other=LOWEST)
    if TOP == 0:
        best = tl.max(key, 0)
        tl.store(token + row, tl.where((best >> 32) == NOT_A_NUMBER, -1, ID_MASK - (best & ID_MASK)))
    else:
        key = tl.topk(key, K)
        place = tl.arange(0, K)
        ids = ID_MASK - (key & ID_MASK)
        rising = (key >> 32).to(tl.int32)
        logit = (rising ^ (rising >> 31 & ONES)).to(tl.float32, bitcast=True).to(tl.float64)
        best = tl.sum(tl.where(place == 0, logit, 0.0), 0)
        taking = (place < TOP) & (key != LOWEST)
        score = (logit - best) / tl.load(temperature)
        lost = tl.max((taking & (score != score)).to(tl.int32), 0) > 0
        score = tl.where(taking, score, float("-inf"))
        if FLOOR:
            score = tl.where(score < tl.load(least), float("-inf"), score)
        if NUCLEUS:
            # Whole numbers, so that the sum does not depend on the order of adding. The best score is 0.
            mass = tl.where(lost, 0.0, tl.exp(score) * 1099511627776.0).to(tl.int64)
            before = tl.cumsum(mass, 0) - mass
            enough = tl.maximum(tl.sum(mass, 0).to(tl.float64) * tl.load(top_p), 1.0)
            score = tl.where(before.to(tl.float64) >= enough, float("-inf"), score)
        score += _gumbel(tl.load(seed), tl.load(start) + row, ids)
        highest = tl.max(score, 0)
        first = tl.min(tl.where(score == highest, ids, 0x7FFFFFFFFFFFFFFF), 0)
        tl.store(token + row, tl.where(lost, -1, first))
