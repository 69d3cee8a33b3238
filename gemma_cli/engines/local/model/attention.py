"""Attention over the cache: a few rows written out for decoding, whole chunks fused or in blocks of keys for prefill.

Both store the rows' keys and values, then attend. They are the only two places that know where keys lie.

Why decoding is written out: a row's result must not depend on how many rows stand beside it, nor on what was drafted
and rejected before. What each measure gives:

- Key range. A sliding layer reads its whole ring in slot order; a full layer reads slots 0 .. bucket(p) - 1, where the
  bucket depends on the row's own position p alone. So sums over keys (softmax, weights times values) always have the
  same length and the same operand in the same place. When a block of rows crosses a bucket's end, both lengths are
  computed for all rows and each row takes the one that is its own.
- Masks. What a row may not see gets -inf before the softmax: a weight of exactly zero, whatever the slot holds.
- Row count. A matrix product with another number of rows may be another kernel, and kernels differ in the last bit. The
  model only runs row counts that were measured to agree on this machine: see batch_invariance.py.
- Softmax is taken in float32, row by row; on CPU the cache and the whole of attention are float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from gemma_cli.engines.local import native
from gemma_cli.engines.local.kernel_table import Functions
from gemma_cli.engines.local.model.cache import BUCKET, SLACK, Cache, Slots, bucket, bucket_before
from gemma_cli.engines.local.model.fused_pass import Placed
from gemma_cli.engines.local.model.layer import FusedRows
from gemma_cli.engines.local.model.layers.linear import as_dtype
from gemma_cli.engines.local.model.layers.rope import Rope
from gemma_cli.engines.local.model.schema.architecture import Architecture, LayerShape

SCORES = 1 << 26
"""Scores that attention of a prefill chunk holds at once, float32: 256 MiB."""


class Masks:
    """Additive float32 masks (0 or -inf) for decoding; that of a ring is a slice of a table, not a computation."""

    def __init__(self, window: int, ring_slots: int, device: torch.device) -> None:
        self.device = device
        self._window = window
        self._warm = window - 1  # from here on a row sees `window` keys
        self._cycle = ring_slots

    @cached_property
    def _ring(self) -> Tensor:
        """Made when first needed, which our kernels never do, and block by block: its size is the window's square."""
        rows = torch.arange(self._warm + self._cycle + SLACK, device=self.device)[:, None]
        slots = torch.arange(self._cycle, device=self.device)
        ring = torch.empty(len(rows), 1, self._cycle, device=self.device)
        for position, block in zip(torch.split(rows, BUCKET), torch.split(ring, BUCKET), strict=True):
            distance = (position - slots) % self._cycle
            block[:, 0] = _additive((distance < self._window) & (distance <= position))
        return ring

    def ring(self, start: int, rows: int) -> Tensor:
        """[rows, 1, ring slots] for positions start .. start + rows - 1."""
        first = start if start < self._warm else self._warm + (start - self._warm) % self._cycle
        return self._ring[first : first + rows]

    def last_bucket(self, start: int, rows: int, keys: int) -> Tensor:
        """[rows, 1, n]: the mask of the last n of `keys` slots, those from the next shorter bucket on; the ones before
        are seen by all rows."""
        row = torch.arange(start, start + rows, device=self.device)[:, None]
        return _additive(torch.arange(bucket_before(keys), keys, device=self.device) <= row)[:, None]


