"""How a token is chosen: arg-max of its log-probability plus noise that belongs to (seed, position, token id).

    x_t = argmax over surviving v of ( log p_t(v) + G(seed, t, v) ),   G ~ Gumbel(0, 1)

which is a draw from p_t (the Gumbel-max trick). As the noise is a function and not a stream, whoever asks about
position t gets the same noise: target and drafter, one row or nine, CPU and GPU. That makes the text a function of
(seed, prompt) alone (Daliri, Musco, Suresh, "Coupling without Communication and Drafter-Invariant Speculative
Decoding", arXiv 2408.07978).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gemma_cli.core.messages import Sampling

_WEIGHT_BITS = 40
_NO_ID = 2**63 - 1

Contenders = Callable[[Tensor, Tensor | None, int], Tensor]


def gumbel(seed: int | Tensor, positions: Tensor, ids: Tensor) -> Tensor:
    """Noise for every (position, id): float64 [m, c] from positions int64 [m] and ids int64 [m, c] or [c]. seed: a
    number, or its seed_key, int64 [].

    The logarithms are taken in float64 and rounded to float32, because math libraries agree to an ulp, not to the bit.
    """
    key = _mix(positions * _GOLDEN + (seed if isinstance(seed, Tensor) else seed_key(seed)))
    bits = _mix(key[:, None] + ids * _GOLDEN)
    uniform = ((bits >> 12 & _ones(52)) + 0.5) * 2.0**-52  # 53 bits: never 0, never 1
    return (-torch.log(-torch.log(uniform))).float().double()


def seed_key(seed: int) -> int:
    """The seed is mixed before a position is added, or (seed, t + 1) could repeat (seed + 1, t)."""
    return _int64(_mixed(seed))


class Sampler:
    """Chooses tokens under one `Sampling`; `suppress` are ids that must never be chosen (generation_config)."""

    def __init__(self, sampling: Sampling, suppress: Sequence[int] = ()) -> None:
        self.sampling = sampling
        self._suppress = torch.tensor(tuple(suppress), dtype=torch.int64)
        self._contenders: Contenders = _contenders
        self._seed: int | Tensor = sampling.seed
        self._temperature: float | Tensor = sampling.temperature
        self._top_p: float | Tensor = sampling.top_p

    def choose(self, logits: Tensor, positions: Tensor, ids: Tensor | None = None) -> Tensor:
        """The token for each row: int64 [m].

        logits: float [m, c]. positions: int64 [m], the place each row's token will take in the sequence. ids: int64
        [m, c], the token ids the columns stand for (a drafter's shortlist); None when column = id. A row's choice does
        not depend on the other rows; equal scores go to the lowest id. -1 where a score is not a number.
        """
        logits = self._without_suppressed(logits, ids)
        if self.sampling.temperature == 0:
            return _first_best(logits, ids)
        logits, ids = _top_k(logits, ids, self.sampling.top_k, self._contenders)
        scores = logits.double() / self._temperature
        if self.sampling.top_p < 1:  # a number, even where self._top_p is a tensor
            scores = _top_p(scores, self._top_p)
        return _first_best(scores + gumbel(self._seed, positions, ids), ids)

    def guess(self, logits: Tensor, positions: Tensor, ids: Tensor | None = None) -> Tensor:
        """What `choose` is expected to choose, int64 [1], from a drafter's one row: of equal scores any, and always an
        id, for a broken drafter is not believed. It is only compared, so it need not wait for ties to be settled."""
        if self.sampling.temperature:
            return self.choose(logits, positions, ids).clamp(min=0)
        best = self._without_suppressed(logits, ids).argmax(-1)
        return best if ids is None else ids.view(-1).index_select(0, best)

    def _without_suppressed(self, logits: Tensor, ids: Tensor | None) -> Tensor:
        if not len(self._suppress):
            return logits
        self._suppress = self._suppress.to(logits.device)
        if ids is None:
            return logits.index_fill(-1, self._suppress, -torch.inf)
        return logits.masked_fill(torch.isin(ids, self._suppress), -torch.inf)


class StaticSampler(Sampler):
    """The same, with what differs from request to request in tensors on the device, for graphs that are recorded once
    (graphs.py); nothing in it waits for the device. `set` may change all but what `kind` holds."""

    def __init__(self, sampling: Sampling, suppress: Sequence[int], device: torch.device) -> None:
        super().__init__(sampling, suppress)
        self._suppress = self._suppress.to(device)
        self._contenders = _ranked
        self._seed = torch.zeros((), dtype=torch.int64, device=device)
        self._temperature = torch.ones((), dtype=torch.float64, device=device)
        self._top_p = torch.ones((), dtype=torch.float64, device=device)

    @staticmethod
    def kind(sampling: Sampling) -> tuple[bool, int, bool]:
        """What decides which operations are run."""
        return sampling.temperature == 0, sampling.top_k, sampling.top_p < 1

    def set(self, sampling: Sampling) -> None:
        for tensor, value in (
            (self._seed, seed_key(sampling.seed)),
            (self._temperature, sampling.temperature),
            (self._top_p, sampling.top_p),
        ):
            assert isinstance(tensor, Tensor)
            tensor.fill_(value)


def _first_best(scores: Tensor, ids: Tensor | None) -> Tensor:
    """The id of each row's greatest score, the lowest of those that share it; -1 where a score is not a number."""
    if ids is None:
        best, first = scores.max(-1)  # the first of equal maxima, or of those that are not numbers (torch.max)
        return first.masked_fill_(best.isnan(), -1)
    best = scores.amax(-1, keepdim=True)
    first = torch.where(scores == best, ids, _NO_ID).amin(-1)  # nothing equals what is not a number
    return first.masked_fill_(first == _NO_ID, -1)


def _ranked(logits: Tensor, ids: Tensor | None, k: int) -> Tensor:
    """The columns of the k best of every row, of equal values those with the lowest ids."""
    least = logits.topk(k).values[:, -1:]
    if ids is None:
        ids = torch.arange(logits.shape[-1], device=logits.device)
    rank = torch.where(logits > least, torch.inf, torch.where(logits == least, -ids.float(), -torch.inf))
    return rank.topk(k).indices


def _contenders(logits: Tensor, ids: Tensor | None, k: int) -> Tensor:
    """Columns that hold the k best of every row: topk alone leaves open which of several equal values it takes."""
    # Nearly always all equals of the k-th are among four times as many. Asking a GPU would mean waiting for it.
    if logits.device.type == "cpu":
        best = logits.topk(min(4 * k, logits.shape[-1]))
        if (best.values[:, -1:] < best.values[:, k - 1 : k]).all():
            return best.indices
    return _ranked(logits, ids, k)


def _top_k(logits: Tensor, ids: Tensor | None, k: int, contenders: Contenders = _contenders) -> tuple[Tensor, Tensor]:
    """The k best (all for k = 0) in falling order, lowest id first among equals: logits and ids, both [m, k]."""
    width = logits.shape[-1]
    if 0 < k < width:
        columns = contenders(logits, ids, k)
        logits = logits.gather(-1, columns)
        ids = columns if ids is None else ids.expand(logits.shape[0], -1).gather(-1, columns)
    elif ids is None:
        ids = torch.arange(width, device=logits.device)
    ids, by_id = ids.expand_as(logits).sort(-1)
    best, order = logits.gather(-1, by_id).sort(dim=-1, descending=True, stable=True)
    return best[:, : k or width], ids.gather(-1, order[:, : k or width])


def _top_p(scores: Tensor, p: float | Tensor) -> Tensor:
    """Falling scores with all but the smallest set of mass >= p set to -inf; the best always stays.

    Masses are summed as integers, so the sum does not depend on the order in which a device adds.
    """
    mass = (torch.exp(scores - scores[:, :1]) * 2.0**_WEIGHT_BITS).long()
    upto = mass.cumsum(-1)
    kept = (upto[:, -1:].double() * p).clamp_(min=1.0)  # at least the best, before which there is nothing
    return scores.masked_fill((upto - mass).double() >= kept, -torch.inf)


def _mix(x: Tensor) -> Tensor:
    """A bijection of int64 in which every input bit moves every output bit (splitmix64's finalizer)."""
    x = (x ^ (x >> 30 & _ones(34))) * _int64(_FIRST)
    x = (x ^ (x >> 27 & _ones(37))) * _int64(_SECOND)
    return x ^ (x >> 31 & _ones(33))


def _mixed(x: int) -> int:
    """The same of one number modulo 2**64."""
    x = x & _ones(64)
    x = (x ^ x >> 30) * _FIRST & _ones(64)
    x = (x ^ x >> 27) * _SECOND & _ones(64)
    return x ^ x >> 31


def _ones(bits: int) -> int:
    return (1 << bits) - 1


def _int64(value: int) -> int:
    """`value` modulo 2**64 as torch writes it, signed."""
    return (value + 2**63) % 2**64 - 2**63


_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_GOLDEN = _int64(0x9E3779B97F4A7C15)
