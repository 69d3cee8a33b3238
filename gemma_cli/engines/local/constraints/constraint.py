"""Constraints on the next token: the interface between decoding and whatever restricts it.

A constraint follows the reply token by token. Before tokens are chosen it takes those not allowed out of the logits
(-inf), each row of a target pass by what would have been said before it: the drafts in front of that row. So the text
is a function of seed, prompt and constraint, whatever is drafted. A token that is forced is one that alone is allowed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gemma_cli.core.errors import ModelError

Mask = NDArray[np.uint8]
"""Which token ids are allowed: uint8 [(vocab + 7) // 8], id i in bit i % 8 of byte i // 8."""


class Constraint(Protocol):
    """Interface that decode.py uses."""

    def masked(self, logits: Tensor, drafts: Sequence[Tensor], ids: Tensor | None = None) -> Tensor:
        """`logits` [m, c] with what is not allowed at -inf.

        drafts: int64 [n] each, said after the tokens accepted so far if they are right; the last row follows all of
        them, the one before it all but one, and so on. ids: int64 [m, c], the token ids the columns stand for (a
        drafter's shortlist); None when column = id.
        """
        ...

    def accept(self, tokens: Sequence[int]) -> None:
        """Advance by accepted tokens."""
        ...


class Free:
    """A constraint that allows every token."""

    def masked(self, logits: Tensor, drafts: Sequence[Tensor], ids: Tensor | None = None) -> Tensor:
        return logits

    def accept(self, tokens: Sequence[int]) -> None:
        pass


class Rules(Protocol):
    """An automaton over tokens that can go back."""

    def allowed(self) -> Mask | None:
        """Return the allowed tokens; None: all."""
        ...

    def push(self, token: int) -> bool:
        """Go on by `token`; False, and nothing changed, if it is not allowed."""
        ...

    def pop(self, count: int) -> None:
        """Undo the last `count` pushes."""
        ...


class Bound:
    """Holds a reply to `rules`. A mask is made once for each state a round comes by."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self._masks: dict[tuple[int, ...], Mask | None] = {}  # by the drafts in front

    def masked(self, logits: Tensor, drafts: Sequence[Tensor], ids: Tensor | None = None) -> Tensor:
        """See Constraint. Waits for the device, to see what was drafted."""
        drafted = torch.cat(tuple(drafts)).tolist() if drafts else []
        masks = [self._mask(tuple(drafted[: len(drafted) - behind])) for behind in reversed(range(len(logits)))]
        if all(mask is None for mask in masks):
            return logits
        allowed = _bits(masks, logits.device)
        allowed = allowed[:, : logits.shape[-1]] if ids is None else allowed.gather(-1, ids.expand_as(logits))
        return logits.masked_fill(~allowed, -torch.inf)

    def accept(self, tokens: Sequence[int]) -> None:
        """See Constraint. Raises ModelError where the model has no token for what would be allowed."""
        self._masks.clear()
        for token in tokens:
            if not self.rules.push(token):
                raise ModelError("the JSON schema does not allow the next token of the reply")

    def _mask(self, drafts: tuple[int, ...]) -> Mask | None:
        if drafts not in self._masks:
            self._masks[drafts] = self._ahead(drafts)
        return self._masks[drafts]

    def _ahead(self, drafts: tuple[int, ...]) -> Mask | None:
        """Return the tokens allowed after `drafts`; all tokens after a draft that is not allowed, since it will be
        rejected."""
        pushed = 0
        try:
            for token in drafts:
                if not self.rules.push(token):
                    return None
                pushed += 1
            return self.rules.allowed()
        finally:
            self.rules.pop(pushed)


def _bits(masks: Sequence[Mask | None], device: torch.device) -> Tensor:
    """bool [m, ids] of masks; the eighth part of it travels to the device."""
    size = next(len(mask) for mask in masks if mask is not None)
    anything = np.full(size, 0xFF, np.uint8)
    stacked = np.stack([anything if mask is None else mask for mask in masks])
    if device.type == "cpu":  # a fifth of the time
        return torch.from_numpy(np.unpackbits(stacked, axis=1, bitorder="little").view(np.bool_))
    packed = torch.from_numpy(stacked).to(device)
    return (packed[:, :, None] >> torch.arange(8, dtype=torch.uint8, device=device) & 1).bool().flatten(1)
