"""The kernels between linear layers and after the last one, as functions of tensors."""

from __future__ import annotations

from collections.abc import Sequence

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
        total, normal = self._add(residual, x, weight, eps, scalar, (following,))
        return total, normal

    def add_norms(
        self, residual: Tensor, x: Tensor, weight: Tensor, eps: float, following: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """`add_norm` with a scalar of 1 and three weights that follow."""
        total, one, two, three = self._add(residual, x, weight, eps, 1.0, following)
        return total, one, two, three

    def add(self, residual: Tensor, x: Tensor, weight: Tensor, eps: float, scalar: float) -> Tensor:
        """The total of `add_norm` alone."""
        return self._add(residual, x, weight, eps, scalar, ())[0]

    def _add(
        self, residual: Tensor, x: Tensor, weight: Tensor, eps: float, scalar: float, following: Sequence[Tensor]
    ) -> list[Tensor]:
        rows, width = x.shape
        block = triton.next_power_of_2(width)
        made = [self._empty((rows, width), torch.bfloat16) for _ in range(1 + len(following))]
        weights, results = (*following, *[weight] * 3)[:3], (*made, *[made[0]] * 3)[:4]
        elementwise.add_norm[(rows,)](
            residual.contiguous(), x.contiguous(), weight, *weights, *results, scalar, eps,
            WIDTH=width, BLOCK=block, NEXT=len(following), num_warps=warps_for(block),
        )  # fmt: skip
        return made

    def add_experts(
        self,
        parts: Tensor,
        choice: Tensor,
        dense: Tensor,
        weights: Sequence[Tensor],
        residual: Tensor,
        eps: float,
        scalar: float,
    ) -> tuple[Tensor, Tensor]:
        """The end of a layer with experts: (total, normal) as `add_norm` has them.

        parts, choice: what `experts` returns; dense, residual: bfloat16 [rows, hidden]; weights, float32 [hidden]: of
        the norm of the experts' sum, of the dense network's, of both together, and of the norm that follows.
        """
        rows, width = residual.shape
        total, normal = (self._empty((rows, width), torch.bfloat16) for _ in range(2))
        block = triton.next_power_of_2(width)
        elementwise.add_experts[(rows,)](
            parts, choice, dense.contiguous(), *weights[:2], residual.contiguous(), *weights[2:], total, normal, scalar,
            eps, WIDTH=width, BLOCK=block, TOP=choice.shape[1], num_warps=warps_for(block),
        )  # fmt: skip
        return total, normal

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