class FewRows:
    """Attention of `rows` decoding rows from position `start` on, of which the first `real` count."""

    def __init__(
        self,
        cache: Cache,
        masks: Masks,
        ropes: Mapping[str, Rope],
        start: int,
        rows: int,
        real: int,
        functions: Functions | None = None,
    ) -> None:
        """functions: those that compute a whole pass of such rows."""
        self.cache, self.start, self.real = cache, start, real
        self._masks, self._ropes, self._rows, self._functions = masks, ropes, rows, functions
        self._kernels = native.on(masks.device)
        self._inside = bucket(start) - start  # rows whose bucket is the first row's

    @cached_property
    def rope(self) -> dict[str, tuple[Tensor, Tensor]]:
        return {kind: rope.rows(self.start, self._rows) for kind, rope in self._ropes.items()}

    @cached_property
    def fused(self) -> FusedRows | None:
        if self._functions is None:
            return None
        position, count = (torch.full((1,), n, device=self._masks.device) for n in (self.start, self.real))
        return Placed(self._functions, self.cache, self._ropes, position, self._rows, count, (self.start, self.real))

    @cached_property
    def _ring_mask(self) -> Tensor:
        return self._masks.ring(self.start, self._rows)

    @cached_property
    def _full(self) -> list[tuple[int, Tensor]]:
        short = bucket(self.start)
        lengths = (short,) if self._rows <= self._inside else (short, bucket(short))
        return [(length, self._masks.last_bucket(self.start, self._rows, length)) for length in lengths]

    def attend(self, layer: LayerShape, query: Tensor, key: Tensor | None, value: Tensor | None) -> Tensor:
        """query [rows, heads, head_dim], key and value [rows, kv_heads, head_dim] or None where they are shared;
        returns [rows, heads * head_dim]."""
        slots = self.cache.layers[layer.source]
        if (log := self.cache.log) and log.layer == layer.index:
            log.write(self.start, query[: self.real])
        if self._kernels:
            new = None if key is None or value is None else (key, value)
            return self._kernels.attend(query, slots, self.start, self.cache.reach(layer), new)
        if key is not None and value is not None:
            slots.write(self.start, key, value)
        if layer.sliding:
            return few_rows(query, slots.keys, slots.values, self._ring_mask)
        outputs = [
            few_rows(query, slots.keys[:, :length], slots.values[:, :length], mask) for length, mask in self._full
        ]
        if len(outputs) == 1:
            return outputs[0]
        return torch.cat((outputs[0][: self._inside], outputs[1][self._inside :]))


class Chunk:
    """Attention of a prefill chunk: rows start .. start + rows - 1, causal, or both ways inside an image."""

    fused = None

    def __init__(
        self, cache: Cache, arch: Architecture, ropes: Mapping[str, Rope], start: int, rows: int, images: Tensor | None
    ) -> None:
        """images: int64 [rows], -1 or the image a row belongs to; None where all rows are causal."""
        self.cache, self.start, self.stop, self.real = cache, start, start + rows, rows
        self.rope = {kind: rope.rows(start, rows) for kind, rope in ropes.items()}
        self._oldest = max(0, start - arch.window + 1)
        self._both_ways = images is not None and arch.vision_mask != "causal"
        self._kernels = None if self._both_ways else native.on(cache.device)
        if self._kernels:
            return
        device = self.rope["full_attention"][0].device
        row = torch.arange(start, self.stop, device=device)[:, None]
        together = None
        if images is not None and self._both_ways:
            together = (images[:, None] == images) & (images[:, None] >= 0)
        near, far = self._causal(row, self._oldest), self._causal(row, start)
        if together is not None and arch.vision_mask == "sliding":
            near[:, -rows:] |= together
        near &= torch.arange(self._oldest, self.stop, device=device) > row - arch.window
        if together is not None and arch.vision_mask == "everywhere":
            near[:, -rows:] |= together
            far |= together
        self._near, self._far = near, far

    def _causal(self, row: Tensor, oldest: int) -> Tensor:
        return torch.arange(oldest, self.stop, device=row.device) <= row

    def attend(self, layer: LayerShape, query: Tensor, key: Tensor | None, value: Tensor | None) -> Tensor:
        """As FewRows.attend; key and value are given: layers that share them do not run on chunks."""
        assert key is not None
        assert value is not None
        slots, window = self.cache.layers[layer.index], self.cache.reach(layer)
        if (log := self.cache.log) and log.layer == layer.index:
            log.write(self.start, query)
        if not layer.sliding:
            if self._kernels:
                return self._kernels.attend(query, slots, self.start, window, (key, value))
            slots.write(self.start, key, value)
            return many_rows(query, slots.keys[:, : self.stop], slots.values[:, : self.stop], self._far)
        # The ring may be shorter than the chunk: read what is older before writing over it.
        old_keys, old_values = slots.span(self._oldest, self.start)
        keys = torch.cat((old_keys, key.transpose(0, 1).to(old_keys.dtype)), 1)
        values = torch.cat((old_values, value.transpose(0, 1).to(old_values.dtype)), 1)
        kept = min(slots.slots, key.shape[0])
        slots.write(self.stop - kept, key[-kept:], value[-kept:])
        if self._kernels:
            return self._kernels.attend(query, Slots(keys, values), self.start - self._oldest, window)
        return many_rows(query, keys, values, self._near)


