"""Choice of tokens: arg-max of its log-probability plus noise that belongs to (seed, position, token id).

    x_t = argmax over surviving v of ( log p_t(v) + G(seed, t, v) ),   G ~ Gumbel(0, 1)

which is a draw from p_t (the Gumbel-max trick). As the noise is a function and not a stream, whoever asks about
position t gets the same noise: target and drafter, one row or nine, CPU and GPU. That makes the text a function of
(seed, prompt) alone (Daliri, Musco, Suresh, "Coupling without Communication and Drafter-Invariant Speculative
Decoding", arXiv 2408.07978).

Scores and noise are float64. Apple GPUs have none: there the device finds the candidates and the CPU chooses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from gemma_cli.core.messages import Sampling
from gemma_cli.engines.local.device import has_float64
from gemma_cli.engines.local.kernel_table import KernelFailure, few_rows
from gemma_cli.engines.local.triton_kernels.tiles import MOST_CHOSEN

_WEIGHT_BITS = 40
_NO_ID = 2**63 - 1

WIDE = 1 << 14
"""Number of columns from which complete rows are processed one by one, because their temporaries take megabytes."""


def gumbel(seed: int | Tensor, positions: Tensor, ids: Tensor) -> Tensor:
    """Noise for every (position, id): float64 [m, c] from positions int64 [m] and ids int64 [m, c] or [c]. seed: a
    number, or its seed_key, int64 [].

    It lies between -3.7 and 36.8. The logarithms are rounded to float32, because math libraries agree to an ulp and not
    to the bit: so two devices differ in about one value of 10^8, and there by 10^-7.
    """
    key = _mix(positions * _GOLDEN + (seed if isinstance(seed, Tensor) else seed_key(seed)))
    uniform = _uniform(_mix(key[:, None] + ids * _GOLDEN))
    return uniform.log_().neg_().log_().neg_().float().double()


def _uniform(bits: Tensor) -> Tensor:
    """The middle of one of 2^52 equal parts of (0, 1), float64, chosen by int64 `bits`: from 2^-53 to 1 - 2^-53, exact.

    It is widened first: an integer tensor plus a Python float would be float32, where the last part's middle is 1.
    """
    return (bits >> 12).bitwise_and_(_ones(52)).double().add_(0.5).mul_(2.0**-52)


def seed_key(seed: int) -> int:
    """The seed is mixed before a position is added, or (seed, t + 1) could repeat (seed + 1, t)."""
    return _int64(_mixed(seed))


class Sampler:
    """Chooses tokens under one `Sampling`; `suppress` are ids that must never be chosen (generation_config)."""

    def __init__(self, sampling: Sampling, suppress: Sequence[int] = ()) -> None:
        self.sampling = sampling
        self._suppress = torch.tensor(tuple(suppress), dtype=torch.int64)
        self._may_wait = True
        self._seed: int | Tensor = sampling.seed
        self._numbers: Mapping[str, float | Tensor] = numbers_of(sampling)

    def choose(self, logits: Tensor, positions: Tensor, ids: Tensor | None = None) -> Tensor:
        """The token for each row: int64 [m].

        logits: float [m, c]. positions: int64 [m], the place each row's token will take in the sequence. ids: int64
        [m, c], the token ids the columns stand for (a drafter's shortlist); None when column = id. A row's choice does
        not depend on the other rows; equal scores go to the lowest id. -1 where a score is not a number.
        """
        logits = self._without_suppressed(logits, ids)
        if has_float64(logits.device):
            return self._choose(logits, positions, ids)
        few, few_ids = _narrowed(logits, ids, self.sampling.top_k if self.sampling.temperature else 1)
        return self._choose(few, positions.cpu(), few_ids).to(logits.device)

    def _choose(self, logits: Tensor, positions: Tensor, ids: Tensor | None) -> Tensor:
        if self.sampling.temperature == 0:
            return _first_best(logits, ids)
        rows, width = logits.shape
        if rows > 1 and width > WIDE and self._takes_all(width):
            each = (slice(row, row + 1) for row in range(rows))
            chosen = [self._choose(logits[row], positions[row], None if ids is None else ids[row]) for row in each]
            return torch.cat(chosen)
        scores, ids = self._survivors(logits, ids)
        return _first_best(scores + gumbel(self._seed, positions, ids), ids)

    def _survivors(self, logits: Tensor, ids: Tensor | None) -> tuple[Tensor, Tensor]:
        """Scores of the candidates, -inf where top-p leaves one out, and their ids: both [m, n]."""
        takes_all = self._takes_all(logits.shape[-1])
        if takes_all and self.sampling.top_p >= 1:
            scores = self._likely(self._scores(logits, logits.amax(-1, keepdim=True)))
            return scores, _with_ids(logits, ids)
        logits, ids = _top_k(logits, ids, self._most_sorted(logits), self._may_wait)
        scores = self._likely(self._scores(logits, logits[:, :1]))
        if self.sampling.top_p < 1:
            scores = _top_p(scores, self._numbers["top_p"])
            if takes_all and self._may_wait:  # noise is drawn for those that are left
                left = int((scores != -torch.inf).sum(-1).amax())
                scores, ids = scores[:, :left], ids[:, :left]
        return scores, ids

    def _most_sorted(self, logits: Tensor) -> int:
        """Columns to sort, 0 for all: top-k, or else as many as min-p leaves in any row, which are the best ones."""
        if self.sampling.min_p <= 0 or not self._may_wait or not self._takes_all(logits.shape[-1]):
            return self.sampling.top_k
        likely = self._scores(logits, logits.amax(-1, keepdim=True)) >= self._numbers["least"]
        return int(likely.sum(-1).amax())

    def _takes_all(self, width: int) -> bool:
        return not 0 < self.sampling.top_k < width

    def _scores(self, logits: Tensor, best: Tensor) -> Tensor:
        """log p up to a constant, float64: 0 for the best [m, 1], so that no temperature makes them infinite."""
        return logits.double().sub_(best).div_(self._numbers["temperature"])

    def _likely(self, scores: Tensor) -> Tensor:
        """The scores, with -inf where min-p leaves one out; the best always stays, as its score is 0."""
        return scores.masked_fill(scores < self._numbers["least"], -torch.inf) if self.sampling.min_p > 0 else scores

    def guess(self, logits: Tensor, positions: Tensor, ids: Tensor | None = None) -> Tensor:
        """What `choose` is expected to choose, int64 [m], from a drafter's rows: of equal scores any, and always an id,
        for a broken drafter is not believed. It is only compared, so it need not wait for ties to be settled."""
        if self.sampling.temperature:
            return self.choose(logits, positions, ids).clamp(min=0)
        best = self._without_suppressed(logits, ids).argmax(-1)
        if ids is None:
            return best
        return ids.view(-1).index_select(0, best) if len(ids) == 1 else ids.gather(-1, best[:, None])[:, 0]

    def _without_suppressed(self, logits: Tensor, ids: Tensor | None) -> Tensor:
        if not len(self._suppress):
            return logits
        self._suppress = self._suppress.to(logits.device)
        if ids is None:
            return logits.index_fill(-1, self._suppress, -torch.inf)
        return logits.masked_fill(torch.isin(ids, self._suppress), -torch.inf)


class StaticSampler(Sampler):
    """The same, with what differs from request to request in tensors on the device, for graphs that are recorded once
    (cuda_graphs.py); nothing in it waits for the device. `set` may change all but what `kind` holds."""

    def __init__(self, sampling: Sampling, suppress: Sequence[int], device: torch.device) -> None:
        super().__init__(sampling, suppress)
        self._suppress = self._suppress.to(device)
        self._may_wait = self._failed = False
        self._seed = torch.zeros((), dtype=torch.int64, device=device)
        self._numbers = {
            name: torch.full((), value, dtype=torch.float64, device=device)
            for name, value in numbers_of(sampling).items()
        }

    def _choose(self, logits: Tensor, positions: Tensor, ids: Tensor | None) -> Tensor:
        """As Sampler's; rows stand one after the other."""
        top = self.sampling.top_k if self.sampling.temperature else 0
        all_of_them = self.sampling.temperature > 0 and self._takes_all(logits.shape[-1])
        functions = None if self._failed or all_of_them or top > MOST_CHOSEN else few_rows(logits.device)
        if functions:
            try:
                numbers: dict[str, Any] = {**self._numbers}
                return functions.choose(
                    logits.float(), positions[:1], ids, top, cast("Tensor", self._seed), numbers["temperature"],
                    numbers["top_p"] if self.sampling.top_p < 1 else None,
                    numbers["least"] if self.sampling.min_p > 0 else None,
                )  # fmt: skip
            except KernelFailure:  # torch chooses the same
                self._failed = True
        return super()._choose(logits, positions, ids)

    @staticmethod
    def kind(sampling: Sampling) -> tuple[bool, int, bool, bool]:
        """The settings that decide which operations run."""
        return sampling.temperature == 0, sampling.top_k, sampling.top_p < 1, sampling.min_p > 0

    def set(self, sampling: Sampling) -> None:
        values = numbers_of(sampling)
        pairs = [(self._seed, seed_key(sampling.seed)), *((self._numbers[name], values[name]) for name in values)]
        for tensor, value in pairs:
            assert isinstance(tensor, Tensor)
            tensor.fill_(value)


def numbers_of(sampling: Sampling) -> dict[str, float]:
    """Return the settings that differ from row to row as numbers; least: the lowest score that min-p allows."""
    least = math.log(sampling.min_p) if sampling.min_p > 0 else -math.inf
    return {"temperature": sampling.temperature, "top_p": sampling.top_p, "least": least}


def _first_best(scores: Tensor, ids: Tensor | None) -> Tensor:
    """The id of each row's greatest score, the lowest of those that share it; -1 where a score is not a number."""
    if ids is None:
        best, first = scores.max(-1)  # the first of equal maxima, or of those that are not numbers (torch.max)
        return first.masked_fill_(best.isnan(), -1)
    best = scores.amax(-1, keepdim=True)
    first = torch.where(scores == best, ids, _NO_ID).amin(-1)  # NaN equals nothing
    return first.masked_fill_(first == _NO_ID, -1)


def _narrowed(logits: Tensor, ids: Tensor | None, k: int) -> tuple[Tensor, Tensor | None]:
    """Columns that hold the k best of every row (0: all columns) and their ids, on the CPU."""
    if 0 < 4 * k < logits.shape[-1]:
        best = logits.topk(4 * k)
        values = best.values.cpu()
        if (values[:, -1:] < values[:, k - 1 : k]).all():
            return values, _ids_at(best.indices, ids).cpu()
    return logits.cpu(), None if ids is None else ids.cpu()


def _top_k(logits: Tensor, ids: Tensor | None, k: int, may_wait: bool = True) -> tuple[Tensor, Tensor]:
    """The k best (all for k = 0) in falling order, lowest id first among equals: logits and ids, both [m, k].

    may_wait: whether the host may look at numbers, to save work.
    """
    if may_wait and 0 < k < logits.shape[-1] and logits.device.type == "cpu":  # asking a GPU means waiting for it
        best, columns = logits.topk(min(4 * k, logits.shape[-1]))
        if (best[:, :k] > best[:, 1 : k + 1]).all():
            return best[:, :k], _ids_at(columns[:, :k], ids)
        if (best[:, -1:] < best[:, k - 1 : k]).all():  # all equals of the k-th are here: topk takes any of them
            logits, ids = best, _ids_at(columns, ids)
    return _in_order(logits, _with_ids(logits, ids), k)


def _in_order(logits: Tensor, ids: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """As _top_k, in float32, and what is not a number becomes infinity.

    What is sorted are integers: in the upper half the bits of the number, which fall as numbers do, below them the id.
    """
    bits = logits.float().nan_to_num(torch.inf, torch.inf, -torch.inf).add_(0.0).view(torch.int32)  # -0 becomes 0
    keys = (~_ordered(bits)).long() << 32 | ids
    if 0 < k < keys.shape[-1]:
        keys = keys.topk(k, largest=False).values
    elif keys.device.type == "cpu":
        keys = torch.from_numpy(np.sort(keys.numpy()))  # five times as fast as torch, which sorts indices as well
    else:
        keys = keys.sort(-1).values
    return _ordered(~(keys >> 32).int()).view(torch.float32), keys & _ones(32)


def _ordered(bits: Tensor) -> Tensor:
    """float32 numbers, as bits, to int32 in the same order, and back."""
    return bits ^ (bits >> 31 & _ones(31))


def _with_ids(logits: Tensor, ids: Tensor | None) -> Tensor:
    return torch.arange(logits.shape[-1], device=logits.device)[None] if ids is None else ids


def _ids_at(columns: Tensor, ids: Tensor | None) -> Tensor:
    return columns if ids is None else ids.expand(columns.shape[0], -1).gather(-1, columns)


def _top_p(scores: Tensor, p: float | Tensor) -> Tensor:
    """Falling scores with all but the smallest set of mass >= p set to -inf; the best always stays.

    Masses are summed as integers, so the sum does not depend on the order in which a device adds.
    """
    mass = (torch.exp(scores - scores[:, :1]) * 2.0**_WEIGHT_BITS).long()
    upto = mass.cumsum(-1)
    kept = (upto[:, -1:].double() * p).clamp_(min=1.0)  # at least the best, before which there is nothing
    return scores.masked_fill((upto - mass).double() >= kept, -torch.inf)


def _mix(x: Tensor) -> Tensor:
    """Apply a bijection of int64 in which every input bit affects every output bit (splitmix64's finalizer)."""
    x = _folded(x, 30).mul_(_int64(_FIRST))
    x = _folded(x, 27).mul_(_int64(_SECOND))
    return _folded(x, 31)


def _folded(x: Tensor, shift: int) -> Tensor:
    """x ^ x >> shift, which fills up with zeros."""
    return (x >> shift).bitwise_and_(_ones(64 - shift)).bitwise_xor_(x)


def _mixed(x: int) -> int:
    """Same as `_mix`, for one number modulo 2**64."""
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
