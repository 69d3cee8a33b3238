"""Decoding on CUDA: a round is a few recorded graphs, and the next is launched before the host has read the last.

    draft    one graph, a draft step, launched K times: each takes its input where the step before left its output
    verify   one graph: the target over [newest token, K drafts, filled up to `rows`], what of it is accepted, and the
             newest token, its state and position for the next round
    read     one copy of drafts and choices into pinned memory; the host waits for its event one round later

Everything a round needs from the one before stays on the device (`RoundState`), so the host, while it turns tokens into
text, has already launched the next one. The price is at most one round that nobody reads, at the end of a reply.

A graph holds fixed kernels over fixed memory: there is one of each kind for every number of keys that is read from full
layers (attention.bucket), recorded when it is first needed. What is said is what decode.py says; its rules are kept:
a row reads the keys that are its own bucket's, and every pass has the same number of rows. Where no graph can be
recorded, on a CPU or because recording failed, the same functions are run as they are.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection, Generator, Hashable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from gemma_cli.core.events import Round
from gemma_cli.core.messages import Sampling
from gemma_cli.engines.local.decoding.accept import SyntheticAcceptance
from gemma_cli.engines.local.decoding.decode import Burst, DraftLengthPolicy, copied_drafts, numbers
from gemma_cli.engines.local.decoding.graph_attention import StaticDraft, StaticRows
from gemma_cli.engines.local.decoding.lookup import Lookup
from gemma_cli.engines.local.decoding.sampling import StaticSampler
from gemma_cli.engines.local.model.attention import bucket
from gemma_cli.engines.local.model.cache import Cache
from gemma_cli.engines.local.model.drafter import Drafter
from gemma_cli.engines.local.model.row_rule import FIXED
from gemma_cli.engines.local.model.target import Target

WARM_UP_ROWS = 16


class Recorder:
    """Runs functions on the device; on CUDA each, named by a key, is recorded once and then replayed."""

    def __init__(self, device: torch.device) -> None:
        self.records = device.type == "cuda"
        self.failure: str | None = None
        self._graphs: dict[Hashable, torch.cuda.CUDAGraph] = {}
        self._pool: Any = None  # of torch's private type; made with the first graph

    def run(self, key: Hashable, function: Callable[[], None], state: Sequence[Tensor]) -> None:
        """state: what `function` reads and changes, so that a trial run can be undone."""
        if not self.records:
            function()
            return
        if key not in self._graphs:
            try:
                self._graphs[key] = self._record(function, state)
            except RuntimeError as error:  # torch says so in many ways; the functions themselves work
                self.records, self.failure = False, str(error).splitlines()[0]
                function()
                return
        self._graphs[key].replay()

    def forget(self) -> None:
        """Give back the graphs, whose memory is gone, and their pool: one that no graph uses any more takes none."""
        self._graphs.clear()
        self._pool = None

    def _record(self, function: Callable[[], None], state: Sequence[Tensor]) -> torch.cuda.CUDAGraph:
        before = [tensor.clone() for tensor in state]
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            function()  # libraries prepare themselves on a first run, which a graph cannot hold
        torch.cuda.current_stream().wait_stream(aside)
        for tensor, value in zip(state, before, strict=True):
            tensor.copy_(value)
        graph = torch.cuda.CUDAGraph()
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        with torch.cuda.graph(graph, pool=self._pool):
            function()
        return graph


@dataclass
class RoundInFlight:
    """A round that was launched: how many tokens were proposed, by whom, and where its results will lie."""

    drafted: int
    copied: bool
    results: Tensor
    began: float | torch.cuda.Event
    ended: float | torch.cuda.Event

    def land(self) -> tuple[list[int], float]:
        """(drafts, choices and the number accepted, one after the other; seconds on the device), waited for."""
        if isinstance(self.began, torch.cuda.Event) and isinstance(self.ended, torch.cuda.Event):
            self.ended.synchronize()
            seconds = self.began.elapsed_time(self.ended) / 1000
        else:
            assert isinstance(self.began, float)
            assert isinstance(self.ended, float)
            seconds = self.ended - self.began
        return self.results.tolist(), seconds


class RoundState:
    """What rounds hand to each other, in memory that stays where it is.

    Ids and counts int64 [1]: `newest`, the newest token, at position `length`; `last`, the token the next draft step
    goes on from; `step`, how many were made; `drafted`, how many count. states of the same names [1, hidden].
    `proposed` [rows]: the newest token and the drafts. `results` [2 * rows]: drafts, choices, number accepted.
    """

    def __init__(
        self,
        target: Target,
        drafter: Drafter | None,
        suppress: Sequence[int] = (),
        rows: int = FIXED,
        accept: SyntheticAcceptance | None = None,
    ) -> None:
        """suppress: ids never chosen. rows: of a target pass. accept: for synthetic models, in place of comparing."""
        self.target, self.drafter, self.rows, self.accept = target, drafter, rows, accept
        self._suppress, self._coins = tuple(suppress), None if accept is None else torch.zeros(0, dtype=torch.bool)
        self.recorder = Recorder(target.device)
        self._cache: weakref.ref[Cache] | None = None  # the reply's: it is held by who decodes it
        self._capacity = 0
        self._samplers: dict[Hashable, StaticSampler] = {}
        counts = torch.zeros(5, 1, dtype=torch.int64, device=target.device)
        self.newest, self.length, self.last, self.step, self.drafted = counts.unbind()
        self.proposed = torch.zeros(rows, dtype=torch.int64, device=target.device)
        self.results = torch.zeros(2 * rows, dtype=torch.int64, device=target.device)
        self.newest_state = torch.zeros(1, target.hidden_size, dtype=target.dtype, device=target.device)
        self.last_state = torch.zeros_like(self.newest_state)
        pinned = target.device.type == "cuda"
        self._read = [torch.zeros(2 * rows, dtype=torch.int64, pin_memory=pinned) for _ in range(2)]

    @property
    def cache(self) -> Cache:
        """The cache of the current reply."""
        cache = None if self._cache is None else self._cache()
        assert cache is not None, "attach comes first"
        return cache

    @torch.inference_mode(False)  # what is made here is written to by later calls, in whichever mode they are
    def attach(self, cache: Cache, room: int, sampling: Sampling) -> None:
        """The next reply goes into `cache`, and has up to `room` tokens."""
        cache.grow(room + 2 * self.rows)  # what rounds launched ahead may write; growing later would move it
        if self._cache is None or self._cache() is not cache or self._capacity != cache.capacity:
            self.recorder.forget()
            self._cache, self._capacity = weakref.ref(cache), cache.capacity
        self.kind = StaticSampler.kind(sampling)
        if self.kind not in self._samplers:
            self._samplers[self.kind] = StaticSampler(sampling, self._suppress, self.target.device)
        self.sampler = self._samplers[self.kind]
        self.sampler.set(sampling)
        if self.accept is not None:
            coins = [self.accept.heads(position) for position in range(cache.capacity)]
            self._coins = torch.tensor(coins, device=self.length.device)

    def begin(self, token: Tensor, state: Tensor) -> None:
        """The reply begins with `token`, int64 [1], which the row with the last state [1, hidden] chose."""
        self.newest.copy_(token.clamp(min=0))
        self.newest_state.copy_(state)
        self.length.fill_(self.cache.length)
        self._ready()

    def launch(self, count: int, copied: Sequence[int], earliest: int, latest: int) -> RoundInFlight:
        """A round with `count` drafts, or with those that are `copied`. The newest token stands at a position from
        `earliest` to `latest`."""
        began = self._now()
        self.proposed[:1].copy_(self.newest)
        if copied:
            self.proposed[1 : 1 + len(copied)].copy_(torch.tensor(copied))
        lengths = tuple(sorted({bucket(earliest), bucket(latest + self.rows - 1)}))
        state = [self.newest, self.length, self.last, self.step, self.proposed, self.newest_state, self.last_state]
        for _ in range(0 if copied else count):
            self.recorder.run(("draft", self.kind, lengths[-1]), lambda: self._draft_step(lengths[-1]), state)
        self.drafted.fill_(len(copied) or count)
        self.recorder.run(("verify", self.kind, lengths), lambda: self._verify(lengths), state)
        self._read.reverse()
        self._read[0].copy_(self.results, non_blocking=True)
        return RoundInFlight(len(copied) or count, bool(copied), self._read[0], began, self._now())

    def _ready(self) -> None:
        self.last.copy_(self.newest)
        self.last_state.copy_(self.newest_state)
        self.step.zero_()

    def _draft_step(self, length: int) -> None:
        assert self.drafter is not None
        context = StaticDraft(self.target, self.drafter, self.cache, self.length, length)
        logits, ids, state = self.drafter.step(self.last, self.last_state, context)
        self.step.add_(1)
        token = self.sampler.guess(logits, self.length + self.step, ids)
        self.proposed.index_copy_(0, self.step, token)
        self.last.copy_(token)
        self.last_state.copy_(state)

    def _verify(self, lengths: tuple[int, ...]) -> None:
        place = torch.arange(self.rows, device=self.length.device)
        rows = self.proposed.index_select(0, torch.minimum(place, self.drafted))
        context = StaticRows(self.target, self.cache, self.length, self.rows, lengths)
        logits, states = self.target.run(rows, context)
        choices = self.sampler.choose(logits, self.length + 1 + place)
        if self._coins is None:
            right = rows[1:] == choices[:-1]
        else:
            right = self._coins.index_select(0, self.length + 1 + place[:-1])
        accepted = (right & (place[:-1] < self.drafted)).long().cumprod(0).sum(0, keepdim=True)
        self.results.copy_(torch.cat((rows[1:], choices, accepted)))
        self.newest.copy_(choices.index_select(0, accepted).clamp(min=0))
        self.newest_state.copy_(states.index_select(0, accepted))
        self.length.add_(accepted + 1)
        self._ready()

    def _now(self) -> float | torch.cuda.Event:
        if self.target.device.type != "cuda":
            return perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event


def rounds_for(
    target: Target, drafter: Drafter | None, suppress: Sequence[int], accept: SyntheticAcceptance | None
) -> RoundState | None:
    """None where decode.py does as well: off a GPU, with experts, whose rows the host sorts layer by layer, so that no
    round can be launched ahead, and over several GPUs, for a graph is recorded on one."""
    sorted_by_host = any(layer.experts is not None for layer in target.layers)
    if target.device.type != "cuda" or len(target.devices) > 1 or sorted_by_host:
        return None
    return RoundState(target, drafter, suppress, accept=accept)


@torch.inference_mode()
def warm_up(device: RoundState, sampling: Sampling) -> str | None:
    """Record a first round of each kind, so that a reply need not wait for it; why that failed, if it did."""
    cache = device.target.new_cache(WARM_UP_ROWS)
    _, state = device.target.prefill(device.newest.new_zeros(WARM_UP_ROWS), cache)
    device.attach(cache, WARM_UP_ROWS, sampling)
    device.begin(device.newest, state)
    device.launch(1 if device.drafter else 0, (), cache.length, cache.length).land()
    return device.recorder.failure


@torch.inference_mode()
def decode(
    device: RoundState,
    cache: Cache,
    prefilled: tuple[Tensor, Tensor],
    sampling: Sampling,
    pacer: DraftLengthPolicy,
    *,
    stop: Collection[int],
    limit: int,
    lookup: Lookup | None = None,
) -> Generator[Burst, None, None]:
    """decode.decode of the same arguments, with rounds on `device`; between bursts the cache is as it says there."""
    logits, state = prefilled
    most = device.rows - 1
    device.attach(cache, limit, sampling)
    token = device.sampler.choose(logits, torch.arange(cache.length, cache.length + 1, device=logits.device))
    device.begin(token, state)
    tokens = numbers(token.tolist())
    yield Burst(tuple(tokens))
    left = limit - 1
    ahead: RoundInFlight | None = None
    while left and tokens[-1] not in stop:
        copied = copied_drafts(lookup, pacer, tokens, min(left - 1, most)) if lookup else []
        flight = ahead
        if flight is None:
            count = min(pacer.choose(), left - 1, most) if device.drafter and not copied else 0
            cache.reserve(device.rows)
            flight = device.launch(count, copied, cache.length, cache.length)
        ahead = None
        if not copied and left > 1:
            count = min(pacer.choose(), left - 2, most) if device.drafter else 0
            cache.reserve(flight.drafted + 1 + device.rows)
            ahead = device.launch(count, (), cache.length + 1, cache.length + flight.drafted + 1)
        results, seconds = flight.land()
        accepted = results[-1]
        tokens = numbers(results[most : most + accepted + 1])[:left]
        end = next((place for place, token in enumerate(tokens) if token in stop), len(tokens) - 1)
        tokens = tokens[: end + 1]
        accepted = min(accepted, len(tokens))
        cache.advance(len(tokens))
        left -= len(tokens)
        observe = pacer.observe_copy if flight.copied else pacer.observe
        observe(flight.drafted, accepted, seconds)
        yield Burst(tuple(tokens), Round(flight.drafted, accepted, "lookup" if flight.copied else "drafter"))