def few_rows(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """Attention written out: query [rows, heads, d], keys and values [kv_heads, n, d] -> [rows, heads * d].

    mask: [rows, 1, n'], added to the last n' <= n scores; None where every key is seen. Scaling is 1: Gemma 4
    normalises queries and keys instead.
    """
    rows, heads, dim = query.shape
    groups, n = keys.shape[0], keys.shape[1]
    query = query.view(rows, groups, heads // groups, dim).transpose(0, 1).reshape(groups, -1, dim)
    scores = torch.bmm(as_dtype(query, keys.dtype), keys.transpose(1, 2))
    if mask is not None:
        masked = scores.view(groups, rows, -1, n)
        (masked if mask.shape[-1] == n else masked[..., n - mask.shape[-1] :]).add_(mask)
    weights = as_dtype(torch.softmax(scores, -1, dtype=torch.float32), values.dtype)
    mixed = torch.bmm(weights, values).view(groups, rows, -1, dim).transpose(0, 1)
    return mixed.reshape(rows, heads * dim)


def one_row(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """few_rows of a single row that sees every key, without a copy: its heads lie together as they are."""
    query = query.view(keys.shape[0], -1, keys.shape[2])
    scores = torch.bmm(as_dtype(query, keys.dtype), keys.transpose(1, 2))
    weights = as_dtype(torch.softmax(scores, -1, dtype=torch.float32), values.dtype)
    return torch.bmm(weights, values).view(1, -1)


def many_rows(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """Same as `few_rows`, for a prefill chunk; mask: bool [rows, n'], True where one of the last n' keys is seen; those
    before are seen by all rows. On a CPU torch's fused kernel does it. On a GPU torch has none for these shapes: it
    would widen the keys to all heads and hold every score at once, 40 GiB for 31B after 128k tokens."""
    return (_fused if query.device.type == "cpu" else blockwise)(query, keys, values, mask)


def blockwise(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor, block: int | None = None) -> Tensor:
    """Same as `many_rows`, in blocks of so many keys (None: as many as make SCORES scores), one after the other: the
    sums are scaled to the largest score so far (Milakov and Gimelshein, arXiv 1805.02867). The memory it needs does not
    grow with the number of keys."""
    rows, heads, dim = query.shape
    groups, n = keys.shape[0], keys.shape[1]
    query = as_dtype(query, keys.dtype).view(rows, groups, -1, dim).permute(1, 2, 0, 3).reshape(groups, -1, dim)
    block = block or max(SCORES // (heads * rows), 1)
    most = query.new_full((groups, query.shape[1], 1), float("-inf"), dtype=torch.float32)
    mass = torch.zeros_like(most)
    mixed = torch.zeros(query.shape, dtype=torch.float32, device=query.device)
    unseen, free = ~mask, n - mask.shape[1]
    for first in range(0, n, block):
        stop = min(first + block, n)
        scores = _product(query, keys[:, first:stop].transpose(1, 2))
        if stop > free:
            part = unseen[:, max(first - free, 0) : stop - free]
            last = slice(stop - first - part.shape[1], None)
            scores.view(groups, -1, rows, stop - first)[..., last].masked_fill_(part, float("-inf"))
        highest = torch.maximum(most, scores.amax(-1, keepdim=True))
        base = highest.clamp(min=torch.finfo(torch.float32).min)  # a row that has seen no key yet
        faded = (most - base).exp_()
        weights = scores.sub_(base).exp_()
        mass = mass.mul_(faded).add_(weights.sum(-1, keepdim=True))
        mixed.mul_(faded).add_(_product(as_dtype(weights, values.dtype), values[:, first:stop]))
        most = highest
        del scores, weights  # before the next block takes as much
    mixed = mixed.div_(mass).view(groups, -1, rows, dim).permute(2, 0, 1, 3)
    return mixed.reshape(rows, heads * dim).to(values.dtype)


def _product(one: Tensor, other: Tensor) -> Tensor:
    """The batched matmul in float32, for which CUDA needs no copies of 16-bit operands."""
    if one.device.type not in ("cpu", "mps") and one.dtype != torch.float32:
        return torch.bmm(one, other, out_dtype=torch.float32)
    return torch.bmm(one.float(), other.float())


def _fused(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    mixed = F.scaled_dot_product_attention(
        query.to(keys.dtype).transpose(0, 1)[None],
        keys[None],
        values[None],
        attn_mask=F.pad(mask, (keys.shape[1] - mask.shape[1], 0), value=True),
        scale=1.0,
        enable_gqa=keys.shape[0] != query.shape[1],
    )
    return mixed[0].transpose(0, 1).flatten(1)


def _additive(seen: Tensor) -> Tensor:
    return torch.zeros(seen.shape, device=seen.device).masked_fill_(~seen, float("-inf"))
