"""Attention for rows of different sequences: each sequence attends as it would alone.

Linear layers, norms and activations take all rows of a pass at once, and give each row the bits it would get in a pass
of its own (batch_invariance.py). Attention cannot: each sequence has its own keys, and the last bit of a sum over keys
depends on their number. So attention runs sequence by sequence, in the same code with the same operands as alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from gemma_cli.engines.local.model.attention import FewRows
from gemma_cli.engines.local.model.fused_pass import Joined
from gemma_cli.engines.local.model.layer import Attend, FusedRows
from gemma_cli.engines.local.model.schema.architecture import LayerShape


class PaddedRows:
    """The real rows of `few`, whose other rows, if it takes any to make a pass, repeat the last of them. For attention
    in torch; our kernels take any number of rows."""

    fused = None

    def __init__(self, few: FewRows) -> None:
        self._few, self.real = few, few.real
        self._missing = few.rope["full_attention"][0].shape[0] - few.real
        self.rope = {kind: (cos[: few.real], sin[: few.real]) for kind, (cos, sin) in few.rope.items()}

    def attend(self, layer: LayerShape, query: Tensor, key: Tensor | None, value: Tensor | None) -> Tensor:
        """As layer.Attend: query [real, heads, head_dim] -> [real, heads * head_dim]."""
        filled = [None if rows is None else fill([rows], self._missing) for rows in (key, value)]
        return self._few.attend(layer, fill([query], self._missing), *filled)[: self.real]


class BatchedAttention:
    """The rows of `parts`, one after the other, and then copies of the last that fill the pass up to `rows`."""

    def __init__(self, parts: Sequence[Attend], rows: int) -> None:
        self._parts = parts
        self._sizes = [part.real for part in parts]
        self.real = sum(self._sizes)
        self._missing = rows - self.real

    @cached_property
    def rope(self) -> dict[str, tuple[Tensor, Tensor]]:
        ropes = [part.rope for part in self._parts]
        return {
            kind: (self._filled([rope[kind][0] for rope in ropes]), self._filled([rope[kind][1] for rope in ropes]))
            for kind in ropes[0]
        }

    @cached_property
    def fused(self) -> FusedRows | None:
        parts = [part.fused for part in self._parts]
        placed = [part for part in parts if part is not None]
        return Joined(placed, self._sizes, self._missing) if len(placed) == len(parts) else None

    def attend(self, layer: LayerShape, query: Tensor, key: Tensor | None, value: Tensor | None) -> Tensor:
        """As layer.Attend: query [rows, heads, head_dim] -> [rows, heads * head_dim]."""

        def own(rows: Tensor | None) -> Sequence[Tensor | None]:
            return [None] * len(self._sizes) if rows is None else torch.split(rows[: self.real], self._sizes)

        queries = torch.split(query[: self.real], self._sizes)
        each = zip(self._parts, queries, own(key), own(value), strict=True)
        return self._filled([part.attend(layer, q, k, v) for part, q, k, v in each])

    def _filled(self, parts: list[Tensor]) -> Tensor:
        return fill(parts, self._missing)


def fill(parts: Sequence[Tensor], missing: int) -> Tensor:
    """The rows of all parts and `missing` more like the last one."""
    if missing:
        last = parts[-1][-1:]
        parts = [*parts, last.expand(missing, *last.shape[1:])]
    return torch.cat(tuple(parts)) if len(parts) > 1 else parts[0]
