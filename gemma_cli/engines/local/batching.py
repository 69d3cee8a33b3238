"""Many requests answered as one batch: prompts read and replies decoded together, places filled as replies end."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import islice
from time import perf_counter
from typing import Protocol

import torch
from torch import Tensor

from gemma_cli.core.engine import Answered, EngineInfo
from gemma_cli.core.errors import InputError
from gemma_cli.core.events import Calibration, Event, Round, Timings
from gemma_cli.core.messages import Audio, Request, Sampling
from gemma_cli.engines.local.alignment import alignment, query_log
from gemma_cli.engines.local.constraints.constraint import Free
from gemma_cli.engines.local.constraints.select import Constraints
from gemma_cli.engines.local.decoding.batch import Batch
from gemma_cli.engines.local.decoding.decode import numbers
from gemma_cli.engines.local.decoding.sampling import Sampler
from gemma_cli.engines.local.encoders.towers import MediaEncoders
from gemma_cli.engines.local.loading.generation_config import GenerationConfig
from gemma_cli.engines.local.model.cache import Cache
from gemma_cli.engines.local.model.drafter import Drafter
from gemma_cli.engines.local.model.target import Target
from gemma_cli.engines.local.text.prompt import Prompt, PromptWriter, pictures
from gemma_cli.engines.local.text.reply_events import ReplyEvents
from gemma_cli.engines.local.text.tokenizer import Tokenizer

FEW = 4
"""So many go together at least where there is a drafter: fewer say more tokens a pass one by one, with drafts."""


class Single(Protocol):
    """An engine that answers one request: what a batch uses of it, and falls back to."""

    target: Target
    drafter: Drafter | None
    tokenizer: Tokenizer
    towers: MediaEncoders
    generation: GenerationConfig
    info: EngineInfo
    writer: PromptWriter
    constraints: Constraints
    calibration: Calibration | None

    def room(self, request: Request, prompt: Prompt) -> int: ...

    def reply(self, request: Request, prompt: Prompt) -> ReplyEvents: ...

    def stream(self, request: Request, prompt: Prompt | None = None) -> Generator[Event, None, None]: ...


@dataclass(frozen=True)
class _WaitingRequest:
    """A request and its prompt. room: tokens that may be said."""

    index: int
    request: Request
    prompt: Prompt
    room: int
    began: float

    @property
    def length(self) -> int:
        return len(self.prompt.ids) + self.room


@dataclass
class _RunningReply:
    """A reply under way. token: the newest, which the cache does not hold; left: how many more may be said.

    decode_s: its share of the passes it was in.
    """

    asked: _WaitingRequest
    said: ReplyEvents
    cache: Cache
    left: int
    ttft_s: float
    token: int = -1
    tokens: list[int] = field(default_factory=list)
    decode_s: float = 0.0


class Batcher:
    """The replies of `engine` to requests that are taken when there is room for them."""

    def __init__(self, engine: Single, requests: Iterable[Request]) -> None:
        self._engine = engine
        self._batch = Batch(engine.target)
        self._few = FEW if engine.drafter else 2
        self._requests = enumerate(requests)
        self._taken: deque[tuple[int, Request]] = deque()
        self._held: _WaitingRequest | None = None  # taken, but there was no memory for it
        self._more = True
        self._saying: list[_RunningReply] = []
        self._samplers: dict[Sampling, Sampler] = {}

    def answers(self) -> Generator[Answered, None, None]:
        """See engines.Engine.stream_many. A request that cannot go with others is answered by itself."""
        while self._more or self._waits or self._saying:
            if 2 * len(self._saying) <= self._batch.most:  # refilled by halves, so that prompts are read together too
                self._take()
                asked = yield from self._admitted()
                if self._saying or len(asked) >= self._few:
                    yield from self._begin(asked)
                else:
                    for one in asked:
                        yield from self._alone(one.index, one.request, one.prompt)
            if self._saying:
                yield from self._step()

    @property
    def _waits(self) -> bool:
        return bool(self._taken or self._held)

    def _take(self) -> None:
        """As many requests as can have a place, and what is to be heard in them."""
        room = self._batch.most - len(self._saying) - bool(self._held) - len(self._taken)
        following = list(islice(self._requests, max(0, room)))
        self._more = self._more and len(following) == max(0, room)
        self._taken.extend(following)
        parts = [part for _, request in following for message in request.messages for part in message.parts]
        self._engine.towers.listen([part for part in parts if isinstance(part, Audio)])
        self._engine.towers.look([picture for _, request in following for picture in pictures(request)])

    def _admitted(self) -> Generator[Answered, None, list[_WaitingRequest]]:
        """Those there is memory for."""
        asked: list[_WaitingRequest] = []
        lengths = [saying.asked.length for saying in self._saying]
        while self._held or self._taken:
            following = self._held or (yield from self._prompted(*self._taken.popleft()))
            self._held = None
            if following:
                lengths.append(following.length)
                if not self._batch.holds(lengths):
                    self._held = following
                    break
                asked.append(following)
        return asked

    def _prompted(self, index: int, request: Request) -> Generator[Answered, None, _WaitingRequest | None]:
        """The request with its prompt; None for one that has its answer now."""
        began = perf_counter()
        try:
            prompt = self._engine.writer.write(request, self._engine.towers.count)
            if self._goes_along(request, prompt):
                return _WaitingRequest(index, request, prompt, self._engine.room(request, prompt), began)
        except InputError as error:
            yield index, _bare(error)
            return None
        yield from self._alone(index, request, prompt)
        return None

    def _alone(self, index: int, request: Request, prompt: Prompt) -> Generator[Answered, None, None]:
        try:
            with closing(self._engine.stream(request, prompt)) as events:
                for event in events:
                    yield index, event
        except InputError as error:
            yield index, _bare(error)

    def _goes_along(self, request: Request, prompt: Prompt) -> bool:
        target = self._engine.target
        if target.device.type != "cpu" or not target.rows.exact:  # not measured on GPUs
            return False
        return isinstance(self._engine.constraints.of(request, prompt.in_thought), Free)

    def _begin(self, asked: Sequence[_WaitingRequest]) -> Generator[Answered, None, None]:
        """Read the prompts and say the first token of each."""
        if not asked:
            return
        engine = self._engine
        caches, logits = self._batch.read(
            [one.prompt for one in asked],
            lambda span: engine.towers.features(span.medium, span.budget),
            [one.room for one in asked],
            [query_log(engine.target, one.request, one.prompt) for one in asked],
        )
        now = perf_counter()
        begun = [
            _RunningReply(
                one,
                engine.reply(one.request, one.prompt),
                cache,
                one.room,
                now - one.began,
            )
            for one, cache in zip(asked, caches, strict=True)
        ]
        self._choose(begun, logits)
        self._saying += begun
        for saying in begun:
            yield from self._told(saying)

    def _step(self) -> Generator[Answered, None, None]:
        """One more token of every reply."""
        began = perf_counter()
        saying = list(self._saying)
        logits = self._batch.step([one.token for one in saying], [one.cache for one in saying])
        self._choose(saying, logits)
        seconds = (perf_counter() - began) / len(saying)
        for one in saying:
            one.decode_s += seconds
            yield one.asked.index, Round(0, 0)
            yield from self._told(one)

    @torch.inference_mode()
    def _choose(self, saying: Sequence[_RunningReply], logits: Tensor) -> None:
        """Each reply's next token, by its own sampling."""
        alike: dict[Sampling, list[int]] = {}
        for row, one in enumerate(saying):
            alike.setdefault(replace(one.asked.request.sampling, max_tokens=1), []).append(row)
        for sampling, rows in alike.items():
            sampler = self._samplers.setdefault(sampling, Sampler(sampling, self._engine.generation.suppress))
            positions = torch.tensor([saying[row].cache.length for row in rows], device=logits.device)
            chosen = sampler.choose(logits if len(alike) == 1 else logits[rows], positions)
            for row, token in zip(rows, numbers(chosen.tolist()), strict=True):
                saying[row].token = token
                saying[row].tokens.append(token)
            for row, position in zip(rows, positions.tolist(), strict=True):
                if scores := saying[row].said.scores:
                    scores.add(position - 1, logits[row : row + 1], torch.tensor([saying[row].token]))

    def _told(self, saying: _RunningReply) -> Generator[Answered, None, None]:
        """What the newest token adds; a reply that ends with it leaves the batch."""
        index = saying.asked.index
        saying.left -= 1
        for event in saying.said.feed(saying.token):
            yield index, event
        if saying.token in self._engine.generation.stop or not saying.left:
            self._saying.remove(saying)
            log, scores, prompt, engine = saying.cache.log, saying.said.scores, saying.asked.prompt, self._engine
            stop = engine.generation.stop
            if aligned := alignment(log, scores, prompt, saying.tokens, stop, engine.tokenizer, engine.calibration):
                yield index, aligned
            for event in saying.said.end(Timings(self._engine.info.load_s, saying.ttft_s, saying.decode_s)):
                yield index, event


def _bare(error: InputError) -> InputError:
    """The error without the frames it came through: whoever holds it would hold the caches of the batch."""
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return error
