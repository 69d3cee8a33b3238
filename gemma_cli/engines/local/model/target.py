"""Our own forward of Gemma 4's text decoder: all five targets, batch 1, inference only.

class Target:
    arch; device; dtype; hidden_size; vocab_size; context
    def embed(self, ids: LongTensor[n]) -> Tensor[n, hidden]                 # scaled
    def new_cache(self, capacity_hint: int = 0) -> Cache
    def prefill(self, ids: LongTensor[n], cache, *, features: Tensor[k, hidden] | None = None,
                feature_mask: BoolTensor[n] | None = None, image_blocks: LongTensor[n] | None = None,
                chunk: int = ...) -> tuple[Tensor[1, vocab], Tensor[1, hidden]]
    def verify(self, ids: LongTensor[m], cache) -> tuple[Tensor[m, vocab], Tensor[m, hidden]]

The promise: a row of `verify` depends on the ids before it and on nothing else, bit for bit. It does not depend on the
number of other rows, on where the block began, or on what was drafted, rejected and rolled back before. attention.py
explains how keys and sums are independent of the block, batch_invariance.py how linear layers are. Prefill has no such
promise between different chunk sizes, and needs none: its chunks depend on the prompt alone, never on drafting.

Layers that reuse another layer's keys and values (the last 20 of 35 in E2B) write nothing a later token reads, so
prefill runs them on its last row only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from gemma_cli.engines.local import native
from gemma_cli.engines.local.kernel_table import Functions, few_rows
from gemma_cli.engines.local.model import fused_pass
from gemma_cli.engines.local.model.attention import Chunk, FewRows, Masks
from gemma_cli.engines.local.model.batched_attention import BatchedAttention, PaddedRows, fill
from gemma_cli.engines.local.model.cache import SLACK, Cache
from gemma_cli.engines.local.model.chunks import CHUNK, Pass, chunks
from gemma_cli.engines.local.model.layer import Attend, DecoderLayer, FusedRows
from gemma_cli.engines.local.model.layers.linear import Linear, Norm, as_dtype
from gemma_cli.engines.local.model.layers.per_layer_embedding import PerLayerEmbedding
from gemma_cli.engines.local.model.layers.rope import Rope
from gemma_cli.engines.local.model.native_pass import NativePass, of_target
from gemma_cli.engines.local.model.row_rule import UNMEASURED, RowRule
from gemma_cli.engines.local.model.schema.architecture import Architecture
from gemma_cli.engines.local.triton_kernels.tiles import FEW


@dataclass
class Target:
    """The decoder of a target, on one device (on several: multi_gpu.py); see the module's docstring.

    load.load_target and synthetic.py build it.
    """

    arch: Architecture
    device: torch.device
    dtype: torch.dtype
    embedding: Tensor
    head: Linear
    layers: list[DecoderLayer]
    norm: Norm
    ropes: Mapping[str, Rope]
    per_layer: PerLayerEmbedding | None
    rows: RowRule = UNMEASURED

    def __post_init__(self) -> None:
        self.hidden_size, self.vocab_size, self.context = self.arch.hidden, self.arch.vocab, self.arch.context
        # The reference keeps this factor in the weights' dtype: sqrt(1536) is 39.25 in bfloat16.
        self.embed_scale = torch.tensor(self.arch.hidden**0.5, dtype=self.dtype).item()
        self._masks = Masks(self.arch.window, self.arch.window + SLACK, self.device)
        self._own = sum(layer.owns_kv for layer in self.arch.layers)

    def set_rows(self, rule: RowRule) -> None:
        """The row counts of a pass, as measured by batch_invariance."""
        self.rows = rule
        for layer in self.layers:
            if layer.experts is not None:
                layer.experts.rows = rule

    @property
    def devices(self) -> tuple[torch.device, ...]:
        """The devices of the layers; the last of them is `device`, which takes ids and gives logits."""
        return (self.device,)

    @property
    def functions(self) -> Functions | None:
        """Those that compute a whole pass of a few rows; None: it is computed layer by layer."""
        return None if self.arch.experts and self.arch.ple else few_rows(self.device, self.dtype)  # none has both

    @property
    def kv_dtype(self) -> torch.dtype:
        """On CPU attention is float32 throughout: its products are small and bfloat16 ones are slower there."""
        return torch.float32 if self.device.type == "cpu" else self.dtype

    def new_cache(self, capacity_hint: int = 0) -> Cache:
        """An empty cache with room for `capacity_hint` positions (it grows as needed)."""
        return Cache(self.arch.layers, self.arch.window, self.device, self.kv_dtype, capacity_hint)

    def embed(self, ids: Tensor) -> Tensor:
        """Scaled embeddings [n, hidden] of ids int64 [n]."""
        return as_dtype(self.embedding.index_select(0, ids), self.dtype) * self.embed_scale

    @torch.inference_mode()
    def verify(self, ids: Tensor, cache: Cache) -> tuple[Tensor, Tensor]:
        """Logits [m, vocab] (float32, soft-capped) and hidden states [m, hidden] (after the final norm) of ids int64
        [m], m >= 1, at positions cache.length on; the cache then holds them. The caller rolls back what it rejects,
        which may be the last SLACK rows."""
        count = ids.shape[0]
        if count > self.rows.most:
            parts = [self.verify(part, cache) for part in torch.split(ids, self.rows.most)]
            return torch.cat([logits for logits, _ in parts]), torch.cat([hidden for _, hidden in parts])
        rows = self.rows.filled(count)
        if rows > count:
            ids = torch.cat((ids, ids[-1:].expand(rows - count)))
        cache.reserve(rows)
        if (native_pass := self._native_pass([rows])) is not None:
            logits, hidden = native_pass.run(ids, [(cache, rows)])
        else:
            logits, hidden = self.run(ids, self._few(cache, cache.length, rows, count))
        cache.advance(count)
        return logits[:count], hidden[:count]

    @cached_property
    def native_pass(self) -> NativePass | str:
        """Passes of few rows in one call into C, or why this target has none. Replace no part of the target once it has
        been used: the tables point to them."""
        return of_target(self)

    def _native_pass(self, counts: Sequence[int]) -> NativePass | None:
        """The native pass, if it takes so many rows of each sequence."""
        found = self.native_pass
        return None if isinstance(found, str) or not found.takes(counts) else found

    def run(self, ids: Tensor, rows: Attend) -> tuple[Tensor, Tensor]:
        """Logits [m, vocab] and hidden states [m, hidden] of ids int64 [m] that attend through `rows`."""
        x = self.embed(ids)
        hidden = self._through(self.layers, x, self._per_layer(ids, x), rows)
        return self._logits(hidden), hidden

    def run_fused(self, functions: Functions, ids: Tensor, rows: FusedRows) -> tuple[Tensor, Tensor]:
        """`run` by kernels of whole passes."""
        x = self.embed(ids)
        hidden = fused_pass.run(functions, self.layers, x, self._per_layer(ids, x), rows, self.norm)
        return self._logits(hidden), hidden

    @torch.inference_mode()
    def prefill(
        self,
        ids: Tensor,
        cache: Cache,
        *,
        features: Tensor | None = None,
        feature_mask: Tensor | None = None,
        image_blocks: Tensor | None = None,
        chunk: int = CHUNK,
    ) -> tuple[Tensor, Tensor]:
        """Read ids int64 [n], n >= 1, in passes of about `chunk` rows; the last row's (logits [1, vocab], hidden
        [1, hidden]) as verify gives them.

        features [k, hidden] take the places where feature_mask (bool [n]) is set, k of them, unscaled; there the
        per-layer embedding is that of the padding id, as in the reference. image_blocks (int64 [n]): -1, or which
        image a row belongs to; its rows see each other where the config says so.
        """
        passes = self.passes(
            ids, cache, features=features, feature_mask=feature_mask, image_blocks=image_blocks, chunk=chunk
        )
        for reading in passes:
            last, states = reading, self.read([reading])
        return self.finish([last], states)

    def passes(
        self,
        ids: Tensor,
        cache: Cache,
        *,
        features: Tensor | None = None,
        feature_mask: Tensor | None = None,
        image_blocks: Tensor | None = None,
        chunk: int = CHUNK,
    ) -> Iterator[Pass]:
        """What prefill reads, pass by pass: each is to be run by `read` before the next is taken. Only the rows of one
        pass are embedded at a time: those of a long prompt would take gigabytes."""
        cache.grow(ids.shape[0])
        if self.arch.vision_mask == "causal":
            image_blocks = None
        used = 0
        for first, stop in chunks(ids.shape[0], chunk, image_blocks):
            few = ids[first:stop]
            x = self.embed(few)
            if feature_mask is not None and features is not None:
                here = feature_mask[first:stop]
                count = int(here.sum())
                x[here] = features[used : used + count].to(x.device, x.dtype)
                few, used = few.masked_fill(here, self.arch.pad_id), used + count
            images = None if image_blocks is None else image_blocks[first:stop]
            cache.reserve(stop - first)
            rows = self._chunk(cache, stop - first, images)
            yield Pass(x, few, rows, cache, cache.length + stop - first)
            cache.advance(stop - first)

    @torch.inference_mode()
    def read(self, passes: Sequence[Pass]) -> Tensor:
        """Run passes, of different sequences if there are several, through the layers that keep keys: the state of
        the last row of each, [len(passes), hidden]."""
        ends = torch.tensor([one.x.shape[0] for one in passes], device=self.device).cumsum(0) - 1
        x, ids, rows = self._joined([one.x for one in passes], [one.ids for one in passes], [p.rows for p in passes])
        return self._run(self.layers[: self._own], x, self._per_layer(ids, x), rows)[ends]

    @torch.inference_mode()
    def finish(self, passes: Sequence[Pass], states: Tensor) -> tuple[Tensor, Tensor]:
        """The rest for the last row of prompts that have been read: logits [m, vocab] and hidden states [m, hidden]
        as verify gives them. passes: the last one of each; states [m, hidden]: what `read` made of it."""
        few = [self.some(one.cache, one.stop - 1, 1) for one in passes]
        x, ids, rows = self._joined([one.x[-1:] for one in passes], [one.ids[-1:] for one in passes], few)
        states = fill([states], x.shape[0] - len(passes))
        hidden = self._through(self.layers[self._own :], states, self._per_layer(ids, x), rows)
        return self._logits(hidden)[: len(passes)], hidden[: len(passes)]

    @torch.inference_mode()
    def verify_each(self, ids: Tensor, caches: Sequence[Cache], counts: Sequence[int]) -> tuple[Tensor, Tensor]:
        """`verify` of several sequences in one pass: counts[i] rows of ids int64 [m], in order, belong to caches[i].

        Logits [m, vocab] and states [m, hidden], what each sequence would get alone. m is at most what
        batch_invariance.widest_pass found, each count at most rows.most.
        """
        if len(caches) == 1:
            return self.verify(ids, caches[0])
        for cache, count in zip(caches, counts, strict=True):
            cache.reserve(self.rows.filled(count))
        real = ids.shape[0]
        if (native_pass := self._native_pass(counts)) is not None:
            logits, hidden = native_pass.run(ids, list(zip(caches, counts, strict=True)))
        else:
            parts = [self.some(cache, cache.length, count) for cache, count in zip(caches, counts, strict=True)]
            x, ids, rows = self._joined([self.embed(ids)], [ids], parts)
            hidden = self._through(self.layers, x, self._per_layer(ids, x), rows)
            logits = self._logits(hidden)
        for cache, count in zip(caches, counts, strict=True):
            cache.advance(count)
        return logits[:real], hidden[:real]

    def some(self, cache: Cache, position: int, count: int) -> Attend:
        """Attention of `count` rows from `position` on, in a pass that also has rows of other sequences."""
        if native.on(self.device) or self.functions:  # whose attention gives a row the same bits among any number
            return self._few(cache, position, count, count)
        return self._padded(cache, position, count)

    def _padded(self, cache: Cache, position: int, count: int) -> Attend:
        return PaddedRows(FewRows(cache, self._masks, self.ropes, position, self.rows.filled(count), count))

    def _few(self, cache: Cache, start: int, rows: int, real: int) -> Attend:
        return FewRows(cache, self._masks, self.ropes, start, rows, real, self.functions)

    def _chunk(self, cache: Cache, rows: int, images: Tensor | None) -> Attend:
        return Chunk(cache, self.arch, self.ropes, cache.length, rows, images)

    def _together(self, parts: Sequence[Attend], rows: int) -> Attend:
        return BatchedAttention(parts, rows)

    def _joined(
        self, x: Sequence[Tensor], ids: Sequence[Tensor], rows: Sequence[Attend]
    ) -> tuple[Tensor, Tensor, Attend]:
        """Embeddings, ids and attention of rows that are run as one pass, filled up to a count that agrees."""
        count = sum(part.real for part in rows)
        filled = self.rows.filled(count)
        if filled == count and len(rows) == 1:
            return x[0], ids[0], rows[0]
        return fill(x, filled - count), fill(ids, filled - count), self._together(rows, filled)

    def _through(self, layers: Sequence[DecoderLayer], x: Tensor, per_layer: Tensor | None, rows: Attend) -> Tensor:
        """Hidden states [rows, hidden] after `layers` and the final norm."""
        if self.functions and rows.fused:
            return fused_pass.run(self.functions, layers, x, per_layer, rows.fused, self.norm)
        return self.norm(self._run(layers, x, per_layer, rows))

    def _run(self, layers: Sequence[DecoderLayer], x: Tensor, per_layer: Tensor | None, rows: Attend) -> Tensor:
        for layer in layers:
            embedded = None if per_layer is None else per_layer[:, layer.index]
            x = layer(x, embedded, rows)
        return x

    def _per_layer(self, ids: Tensor, embedded: Tensor) -> Tensor | None:
        return None if self.per_layer is None else self.per_layer(ids, embedded)

    def _logits(self, hidden: Tensor) -> Tensor:
        logits, cap = self.head(hidden), self.arch.softcap
        if cap is not None and (kernels := native.on(logits.device)):
            return kernels.soft_cap(logits, cap)
        if cap is not None and self.functions and len(logits) <= FEW:
            return self.functions.soft_cap(logits, cap)
        logits = logits.float()
        return logits if cap is None else logits.div_(cap).tanh_().mul_(cap)


CHUNK_ON_CPU = 128
"""Rows of a prefill pass where larger ones are hardly faster."""


def chunk_size(target: Target) -> int:
    """Rows of a prefill pass."""
    return CHUNK_ON_CPU if target.device.type == "cpu" else CHUNK
