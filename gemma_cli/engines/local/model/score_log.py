"""Log-probabilities of the tokens that a reply chooses, recorded while it is decoded.

They are those of the model's own distribution, log_softmax of its logits: before temperature, top-k, top-p, min-p,
suppressed tokens and what a schema allows. Each row is taken by itself, so a number does not depend, to the last bit,
on which rows are verified together.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

Scored = tuple[int, float]
"""A token id, and the natural logarithm of its probability."""


@dataclass(eq=False)
class ScoreLog:
    """Scores of the tokens chosen after each position. A row that is decoded again replaces the rejected one.

    alternatives: how many of the likeliest tokens are kept at each position; None: the reply has no events of them.
    chosen: the natural logarithm of the chosen token's probability. likeliest: in falling order, lowest id first among
    equals.
    """

    alternatives: int | None = None
    chosen: dict[int, float] = field(default_factory=dict)
    likeliest: dict[int, list[Scored]] = field(default_factory=dict)

    def add(self, position: int, logits: Tensor, tokens: Tensor) -> None:
        """Record what float [n, vocab] logits after `position`, which no rule has masked, give to int64 [n] tokens."""
        for row, token in enumerate(tokens.tolist()):
            logprobs = logits[row].float().log_softmax(-1)
            self.chosen[position + row] = float(logprobs[max(token, 0)])  # -1 where a logit was not a number
            if self.alternatives:
                best = logprobs.topk(min(self.alternatives, logprobs.shape[0]))
                found = zip(best.indices.tolist(), best.values.tolist(), strict=True)
                self.likeliest[position + row] = sorted(found, key=lambda one: (-one[1], one[0]))
