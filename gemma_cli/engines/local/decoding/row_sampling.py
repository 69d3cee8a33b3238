"""Choosing for rows of several requests at once: one call for all whose sampling is of one kind.

What a row gets is what its own Sampler gives it, to the last bit: seed, temperature, top-p and min-p become a column
with a number for each row, and every operation of a choice reads its own row alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gemma_cli.core.messages import Sampling
from gemma_cli.engines.local.decoding.sampling import WIDE, Sampler, StaticSampler, numbers_of, seed_key


class RowSampler(Sampler):
    """A Sampler for rows that each have their own Sampling, all of one StaticSampler.kind."""

    def __init__(self, samplings: Sequence[Sampling], suppress: Sequence[int]) -> None:
        super().__init__(samplings[0], suppress)
        self._seed = torch.tensor([seed_key(one.seed) for one in samplings])
        rows = [numbers_of(one) for one in samplings]
        self._numbers = {name: _column([row[name] for row in rows]) for name in rows[0]}


def _column(numbers: list[float]) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)[:, None]


class RowChooser:
    """Chooses for the rows of one pass on a CPU. samplings: of each row; rows of one request lie together."""

    def __init__(self, samplings: Sequence[Sampling], suppress: Sequence[int], width: int) -> None:
        """width: columns of the logits, at most."""
        kinds: dict[object, list[int]] = {}
        for row, sampling in enumerate(samplings):
            all_of_many = sampling.temperature and width > WIDE and not 0 < sampling.top_k < width
            kind = sampling if all_of_many else StaticSampler.kind(sampling)  # which are taken row by row
            kinds.setdefault(kind, []).append(row)
        self._groups = [(rows, _sampler([samplings[row] for row in rows], suppress)) for rows in kinds.values()]

    def choose(self, logits: Tensor, positions: Tensor) -> Tensor:
        """As Sampler.choose."""
        if len(self._groups) == 1:
            return self._groups[0][1].choose(logits, positions)
        chosen = torch.empty_like(positions)
        for rows, sampler in self._groups:
            chosen[rows] = sampler.choose(logits[rows], positions[rows])
        return chosen

    def guess(self, logits: Tensor, positions: Tensor, ids: Tensor | None) -> Tensor:
        """As Sampler.guess."""
        if len(self._groups) == 1:
            return self._groups[0][1].guess(logits, positions, ids)
        guessed = torch.empty_like(positions)
        for rows, sampler in self._groups:
            guessed[rows] = sampler.guess(logits[rows], positions[rows], None if ids is None else ids[rows])
        return guessed


def _sampler(samplings: Sequence[Sampling], suppress: Sequence[int]) -> Sampler:
    """The plain one where all rows have the same Sampling, which may also be taken row by row."""
    alike = all(sampling == samplings[0] for sampling in samplings)
    return Sampler(samplings[0], suppress) if alike else RowSampler(samplings, suppress)
