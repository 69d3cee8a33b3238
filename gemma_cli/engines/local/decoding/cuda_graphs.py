"""Decoding on CUDA: a round is a few recorded graphs, and the next is launched before the host has read the last.

    draft    one graph, a draft step, launched K times: each takes its input where the step before left its output
    verify   one graph: the target over [newest token, K drafts, filled up to `rows`]
    choose   one graph: the target's choices, how many drafts are accepted, and the newest token, its state and position
             for the next round
    read     one copy of drafts and choices into pinned memory; the host waits for its event one round later

Everything a round needs from the one before stays on the device (`RoundState`), so the host, while it turns tokens into
text, has already launched the next one. The price is at most one round that nobody reads, at the end of a reply.

A graph holds fixed kernels over fixed memory. With gemma's own kernels for whole passes (kernel_table.few_rows) each
part has one graph for every length. With torch's, draft and verify have one for every number of keys that is read from
full layers (cache.bucket), and with experts verify has one for every number of drafts, too, because a row that only
fills up a pass reads no experts.

Those for the first ROOM tokens are recorded at load, over the cache that the first reply will use; what a reply needs
beyond them is recorded before it begins. The text is that of decode.py, whose rules hold here too: a row reads the
keys that are its own bucket's, and every pass has the same number of rows. Where no graph can be recorded, on a CPU
or because recording failed, the same functions are run as they are.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection, Generator, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from gemma_cli.core.events import Round
from gemma_cli.core.messages import Sampling
from gemma_cli.engines.local.decoding.accept import SyntheticAcceptance
from gemma_cli.engines.local.decoding.decode import Burst, DraftLengthPolicy, copied_drafts, numbers
from gemma_cli.engines.local.decoding.fused_rows import DraftRow, target_rows
from gemma_cli.engines.local.decoding.graph_attention import StaticDraft, StaticRows
from gemma_cli.engines.local.decoding.lookup import Lookup
from gemma_cli.engines.local.decoding.recorder import Recorder, RoundInFlight, now
from gemma_cli.engines.local.decoding.sampling import StaticSampler
from gemma_cli.engines.local.model.cache import Cache, bucket
from gemma_cli.engines.local.model.drafter import Drafter
from gemma_cli.engines.local.model.row_rule import FIXED
from gemma_cli.engines.local.model.target import Target

WARM_UP_ROWS = 16

AHEAD = 4096
"""Tokens of a reply whose graphs are recorded before it begins: more would delay its first token by seconds."""

EXPERT_ROWS = 5
"""Rows up to which a verify graph of a model with experts is recorded ahead: more drafts than four seldom pay there,
because every row brings experts of its own."""


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
        self._experts = any(layer.experts is not None for layer in target.layers)
        self._cache: weakref.ref[Cache] | None = None  # the reply's: it is held by who decodes it
        self._capacity = 0
        self._samplers: dict[Hashable, StaticSampler] = {}
        counts = torch.zeros(5, 1, dtype=torch.int64, device=target.device)
        self.newest, self.length, self.last, self.step, self.drafted = counts.unbind()
        self.proposed = torch.zeros(rows, dtype=torch.int64, device=target.device)
        self.results = torch.zeros(2 * rows, dtype=torch.int64, device=target.device)
        self.states = torch.zeros(rows, target.hidden_size, dtype=target.dtype, device=target.device)
        self.logits = torch.zeros(rows, target.vocab_size, dtype=torch.float32, device=target.device)
        self.newest_state = torch.zeros_like(self.states[:1])
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
        if self.accept is not None and (self._coins is None or len(self._coins) != cache.capacity):
            # Made once for a cache: recorded graphs read them where they are.
            coins = [self.accept.heads(position) for position in range(cache.capacity)]
            self._coins = torch.tensor(coins, device=self.length.device)

    def begin(self, token: Tensor, state: Tensor) -> None:
        """The reply begins with `token`, int64 [1], which the row with the last state [1, hidden] chose."""
        self.newest.copy_(token.clamp(min=0))
        self.newest_state.copy_(state)
        self.length.fill_(self.cache.length)
        self._ready()

    def prepare(self, room: int) -> None:
        """Record what the next `room` tokens need, the newest of which has its place in the cache."""
        self.cache.reserve(self.rows)
        if self.target.functions:
            self._record("verify", (), self.rows)
            if self.drafter:
                self._record("draft", 0)
            self._record("choose")
            return
        first, last = self.cache.length, self.cache.length + min(room, AHEAD) + 2 * self.rows
        short, longest = bucket(first), min(bucket(last), self.cache.capacity)
        reals = range(1, EXPERT_ROWS + 1) if self._experts else (self.rows,)
        while short <= longest and self.recorder.records:
            both = (short, bucket(short))
            for lengths in [(short,), both][: 1 if both[1] > longest else 2]:
                for real in reals:
                    self._record("verify", lengths, real)
            if self.drafter:
                self._record("draft", short)
            short = both[1]
        self._record("choose")

    def launch(self, count: int, copied: Sequence[int], earliest: int, latest: int) -> RoundInFlight:
        """A round with `count` drafts, or with those that are `copied`. The newest token stands at a position from
        `earliest` to `latest`."""
        began = now(self.target.device)
        drafted = len(copied) or count
        self.proposed[:1].copy_(self.newest)
        if copied:
            self.proposed[1 : 1 + len(copied)].copy_(torch.tensor(copied))
        fused = self.target.functions is not None
        lengths = () if fused else tuple(sorted({bucket(earliest), bucket(latest + self.rows - 1)}))
        for _ in range(0 if copied else count):
            self._run("draft", lengths[-1] if lengths else 0)
        self.drafted.fill_(drafted)
        self._run("verify", lengths, drafted + 1 if self._experts and not fused else self.rows)
        self._run("choose")
        self._read.reverse()
        self._read[0].copy_(self.results, non_blocking=True)
        return RoundInFlight(drafted, bool(copied), self._read[0], began, now(self.target.device))

    def _run(self, name: str, *shape: Any) -> None:
        self.recorder.run(*self._step(name, *shape))

    def _record(self, name: str, *shape: Any) -> None:
        self.recorder.record(*self._step(name, *shape))

    def _step(self, name: str, *shape: Any) -> tuple[Hashable, Callable[[], None], Sequence[Tensor]]:
        """A part of a round as Recorder takes it; what it is recorded for is in `shape` and in the kind of sampling."""
        steps: dict[str, Callable[..., None]] = {
            "draft": self._draft_step,
            "verify": self._verify,
            "choose": self._choose,
        }
        function = steps[name]
        kind = None if name == "verify" else self.kind
        state = [self.newest, self.length, self.last, self.step, self.proposed, self.newest_state, self.last_state]
        return (name, kind, *shape), lambda: function(*shape), state

    def _ready(self) -> None:
        self.last.copy_(self.newest)
        self.last_state.copy_(self.newest_state)
        self.step.zero_()

    def _draft_step(self, length: int) -> None:
        assert self.drafter is not None
        target, drafter = self.target, self.drafter
        if functions := target.functions:
            row = DraftRow(functions, target, drafter, self.cache, self.length)
            logits, ids, state = drafter.step_fused(functions, self.last, self.last_state, target, row)
        else:
            context = StaticDraft(target, drafter, self.cache, self.length, length)
            logits, ids, state = drafter.step(self.last, self.last_state, context)
        self.step.add_(1)
        token = self.sampler.guess(logits, self.length + self.step, ids)
        self.proposed.index_copy_(0, self.step, token)
        self.last.copy_(token)
        self.last_state.copy_(state)

    def _verify(self, lengths: tuple[int, ...], real: int) -> None:
        """real: the rows that count where there are experts. Kernels of whole passes read both on the device."""
        place = torch.arange(self.rows, device=self.length.device)
        rows = self.proposed.index_select(0, torch.minimum(place, self.drafted))
        if functions := self.target.functions:
            placed = target_rows(functions, self.target, self.cache, self.length, self.rows, self.drafted + 1)
            logits, states = self.target.run_fused(functions, rows, placed)
        else:
            context = StaticRows(self.target, self.cache, self.length, self.rows, lengths, real)
            logits, states = self.target.run(rows, context)
        self.logits.copy_(logits)
        self.states.copy_(states)

    def _choose(self) -> None:
        place = torch.arange(self.rows, device=self.length.device)
        rows = self.proposed.index_select(0, torch.minimum(place, self.drafted))
        choices = self.sampler.choose(self.logits, self.length + 1 + place)
        if self._coins is None:
            right = rows[1:] == choices[:-1]
        else:
            right = self._coins.index_select(0, self.length + 1 + place[:-1])
        accepted = (right & (place[:-1] < self.drafted)).long().cumprod(0).sum(0, keepdim=True)
        self.results.copy_(torch.cat((rows[1:], choices, accepted)))
        self.newest.copy_(choices.index_select(0, accepted).clamp(min=0))
        self.newest_state.copy_(self.states.index_select(0, accepted))
        self.length.add_(accepted + 1)
        self._ready()


def rounds_for(
    target: Target, drafter: Drafter | None, suppress: Sequence[int], accept: SyntheticAcceptance | None
) -> RoundState | None:
    """None where decode.py does as well: off a GPU, and over several GPUs, for a graph is recorded on one."""
    if target.device.type != "cuda" or len(target.devices) > 1:
        return None
    return RoundState(target, drafter, suppress, accept=accept)


@torch.inference_mode()
def warm_up(device: RoundState, cache: Cache, sampling: Sampling) -> str | None:
    """Record rounds over all positions of an empty `cache`, which then is empty again, so that a reply need
    not wait for it; why that failed, if it did."""
    _, state = device.target.prefill(device.newest.new_zeros(WARM_UP_ROWS), cache)
    room = cache.capacity - WARM_UP_ROWS - 2 * device.rows
    device.attach(cache, room, sampling)
    device.begin(device.newest, state)
    device.prepare(room)
    cache.reserve(device.rows)
    device.launch(1 if device.drafter else 0, (), cache.length, cache.length).land()
    cache.restart()
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
    device.prepare(limit)
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
