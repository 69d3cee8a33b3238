"""The kernels as functions of tensors on one GPU. Importing this module imports Triton."""

from __future__ import annotations

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
    LinearTile,
    attention_parts,
    attention_tile,
    expert_tiles,
    linear_tile,
)


class Kernels(Between):
    """The kernels of one card."""

    def linear(self, x: Tensor, weight: Tensor, tile: LinearTile | None = None) -> Tensor:
        """x [rows, width] @ weight.T for weight [out, width], all bfloat16; rows are at most FEW.

        tile: None takes that of the card.
        """
        out, width = weight.shape
        tile = tile or linear_tile(self.card, out, width, 16)
        x, y, parts, even = self._prepare(x, out, width, tile)
        source.linear_bfloat16[_grid(x, out, tile)](
            x, weight, y, parts, self._arrived, x.shape[0], out, width, tile.part_width,
            BN=tile.outputs, BK=tile.inputs, SPLIT=tile.parts, EVEN=even, num_warps=tile.warps, num_stages=tile.stages,
        )  # fmt: skip
        return y

    def int8_linear(self, x: Tensor, numbers: Tensor, scale: Tensor, tile: LinearTile | None = None) -> Tensor:
        """As `linear`, for a weight of eight bits: numbers int8 [out, width] times scale, float32 [out]."""
        out, width = numbers.shape
        tile = tile or linear_tile(self.card, out, width, 8)
        x, y, parts, even = self._prepare(x, out, width, tile)
        source.linear_int8[_grid(x, out, tile)](
            x, numbers, scale, y, parts, self._arrived, x.shape[0], out, width, tile.part_width,
            BN=tile.outputs, BK=tile.inputs, SPLIT=tile.parts, EVEN=even, num_warps=tile.warps, num_stages=tile.stages,
        )  # fmt: skip
        return y

    def int4_linear(self, x: Tensor, words: Tensor, scales: Tensor, tile: LinearTile | None = None) -> Tensor:
        """As `linear`, for a weight of four bits that layout.pack packed."""
        out, width = words.shape[0], x.shape[1]
        tile = tile or linear_tile(self.card, out, width, 4)
        x, y, parts, even = self._prepare(x, out, width, tile)
        source.linear_int4[_grid(x, out, tile)](
            x, words, scales, y, parts, self._arrived, x.shape[0], out, width, tile.part_width,
            BN=tile.outputs, SPLIT=tile.parts, EVEN=even, num_warps=tile.warps, num_stages=tile.stages,
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
    ) -> Tensor:
        """The weighted sum of the `per_row` best experts of every row: bfloat16 [rows, hidden].

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
        y = self._empty((rows, hidden), torch.bfloat16)
        experts.expert_sum[rows, -(-hidden // 256)](parts, weight, y, hidden, TOP=per_row, BN=256)
        return y

    def _prepare(self, x: Tensor, out: int, width: int, tile: LinearTile) -> tuple[Tensor, Tensor, Tensor, bool]:
        """x in one piece, memory for the result and for its parts, and whether the tile divides the weight."""
        x = x.to(torch.bfloat16).contiguous()
        rows = x.shape[0]
        y = self._empty((rows, out), torch.bfloat16)
        parts = self._empty((tile.parts, rows, out) if tile.parts > 1 else (1,), torch.float32)
        return x, y, parts, out % tile.outputs == 0 and width == tile.parts * tile.part_width


def _grid(x: Tensor, out: int, tile: LinearTile) -> tuple[int, int, int]:
    return -(-out // tile.outputs), tile.parts, -(-x.shape[0] // ROWS)
