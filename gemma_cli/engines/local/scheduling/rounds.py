"""A round of several sequences: draft for all, verify all in one target pass, accept for each.

    draft    each step of the drafter has a row for every sequence
    verify   one target pass over [x_t, d_1 .. d_K] of the first sequence, then of the second, ...
    accept   separately for each sequence, as in decode.py; each cache drops its own rejected rows

The number of drafts affects only the speed of a sequence (decode.py), so it may depend on the other sequences. The
logits of a sequence are bit for bit those that it gets alone: linear layers give a row the same bits in any pass up to
`widest_pass`, and attention runs sequence by sequence (batched_attention.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from time import perf_counter
from typing import Protocol

import torch
from torch import Tensor

from gemma_cli.core.errors import ModelError
from gemma_cli.core.events import DraftSource, Round
from gemma_cli.engines.local.decoding.decode import copied_drafts, settle
from gemma_cli.engines.local.decoding.draft_length import AdaptiveDraftLength
from gemma_cli.engines.local.decoding.row_sampling import RowChooser
from gemma_cli.engines.local.loading.generation_config import GenerationConfig
from gemma_cli.engines.local.model.drafter import Drafter, side_by_side
from gemma_cli.engines.local.model.target import Target
from gemma_cli.engines.local.scheduling.sequence import Sequence


class Model(Protocol):
    """The part of an engine that a round uses."""

    target: Target
    drafter: Drafter | None
    generation: GenerationConfig


@dataclass(eq=False)
class Draft:
    """The drafts for one sequence in a round.

    error: why the sequence got no tokens.
    """

    sequence: Sequence
    tokens: list[int] = field(default_factory=list)
    source: DraftSource = "drafter"
    accepted: int = 0
    error: ModelError | None = None

    @property
    def round(self) -> Round:
        """The round as an event."""
        return Round(len(self.tokens), self.accepted, self.source)


class Rounds:
    """Runs rounds of a model.

    widest: most rows of a target pass.
    pace: draft lengths for a single sequence.
    """

    def __init__(self, model: Model, widest: int, pace: AdaptiveDraftLength) -> None:
        self._model, self._target, self.widest = model, model.target, widest
        self._paces = {1: pace}

    @torch.inference_mode()
    def run(self, sequences: list[Sequence]) -> list[Draft]:
        """Run one round of at most `widest` sequences; return the drafts, with how many were accepted."""
        lengths = [one.cache.length for one in sequences]
        try:
            return self._run(sequences)
        except BaseException:  # such as out of memory: the next round starts where this one did
            for one, length in zip(sequences, lengths, strict=True):
                one.cache.rollback(length)
            raise

    def _run(self, sequences: list[Sequence]) -> list[Draft]:
        began = perf_counter()
        rows = min(self.widest // len(sequences), self._target.rows.most)  # for each sequence
        pace = self._pace(len(sequences))
        drafts = [self._copied(sequence, pace, rows) for sequence in sequences]
        drafting = [one.request.drafting for one in sequences]
        length = pace.choose(min(rows - 1, max((each.draft_tokens for each in drafting if each.adaptive), default=0)))
        counts = [self._count(draft, length, rows) for draft in drafts]
        self._draft([draft for draft, count in zip(drafts, counts, strict=True) if count], [c for c in counts if c])
        chosen, states = self._verify(drafts)
        for draft, tokens, state in zip(drafts, chosen, states, strict=True):
            self._settle(draft, tokens, state)
        self._observe(pace, length, drafts, perf_counter() - began)
        return drafts

    def _pace(self, count: int) -> AdaptiveDraftLength:
        """Return the draft lengths learned for about so many sequences, rounded up to a power of two."""
        return self._paces.setdefault(1 << (count - 1).bit_length(), AdaptiveDraftLength())

    def _copied(self, sequence: Sequence, pace: AdaptiveDraftLength, rows: int) -> Draft:
        if sequence.lookup is None:
            return Draft(sequence)
        copied = copied_drafts(sequence.lookup, pace, sequence.newest, min(sequence.left, rows) - 1)
        return Draft(sequence, copied, "lookup" if copied else "drafter")

    def _count(self, draft: Draft, length: int, rows: int) -> int:
        """Return how many tokens the drafter proposes."""
        if self._model.drafter is None or draft.tokens:
            return 0
        drafting = draft.sequence.request.drafting
        wanted = min(length, drafting.draft_tokens) if drafting.adaptive else drafting.draft_tokens
        return max(min(wanted, draft.sequence.left - 1, rows - 1), 0)

    def _draft(self, drafts: list[Draft], counts: list[int]) -> None:
        """Draft counts[i] >= 1 tokens for each sequence, one step for all sequences at a time."""
        if not drafts or self._model.drafter is None:
            return
        target, drafter, sequences = self._target, self._model.drafter, [draft.sequence for draft in drafts]
        context = side_by_side([drafter.begin(target, one.cache, one.cache.length) for one in sequences])
        chooser = self._chooser(sequences, [1] * len(sequences))
        tokens = torch.tensor([one.newest[-1] for one in sequences])
        positions = torch.tensor([one.cache.length for one in sequences])
        hidden = torch.cat([one.hidden for one in sequences if one.hidden is not None])
        steps: list[Tensor] = []
        for _ in range(max(counts)):
            logits, ids, hidden = drafter.step(tokens, hidden, context)
            positions = positions + 1
            for row, one in enumerate(sequences):
                if not one.free:
                    before = [step[row : row + 1] for step in steps]
                    shortlist = None if ids is None else ids[row : row + 1]
                    logits[row] = one.constraint.masked(logits[row : row + 1], before, shortlist)[0]
            tokens = chooser.guess(logits, positions, ids)
            steps.append(tokens)
        for draft, count, proposed in zip(drafts, counts, torch.stack(steps, 1).tolist(), strict=True):
            draft.tokens = proposed[:count]

    def _verify(self, drafts: list[Draft]) -> tuple[list[list[int]], list[Tensor]]:
        """Return the target's choices after the newest token and each draft of every sequence, and its states."""
        sequences = [draft.sequence for draft in drafts]
        counts = [1 + len(draft.tokens) for draft in drafts]
        firsts = [one.cache.length + 1 for one in sequences]
        ids = torch.tensor([token for draft in drafts for token in (draft.sequence.newest[-1], *draft.tokens)])
        logits, states = self._target.verify_each(ids, [one.cache for one in sequences], counts)
        scored = [
            own.clone() if one.reply.scores and not one.free else own  # what no rule has masked
            for one, own in zip(sequences, torch.split(logits, counts), strict=True)
        ]
        for draft, own in zip(drafts, torch.split(logits, counts), strict=True):
            if not draft.sequence.free:
                own.copy_(draft.sequence.constraint.masked(own, (torch.tensor(draft.tokens, dtype=torch.int64),)))
        places = [first + row for first, count in zip(firsts, counts, strict=True) for row in range(count)]
        choices = self._chooser(sequences, counts).choose(logits, torch.tensor(places))
        for one, first, own, its_choices in zip(sequences, firsts, scored, torch.split(choices, counts), strict=True):
            if one.reply.scores:
                one.reply.scores.add(first - 1, own, its_choices)
        chosen = iter(choices.tolist())
        return [[next(chosen) for _ in range(count)] for count in counts], list(torch.split(states, counts))

    def _settle(self, draft: Draft, chosen: list[int], states: Tensor) -> None:
        """Accept the drafts of one sequence that the target chose."""
        one = draft.sequence
        try:
            tokens, draft.accepted = settle(draft.tokens, chosen, self._model.generation.stop)
            one.cache.rollback(one.cache.length - len(chosen) + len(tokens))
            one.go_on(tokens, states[len(tokens) - 1 : len(tokens)])
        except ModelError as error:
            draft.error = error

    def _observe(self, pace: AdaptiveDraftLength, length: int, drafts: list[Draft], seconds: float) -> None:
        """Learn the cost and acceptance of drafts at the chosen length, and of copies."""
        adaptive = [draft for draft in drafts if draft.sequence.request.drafting.adaptive]
        alike = [draft.accepted for draft in adaptive if len(draft.tokens) == length and draft.source == "drafter"]
        if alike:
            pace.observe_batch(length, alike, seconds)
        for draft in adaptive:
            if draft.source == "lookup":
                pace.observe_copy(len(draft.tokens), draft.accepted, seconds)

    def _chooser(self, sequences: list[Sequence], counts: list[int]) -> RowChooser:
        samplings = [one.request.sampling for one, count in zip(sequences, counts, strict=True) for _ in range(count)]
        return RowChooser(samplings, self._model.generation.suppress, self._target.vocab_size)
