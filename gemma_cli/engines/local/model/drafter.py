"""The MTP drafter: four small layers that have no keys of their own and read the target's.

class Drafter:
    def begin(self, target, cache, position: int) -> DraftContext
    def step(self, token: LongTensor[1], hidden: Tensor[1, hidden], context)
        -> tuple[Tensor[1, c] logits, LongTensor[1, c] | None ids, Tensor[1, hidden] next_hidden]

What a draft may see is fixed while it lasts: the keys and values of the target's last own sliding and full layer up to
cache.length, in the sliding layer the last `window` of them, none of them rejected. So `begin` takes the slices and
the rotation of the one `position` once, and a step is one row through every layer with no mask and no wait for the
device. position: where the newest token stands, cache.length (the convention of transformers, llama.cpp, LiteRT-LM).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from gemma_cli.engines.local import native
from gemma_cli.engines.local.kernel_table import Functions
from gemma_cli.engines.local.model import fused_pass
from gemma_cli.engines.local.model.attention import one_row
from gemma_cli.engines.local.model.cache import EVERY, Cache
from gemma_cli.engines.local.model.layer import Attend, DecoderLayer, FusedRows
from gemma_cli.engines.local.model.layers.linear import Linear, Norm
from gemma_cli.engines.local.model.layers.rope import Rope
from gemma_cli.engines.local.model.schema.architecture import Architecture, LayerShape
from gemma_cli.engines.local.model.target import Target


class DraftAttention(Attend, Protocol):
    """The keys that a draft sees, and the target that embeds for it: DraftContext, graph_attention.StaticDraft."""

    target: Target


@dataclass
class DraftContext:
    """The attention of a draft's one query [1, heads, head_dim] over the keys it reads, and its rotation; of `real`
    drafts' queries where several sequences are drafted at once."""

    target: Target
    rope: dict[str, tuple[Tensor, Tensor]]
    sliding: Callable[[Tensor], Tensor]
    full: Callable[[Tensor], Tensor]
    real: int = 1
    fused: None = None

    def attend(self, layer: LayerShape, query: Tensor, key: Tensor | None, value: Tensor | None) -> Tensor:
        return self.sliding(query) if layer.sliding else self.full(query)


def side_by_side(contexts: Sequence[DraftContext]) -> DraftContext:
    """The contexts of several sequences as that of one step with a row for each."""
    if len(contexts) == 1:
        return contexts[0]

    def of_each(sights: list[Callable[[Tensor], Tensor]]) -> Callable[[Tensor], Tensor]:
        return lambda query: torch.cat([see(row) for see, row in zip(sights, torch.split(query, 1), strict=True)])

    ropes = [context.rope for context in contexts]
    rope = {
        kind: (torch.cat([each[kind][0] for each in ropes]), torch.cat([each[kind][1] for each in ropes]))
        for kind in ropes[0]
    }
    return DraftContext(
        target=contexts[0].target,
        rope=rope,
        sliding=of_each([context.sliding for context in contexts]),
        full=of_each([context.full for context in contexts]),
        real=len(contexts),
    )


def _sight(cache: Cache, layer: int, window: int) -> Callable[[Tensor], Tensor]:
    """Attention over the last `window` positions that the cache holds for a layer."""
    slots, length = cache.layers[layer], cache.length
    if kernels := native.on(cache.device):
        return partial(kernels.attend, slots=slots, position=length - 1, window=window)
    keys, values = slots.span(max(0, length - window), length)
    return partial(one_row, keys=keys, values=values)


@dataclass
class DenseHead:
    """An output head for the entire vocabulary."""

    weight: Linear

    def __call__(self, hidden: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.weight(hidden).float(), None


@dataclass
class CentroidHead:
    """Logits of the tokens in the `clusters` clusters whose centroids fit best (E2B, E4B: 32 of 2048, 128 tokens each).

    rows [clusters, tokens, hidden]: the output embedding in cluster order, so that a chosen cluster is one piece of
    memory; ids int64 [clusters, tokens]. Nothing here waits for the device.
    """

    centroids: Linear
    rows: Tensor
    ids: Tensor
    clusters: int

    def __call__(self, hidden: Tensor) -> tuple[Tensor, Tensor | None]:
        chosen = self.centroids(hidden).topk(self.clusters).indices
        if hidden.shape[0] == 1:
            rows = self.rows.index_select(0, chosen[0]).flatten(0, 1)
            return F.linear(hidden, rows).float(), self.ids.index_select(0, chosen[0]).view(1, -1)
        logits = torch.bmm(self.rows[chosen].flatten(1, 2), hidden[:, :, None])[:, :, 0]
        return logits.float(), self.ids[chosen].flatten(1)


@dataclass
class Drafter:
    """Built by load.load_drafter or synthetic; see the module's docstring."""

    arch: Architecture
    device: torch.device
    dtype: torch.dtype
    before: Linear
    layers: list[DecoderLayer]
    norm: Norm
    after: Linear
    head: DenseHead | CentroidHead
    ropes: dict[str, Rope]

    def begin(self, target: Target, cache: Cache, position: int) -> DraftContext:
        """The context of one draft after cache.length rows, which hold at least one."""
        return DraftContext(
            target=target,
            rope={kind: rope.rows(position, 1) for kind, rope in self.ropes.items()},
            sliding=_sight(cache, target.arch.last_own_sliding, self.arch.window),
            full=_sight(cache, target.arch.last_own_full, EVERY),
        )

    def step(self, token: Tensor, hidden: Tensor, context: DraftAttention) -> tuple[Tensor, Tensor | None, Tensor]:
        """(logits float32 [1, c], their token ids [1, c] or None where c is the whole vocabulary, next hidden state
        [1, hidden]) from the newest token, int64 [1], and the hidden state that predicted it: the target's, after its
        final norm, or the previous step's. With `side_by_side` contexts there is a row for each of them."""
        x = self.before(torch.cat((context.target.embed(token), hidden), -1))
        for layer in self.layers:
            x = layer(x, None, context)
        return self._finish(self.norm(x))

    def step_fused(
        self, functions: Functions, token: Tensor, hidden: Tensor, target: Target, row: FusedRows
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """`step` by kernels of whole passes."""
        x = self.before(torch.cat((target.embed(token), hidden), -1))
        return self._finish(fused_pass.run(functions, self.layers, x, None, row, self.norm))

    def _finish(self, x: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        logits, ids = self.head(x)
        return logits, ids, self.after(x)
