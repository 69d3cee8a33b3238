"""LocalEngine: a checkpoint on this machine, answering requests one after the other."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from time import perf_counter
from traceback import clear_frames
from typing import TYPE_CHECKING

import torch

from gemma_cli.core.engine import Answered, EngineInfo, FeatureShelf
from gemma_cli.core.errors import InputError, ModelError, OutOfMemory
from gemma_cli.core.events import Event, Progress, Timings
from gemma_cli.core.messages import Drafting, Request, Sampling
from gemma_cli.engines.local.alignment import alignment, query_log
from gemma_cli.engines.local.constraints.constraint import Constraint, Free
from gemma_cli.engines.local.constraints.select import Constraints
from gemma_cli.engines.local.decoding import cuda_graphs
from gemma_cli.engines.local.decoding.accept import SyntheticAcceptance, equal
from gemma_cli.engines.local.decoding.decode import (
    Burst,
    CappedDraftLength,
    DraftLengthPolicy,
    FixedDraftLength,
    decode,
)
from gemma_cli.engines.local.decoding.draft_length_file import SavedDraftLength
from gemma_cli.engines.local.decoding.lookup import Lookup
from gemma_cli.engines.local.decoding.prefix_cache import Last, PrefixCache
from gemma_cli.engines.local.decoding.sampling import Sampler
from gemma_cli.engines.local.device import is_out_of_memory
from gemma_cli.engines.local.encoders.towers import MediaEncoders
from gemma_cli.engines.local.loading.generation_config import GenerationConfig
from gemma_cli.engines.local.loading.memory.working import ROOM
from gemma_cli.engines.local.model.cache import Cache
from gemma_cli.engines.local.model.drafter import Drafter
from gemma_cli.engines.local.model.query_log import QueryLog
from gemma_cli.engines.local.model.score_log import ScoreLog
from gemma_cli.engines.local.model.target import Target
from gemma_cli.engines.local.text.prompt import Prompt, PromptWriter, pictures
from gemma_cli.engines.local.text.reply_events import ReplyEvents
from gemma_cli.engines.local.text.tokenizer import Tokenizer
from gemma_cli.store.models import calibrations

if TYPE_CHECKING:
    from gemma_cli.engines.local.scheduling.scheduler import BatchScheduler


class LocalEngine:
    """Owns the target, its drafter, the towers, the tokenizer and the live cache.

    A reply that begins while another is suspended has a cache of its own, and takes no part in reuse.
    """

    def __init__(
        self,
        target: Target,
        drafter: Drafter | None,
        tokenizer: Tokenizer,
        towers: MediaEncoders,
        generation: GenerationConfig,
        info: EngineInfo,
    ) -> None:
        self.target, self.drafter, self.tokenizer, self.towers = target, drafter, tokenizer, towers
        self.generation, self.info = generation, info
        self.accept = equal if info.synthetic_acceptance is None else SyntheticAcceptance(info.synthetic_acceptance)
        self.writer = PromptWriter(
            tokenizer,
            model=info.model,
            context=target.context,
            modalities=frozenset(towers.modalities),
            vocab=target.vocab_size,
        )
        self.constraints = Constraints(tokenizer, target.vocab_size, generation.stop)
        self.live = PrefixCache(target)
        self.kept = SavedDraftLength.of(info)
        self.calibration = calibrations.find(info.fingerprint)
        coins = self.accept if isinstance(self.accept, SyntheticAcceptance) else None
        self.rounds = cuda_graphs.rounds_for(target, drafter, generation.suppress, coins)
        self._replying = False

    def warm_up(self) -> str | None:
        """Make the cache and record the rounds of the first reply on a GPU; why that failed, if it did."""
        if self.rounds is None:
            return None
        cache = self.live.provide(min(ROOM, self.target.context))
        return cuda_graphs.warm_up(self.rounds, cache, Sampling())

    def stream(self, request: Request, prompt: Prompt | None = None) -> Generator[Event, None, None]:
        """See engines.Engine.stream. prompt: that of the request, where it has been written already.

        Raises InputError, ModelError, OutOfMemory.
        """
        began = perf_counter()
        first = last = 0.0
        with self._within_memory():
            encoded = self.towers.encoded
            if prompt is None:
                self.towers.look(pictures(request))
                prompt = self.writer.write(request, self.towers.count)
            reply = self.reply(request, prompt)
            tokens: list[int] = []
            log = query_log(self.target, request, prompt)
            with closing(self.tokens(request, prompt, log, reply.scores)) as bursts:
                for burst in bursts:
                    last = perf_counter()
                    first = first or last
                    tokens += burst.tokens
                    reply.media_encoded = self.towers.encoded - encoded
                    shown = [event for token in burst.tokens for event in reply.feed(token)]
                    if burst.round:
                        yield burst.round
                    yield Progress(reply.usage, Timings(self.info.load_s, first - began, last - first))
                    yield from shown
            stop = self.generation.stop
            if aligned := alignment(log, reply.scores, prompt, tokens, stop, self.tokenizer, self.calibration):
                yield aligned
            yield from reply.end(Timings(self.info.load_s, first - began, last - first))

    def stream_many(self, requests: Iterable[Request]) -> Generator[Answered, None, None]:
        """See engines.Batching. Raises ModelError, OutOfMemory."""
        from gemma_cli.engines.local.batching import Batcher

        with self._within_memory():
            yield from Batcher(self, requests).answers()

    def remember_on(self, shelf: FeatureShelf) -> None:
        """See engine.Remembering. Nothing is kept of a checkpoint that cannot be told from others."""
        if self.info.fingerprint:
            self.towers.remember_on(shelf, self.info.fingerprint)

    def prompt_tokens(self, request: Request) -> int:
        """See engine.Counting. Pictures and sounds are encoded for it, once. Raises InputError, ModelError."""
        with self._within_memory():
            return self.writer.length(request, self.towers.count)

    @contextmanager
    def _within_memory(self) -> Iterator[None]:
        """Raise OutOfMemory where memory runs out, with all given back that can be had again."""
        try:
            yield
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            raise self.out_of_memory(error) from None

    def out_of_memory(self, error: BaseException) -> OutOfMemory:
        """Give back all memory that can be had again, what the frames of `error` hold too, and return what to tell."""
        _release_tensors(error)
        self._give_back()
        return OutOfMemory(
            f"{self.info.device} has run out of memory: shorten the conversation, or choose a smaller --model"
        )

    def scheduler(self, most: int, prefix_bytes: int) -> BatchScheduler | None:
        """See core.scheduling.Scheduling. Passes over rows of several requests have not been measured on GPUs."""
        from gemma_cli.engines.local.scheduling.scheduler import BatchScheduler

        together = self.target.device.type == "cpu" and self.target.rows.exact and self.accept is equal
        return BatchScheduler(self, most, prefix_bytes=prefix_bytes) if together else None

    def _give_back(self) -> None:
        """Free all memory that the next request can do without."""
        self.live.forget()
        self.towers.forget()
        if self.rounds:
            self.rounds.recorder.forget()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def reply(self, request: Request, prompt: Prompt) -> ReplyEvents:
        """The events of a reply, to be fed its tokens."""
        literal = self._literal if request.schema is not None else None
        if request.raw is not None:
            literal = self._literal_raw
        scores = ScoreLog(request.logprobs) if request.logprobs is not None or request.word_times else None
        return ReplyEvents(self.tokenizer, prompt, self.generation.stop, literal, request.tools, scores)

    def _literal(self, token: int) -> bool:
        return token not in self.constraints.control

    def _literal_raw(self, token: int) -> bool:
        """Return which tokens are literal: in a raw reply all but those that end it."""
        return token not in self.generation.stop

    def room(self, request: Request, prompt: Prompt) -> int:
        """Return the most tokens of the reply. Raises InputError if that is none."""
        limit = min(request.sampling.max_tokens, self.target.context - len(prompt.ids))
        if limit < 1:
            raise InputError(f"max tokens {request.sampling.max_tokens}: give a number of at least 1")
        return limit

    def tokens(
        self, request: Request, prompt: Prompt, log: QueryLog | None = None, scores: ScoreLog | None = None
    ) -> Generator[Burst, None, None]:
        """Yield the token ids of the reply as they are decided. log: records what aligning them with a sound needs;
        scores: how likely they are."""
        first = not self._replying
        live, rounds = (self.live, self.rounds) if first else (PrefixCache(self.target), None)
        try:
            self._replying = True
            limit = self.room(request, prompt)
            constraint = self.constraints.of(request, prompt.in_thought)
            read = live.read(prompt, lambda span: self.towers.features(span.medium, span.budget), limit, log)
            graphs = None if log or scores else rounds  # which keep no logits
            yield from self._decoded(request, prompt, read, limit, constraint, graphs, scores)
        except ModelError:
            live.forget()  # NaN would reach later replies through masks
            raise
        finally:
            if first:
                self._replying = False
            if request.drafting.adaptive:
                self.kept.replied()

    def _decoded(
        self,
        request: Request,
        prompt: Prompt,
        read: tuple[Cache, Last, int],
        limit: int,
        constraint: Constraint,
        rounds: cuda_graphs.RoundState | None,
        scores: ScoreLog | None,
    ) -> Iterator[Burst]:
        """Decode after a prompt that has been read, as CUDA graphs where the device records them."""
        cache, prefilled, _ = read
        free = isinstance(constraint, Free)
        pacer, lookup = self._pacer(request.drafting), self._lookup(request.drafting, prompt)
        stop = self.generation.stop
        if rounds and free:
            return cuda_graphs.decode(
                rounds, cache, prefilled, request.sampling, pacer, stop=stop, limit=limit, lookup=lookup
            )
        return decode(
            self.target,
            self.drafter,
            cache,
            prefilled,
            Sampler(request.sampling, self.generation.suppress),
            pacer,
            stop=stop,
            limit=limit,
            accept=self.accept if free else equal,
            constraint=constraint,
            lookup=lookup,
            scores=scores,
        )

    def _pacer(self, drafting: Drafting) -> DraftLengthPolicy:
        if drafting.adaptive:
            return CappedDraftLength(drafting.draft_tokens, self.kept.pace)
        return FixedDraftLength(drafting.draft_tokens)

    def _lookup(self, drafting: Drafting, prompt: Prompt) -> Lookup | None:
        """Copies are left out where the number of drafts is given, or accepting them is made up."""
        return Lookup(prompt.ids) if drafting.adaptive and self.accept is equal else None


def _release_tensors(error: BaseException) -> None:
    """Clear the frames that an error and those before it came through: their variables hold tensors."""
    before: BaseException | None = error
    while before:
        clear_frames(before.__traceback__)
        before = before.__cause__ or before.__context__
