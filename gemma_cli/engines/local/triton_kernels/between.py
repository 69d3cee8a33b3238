"""The kernels between linear layers and after the last one, as functions of tensors."""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from gemma_cli.engines.local.triton_kernels.launcher import Launcher
from gemma_cli.engines.local.triton_kernels.source import choice, elementwise


class Between(Launcher):
    """Norms, rotation, activations, and the choice of tokens. columns: of logits of which a program finds the best."""

    columns = 1024

    def norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        """x / rms(x) * weight over rows of x, bfloat16 [rows, width]; weight: float32 [width]."""
        x = x.contiguous()
        rows, width = x.shape
        y = self._empty((rows, width), torch.bfloat16)
        block = triton.next_power_of_2(width)
        elementwise.norm[(rows,)](x, weight, y, eps, WIDTH=width, BLOCK=block, num_warps=warps_for(block))
        return y

    def add_norm(
        self, residual: Tensor, x: Tensor, weight: Tensor, eps: float, scalar: float, following: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(total, normal): total is (residual + x / rms(x) * weight) * scalar, normal is total / rms(total) *
        following. All but the float32 weights are bfloat16 [rows, width]."""
        total, normal = self._empty(tuple(x.shape), torch.bfloat16), self._empty(tuple(x.shape), torch.bfloat16)
        self._add(residual, x, weight, eps, scalar, total, following, normal)
        return total, normal

    def add(self, residual: Tensor, x: Tensor, weight: Tensor, eps: float, scalar: float) -> Tensor:
        """The total of `add_norm` alone."""
        total = self._empty(tuple(x.shape), torch.bfloat16)
        self._add(residual, x, weight, eps, scalar, total)
        return total

    def _add(
        self,
        residual: Tensor,
        x: Tensor,
        weight: Tensor,
        eps: float,
        scalar: float,
        total: Tensor,
        following: Tensor | None = None,
        normal: Tensor | None = None,
    ) -> None:
        rows, width = x.shape
        block = triton.next_power_of_2(width)
        elementwise.add_norm[(rows,)](
            residual.contiguous(), x.contiguous(), weight, weight if following is None else following, total,
            total if normal is None else normal, scalar, eps,
            WIDTH=width, BLOCK=block, NEXT=following is not None, num_warps=warps_for(block),
        )  # fmt: skip

    def rotation(self, position: Tensor, frequencies: Tensor, factor: float, rows: int) -> tuple[Tensor, Tensor]:
        """(cos, sin), float32 [rows, 1, dim], as Rope.at gives them. position: int64 [1], the first row's;
        frequencies: float32 [dim / 2]."""
        half = frequencies.shape[0]
        cos, sin = self._empty((rows, 1, 2 * half), torch.float32), self._empty((rows, 1, 2 * half), torch.float32)
        elementwise.rotation[(rows,)](
            position, frequencies, cos, sin, factor, HALF=half, BLOCK=triton.next_power_of_2(half), num_warps=1
        )
        return cos, sin

    def turn(
        self,
        product: Tensor,
        scale: Tensor,
        cos: Tensor,
        sin: Tensor,
        position: Tensor,
        keys: Tensor,
        values: Tensor,
        heads: int,
        eps: float,
    ) -> Tensor:
        """Normalise, scale and rotate the heads of a product, bfloat16 [rows, n, dim], store the keys and values of its
        rows at their positions, and return the queries, bfloat16 [rows, heads, dim].

        The n heads are queries, keys and values; queries and keys where keys serve as values; or queries alone.
        scale: float32 [heads (+ key heads), dim]; cos, sin: float32 [rows, 1, dim]; position: int64 [1], the first
        row's; keys, values: bfloat16 [key heads, slots, dim], position p at slot p % slots.
        """
        product = product.contiguous()
        rows, count, dim = product.shape
        key_heads = scale.shape[0] - heads
        query = self._empty((rows, heads, dim), torch.bfloat16)
        elementwise.turn[rows, count](
            product, scale, cos, sin, position, query, keys, values, eps, keys.shape[1],
            HEADS=heads, KEYS=key_heads, APART=count > heads + key_heads, D=dim, num_warps=warps_for(dim),
        )  # fmt: skip
        return query

    def gated(self, gate: Tensor, up: Tensor) -> Tensor:
        """gelu(gate) * up, both bfloat16 [rows, width], whose rows may lie apart."""
        rows, width = gate.shape
        y = self._empty((rows, width), torch.bfloat16)
        elementwise.gated[rows, -(-width // 1024)](gate, up, y, width, gate.stride(0), up.stride(0), BLOCK=1024)
        return y

    def soft_cap(self, x: Tensor, cap: float) -> Tensor:
        """cap * tanh(x / cap), float32, for bfloat16 x."""
        x = x.contiguous()
        y = self._empty(tuple(x.shape), torch.float32)
        elementwise.soft_cap[(-(-x.numel() // 1024),)](x, y, cap, x.numel(), BLOCK=1024)
        return y

    def choose(
        self,
        logits: Tensor,
        position: Tensor,
        ids: Tensor | None,
        top: int,
        seed: Tensor,
        temperature: Tensor,
        top_p: Tensor | None,
        least: Tensor | None,
    ) -> Tensor:
        """The token of each row, int64 [rows], as sampling.Sampler chooses it among the `top` best (0: the best).

        logits: float32 [rows, width]; position: int64 [1], the place that the first row's token takes; ids: int64
        [rows, width], the ids of the columns, None where a column is its id. seed: int64 [], sampling.seed_key's;
        temperature, top_p, least: float64 []; least is the logarithm of min-p, None where there is none.
        """
        logits = logits.contiguous()
        rows, width = logits.shape
        k, blocks = triton.next_power_of_2(max(top, 1)), -(-width // self.columns)
        keys = self._empty((rows, blocks * k), torch.int64)
        choice.best_of_blocks[blocks, rows](
            logits, logits if ids is None else ids, keys, width, BLOCK=self.columns, K=k, NAMED=ids is not None
        )
        while (count := blocks * k) > self.columns:
            blocks = -(-count // self.columns)
            fewer = self._empty((rows, blocks * k), torch.int64)
            choice.best_of_keys[blocks, rows](keys, fewer, count, BLOCK=self.columns, K=k)
            keys = fewer
        token = self._empty((rows,), torch.int64)
        choice.choose[(rows,)](
            keys, position, seed, temperature, temperature if top_p is None else top_p,
            temperature if least is None else least, token, count,
            BLOCK=triton.next_power_of_2(count), K=k, TOP=top, NUCLEUS=top_p is not None, FLOOR=least is not None,
        )  # fmt: skip
        return token


def warps_for(block: int) -> int:
    """As many threads as give each about 16 elements."""
    return min(max(block // 512, 1), 8)
