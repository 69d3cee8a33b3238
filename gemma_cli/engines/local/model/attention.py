"""Attention over the cache: a few rows written out for decoding, whole chunks through torch's fused kernel for prefill.

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
from gemma_cli.engines.local.model.cache import BUCKET, SLACK, Cache, Slots
from gemma_cli.engines.local.model.layers.linear import as_dtype
from gemma_cli.engines.local.model.layers.rope import Rope
from gemma_cli.engines.local.model.schema.architecture import Architecture, LayerShape


class Masks:
    """Additive float32 masks (0 or -inf) for decoding, as tables: a mask is a slice, not a computation."""

    def __init__(self, window: int, ring_slots: int, device: torch.device) -> None:
        self.device = device
        self._window = window
        self._warm = window - 1  # from here on a row sees `window` keys
        self._cycle = ring_slots
        # Rows for positions -SLACK .. BUCKET + SLACK - 1 relative to the start of a bucket, over the bucket's slots.
        offset = torch.arange(-SLACK, BUCKET + SLACK, device=device)[:, None]
        self._last_bucket = _additive(torch.arange(BUCKET, device=device) <= offset)[:, None]

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
        """[rows, 1, BUCKET]: the mask of the last BUCKET of `keys` slots; the ones before are seen by all rows."""
        first = start - (keys - BUCKET) + SLACK
        return self._last_bucket[first : first + rows]


class FewRows:
    """Attention of `rows` decoding rows from position `start` on, of which the first `real` count."""

    def __init__(self, cache: Cache, masks: Masks, ropes: Mapping[str, Rope], start: int, rows: int, real: int) -> None:
        self.cache, self.start, self.real = cache, start, real
        self.rope = {kind: rope.rows(start, rows) for kind, rope in ropes.items()}
        self._kernels = native.on(masks.device)
        if self._kernels:
            return
        self._ring_mask = masks.ring(start, rows)
        short = bucket(start)
        self._inside = short - start  # rows whose bucket is the first row's
        lengths = (short,) if rows <= self._inside else (short, short + BUCKET)
        self._full = [(length, masks.last_bucket(start, rows, length)) for length in lengths]

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
        near, far = self._causal(row, self._oldest), self._causal(row, 0)
        if together is not None and arch.vision_mask == "sliding":
            near[:, -rows:] |= together
        near &= torch.arange(self._oldest, self.stop, device=device) > row - arch.window
        if together is not None and arch.vision_mask == "everywhere":
            near[:, -rows:] |= together
            far[:, -rows:] |= together
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
            return fused(query, slots.keys[:, : self.stop], slots.values[:, : self.stop], self._far)
        # The ring may be shorter than the chunk: read what is older before writing over it.
        old_keys, old_values = slots.span(self._oldest, self.start)
        keys = torch.cat((old_keys, key.transpose(0, 1).to(old_keys.dtype)), 1)
        values = torch.cat((old_values, value.transpose(0, 1).to(old_values.dtype)), 1)
        kept = min(slots.slots, key.shape[0])
        slots.write(self.stop - kept, key[-kept:], value[-kept:])
        if self._kernels:
            return self._kernels.attend(query, Slots(keys, values), self.start - self._oldest, window)
        return fused(query, keys, values, self._near)


def bucket(position: int) -> int:
    """Return the slots of a full layer that the row at `position` reads: a function of its position alone."""
    return (position // BUCKET + 1) * BUCKET


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


def fused(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """Same as `few_rows`, with torch's fused kernel, for many rows; mask: bool [rows, n], True where a key is seen."""
    mixed = F.scaled_dot_product_attention(
        query.to(keys.dtype).transpose(0, 1)[None],
        keys[None],
        values[None],
        attn_mask=mask,
        scale=1.0,
        enable_gqa=keys.shape[0] != query.shape[1],
    )
    return mixed[0].transpose(0, 1).flatten(1)


def _additive(seen: Tensor) -> Tensor:
    return torch.zeros(seen.shape, device=seen.device).masked_fill_(~seen, float("-inf"))
