"""Per-layer embeddings (PLE) of E2B and E4B: one small embedding of each token for each layer."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from gemma_cli.engines.local.model.layers.linear import Linear, Norm


@dataclass
class PerLayerEmbedding:
    """One small embedding per token and layer: looked up by id, and projected from the main embedding.

    table: [vocab, layers * width]; on a CPU memory-mapped in the checkpoint's dtype, so that only rows in use are read.
    norm: its weight is divided by sqrt(2) and its epsilon multiplied by the hidden size, which accounts for two
    scalings of the reference.
    """

    table: Tensor
    table_scale: float
    project: Linear
    norm: Norm
    width: int

    def __call__(self, ids: Tensor, embedded: Tensor) -> Tensor:
        """[n, layers, width] from ids [n] and main embeddings [n, hidden]."""
        shape = (ids.shape[0], -1, self.width)
        looked_up = F.embedding(ids, self.table).to(embedded.dtype).view(shape)
        projected = self.norm.wide(self.project(embedded).view(shape))
        return projected.add_(looked_up, alpha=self.table_scale).to(embedded.dtype)
