"""LocalEngine: a checkpoint on this machine, answering requests one after the other."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from time import perf_counter
from traceback import clear_frames
from typing import TYPE_CHECKING

import torch

from gemma_cli.core.engine import Answered, EngineInfo, EngineSpec, FeatureShelf
from gemma_cli.core.errors import InputError, ModelError, OutOfMemory, UsageError
from gemma_cli.core.events import Event, Progress, Timings
from gemma_cli.core.messages import Drafting, Request, Sampling
from gemma_cli.engines.local import native
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
from gemma_cli.engines.local.device import LARGE, is_out_of_memory, weight_bytes
from gemma_cli.engines.local.encoders.towers import MediaEncoders
from gemma_cli.engines.local.loading import load
from gemma_cli.engines.local.loading.generation_config import GenerationConfig, read_generation_config
from gemma_cli.engines.local.loading.memory.estimate import ROOM, Plan
from gemma_cli.engines.local.loading.memory.fit import find
from gemma_cli.engines.local.loading.memory.placement import Placement
from gemma_cli.engines.local.loading.memory.planning import planned
from gemma_cli.engines.local.loading.overflow import refuse_overflow
from gemma_cli.engines.local.model.cache import Cache
from gemma_cli.engines.local.model.drafter import Drafter
from gemma_cli.engines.local.model.query_log import QueryLog
from gemma_cli.engines.local.model.target import Target
from gemma_cli.engines.local.text.prompt import Prompt, PromptWriter, pictures
from gemma_cli.engines.local.text.reply_events import ReplyEvents
from gemma_cli.engines.local.text.tokenizer import Tokenizer, load_tokenizer
from gemma_cli.engines.local.threads import set_threads

if TYPE_CHECKING:
    from gemma_cli.engines.local.scheduling.scheduler import BatchScheduler
    from gemma_cli.store.models.checkpoints import Resolved


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
        coins = self.accept if isinstance(self.accept, SyntheticAcceptance) else None
        self.rounds = cuda_graphs.rounds_for(target, drafter, generation.suppress, coins)
        self._replying = False

    @classmethod
    def open(cls, spec: EngineSpec) -> LocalEngine:
        """Load what `spec` names. Raises UsageError for what does not exist, ModelError for what cannot be run."""
        from gemma_cli.store.journal import fingerprint
        from gemma_cli.store.models.checkpoints import locate, resolve
        from gemma_cli.store.models.releases import DRAFTER, POCKET

        began = perf_counter()
        resolved = resolve(spec.model, spec.assistant)
        if spec.synthetic_acceptance is not None and resolved.folder:
            raise UsageError(f"--synthetic-acceptance is for synthetic: models; {resolved.name} has a trained drafter")
        set_threads()
        device = load.choose_device(spec.device)
        # A synthetic model uses pocket's vocabulary: its texts mean nothing, only its speed does.
        folder = resolved.folder or locate(POCKET)[1]
        dtype = load.choose_dtype(spec.dtype, device, weight_bytes(folder) if resolved.folder else LARGE)
        with _fitting(resolved.name, device):
            plan = planned(resolved, spec, device, dtype)
            where = find(resolved.name, plan)
            # Before the weights: what reading it takes for a moment is free again when they come.
            tokenizer = load_tokenizer(folder, plan.target.vocab)
            target, drafter = _load(resolved, spec, plan, where)
            refuse_overflow(target)
        towers = MediaEncoders(folder, load.read_config(folder) if resolved.folder else None, target.device, dtype)
        ends = GenerationConfig(frozenset(), ())
        if resolved.folder:
            ends = read_generation_config(folder, tokenizer, target.vocab_size)
        info = EngineInfo(
            model=resolved.name,
            assistant=resolved.assistant_name or (f"{resolved.name}{DRAFTER}" if drafter else None),
            device=" + ".join(map(str, target.devices)),
            dtype=str(dtype).removeprefix("torch."),
            quantize=spec.quantize,
            fingerprint=fingerprint(resolved.folder),
            kernels=native.build_name(target.device),
            image_budget=towers.image_budget,
            context=target.context,
            modalities=towers.modalities,
            load_s=perf_counter() - began,
            exact=target.rows.exact,
            notice="; ".join(filter(None, (resolved.notice, native.notice(target.device)))) or None,
            synthetic_acceptance=spec.synthetic_acceptance,
        )
        engine = cls(target, drafter, tokenizer, towers, ends, info)
        with _fitting(resolved.name, device):
            failure = engine.warm_up()
        if failure:
            notice = f"{device} cannot record CUDA graphs ({failure}): replies are the same, but slower"
            engine.info = replace(info, notice=info.notice or notice)
        return engine

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
            with closing(self.tokens(request, prompt, log)) as bursts:
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
            if aligned := alignment(log, prompt, tokens, self.generation.stop, self.tokenizer):
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
            f"{self.info.device} ran out of memory: shorten the conversation, or choose a smaller --model"
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
        return ReplyEvents(self.tokenizer, prompt, self.generation.stop, literal, request.tools)

    def _literal(self, token: int) -> bool:
        return token not in self.constraints.control

    def _literal_raw(self, token: int) -> bool:
        """Return which tokens are literal: in a raw reply all but those that end it."""
        return token not in self.generation.stop

    def room(self, request: Request, prompt: Prompt) -> int:
        """Return the most tokens of the reply. Raises InputError if that is none."""
        limit = min(request.sampling.max_tokens, self.target.context - len(prompt.ids))
        if limit < 1:
            raise InputError(f"max tokens is {request.sampling.max_tokens}: it must be at least 1")
        return limit

    def tokens(self, request: Request, prompt: Prompt, log: QueryLog | None = None) -> Generator[Burst, None, None]:
        """Yield the token ids of the reply as they are decided. log: records what aligning them with a sound needs."""
        first = not self._replying
        live, rounds = (self.live, self.rounds) if first else (PrefixCache(self.target), None)
        try:
            self._replying = True
            limit = self.room(request, prompt)
            constraint = self.constraints.of(request, prompt.in_thought)
            read = live.read(prompt, lambda span: self.towers.features(span.medium, span.budget), limit, log)
            yield from self._decoded(request, prompt, read, limit, constraint, None if log else rounds)
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


@contextmanager
def _fitting(name: str, device: torch.device) -> Iterator[None]:
    """Raise OutOfMemory where there is no memory to load a model."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemory(f"{device} has too little memory for {name}: choose a smaller --model") from None


def _load(resolved: Resolved, spec: EngineSpec, plan: Plan, where: Placement) -> tuple[Target, Drafter | None]:
    dtype = plan.dtype
    if resolved.folder is None:
        from gemma_cli.engines.local.loading.synthetic import open_synthetic

        alias = resolved.name.partition(":")[2]
        target, drafter = open_synthetic(alias, where.device, dtype, spec.quantize, where.layers)
        return target, drafter if plan.drafter else None
    target = load.load_target(resolved.folder, where.device, dtype, spec.quantize, where.layers)
    if resolved.assistant_folder is None:
        return target, None
    return target, load.load_drafter(resolved.assistant_folder, target, spec.quantize)
