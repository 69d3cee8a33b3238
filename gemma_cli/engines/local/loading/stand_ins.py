"""Stand-ins for what a model is made of, where it is built only to learn its shapes."""

from __future__ import annotations

from collections.abc import Sequence

from gemma_cli.engines.local.model.layers.linear import Linear


class LinearStandIn(Linear):
    """A stand-in for a linear layer that computes nothing."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape, self.nbytes, self.packed = shape, 0, False


class TensorStandIn:
    """A stand-in for a large tensor. Torch's own, the meta device, takes a second to import its dependencies."""

    def __init__(self, shape: Sequence[int]) -> None:
        self.shape = shape

    def __getitem__(self, _: object) -> TensorStandIn:
        return self
