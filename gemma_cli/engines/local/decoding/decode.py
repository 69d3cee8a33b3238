"""The decoding loop, plain and speculative; plain decoding drafts nothing.

    a round:  draft   d_1 .. d_K from the drafter, with the noise of positions t+1 .. t+K, or copied from the context
              verify  one target pass over [x_t, d_1 .. d_K] gives the target's own choices x_{t+1} .. x_{t+K+1}
              accept  while d_i = x_{t+i}; the choice after the last accepted draft is a token of its own
              forget  the rows of rejected drafts

Target and drafter choose with the same noise (sampling.py), so accepting is comparing, and what comes out are the
target's choices and nothing else: the drafter decides how many come at once. That takes a target whose rows do not
depend, to the last bit, on how many are verified together; target.py and batch_invariance.py see to it.
"""

from __future__ import annotations

from collections.abc import Collection, Generator
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol

import torch
from torch import Tensor

from gemma_cli.core.errors import ModelError
from gemma_cli.core.events import Round
from gemma_cli.engines.local.constraints.constraint import Constraint, Free
from gemma_cli.engines.local.decoding.accept import Accept, equal
from gemma_cli.engines.local.decoding.draft_length import AdaptiveDraftLength
from gemma_cli.engines.local.decoding.lookup import Lookup
from gemma_cli.engines.local.decoding.sampling import Sampler
from gemma_cli.engines.local.model.cache import Cache
from gemma_cli.engines.local.model.drafter import Drafter
from gemma_cli.engines.local.model.score_log import ScoreLog
from gemma_cli.engines.local.model.target import Target

FREE = Free()


class DraftLengthPolicy(Protocol):
    """The choice of how many tokens to draft and to copy from the context (draft_length adapts it)."""

    def choose(self) -> int: ...

    def observe(self, drafted: int, accepted: int, seconds: float) -> None: ...

    def choose_copy(self, found: int) -> int: ...

    def observe_copy(self, copied: int, accepted: int, seconds: float) -> None: ...


@dataclass(frozen=True)
class FixedDraftLength:
    """A fixed number of drafts, and no copies."""

    draft_tokens: int

    def choose(self) -> int:
        return self.draft_tokens

    def observe(self, drafted: int, accepted: int, seconds: float) -> None:
        pass

    def choose_copy(self, found: int) -> int:
        return 0

    def observe_copy(self, copied: int, accepted: int, seconds: float) -> None:
        pass


@dataclass(frozen=True)
class CappedDraftLength:
    """The length that `adaptive` finds fastest, up to a limit for what a drafter drafts: a copy costs only its pass."""

    draft_tokens: int
    adaptive: AdaptiveDraftLength

    def choose(self) -> int:
        return self.adaptive.choose(self.draft_tokens)

    def observe(self, drafted: int, accepted: int, seconds: float) -> None:
        self.adaptive.observe(drafted, accepted, seconds)

    def choose_copy(self, found: int) -> int:
        return self.adaptive.choose_copy(found)

    def observe_copy(self, copied: int, accepted: int, seconds: float) -> None:
        self.adaptive.observe_copy(copied, accepted, seconds)


@dataclass(frozen=True)
class Burst:
    """Tokens of one round, with figures of the round; the first token comes from the prefill."""

    tokens: tuple[int, ...]
    round: Round | None = None


@torch.inference_mode()
def decode(
    target: Target,
    drafter: Drafter | None,
    cache: Cache,
    prefilled: tuple[Tensor, Tensor],
    sampler: Sampler,
    pacer: DraftLengthPolicy,
    *,
    stop: Collection[int],
    limit: int,
    accept: Accept = equal,
    constraint: Constraint = FREE,
    lookup: Lookup | None = None,
    scores: ScoreLog | None = None,
) -> Generator[Burst, None, None]:
    """Choose tokens until one is in `stop` or `limit` (>= 1) have been chosen, among those that `constraint` allows.

    prefilled: logits [1, vocab] and hidden [1, hidden] of the prompt's last row. The prompt and `limit` together must
    fit the context. lookup: holds the prompt; without one nothing is copied. scores: records how likely what is chosen
    is. Between bursts the cache holds everything but the newest token, so closing the generator leaves it in order.
    Raises ModelError where the target's logits are not numbers.
    """
    logits, hidden = prefilled
    token = sampler.choose(constraint.masked(logits, ()), _positions(cache.length, 1, logits.device))
    if scores:
        scores.add(cache.length - 1, logits, token)
    tokens: list[int] = numbers(token.tolist())
    constraint.accept(tokens)
    yield Burst(tuple(tokens))
    left = limit - 1
    while left and tokens[-1] not in stop:
        began = perf_counter()
        copied = copied_drafts(lookup, pacer, tokens, min(left, target.rows.most) - 1) if lookup else []
        longest = min(pacer.choose(), left - 1) if drafter and not copied else 0
        if drafter and longest:
            drafts = draft(target, drafter, cache, token, hidden, sampler, longest, constraint)
        else:
            drafts = torch.tensor(copied, dtype=torch.int64, device=token.device)
        choices, states = verify(target, cache, token, drafts, sampler, constraint, scores)
        drafted = drafts.shape[0]  # a tensor's len() runs in Python and takes as long as a small kernel
        tokens, accepted = _settle(drafts, choices, stop, accept, cache.length - drafted)
        constraint.accept(tokens)
        cache.rollback(cache.length - drafted - 1 + len(tokens))
        token, hidden = choices[len(tokens) - 1 :][:1], states[len(tokens) - 1 :][:1]
        left -= len(tokens)
        observe = pacer.observe_copy if copied else pacer.observe
        observe(drafted, accepted, perf_counter() - began)
        yield Burst(tuple(tokens), Round(drafted, accepted, "lookup" if copied else "drafter"))


