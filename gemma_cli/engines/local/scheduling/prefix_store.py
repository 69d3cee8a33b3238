"""A prefix cache that requests share: keys and values of prompts' beginnings are computed once.

A prompt is read in passes whose ends depend only on the text before them (decoding/prefix_cache.py). So a beginning
that ends with a complete pass has the same keys and values in any prompt, to the last bit. Each pass is stored once,
under a hash of all token ids and media up to its end. A prompt resumes after the longest chain of stored passes.

Memory is limited. The least recently used passes are dropped first, and the end of a chain before its beginning.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from gemma_cli.engines.local.decoding.prefix_cache import Last
from gemma_cli.engines.local.model.cache import Cache, Stretch
from gemma_cli.engines.local.text.prompt import Prompt

Digest = bytes


def digests(prompt: Prompt, ends: Sequence[int]) -> list[Digest]:
    """Return, for each of `ends`, a hash of the prompt up to there and of the ends of earlier passes."""
    state, start, found = sha256(), 0, []
    for end in ends:
        state.update(array("q", (end, *prompt.ids[start:end])).tobytes())
        for span in prompt.media:
            if start <= span.start < end:
                state.update(repr((span.start, span.length, span.medium.digest, span.budget)).encode())
        found.append(state.digest())
        start = end
    return found


@dataclass(frozen=True, eq=False)
class _Pass:
    """The keys and values of one pass.

    last: the output of its last row; None unless the prompt ended there.
    """

    stretch: Stretch
    last: Last | None

    @property
    def nbytes(self) -> int:
        return self.stretch.nbytes + sum(tensor.nbytes for tensor in self.last or ())


class PrefixStore:
    """Stores passes in at most `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.nbytes = 0
        self._passes: OrderedDict[Digest, _Pass] = OrderedDict()  # least recently used first

    def resume(self, chain: Sequence[Digest], length: int, cache: Cache) -> Last | None:
        """Fill an empty cache with the stored passes of a prompt. chain: its passes; length: its rows.

        Returns the output of the prompt's last row if it is stored; otherwise at least the last pass is left to read.
        """
        found: list[_Pass] = []
        for digest in chain:
            if digest not in self._passes:
                break
            found.append(self._passes[digest])
        while found and found[-1].stretch.stop == length and found[-1].last is None:
            found.pop()
        if not found:
            return None
        self._touch(chain[: len(found)])
        cache.extend([one.stretch for one in found])
        last = found[-1].last if found[-1].stretch.stop == length else None
        return last and (last[0].clone(), last[1].clone())

    def keep(self, chain: Sequence[Digest], cache: Cache, start: int, last: Last | None) -> None:
        """Store the last pass of `chain`: rows `start` .. cache.length - 1 of the cache."""
        known = self._passes.get(chain[-1])
        if known is None or (last and not known.last):
            self._remove(chain[-1])
            kept = _Pass(cache.stretch(start), last and (last[0].clone(), last[1].clone()))
            if kept.nbytes > self.limit:
                return
            self._passes[chain[-1]] = kept
            self.nbytes += kept.nbytes
        self._touch(chain)
        while self.nbytes > self.limit:
            self._remove(next(iter(self._passes)))

    def forget(self) -> None:
        """Drop all passes."""
        self._passes.clear()
        self.nbytes = 0

    def _touch(self, chain: Sequence[Digest]) -> None:
        for digest in reversed(chain):
            if digest in self._passes:
                self._passes.move_to_end(digest)

    def _remove(self, digest: Digest) -> None:
        if one := self._passes.pop(digest, None):
            self.nbytes -= one.nbytes
