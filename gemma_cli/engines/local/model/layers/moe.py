"""The mixture of experts of 26B-A4B: every row goes through `experts_per_row` of 128 small networks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gemma_cli.engines.local.model.layers.activation import gated
from gemma_cli.engines.local.model.layers.linear import Linear, Norm
from gemma_cli.engines.local.model.row_rule import UNMEASURED, RowRule


@dataclass
class Experts:
    """gate_up [2 * n, hidden] and down [hidden, n] of every expert; per_expert float32 [experts].

    An expert runs on row counts that agree with each other (`rows`; the last row is repeated), so that a row's result
    does not depend on who else chose the same expert. Rows beyond `real` only fill a pass up: they go where the last
    real row goes, because reading more experts is what would cost time.
    """

    router_norm: Norm
    router: Linear
    per_expert: Tensor
    gate_up: list[Linear]
    down: list[Linear]
    norm: Norm
    dense_norm: Norm
    expert_norm: Norm
    per_row: int
    rows: RowRule = UNMEASURED

    def beside(self, dense: Tensor, x: Tensor, real: int) -> Tensor:
        """The sum of the dense network's output and the experts', each normalised; x is the layer's residual."""
        return self.dense_norm(dense) + self.expert_norm(self(x, real))

    def __call__(self, x: Tensor, real: int) -> Tensor:
        index, weights = self._route(x)
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
