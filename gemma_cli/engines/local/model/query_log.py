"""Queries of one layer, recorded while a reply is decoded, for finding out which sound each token comes from.

The layer is the last full-attention layer that owns its keys: there the attention of a token to the sound stands in a
narrow spike at the end of its word (docs/word-times.md). A sliding layer has lost the first sound of a long segment by
then, and layers that share keys show the spikes blurred. Its keys lie in the cache anyway, so recording is keeping one
small row a token. It changes no bit of the reply.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor

from gemma_cli.engines.local.model.schema.architecture import LayerShape


def alignment_layer(layers: Iterable[LayerShape]) -> int:
    """Return the index of the layer whose attention tells word times."""
    return max(layer.index for layer in layers if layer.owns_kv and not layer.sliding)


class Keys(Protocol):
    """keys: [kv_heads, slots, head_dim], position p in slot p."""

    keys: Tensor


class QueryLog:
    """Queries of layer `layer` at positions `first` and later. A row that is decoded again replaces the rejected one.

    slots: the layer's keys.
    """

    def __init__(self, layer: int, first: int) -> None:
        self.layer, self.first = layer, first
        self._queries: dict[int, Tensor] = {}
        self.slots: Keys | None = None

    def write(self, position: int, query: Tensor) -> None:
        """Keep query [rows, heads, head_dim] of the rows from `position` on."""
        for row in range(max(0, self.first - position), query.shape[0]):
            self._queries[position + row] = query[row]

    def attention(self, start: int, stop: int, count: int) -> Tensor:
        """Return the weights that the rows which chose the first `count` tokens give to positions start .. stop - 1.

        Returns float32 [heads, count, stop - start]; the softmax is over all that a row sees. A row that was not
        recorded, as its prompt had been read before, has zeros.
        """
        positions = range(self.first, self.first + count)
        rows = [self._queries.get(position) for position in positions]
        known = [row for row in rows if row is not None]
        if not known or self.slots is None:
            return torch.zeros(1, count, stop - start)
        keys = self.slots.keys
        blank = torch.zeros_like(known[0])
        queries = torch.stack([blank if row is None else row for row in rows]).float()
        heads, groups = queries.shape[1], keys.shape[0]
        seen = keys[:, : self.first + count].float().repeat_interleave(heads // groups, 0)
        scores = queries.transpose(0, 1) @ seen.transpose(1, 2)
        columns = torch.arange(seen.shape[1], device=keys.device)
        future = columns > torch.tensor(list(positions), device=keys.device)[:, None]
        weights = scores.masked_fill_(future, float("-inf")).softmax(-1)[..., start:stop]
        missing = torch.tensor([row is None for row in rows], device=keys.device)
        return weights.masked_fill(missing[:, None], 0.0).cpu()