def copied_drafts(lookup: Lookup, pacer: DraftLengthPolicy, newest: list[int], most: int) -> list[int]:
    """Return up to `most` tokens copied from the context that are worth a target pass; often none."""
    lookup.extend(newest)
    found = lookup.find(most) if most > 0 else []
    return found[: pacer.choose_copy(len(found))]


def draft(
    target: Target,
    drafter: Drafter,
    cache: Cache,
    token: Tensor,
    hidden: Tensor,
    sampler: Sampler,
    count: int,
    constraint: Constraint = FREE,
) -> Tensor:
    """`count` tokens the drafter expects after `token`: int64 [count].

    token: int64 [1], the newest, which the cache does not hold yet. hidden: [1, hidden], the target's last state,
    after the final norm, of the row that chose it.

    The drafter's queries stand at the position of the newest token throughout, as in transformers, LiteRT-LM and
    llama.cpp; vLLM and mlx-vlm use the one before, that of the last key in the cache. It is this integer.
    """
    newest = cache.length
    context = drafter.begin(target, cache, newest)
    positions = _positions(newest + 1, count, token.device)
    drafts: list[Tensor] = []
    for step in range(count):
        logits, ids, hidden = drafter.step(token, hidden, context)
        logits = constraint.masked(logits, drafts, ids)
        token = sampler.guess(logits, positions[step : step + 1], ids)
        drafts.append(token)
    return torch.cat(drafts)


def verify(
    target: Target,
    cache: Cache,
    token: Tensor,
    drafts: Tensor,
    sampler: Sampler,
    constraint: Constraint = FREE,
    scores: ScoreLog | None = None,
) -> tuple[Tensor, Tensor]:
    """The target's own choices after `token` and after each draft: int64 [K + 1], and their states [K + 1, hidden].

    The cache grows by K + 1 rows.
    """
    first = cache.length + 1
    rows = torch.cat([token, drafts])
    logits, states = target.verify(rows, cache)
    choices = sampler.choose(constraint.masked(logits, (drafts,)), _positions(first, rows.shape[0], rows.device))
    if scores:
        scores.add(first - 1, logits, choices)
    return choices, states


def _settle(
    drafts: Tensor, choices: Tensor, stop: Collection[int], accept: Accept, position: int
) -> tuple[list[int], int]:
    """`settle` of tensors: the one place in a round where the host waits for the device."""
    together = torch.cat([drafts, choices]).tolist()
    count = drafts.shape[0]
    return settle(together[:count], together[count:], stop, accept, position)


def settle(
    drafted: list[int], chosen: list[int], stop: Collection[int], accept: Accept = equal, position: int = 0
) -> tuple[list[int], int]:
    """The tokens of a round, up to the first that ends the reply, and how many of them had been drafted.

    drafted: K tokens; chosen: the target's choices, K + 1. Raises ModelError where one of them was not a number.
    """
    accepted = accept(drafted, chosen, position)
    tokens = numbers(chosen[: accepted + 1])
    end = next((i for i, token in enumerate(tokens) if token in stop), accepted)
    return tokens[: end + 1], min(accepted, end + 1)


def numbers(tokens: list[int]) -> list[int]:
    """Return the same tokens. Raises ModelError for an invalid choice."""
    if min(tokens) < 0:
        raise ModelError(
            "the model computed invalid numbers (NaN): download the checkpoint again, or choose a larger --dtype"
        )
    return tokens


def _positions(start: int, count: int, device: torch.device) -> Tensor:
    return torch.arange(start, start + count, device=device)
