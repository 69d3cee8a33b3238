"""The kernels as functions of tensors on one GPU. Importing this module imports Triton."""

from __future__ import annotations

from typing import Any

import torch
import triton
from torch import Tensor

from gemma_cli.engines.local.triton_kernels.between import Between
from gemma_cli.engines.local.triton_kernels.source import attention, experts
from gemma_cli.engines.local.triton_kernels.source import linear as source
from gemma_cli.engines.local.triton_kernels.stack import Stack
from gemma_cli.engines.local.triton_kernels.tiles import (
    ROWS,
    AttentionTile,
    Bits,
    LinearTile,
    attention_parts,
    attention_tile,
    expert_tiles,
    linear_tile,
)


class Kernels(Between):
    """The kernels of one card."""

    def linear(
        self, x: Tensor, bits: Bits, weight: Tensor, scale: Tensor | None, tile: LinearTile | None = None
    ) -> Tensor:
        """x [rows, width] @ weight.T for a weight [out, width] of so many bits; rows are at most FEW.

        16: weight bfloat16, scale None; 8: weight int8 times scale, float32 [out]; 4: as layout.pack packed them. tile:
        None takes that of the card.
        """
        return self._linear(x, bits, weight, scale, weight.shape[0], source.PLAIN, None, tile)

    def gated_linear(
        self,
        x: Tensor,
        bits: Bits,
        weight: Tensor,
        scale: Tensor | None,
        up: Tensor | None,
        tile: LinearTile | None = None,
    ) -> Tensor:
        """gelu(gate) * up, with float32 in between. up: bfloat16 [rows, out], whose rows may lie apart, beside the gate
        that `linear` computes; None: gates and ups are the first and the second half of what it computes."""
        out = weight.shape[0] if up is not None else weight.shape[0] // 2
        return self._linear(x, bits, weight, scale, out, source.PAIRS if up is None else source.TIMES, up, tile)

    def _linear(
        self,
        x: Tensor,
        bits: Bits,
        weight: Tensor,
        scale: Tensor | None,
        out: int,
        end: Any,
        up: Tensor | None,
        tile: LinearTile | None,
    ) -> Tensor:
        x = x.to(torch.bfloat16).contiguous()
        (rows, width), outputs = x.shape, weight.shape[0]
        tile = tile or linear_tile(self.card, outputs, width, bits)
        y = self._empty((rows, out), torch.bfloat16)
        parts = self._empty((tile.parts, rows, outputs) if tile.parts > 1 else (1,), torch.float32)
        source.linear[-(-outputs // tile.outputs), tile.parts, -(-rows // ROWS)](
            x, weight, weight if scale is None else scale, x if up is None else up, y, parts, self._arrived, rows, out,
            width, tile.part_width, 0 if up is None else up.stride(0), BITS=bits, BN=tile.outputs, BK=tile.inputs,
            SPLIT=tile.parts, EVEN=outputs % tile.outputs == 0 and width == tile.parts * tile.part_width,
            END=end.value, num_warps=tile.warps, num_stages=tile.stages,
        )  # fmt: skip
        return y

    def attend(
        self,
        query: Tensor,
        keys: Tensor,
        values: Tensor,
        position: Tensor,
        window: int,
        tile: AttentionTile | None = None,
    ) -> Tensor:
        """Attention of a few rows over what the cache holds of a layer: bfloat16 [rows, heads * dim].

        query: bfloat16 [rows, heads, dim]. keys, values: bfloat16 [kv_heads, slots, dim]. position: int64 [1], that of
        the first row; each next row is one position further. window: 0 for a full layer, else the slots are a ring.
        """
        rows, heads, dim = query.shape
        groups, slots = keys.shape[0], keys.shape[1]
        group = heads // groups
        tile = tile or attention_tile(self.card, group, dim)
        query = query.to(torch.bfloat16).contiguous()
        count = attention_parts(slots)
        most = self._empty((count, rows, heads), torch.float32)
        weight = self._empty((count, rows, heads), torch.float32)
        mixed = self._empty((count, rows, heads, dim), torch.float32)
        result = self._empty((rows, heads * dim), torch.bfloat16)
        attention.attend_part[count, groups, -(-rows * group // tile.pairs)](
            query, keys, values, position, most, weight, mixed, rows, heads, slots,
            GROUP=group, D=dim, M=tile.pairs, BN=tile.keys, WINDOW=window,
            num_warps=tile.warps, num_stages=tile.stages,
        )  # fmt: skip
        attention.attend_sum[heads, rows](
            most, weight, mixed, position, result, rows, heads, count, D=dim, WINDOW=window
        )
        return result

    def experts(
        self, x: Tensor, logits: Tensor, per_expert: Tensor, real: Tensor, per_row: int, up: Stack, down: Stack
    ) -> tuple[Tensor, Tensor]:
        """The outputs of the `per_row` best experts of every row, float32 [rows * per_row, hidden], and their weights,
        float32 [rows, per_row].

        x: bfloat16 [rows, hidden]; logits: the router's, bfloat16 [rows, experts]; per_expert: float32 [experts]. real:
        int64 [1], rows from there on choose as the row before them does. up: gates, then ups; down: the second layer.
        """
        x, logits = x.contiguous(), logits.contiguous()
        rows, hidden = x.shape
        count, inner = logits.shape[1], down.width
        slots = min(rows * per_row, count)
        index = self._empty((rows, per_row), torch.int32)
        weight = self._empty((rows, per_row), torch.float32)
        chosen, used = self._empty((slots,), torch.int32), self._empty((1,), torch.int32)
        experts.route[(rows,)](
            logits, per_expert, real, index, weight, chosen, used, self._arrived,
            E=count, TOP=per_row, PAIRS=triton.next_power_of_2(max(rows, ROWS) * per_row), num_warps=4,
        )  # fmt: skip
        between = self._empty((rows * per_row, inner), torch.bfloat16)
        first, second = expert_tiles(up.bits)
        experts.expert_up[slots, -(-inner // first.outputs), -(-rows // ROWS)](
            x, up.weight, up.scale, index, chosen, used, between, rows,
            N=inner, K=hidden, TOP=per_row, BN=first.outputs, BK=first.inputs, BITS=up.bits,
            num_warps=first.warps, num_stages=first.stages,
        )  # fmt: skip
        parts = self._empty((rows * per_row, hidden), torch.float32)
        experts.expert_down[slots, -(-hidden // second.outputs), -(-rows // ROWS)](
            between, down.weight, down.scale, index, chosen, used, parts, rows,
            N=hidden, K=inner, TOP=per_row, BN=second.outputs, BK=second.inputs, BITS=down.bits,
            num_warps=second.warps, num_stages=second.stages,
        )  # fmt: skip
        return parts, weight
