"""The mixture of experts of 26B-A4B: every row goes through `experts_per_row` of 128 small networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gemma_cli.engines.local.kernel_table import Functions
from gemma_cli.engines.local.model.layers.activation import gated
from gemma_cli.engines.local.model.layers.expert_stack import ExpertStack
from gemma_cli.engines.local.model.layers.linear import FEW, Linear, Norm
from gemma_cli.engines.local.model.row_rule import UNMEASURED, RowRule


@dataclass
class Experts:
    """gate_up [2 * n, hidden] and down [hidden, n] of every expert; per_expert float32 [experts].

    An expert runs on row counts that agree with each other (`rows`; the last row is repeated), so that a row's result
    does not depend on who else chose the same expert. Rows beyond `real` only fill a pass up: they go where the last
    real row goes, because reading more experts is what would cost time.

    Where the experts are an ExpertStack, few rows are taken one by one, with the same calls on the same shapes for
    each: a row's bits cannot depend on the others, and the host never waits to learn what the router chose.
    """

    router_norm: Norm
    router: Linear
    per_expert: Tensor
    gate_up: Sequence[Linear]
    down: Sequence[Linear]
    norm: Norm
    dense_norm: Norm
    expert_norm: Norm
    per_row: int
    rows: RowRule = UNMEASURED

    def beside(self, dense: Tensor, x: Tensor, real: int) -> Tensor:
        """The sum of the dense network's output and the experts', each normalised; x is the layer's residual."""
        return self.dense_norm(dense) + self.expert_norm(self(x, real))

    def of_few(self, functions: Functions, x: Tensor, logits: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
        """The outputs of the experts that the router's logits choose for rows x, and their weights, as
        Functions.experts returns them; count: int64 [1], the rows that count."""
        assert isinstance(self.gate_up, ExpertStack)
        assert isinstance(self.down, ExpertStack)
        up, down = self.gate_up.stored, self.down.stored
        mixed = []
        for first in range(0, len(x), FEW):
            part = slice(first, first + FEW)
            real = (count - first).clamp(min=1) if first else count
            mixed.append(functions.experts(x[part], logits[part], self.per_expert, real, self.per_row, up, down))
        if len(mixed) == 1:
            return mixed[0]
        return torch.cat([parts for parts, _ in mixed]), torch.cat([weights for _, weights in mixed])

    def __call__(self, x: Tensor, real: int) -> Tensor:
        index, weights = self._route(x)
        if isinstance(self.gate_up, ExpertStack) and isinstance(self.down, ExpertStack) and x.shape[0] <= FEW:
            each = zip(torch.split(self.norm(x)[:real], 1), index, weights, strict=False)
            rows = [_of_row(self.gate_up, self.down, *one) for one in each]
            return torch.cat((*rows, *rows[-1:] * (x.shape[0] - real)))
        if real < x.shape[0]:
            index = torch.cat((index[:real], index[real - 1 : real].expand(x.shape[0] - real, -1)))
        return self._mix(self.norm(x), index, weights)

    def _route(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(expert ids [rows, per_row], weights float32 [rows, per_row])."""
        scores = torch.softmax(self.router(self.router_norm(x)), -1, dtype=torch.float32)
        weights, index = torch.topk(scores, self.per_row, -1)
        return index, weights / weights.sum(-1, keepdim=True) * self.per_expert[index]

    def _mix(self, x: Tensor, index: Tensor, weights: Tensor) -> Tensor:
        """Group the (row, choice) pairs by expert; sum a row's choices in the order the router ranked them."""
        rows, choices = index.shape
        flat = index.flatten()
        order = flat.argsort(stable=True)
        counts = torch.bincount(flat, minlength=len(self.gate_up)).tolist()
        outputs = torch.empty(rows * choices, x.shape[1], dtype=torch.float32, device=x.device)
        first = 0
        for expert, count in enumerate(counts):
            if count:
                pairs = order[first : first + count]
                outputs[pairs] = self._run(expert, x[pairs // choices])[:count].float()
                first += count
        return torch.bmm(weights[:, None], outputs.view(rows, choices, -1))[:, 0].to(x.dtype)

    def _run(self, expert: int, x: Tensor) -> Tensor:
        missing = self.rows.filled(x.shape[0]) - x.shape[0]
        if missing > 0:
            x = torch.cat((x, x[-1:].expand(missing, -1)))
        return self.down[expert](gated(self.gate_up[expert](x)))


def _of_row(gate_up: ExpertStack, down: ExpertStack, x: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
    """The weighted sum [1, hidden] of the experts `chosen`, int64 [k], of a row [1, hidden]; weights float32 [k]."""
    inner = gated(torch.mm(x, gate_up.of(chosen).flatten(0, 1).t()).view(len(chosen), -1))
    outputs = torch.bmm(inner[:, None], down.of(chosen).transpose(1, 2))[:, 0]
    return torch.mm(weights[None], outputs.float()).to(x.dtype)
